"""The server as a person starts and stops it."""

import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from autopack.cli.serve import address_of, listener, serve
from autopack.errors import NotReady, UsageError
from tests.support import free_port, run_script, start_warm, wait_for_port


@pytest.mark.slow
def test_it_says_where_to_look_and_ends_at_once_with_an_open_stream(sqlite_url: str, tmp_path: Path):
    port = free_port()
    serve = ("serve", "--port", str(port), "--database-url", sqlite_url)
    server = start_warm("autopack", *serve, cwd=tmp_path)
    try:
        wait_for_port(port, server)
        second = run_script("autopack", *serve, cwd=tmp_path, warm=True)
        assert (second.returncode, second.stdout) == (3, "")
        assert f"port {port} of 127.0.0.1 has a server already (address already in use)" in second.stderr

        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/", follow_redirects=True).url.path == "/ui/runs"
            stream = client.send(client.build_request("GET", "/ui/stream/runs"), stream=True)
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next(lines), "it is open"
            ended = threading.Event()
            threading.Thread(target=lambda: (list(lines), ended.set()), daemon=True).start()
            server.send_signal(signal.SIGINT)
            assert ended.wait(30), "the server would wait for the stream, and the stream for the server"
            assert server.wait(30) == 130
    finally:
        server.kill()
    told = server.communicate()[1]
    assert f"look at http://127.0.0.1:{port}/ui/runs" in told
    assert "Traceback" not in told
    assert "Cancel" not in told, "no request had to be cut off"


def test_an_address_that_cannot_be_had_is_told_from_one_that_is_none():
    with pytest.raises(UsageError, match="is no address to listen on"):
        listener("no such host", 0)
    with pytest.raises(UsageError, match="is no address to listen on"):
        listener("a" * 70 + ".example", 0)
    with pytest.raises(NotReady, match="no address of this machine"):
        listener("203.0.113.7", 0)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}"),
        ("0.0.0.0", "http://127.0.0.1:{}"),
        ("localhost", "http://localhost:{}"),
    ],
)
def test_the_address_that_is_told_can_be_opened(host: str, shown: str):
    with listener(host, 0) as bound:
        port = bound.getsockname()[1]
        assert address_of(host, bound) == shown.format(port)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(NotReady, match="already in use"):
            listener(host, port)


def test_beyond_this_machine_it_takes_a_key_that_nobody_guesses(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AUTOPACK_API_KEY", "guess-me-15-cha")
    with pytest.raises(UsageError, match="has 15 characters, 16 are the least"):
        serve(host="0.0.0.0", port=0, database_url=sqlite_url)
    monkeypatch.setenv("AUTOPACK_API_KEY", "guess-me-16-char")
    with pytest.raises(UsageError, match="is no address"):
        serve(host="no such host", port=0, database_url=sqlite_url)
