"""Seeds the telemetry collection run: ten phases under examples/telemetry_utils/. The same as `autopack seed-telemetry`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["seed-telemetry", *sys.argv[1:]]))
