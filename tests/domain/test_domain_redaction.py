"""Secrets are known by their value or by their looks, and taken out of every text; a text stays as it is else."""

import io
import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.redaction import RedactingFormatter, Redactor, secrets_of

KEY = "k3y-" + "of-the-provider"
PEM = (
    "-----BEGIN RSA "
    + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA0Z3VS5JJcds3xfn\nygWyF8PbnGy0AHB7\n-----END RSA "
    + "PRIVATE KEY-----"
)
NOTHING = Redactor({})


SECRETS = {
    "OPENAI_API_KEY": KEY, "GITHUB_TOKEN": "t0ken-of-a-forge", "DB_PASSWORD": "correct horse", "MYSECRET": "hunter22",
    "SENTRY_DSN": "https://abc@example.org/1", "AUTH_TOKEN": "aBcDeFgHiJkL", "PIN_TOKEN": "112233445566",
    "PASSPHRASE": "correcthorsebattery",
}  # fmt: skip
NO_SECRETS = {
    "PATH": "/usr/bin:/bin", "HOME": "/home/ada", "PWD": "/home/ada/project", "KEYBOARD": "qwertyuiop1", "API_KEY": "short", "TOKEN": "true",
    "REDIS_URL": "redis://localhost:6379/0", "POSTGRES_PASSWORD": "postgres", "DJANGO_SECRET_KEY": "changeme", "AUTH_TYPE": "development-1",
    "KEY_PREFIX": "autopack-2", "MAX_TOKENS": "100000000000", "SSH_AUTH_SOCK": "/tmp/ssh-x/agent.1", "MY_SECRET": "Administrator",
    "PIN_SECRET": "12345678", "SSH_PUBLIC_KEY": "ssh-ed25519 AAAA1", "DATABASE_URL": "postgresql://postgres:postgres@localhost/app",
}  # fmt: skip


def test_the_values_of_names_that_mean_a_secret_are_found():
    assert secrets_of({**SECRETS, **NO_SECRETS}) == SECRETS


def test_the_password_of_a_url_is_a_secret_beside_the_url_itself():
    url = "postgresql://ada:pass-word-1@db/x"
    assert secrets_of({"DATABASE_URL": url}) == {"DATABASE_URL": "pass-word-1"}
    assert secrets_of({"DB_DSN": url}) == {"DB_DSN": url, "DB_DSN_": "pass-word-1"}


def test_words_of_a_text_are_left_though_they_are_somebodys_password():
    text = "import autopack\nimage: postgres:16 # changeme in development\n"
    assert Redactor(secrets_of(NO_SECRETS)).redact(text) == text


def test_a_short_value_is_only_meant_where_it_stands_alone():
    redactor = Redactor({"A_TOKEN": "hunter22"})
    assert redactor.redact('hunter22 xhunter22 hunter222 "a\\nhunter22" _hunter22_') == (
        '[redacted:A_TOKEN] xhunter22 hunter222 "a\\n[redacted:A_TOKEN]" _[redacted:A_TOKEN]_'
    )


def test_a_dotenv_is_read_as_shells_read_it():
    text = """
# TOKEN=commented-out
export API_TOKEN="quoted value" # a remark
SECRET_KEY=plain-value # a remark
PASSWORD='with # inside'
NAME=not-a-secret
no line at all
API_KEY = spaced-out-key
OPENAI_API_KEY=another-value
"""
    assert secrets_of({"OPENAI_API_KEY": KEY}, text) == {
        "OPENAI_API_KEY": KEY, "API_TOKEN": "quoted value", "SECRET_KEY": "plain-value", "PASSWORD": "with # inside",
        "API_KEY": "spaced-out-key", "OPENAI_API_KEY_": "another-value",
    }  # fmt: skip


def test_a_known_value_is_replaced_by_its_name_wherever_it_stands():
    redactor = Redactor({"API_KEY": KEY})
    assert (
        redactor.redact(f"x{KEY}y {KEY}\n{KEY}")
        == "x[redacted:API_KEY]y [redacted:API_KEY]\n[redacted:API_KEY]"
    )


def test_a_value_that_holds_another_one_is_taken_out_whole():
    redactor = Redactor({"SHORT": "password", "LONG": "password-and-more"})
    assert redactor.redact("password-and-more password") == "[redacted:LONG] [redacted:SHORT]"


def test_a_value_is_known_in_json_as_well():
    redactor = Redactor({"PIN_TOKEN": 'line "one"\nline two'})
    assert redactor.redact('{"x": "line \\"one\\"\\nline two"}') == '{"x": "[redacted:PIN_TOKEN]"}'


LOOKS = {
    "private key": (f"a\n{PEM}\nb", "a\n[redacted:PRIVATE KEY]\nb"),
    "private key in one line": (PEM.replace("\n", "\\n") + " b", "[redacted:PRIVATE KEY] b"),
    "private key without its end": (PEM[: PEM.index("-----END")] + "\n(and so on)", "[redacted:PRIVATE KEY](and so on)"),
    "API key": ("key sk-" + "a1B2" * 8 + ".", "key [redacted:API KEY]."),
    "cloud key": ("AKIA" + "ABCDEFGHIJKLMNOP x", "[redacted:AWS KEY] x"),
    "forge token": ("ghp_" + "a1" * 18, "[redacted:GITHUB TOKEN]"),
    "chat token": ("xoxb-" + "1234567890-abc", "[redacted:SLACK TOKEN]"),
    "token of another forge": ("glpat-" + "a1B2c3D4e5F6g7H8i9J0", "[redacted:GITLAB TOKEN]"),
    "key of a bank": ("x=rk_live_" + "a1B2" * 6, "x=[redacted:STRIPE KEY]"),
    "token of a registry": ("npm_" + "a1B2" * 9, "[redacted:NPM TOKEN]"),
    "token of a hub": ("hf_" + "aBcD" * 9, "[redacted:HUGGING FACE TOKEN]"),
    "JSON web token": ("t=eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "t=[redacted:JSON WEB TOKEN]"),
    "basic authorization": ("Authorization: Basic " + "dXNlcjpwYXNzd29yZDEyMw==", "Authorization: Basic [redacted:BASIC AUTHORIZATION]"),
    "bearer token": ("Authorization: Bearer " + "abc.def-123" * 3, "Authorization: Bearer [redacted:BEARER TOKEN]"),
    "URL with a password": ("postgresql://ada:s3cret@db:5432/x", "postgresql://ada:[redacted:PASSWORD]@db:5432/x"),
    "URL whose user is its password": ("http://same:same@h/", "http://same:[redacted:PASSWORD]@h/"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "redacted"), LOOKS.values(), ids=LOOKS)
def test_what_looks_like_a_credential_is_taken_out(text: str, redacted: str):
    assert NOTHING.redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "", "an ordinary text\n", "sk-short", "AKIAshort", "http://localhost:8000/a@b", "bearer of news", "user@example.org",
        "see https://example.org:443/x", "Basic understanding", "basic dGhpcyBpcyB0ZXh0", "eyJhbGciOiJIUzI1NiJ9 eyJ",
        "sk-" + "folding-cube-loader-big", "sk-" + "x" * 30, "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "x" * 36, "hf_" + "model_for_some_words_of_a_text", "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    ],
)  # fmt: skip
def test_an_ordinary_text_stays_as_it_is(text: str):
    assert Redactor({"TOKEN": "short", "KEY": ""}).redact(text) == text


PIECES = st.sampled_from(
    [
        KEY,
        PEM,
        "ghp_" + "a1" * 18,
        "Bearer " + "x" * 20,
        "redis://a:bcd@h",
        "redacted",
        "[redacted:A]",
        "[",
        "-----",
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES | st.text(max_size=10), max_size=8), st.sampled_from(["", " ", "\n"]))
def test_no_secret_is_left_and_a_redacted_text_stays_as_it_is(pieces: list[str], between: str):
    redactor = Redactor({"API_KEY": KEY, "A_TOKEN": "redacted", "B_TOKEN": "[redacted:A]"})
    once = redactor.redact(between.join(pieces))
    assert KEY not in once
    assert PEM not in once
    assert redactor.redact(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE " + "KEY-----",
        "a" * 40,
        "sk-",
        "a://b:",
        "bearer ",
        "[redacted:",
        "eyJ.",
        "eyJ-",
        "eyJabcdefgh.",
        "basic ",
        "basic abcdefgh",
        "glpat-",
        "hf_",
        "sk-x1",
        " \n",
        "=\t\\n",
    ],
)
def test_a_long_text_is_read_in_linear_time(piece: str):
    redactor = Redactor({f"TOKEN_{n}": f"value-number-{n}" for n in range(50)})

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        started = time.process_time()
        redactor.redact(text)
        return time.process_time() - started

    seconds(20_000)
    assert seconds(400_000) < 1.5, "a quadratic reading would take minutes"


def test_a_log_line_its_arguments_and_its_traceback_are_redacted():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(Redactor({"API_KEY": KEY}), "%(levelname)s %(message)s"))
    child = logging.Logger("autopack.test.child")
    child.addHandler(handler)
    try:
        raise ValueError(f"cannot use {KEY}")
    except ValueError:
        child.exception("asked with %s", KEY)
    written = stream.getvalue()
    assert KEY not in written
    assert written.startswith("ERROR asked with [redacted:API_KEY]\n")
    assert "ValueError: cannot use [redacted:API_KEY]" in written
