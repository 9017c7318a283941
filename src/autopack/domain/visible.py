"""Text of others, so that a person sees all that is in it and a terminal obeys none of it. Pure.

Tabs and line ends stay; each other character that would act, or would not be seen, is written as its escape.
"""

import re

# What moves the cursor or starts a command of a terminal, ends a line for some readers, or turns the order of characters round.
_ACTS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_UNSEEN = "\u00ad\u115f\u1160\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
_ACTING = re.compile(f"[{_ACTS}]")
_HIDDEN = re.compile(f"[{_ACTS}{_UNSEEN}]")


def harmless(text: str) -> str:
    """Nothing in it acts. What joins or parts the letters of some languages stays."""
    return _ACTING.sub(_escape, text)


def visible(text: str) -> str:
    """Nothing in it acts, and nothing is unseen: for what a person judges, as a diff."""
    return _HIDDEN.sub(_escape, text)


def harmless_json(text: str) -> str:
    """The same JSON value, without what acts on a terminal. Line ends and control characters are escaped there already."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
