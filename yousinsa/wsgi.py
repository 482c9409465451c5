"""The WSGI application that gunicorn serves (yousinsa/http/handlers.py)."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yousinsa.settings")
django.setup(set_prefix=False)

from yousinsa.http.handlers import Application  # noqa: E402

application = Application()
