"""Calibrates the token estimator on what model calls needed. The same as `autopack calibrate`."""

from autopack.__main__ import entry

if __name__ == "__main__":
    entry("calibrate")
