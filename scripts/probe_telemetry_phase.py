"""Drains one phase and says whether it left telemetry behind. The same as `autopack probe`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["probe", *sys.argv[1:]]))
