"""Writes the token estimation events as NDJSON or CSV. The same as `autopack telemetry export`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["telemetry", "export", *sys.argv[1:]]))
