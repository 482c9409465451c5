"""How requests become answers, and what serves them.

Begin with endpoint.py, then deferred.py and handlers.py; worker.py is gunicorn's side of it.
"""
