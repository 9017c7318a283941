"""Tries failed phases of all runs again, sample first. The same as `autopack triage`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["triage", *sys.argv[1:]]))
