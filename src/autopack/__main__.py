"""`python -m autopack` is the command `autopack`."""

from autopack.cli import entry

if __name__ == "__main__":
    entry()
