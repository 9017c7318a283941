"""Autopack drains a durable queue of LLM coding phases into a git workspace."""

__version__ = "0.1.0"
