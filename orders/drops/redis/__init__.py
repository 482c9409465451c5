"""What a drop keeps in Redis, and how it is asked: the only room that knows keys, scripts and connections.

Begin with keys.py (what is there) and answers.py (what is said of it).
"""
