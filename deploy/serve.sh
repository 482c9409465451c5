#!/usr/bin/env bash
# Serve what the environment names, in the foreground: no demo data, and no worker (manage.py run_worker).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ -x .venv/bin/python ] || deploy/setup.sh run
.venv/bin/python manage.py migrate --noinput
.venv/bin/python manage.py collectstatic --noinput --verbosity 0
exec .venv/bin/python -m gunicorn -c deploy/gunicorn.conf.py yousinsa.wsgi
