"""How requests become answers. Begin with endpoint.py, then deferred.py."""
