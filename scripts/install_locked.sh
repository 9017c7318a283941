#!/bin/sh
# Installs the lock files $2.. into the virtual environment $1, each file checked against its hash, then
# this project itself, built by the build tools that the lock holds (nothing is fetched unchecked).
set -eu
pip="$1/bin/python -m pip"
shift
# --no-compile: what is imported is compiled then; most of what the tests bring never is, and that is half a minute.
for lock in "$@"; do
    $pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r "$lock"
done
$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
