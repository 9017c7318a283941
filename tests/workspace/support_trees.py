"""Trees made of files given by their text."""

from collections.abc import Mapping

from autopack.domain.changes import Change, File
from autopack.workspace.git import GitWorkspace


async def written(workspace: GitWorkspace, base: str, files: Mapping[str, str]) -> str:
    """The tree of `base` with these files in it; one that exists keeps its mode."""
    before = await workspace.read_files(base, files)
    changes = [
        Change(
            path=path,
            before=before.get(path),
            after=File(content=content.encode(), mode=before[path].mode if path in before else "100644"),
        )
        for path, content in files.items()
    ]
    return await workspace.result_tree(base, changes)
