"""Secrets are taken out of every text that leaves for a model, a log or the database. Pure.

Two ways to know one: its value, from the environment or a `.env`; and its looks.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial

MIN_SECRET_CHARS = 8
"""A shorter value is a word like `true`, and would be taken out of half a text."""
MIN_PLAIN_CHARS = 12
"""The same for one kind of characters only, such as digits."""
MIN_WORD_CHARS = 16
"""The same for a word: `postgres`, `changeme` and `administrator` are in any text."""
MAX_KEY_CHARS = 16 * 1024

PLACEHOLDER = re.compile(r"\[redacted:[\w .-]{1,80}\]")
_NAME = re.compile(
    r"(^|_)(API_?KEYS?|KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASS|PASSPHRASE|CREDENTIALS?|PAT|DSN|AUTH)(_|$)"
    r"|(TOKEN|SECRET|PASSWORD|APIKEY|PASSWD)$",
    re.I,
)
# What names, places or measures a secret, and is none.
_ABOUT = re.compile(
    r"^(MAX|MIN|NUM|TOTAL)_|(^|_)PUBLIC(_API)?_?KEY|(^|_)PUBLIC_"
    r"|_(PREFIX|SUFFIX|NAME|TYPE|FILE|PATH|DIR|SOCK|SOCKET|URL|URI|HOST|PORT|TTL|LIFETIME|EXPIRY|EXPIRES|SECONDS|MINUTES|DAYS"
    r"|LENGTH|SIZE|LIMIT|COUNT|MODE|METHOD|ALGORITHM|FORMAT|HEADER|USER|USERNAME|REGION|VERSION|ENABLED|BACKEND|PROVIDER"
    r"|DOMAIN|REALM|ISSUER|AUDIENCE)$",
    re.I,
)
_PASSWORD_IN_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:(?P<secret>[^\s/@]{1,200})@", re.I)
_DOTENV_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*)")

# Narrow enough that a builder's file that matches is refused. Quantifiers are bounded: a text is read in linear time.
CREDENTIALS = {
    "PRIVATE KEY": re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"),
    "API KEY": re.compile(r"\bsk-[A-Za-z0-9_-]{20,200}"),
    "AWS KEY": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GITHUB TOKEN": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{30,255})"),
    "SLACK TOKEN": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    "GOOGLE KEY": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "GITLAB TOKEN": re.compile(r"\bglpat-[A-Za-z0-9_.-]{20,300}"),
    "STRIPE KEY": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,250}"),
    "NPM TOKEN": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "HUGGING FACE TOKEN": re.compile(r"\bhf_[A-Za-z0-9]{30,60}\b"),
}
# Too common in tests and examples to refuse a file for; possessive, and begun at a word's start only: read in linear time.
_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,4000}+\.eyJ[\w-]{8,8000}+(?:\.[\w-]{0,2000}+)?", re.A)
_BASIC = re.compile(r"(?P<before>\bbasic\s{1,4})(?P<secret>[A-Za-z0-9+/]{8,2000}+={0,2})", re.I)
_EXAMPLE = "EXAMPLE"
_RUN = re.compile(r"[A-Za-z0-9]{12,}")
_BEARER = re.compile(r"(?P<before>\bbearer\s{1,4})(?P<secret>[A-Za-z0-9._~+/=-]{16,2000})", re.I)
_PLAIN = {name: pattern for name, pattern in CREDENTIALS.items() if name != "PRIVATE KEY"}
_KEY_BEGIN = CREDENTIALS["PRIVATE KEY"]
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# The lines of a key whose end is missing, also where line breaks are written as \n.
_KEY_LINES = re.compile(r"(?:[ \t\r\n]|\\[nr]|[A-Za-z0-9+/=]{16,}+)*+")


def secrets_of(environment: Mapping[str, str], dotenv_text: str | None = None) -> dict[str, str]:
    """The values, by name, that are secrets by their name, or that are the password of a URL."""
    found: dict[str, str] = {}
    for name, value in [*environment.items(), *_dotenv(dotenv_text or "")]:
        password = _PASSWORD_IN_URL.search(value)
        for secret in (value if _means_a_secret(name) else "", password["secret"] if password else ""):
            if _can_be_secret(secret):
                found[_free(name, secret, found)] = secret
    return found


def credentials_in(text: str) -> Iterator[str]:
    """What looks like a credential, and not like the example of one."""
    for kind, pattern in CREDENTIALS.items():
        yield from (match.group() for match in pattern.finditer(text) if not _is_example(kind, match.group()))


def _is_example(kind: str, text: str) -> bool:
    """`AKIAIOSFODNN7EXAMPLE`, `ghp_xxxx...`; and since `sk-` begins many a name, of it all that is not drawn by lot."""
    if kind == "PRIVATE KEY":
        return False
    body = re.split(r"[-_]", text, maxsplit=1)[-1] if kind != "AWS KEY" else text[4:]
    if _EXAMPLE in text or len(set(body.casefold()) - set("-_")) < 2:
        return True
    return kind == "API KEY" and not any(map(_is_drawn, _RUN.findall(body)))


def _is_drawn(run: str) -> bool:
    """Digits among letters of both cases, or, as in hexadecimal keys, among many letters of one."""
    if not any(map(str.isdigit, run)) or run.isdigit():
        return False
    both = run != run.lower() and run != run.upper()
    return both or (len(run) >= 20 and len(set(run)) >= 8)


def _means_a_secret(name: str) -> bool:
    return bool(_NAME.search(name)) and name not in ("PWD", "OLDPWD") and not _ABOUT.search(name)


def _can_be_secret(value: str) -> bool:
    """Whether nobody would write the value by chance: a word that is, would be taken out of half a text."""
    value = value.strip()
    if value.isalpha():
        is_word = value.islower() or value.isupper() or value.istitle()
        return len(value) >= (MIN_WORD_CHARS if is_word else MIN_PLAIN_CHARS)
    is_mixed = any(map(str.isalpha, value))
    return len(value) >= (MIN_SECRET_CHARS if is_mixed else MIN_PLAIN_CHARS)


class Redactor:
    """Takes known values out by name, and what looks like a credential by its kind.

    The same text always becomes the same, and a text that was redacted stays as it is.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        for name, value in sorted(secrets.items()):
            for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
                if _is_long(form) and form not in "[redacted:]":
                    self._names.setdefault(form, name)
        # Longest first: a value that holds another one is taken out whole.
        forms = sorted(self._names, key=lambda form: (-len(form), form))
        self._values = re.compile("|".join(map(_pattern, forms))) if forms else None

    def redact(self, text: str) -> str:
        pieces, end = [], 0
        for placeholder in PLACEHOLDER.finditer(text):
            pieces += [self._redact(text[end : placeholder.start()]), placeholder.group()]
            end = placeholder.end()
        return "".join([*pieces, self._redact(text[end:])])

    def _redact(self, text: str) -> str:
        text = _without_keys(text)
        if self._values is not None:
            text = self._values.sub(lambda match: _placeholder(self._names[match.group()]), text)
        for name, pattern in _PLAIN.items():
            text = pattern.sub(partial(_unless_example, name), text)
        text = _TOKEN.sub(_placeholder("JSON WEB TOKEN"), text)
        text = _BASIC.sub(_without_basic, text)
        text = _BEARER.sub(lambda match: match["before"] + _placeholder("BEARER TOKEN"), text)
        return _PASSWORD_IN_URL.sub(_without_password, text)


class RedactingFormatter(logging.Formatter):
    """A formatter, not a filter: one on the root logger misses the records of its children, and no filter sees
    a traceback.
    """

    def __init__(self, redactor: Redactor, fmt: str | None = None, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.redact(super().format(record))


def _pattern(form: str) -> str:
    """A short value of letters and digits is only meant where it stands alone, or behind an escaped line end."""
    if len(form) >= MIN_WORD_CHARS or not form.isalnum():
        return re.escape(form)
    return rf"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])){re.escape(form)}(?![A-Za-z0-9])"


def _unless_example(kind: str, match: re.Match[str]) -> str:
    return match.group() if _is_example(kind, match.group()) else _placeholder(kind)


def _without_basic(match: re.Match[str]) -> str:
    """Only what is a name and a password when it is decoded: `Basic understanding` is none."""
    secret = match["secret"].rstrip("=")
    try:
        plain = base64.b64decode(secret + "=" * (-len(secret) % 4)).decode()
    except (binascii.Error, ValueError):
        return match.group()
    is_pair = ":" in plain and plain.isprintable()
    return match["before"] + _placeholder("BASIC AUTHORIZATION") if is_pair else match.group()


def _placeholder(name: str) -> str:
    return f"[redacted:{re.sub(r'[^A-Za-z0-9_ .-]', '_', name)[:80]}]"


def _without_password(match: re.Match[str]) -> str:
    if PLACEHOLDER.fullmatch(match["secret"]):
        return match.group()
    start, end = match.span("secret")
    whole = match.group()
    return whole[: start - match.start()] + _placeholder("PASSWORD") + whole[end - match.start() :]


def _without_keys(text: str) -> str:
    pieces, done = [], 0
    while begin := _KEY_BEGIN.search(text, done):
        end = _KEY_END.search(text, begin.end(), begin.end() + MAX_KEY_CHARS)
        lines = _KEY_LINES.match(text, begin.end())
        pieces += [text[done : begin.start()], _placeholder("PRIVATE KEY")]
        done = end.end() if end else lines.end() if lines else begin.end()
    return "".join([*pieces, text[done:]])


def _dotenv(text: str) -> list[tuple[str, str]]:
    """Names and values as shells and dotenv readers take them: quotes off, `export` and comments left out."""
    found = []
    for line in text.splitlines():
        if match := _DOTENV_LINE.fullmatch(line):
            value = match["value"].strip()
            quoted = len(value) > 1 and value[0] in "'\"" and value.rfind(value[0]) > 0
            plain = value[1 : value.rfind(value[0])] if quoted else value.split(" #")[0].strip()
            found.append((match["name"], plain))
    return found


def _free(name: str, value: str, found: Mapping[str, str]) -> str:
    """The same name with another value, in `.env` and environment: both are secrets."""
    while name in found and found[name] != value:
        name += "_"
    return name


def _is_long(value: str) -> bool:
    return len(value.strip()) >= MIN_SECRET_CHARS
