"""Names that a person reads as another name. Only characters outside ASCII can deceive here: `l` and `1`, `O` and `0`
are told apart by any programmer's font, and would make too many innocent names suspects. Pure.
"""

import unicodedata

_TWINS = {
    "a": "\u0430\u03b1\u0251", "b": "\u042c\u0185", "c": "\u0441\u03f2\u1d04", "d": "\u0501\u217e", "e": "\u0435\u0454\u212e",
    "g": "\u0261\u0581", "h": "\u04bb\u0570", "i": "\u0456\u03b9\u0131\u0269", "j": "\u0458\u03f3", "k": "\u043a\u03ba",
    "l": "\u04cf\u01c0", "m": "\u043c", "n": "\u0578\u043f\u03b7", "o": "\u043e\u03bf\u0585", "p": "\u0440\u03c1",
    "q": "\u051b", "r": "\u0433\u1d26", "s": "\u0455\ua731", "t": "\u0442\u03c4", "u": "\u057d\u03c5\u1d1c", "v": "\u03bd\u0475",
    "w": "\u051d\u0461", "x": "\u0445\u03c7", "y": "\u0443\u03b3\u04af", "z": "\u1d22", "-": "\u2010\u2011\u2012\u2013\u2014\u2212",
    "/": "\u2044\u2215\u29f8", ".": "\u2024\u0701\u0702\u06d4", "_": "\u02cd", "~": "\u223c\u02dc", ":": "\u2236\ua789",
    "\\": "\u2216\u29f5",
}  # fmt: skip
_TO_LATIN = {ord(twin): latin for latin, twins in _TWINS.items() for twin in twins}


def skeleton(name: str) -> str:
    """What is left of a name for the eye: compatibility forms and the commonest homoglyphs as plain letters."""
    if name.isascii():
        return name.casefold()
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_TO_LATIN)
    return unicodedata.normalize("NFKC", plain).casefold()
