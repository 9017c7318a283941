"""Says which database this is, and whether a server has the same one. The same as `autopack identity`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("identity")
