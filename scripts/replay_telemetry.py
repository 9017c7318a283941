"""Shows what a version of the estimator would have budgeted. The same as `autopack replay-telemetry`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["replay-telemetry", *sys.argv[1:]]))
