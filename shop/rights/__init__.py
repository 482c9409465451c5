"""Who may do what at the desk: the groups that the shop brings along, and what needs a second person.

Begin with groups.py; each app adds what its own records are about (`permissions.py`).
"""
