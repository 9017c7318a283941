#!/bin/sh
# Makes the virtual environment named by $1 with the first Python 3.11+ that can, or says what to install.
set -eu
venv=$1
command -v git >/dev/null 2>&1 || {
    echo "autopack needs git, which is not on PATH. Install it (Debian: apt-get install git; macOS: xcode-select --install)." >&2
    exit 3
}
for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    command -v "$python" >/dev/null 2>&1 || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    "$python" -c 'import venv, ensurepip' 2>/dev/null || {
        echo "$python has no venv module. Install it (Debian: apt-get install python3-venv) and run this again." >&2
        exit 3
    }
    "$python" -m venv "$venv"
    exit 0
done
echo "autopack needs Python 3.11 or newer; none is on PATH. Install one, or name it: make PYTHON=/path/to/python3 ..." >&2
exit 3
