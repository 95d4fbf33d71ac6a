#!/bin/sh
# tools/venv.sh all|test: make .venv and install the project into it with that extra. Does nothing when that is done.
# PYTHON= names the interpreter; otherwise the first one that is new enough is taken.
set -eu
cd "$(dirname "$0")/.."
extra=$1
stamp=.venv/installed-for
log=.venv/install.log

fail() {
    echo "samebase: $1" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or newer"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    found=$(command -v python3 >/dev/null && python3 --version 2>&1 || echo missing)
    fail "Python 3.11 or newer is needed and was not found (python3 is $found); install it, or name it with PYTHON="
}

# What is installed depends on these files, and on the place: the environment cannot be moved.
wanted="$(cat pyproject.toml constraints.txt | cksum) $(pwd)"
if [ -f "$stamp" ] && new_enough .venv/bin/python; then
    case "$(cat "$stamp")" in
        "$extra $wanted" | "test $wanted") exit 0 ;;
    esac
fi

begin=$(date +%s)
if ! new_enough .venv/bin/python; then
    python=$(find_python)
    rm -rf .venv
    echo "samebase: making .venv and installing into it (a minute or two, the first time only) ..."
    if ! said=$("$python" -m venv .venv 2>&1); then
        rm -rf .venv
        fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv): $(echo "$said" | tail -n 1)"
    fi
else
    echo "samebase: installing into .venv again: what is needed has changed ..."
fi
rm -f "$stamp"
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extra]" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "the installation failed; all of it is in $log"
fi
echo "$extra $wanted" >"$stamp"
echo "samebase: installed in $(($(date +%s) - begin)) s"
