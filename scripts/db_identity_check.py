"""Says which database this is, and whether a server has the same one. The same as `autopack identity`."""

import sys

from autopack.cli import main

if __name__ == "__main__":
    sys.exit(main(["identity", *sys.argv[1:]]))
