"""Drains exactly one phase of a run. The same as `autopack drain-one`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["drain-one", *sys.argv[1:]]))
