"""Drains the queued phases of a run, batch by batch. The same as `autopack drain`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["drain", *sys.argv[1:]]))
