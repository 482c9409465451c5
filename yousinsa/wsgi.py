"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yousinsa.settings")

application = get_wsgi_application()

# Load every view, and map the shared memory of the rate limits, before gunicorn forks its workers.
from django.urls import get_resolver  # noqa: E402

get_resolver().url_patterns  # noqa: B018
