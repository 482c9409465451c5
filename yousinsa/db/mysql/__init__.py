"""Django's MySQL backend with a pool of connections: base.py, named by settings.DATABASES."""
