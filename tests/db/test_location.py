from pathlib import Path

import pytest

from autopack.db.location import locate
from autopack.settings import choose_database


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@db/queue", "postgresql://me@db/queue?password=s3cret", "postgresql://db/q?user=me&password=s3cret"]
)  # fmt: skip
def test_a_password_is_never_shown(url: str, tmp_path: Path) -> None:
    assert "s3cret" not in locate(url, tmp_path).masked
    assert "s3cret" not in repr(locate(url, tmp_path))
    (tmp_path / ".env").write_text(f"DATABASE_URL={url}\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    choice = choose_database("sqlite:///other.db", {}, tmp_path)
    assert len(choice.overruled) == 1
    assert "s3cret" not in choice.overruled[0]


def test_a_relative_path_starts_at_what_named_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert locate("sqlite:///link/a.db", tmp_path).path == tmp_path / "a.db"
