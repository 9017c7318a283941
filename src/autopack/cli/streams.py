"""stdin, stdout and stderr as a command finds them: closed by the caller, or of an encoding that lacks characters."""

import io
import os
import sys


def open_standard_streams() -> None:
    """Every stream is there and takes any text.

    A closed one (`>&-`) is /dev/null: the next file that is opened would otherwise get its number, and a database or a
    pipe of git would be written to as if it were the terminal.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nothing(number, "r" if number == 0 else "w"))
        elif number and isinstance(stream, io.TextIOWrapper):
            # A console that cannot show a character shows its escape instead of ending the program.
            stream.reconfigure(errors="backslashreplace")


def _nothing(number: int, mode: str) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    return open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]
