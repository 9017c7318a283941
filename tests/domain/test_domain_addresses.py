"""Addresses: what is wrong with one is told without its text, which may hold a password."""

import pytest

from autopack.domain.addresses import fault_of, shown_address


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://host", None),
        ("https://user:s3cret@host:8000/below?key=s3cret", None),
        ("grpc://user:s3cret@host:4317", "http:// or https://"),
        ("user:s3cret@host", "http:// or https://"),
        ("https://user:s3cret@host:99999", "cannot be read"),
        ("https://user:s3/cret@host", "cannot be read"),
        ("http://user:s3cret@[", "cannot be read"),
        ("http://user:s3cret@", "no host"),
        ("http://user:s3cret@host:0", "port is 0"),
    ],
)
def test_a_fault_is_told_without_the_text(url: str, fault: str | None):
    found = fault_of(url)
    assert (found is None) == (fault is None)
    assert (fault or "") in (found or "")
    assert "s3" not in (found or "")


def test_an_address_is_shown_without_user_password_and_query():
    assert shown_address("https://user:p@ss@host:8000/below?key=k#f") == "https://host:8000/below"
    assert shown_address("http://host") == "http://host"
