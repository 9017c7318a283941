"""Where every command begins: `autopack`, `python -m autopack` and the scripts. Imports nothing before it can be interrupted."""

import sys


def entry(*words: str) -> None:
    """Runs the command that the arguments name, below `words`. Ctrl-C while modules are still imported ends it quietly."""
    try:
        from autopack.cli import main

        code = main([*words, *sys.argv[1:]])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    entry()
