#!/usr/bin/env bash
# The shop with demo data, from nothing, in the foreground. Ctrl-C stops everything it started. It closes when the
# web server ends; a worker that ends is started again, since what it does can wait and what shoppers do cannot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PORT=${PORT:-8000} DEBUG=${DEBUG:-1} ALLOWED_HOSTS=${ALLOWED_HOSTS:-localhost,127.0.0.1}
export PAYMENT_SANDBOX=${PAYMENT_SANDBOX:-1} VAR_DIR=${VAR_DIR:-$PWD/var} DEMO_PASSWORD=${DEMO_PASSWORD:-demo-yousinsa}
python=.venv/bin/python

deploy/setup.sh run

"$python" - "$PORT" <<'PY' || exit 1
import socket, sys
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does: a past connection is no obstacle
    try:
        probe.bind(("127.0.0.1", int(sys.argv[1])))
    except (OSError, OverflowError, ValueError) as problem:
        sys.exit(f"run: cannot use port {sys.argv[1]} ({problem}). Name another one: PORT=8001 make run")
PY

if [ -z "${SECRET_KEY:-}" ]; then
    mkdir -p "$VAR_DIR"
    [ -s "$VAR_DIR/secret_key" ] ||
        (umask 077 && "$python" -c 'import secrets; print(secrets.token_urlsafe(64))' >"$VAR_DIR/secret_key")
    SECRET_KEY=$(<"$VAR_DIR/secret_key")
    export SECRET_KEY
fi

echo "run: preparing the database"
"$python" manage.py migrate --noinput --verbosity 0
"$python" manage.py seed_demo --if-empty --products 60 --buyers 20 --stock 50 --orders 40
"$python" manage.py collectstatic --noinput --verbosity 0

# shellcheck disable=SC2317 # the EXIT trap calls it
stop() {
    trap '' INT TERM HUP
    local running
    mapfile -t running < <(jobs -rp)
    [ ${#running[@]} = 0 ] || kill -TERM "${running[@]}" 2>/dev/null || true
    wait
}

announce() {
    exec "$python" - <<'PY'
import json, os, time, urllib.request

url, password = f"http://127.0.0.1:{os.environ['PORT']}", os.environ["DEMO_PASSWORD"]


def get(path):
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        return answer.read()


for _ in range(300):
    try:
        get("/healthz")
        break
    except OSError:
        time.sleep(0.2)
else:
    raise SystemExit(f"run: {url}/healthz has not answered within a minute, see the messages above")

products = json.loads(get("/api/v1/products/?in_stock=true&page_size=10"))["results"]
option = next((o["id"] for p in products for o in p["options"] if o["available"]), 1)
sign_in = json.dumps({"email": "buyer@demo.yousinsa.test", "password": password})
print(f"""
The shop is open at {url}
  API    {url}/api/docs/
  admin  {url}/admin/
  logins buyer@demo.yousinsa.test, owner@demo.yousinsa.test, operator@demo.yousinsa.test (admin)
         password {password}

Sign in, look around, buy:
  TOKEN=$(curl -s {url}/api/v1/users/sign-in/ -H 'Content-Type: application/json' -d '{sign_in}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
  curl -s '{url}/api/v1/products/?in_stock=true&page_size=3'
  curl -s {url}/api/v1/orders/ -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"lines": [{{"option": {option}, "quantity": 1}}]}}'

Ctrl-C closes it.
""", flush=True)
PY
}

trap stop EXIT
trap 'exit 0' INT TERM HUP

"$python" -m gunicorn -c deploy/gunicorn.conf.py yousinsa.wsgi &
web=$!
announce & # beside the others, so that a server that dies meanwhile is noticed at once

worker='' pause='' delay=1
start_worker() {
    "$python" manage.py run_worker &
    worker=$!
    started=$SECONDS
}
start_worker

while :; do
    status=0
    wait -n -p ended || status=$?
    case $ended in
    "$web")
        echo "run: gunicorn ended with status $status, closing" >&2
        exit "$status"
        ;;
    "$worker")
        [ $((SECONDS - started)) -lt 60 ] || delay=1
        echo "run: the worker ended with status $status, starting it again in $delay s" >&2
        sleep "$delay" &
        pause=$!
        delay=$((delay * 2 < 30 ? delay * 2 : 30))
        ;;
    "$pause") start_worker ;;
    esac
done
