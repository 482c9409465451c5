"""The ground floor: what every app stands on, and that knows no app but in urls.py.

Begin with settings.py and errors.py; then http/ (how requests are answered) and db/ (how transactions run).
"""
