"""Calibrates the token estimator on what model calls needed. The same as `autopack calibrate`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
