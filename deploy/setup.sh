#!/usr/bin/env bash
# Prepare what a profile needs: system packages, .venv and the pinned requirements.
#
#   deploy/setup.sh run      to serve the shop
#   deploy/setup.sh dev      to test and develop it: also MariaDB, Redis and nginx, which the tests start themselves
#   deploy/setup.sh bench    to measure it: dev and wrk
#   deploy/setup.sh pictures to draw its pages: dev and a Korean font
#
# Repeating it costs nothing: packages are installed only when missing, requirements only when their files changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-dev}
case $profile in
    run) requirements="requirements.txt" ;;
    dev | bench | pictures) requirements="requirements-dev.txt" ;;
    *) echo "usage: deploy/setup.sh run|dev|bench|pictures" >&2 && exit 2 ;;
esac

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # mariadbd hides there from plain users

say() { echo "setup: $*" >&2; }
die() { say "$@" && exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# --- System packages ----------------------------------------------------------------------------

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
can_install() { has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }; }
apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >/dev/null; }

# A package must not start its service: that would take the port of a server the user runs, or wants to run.
deny_services() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
}

install_packages() { # PACKAGE...: where they cannot be installed, names them and fails
    if can_install; then
        say "installing system packages: $*"
        deny_services
        apt_get update && apt_get install -y --no-install-recommends "$@" && return
    fi
    say "missing, and not to be installed from here: $*"
    say "on Debian an administrator installs them with: apt-get install $*"
    return 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3.11}" python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate" && return
        fi
    done
    return 1
}

# Prints the packages that compiling mysqlclient with this interpreter still needs.
compiler_packages() {
    has mariadb_config || echo libmariadb-dev
    has pkg-config || echo pkg-config
    has gcc || echo gcc libc6-dev
    "$1" - <<'PY'
import pathlib, sys, sysconfig
if not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
    print("python%d.%d-dev" % sys.version_info[:2])
PY
}

# The -core packages have the programs and no system service.
servers=()
if [ "$profile" != run ]; then
    has mariadbd || servers+=(mariadb-server-core mariadb-client-core)
    has redis-server || servers+=(redis-server)
    has nginx || servers+=(nginx-light)
fi
[ "$profile" != bench ] || has wrk || servers+=(wrk)
[ ${#servers[@]} = 0 ] || install_packages "${servers[@]}" || say "going on: what needs them will say so"

# Apart from the servers: where there is no browser to be had, everything else is still tested.
[ "$profile" = run ] || has chromium || install_packages chromium ||
    say "going on: the browser tests are skipped"
[ "$profile" != pictures ] || [ -n "$(fc-list :lang=ko 2>/dev/null)" ] || install_packages fontconfig fonts-nanum ||
    say "going on: Korean words are drawn as boxes"

# --- .venv --------------------------------------------------------------------------------------

mkdir -p var
exec 9>var/setup.lock # two `make` at once must not fill one .venv
! has flock || flock 9

# The stamp names what .venv holds; the development set contains the other.
run_stamp="run $(sha256sum <requirements.txt)"
dev_stamp="dev $(cat requirements.txt requirements-dev.txt | sha256sum)"
stamp=$dev_stamp
[ "$profile" != run ] || stamp=$run_stamp

needs_mysqlclient() { [[ ${DATABASE_URL:-} == mysql* ]]; }

is_current() {
    [ -x .venv/bin/python ] && [ -f .venv/installed ] || return 1
    case $(<.venv/installed) in "$stamp" | "$dev_stamp") ;; *) return 1 ;; esac
    # Set up without mysqlclient: try again once it is needed, or can be compiled.
    [ ! -f .venv/without-mysqlclient ] ||
        { ! needs_mysqlclient && [ -n "$(compiler_packages .venv/bin/python)" ]; }
}

explain_without() {
    say "mysqlclient is left out, since it cannot be compiled here: SQLite works, MariaDB and MySQL do not."
}

if is_current; then
    [ ! -f .venv/without-mysqlclient ] || explain_without
    exit 0
fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python) || { install_packages python3 python3-venv && python=$(find_python); } ||
        die "Python 3.11 or newer is needed"
    "$python" -c 'import ensurepip' 2>/dev/null ||
        install_packages "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" ||
        die "$python cannot make a virtual environment without it"
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
python=.venv/bin/python
rm -f .venv/installed .venv/without-mysqlclient # an interrupted installation must not look complete

read -ra packages <<<"$(compiler_packages "$python" | xargs)"
if [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"; then
    source=.
else
    ! needs_mysqlclient || die "DATABASE_URL names a MySQL server: without these there is no driver for it"
    explain_without
    source=.venv
    for file in requirements.txt requirements-dev.txt; do # its line goes, and the indented ones below it
        awk '/^mysqlclient==/ { left_out = 1; next } /^[^ ]/ { left_out = 0 } !left_out' "$file" >".venv/$file"
    done
    touch .venv/without-mysqlclient
fi
say "installing $requirements into .venv"
"$python" -m pip install --quiet -r "$source/$requirements"
echo "$stamp" >.venv/installed
say "ready"
