"""The operator's page: plain HTML over the same database functions as the API, mounted on a server's app."""

from autopack.web.install import install

__all__ = ["install"]
