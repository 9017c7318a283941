"""What one set of commands sees of this machine's files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autopack.errors import InvalidInput
from autopack.workspace.toolchains import SYSTEM

_SANDBOX_OWN = (*SYSTEM, *(Path("/", name) for name in ("etc", "proc", "dev", "sys", "tmp", "run", "var")))


class ViewRefused(InvalidInput):
    """Something in the tree stands where a directory from outside should appear."""

    code = "view_refused"


@dataclass(frozen=True, kw_only=True)
class View:
    """What one set of commands sees. All but the tree has the same path inside and outside."""

    tree: Path
    """The export, writable."""
    shown_at: Path
    """The workspace's own path: at level full the tree appears there; below that it is at `tree`."""
    home: Path
    tmp: Path
    results: Path
    """Writable, for test reports."""
    read_only: Mapping[Path, Path] = field(default_factory=dict)
    """A place relative to the tree, and the directory outside that appears there, read-only at `files` and `full`."""

    def writable(self, place: Path) -> dict[Path, Path]:
        """Path inside and path outside, with the tree at `place`."""
        return {place: self.tree, self.home: self.home, self.tmp: self.tmp, self.results: self.results}

    @property
    def can_be_shown(self) -> bool:
        """Not where it would hide what every command needs: a workspace at / or at /usr stays where it is."""
        needed = (*_SANDBOX_OWN, self.home, self.tmp, self.results)
        return not any(path.is_relative_to(self.shown_at) for path in needed)

    def mounts(self) -> dict[Path, Path]:
        """`read_only`, once it is sure that nothing of the tree is hidden, and no link of it followed."""
        for place in self.read_only:
            self._refuse_taken(place)
        return dict(self.read_only)

    def link(self) -> None:
        """The same by symlinks, for where nothing can be mounted."""
        for place, outside in self.read_only.items():
            link = self.tree / place
            if link.is_symlink() and link.readlink() == outside:
                continue
            self._refuse_taken(place)
            if link.exists():
                link.rmdir()
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(outside)

    def is_free(self, place: Path) -> bool:
        """Whether something may be put at this place of the tree."""
        try:
            self._refuse_taken(place)
        except ViewRefused:
            return False
        return True

    def _refuse_taken(self, place: Path) -> None:
        if place.is_absolute() or not place.parts or ".." in place.parts:
            raise ViewRefused(f"{place} is not a place in the tree")
        for part in (place, *list(place.parents)[:-1]):
            if (self.tree / part).is_symlink():
                raise ViewRefused(f"{part} is a link in the tree, nothing can be put at {place}")
        taken = self.tree / place
        # An empty directory may be one that was mounted on before.
        if taken.exists() and not (taken.is_dir() and not any(taken.iterdir())):
            raise ViewRefused(f"{place} is in the tree already, the one outside cannot be put there")
