"""Addresses of servers: what is wrong with one, and how it is shown. Pure.

They may hold a user, a password or a key: nothing here tells them on.
"""

from urllib.parse import urlsplit, urlunsplit


def fault_of(url: str) -> str | None:
    """Why it cannot be a server's address; None where it can."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its host or its port cannot be read"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not parts.hostname:
        return "it names no host"
    return "its port is 0" if port == 0 else None


def shown_address(url: str) -> str:
    """Without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def shown_host(url: str) -> str:
    """The same without its path, which of a webhook is as secret as a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
