"""From what Redis admitted into the database, and what comes back from there to Redis.

Begin with drain.py.
"""
