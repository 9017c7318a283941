"""Real projects: a virtual environment with an editable install, node_modules, a set-up. What is tested is the export."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autopack.errors import WorkspaceRefused
from autopack.workspace.checks import CheckSettings, Job, open_checks
from autopack.workspace.checks.places import kept_facts, python_path
from autopack.workspace.git import GitWorkspace
from autopack.workspace.sandbox import Sandbox, SandboxLevel, SandboxMode, open_sandbox

pytestmark = pytest.mark.anyio
LEVELS = [SandboxMode.BEST, SandboxMode.LIMITS]
FINDER = "import sys\nMAPPING: dict[str, str] = {'pkg': %r}\nclass F: pass\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment without pip: only its layout matters."""
    made = tmp_path_factory.mktemp("venv") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    return made


@pytest.fixture
def project(repository, environment: Path):
    """A package below src/, installed as editable into .venv, which git does not know."""
    shutil.copytree(environment, repository.path / ".venv", symlinks=True)
    repository.write(".gitignore", ".venv/\nnode_modules/\n")
    repository.write("src/pkg/__init__.py", "where = __file__\nversion = 'tree'\n")
    repository.commit_all()
    repository.write("src/pkg/__init__.py", "where = __file__\nversion = 'checkout'\n")
    return repository


def packages(project) -> Path:
    (found,) = project.path.glob(".venv/lib/python*/site-packages")
    return found


async def outputs(project, mode: SandboxMode, settings: CheckSettings, *commands: str) -> list[str]:
    git = await GitWorkspace.open(project.path)
    async with open_checks(git, await open_sandbox(mode)) as checks:
        head = await git.head_commit()
        report = await checks.run(Job(tree=head, base=head, commands=commands, settings=settings))
    assert report.passed, report.summary()
    return [result.output.strip() for result in report.results]


@pytest.mark.slow
@pytest.mark.parametrize("mode", LEVELS)
@pytest.mark.parametrize("style", ["path", "finder"])
async def test_an_editable_install_means_the_export(project, mode, style):
    if style == "path":
        (packages(project) / "pkg.pth").write_text(f"{project.path}/src\n")
    else:
        (packages(project) / "__editable__.pkg.pth").write_text("import __editable___pkg_finder\n")
        (packages(project) / "__editable___pkg_finder.py").write_text(FINDER % f"{project.path}/src/pkg")
        (packages(project) / "zz.pth").write_text(
            f"{project.path}/src\n"
        )  # what the finder does when it is asked
    ask = "python -c 'import pkg, sys; print(pkg.version, sys.prefix)'"
    settings = CheckSettings(keep=(".venv",))
    told, prefixed = await outputs(project, mode, settings, ask, f"PYTHONPATH=other {ask}")
    version, prefix = told.split()
    assert version == "tree"
    assert prefix.endswith("/.venv")
    assert prefixed == told


@pytest.mark.parametrize("mode", LEVELS)
async def test_kept_programs_come_first_and_what_is_kept_stays_as_it_is(project, mode):
    tool = project.path / "node_modules" / ".bin" / "python3"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    told = await outputs(project, mode, CheckSettings(keep=("node_modules",)), "python3", "ls -A")
    assert told[0] == "mine"
    assert "node_modules" in told[1].split()
    assert tool.read_text() == "#!/bin/sh\necho mine\n"


async def test_a_project_with_neither(project):
    assert await outputs(project, SandboxMode.LIMITS, CheckSettings(), "ls -A") == [
        ".gitignore\nREADME.md\nbin\nsrc"
    ]


@pytest.mark.parametrize("mode", LEVELS)
async def test_a_set_up_runs_once_per_base_and_what_it_made_is_there_for_each_check(project, mode):
    project.path.joinpath("src/pkg/__init__.py").write_text("new = 1\n")
    settings = CheckSettings(
        setup=("mkdir -p .deps/bin out", "echo 'echo made' > .deps/bin/tool && chmod +x .deps/bin/tool")
    )
    git = await GitWorkspace.open(project.path)
    async with open_checks(git, await open_sandbox(mode)) as checks:
        head = await git.head_commit()
        for _ in range(2):
            job = Job(tree=head, base=head, commands=("tool", "ls -A"), settings=settings)
            report = await checks.run(job)
            assert [result.output.split()[0] for result in report.results] == ["made", ".deps"]
        assert len(list(checks.prepared.glob("*/tree"))) == 1
        with pytest.raises(WorkspaceRefused, match="exit code 3"):
            await checks.run(
                Job(tree=head, base=head, commands=("true",), settings=CheckSettings(setup=("exit 3",)))
            )


async def test_what_is_to_be_kept_must_be_there(project):
    with pytest.raises(WorkspaceRefused, match="node_modules"):
        await outputs(project, SandboxMode.LIMITS, CheckSettings(keep=("node_modules",)), "true")


async def test_a_process_that_outlives_its_check_changes_nothing(project):
    git = await GitWorkspace.open(project.path)
    async with open_checks(git, Sandbox(level=SandboxLevel.LIMITS)) as checks:
        head = await git.head_commit()
        stay = "(setsid sh -c 'sleep 0.5; echo late > README.md' &) ; echo started"
        report = await checks.run(
            Job(tree=head, base=head, commands=(stay, "sleep 0.7; cat README.md"), settings=CheckSettings())
        )
    assert report.results[0].survivors > 0
    assert report.results[1].output == "hello\n"


# Editable installs, by what they leave in site-packages


def site(tmp_path: Path, files: dict[str, str]) -> Path:
    folder = tmp_path / "venv"
    for name, text in files.items():
        file = folder / "lib" / "python3.11" / "site-packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


EDITABLE = '{"dir_info": {"editable": true}, "url": "file:///work/it"}'


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ({"x.pth": "/work/it/src\n/usr/share\n"}, ["/place/src"]),
        ({"x.pth": "/work/it\n"}, ["/place"]),
        ({"x.pth": "/work/item/src\n"}, []),
        ({"x.pth": "import _x\n", "_x.py": FINDER % "/work/it/src/pkg"}, ["/place/src"]),
        ({"x.pth": "import _x; _x.install()\n", "_x.py": "f('a.b', '/work/it/src/a/b/__init__.py')"}, ["/place/src"]),
        ({"x.pth": "import _x\n", "_x.py": "MAPPING = {'mod': '/work/it/mod.py'}"}, ["/place"]),
        ({"x.pth": "import _x\n", "_x.py": FINDER % "/elsewhere/pkg"}, []),
        ({"x.dist-info/direct_url.json": EDITABLE, "x.pth": "/work/it/src"}, ["/place/src"]),
        ({"x.dist-info/direct_url.json": '{"url": "file:///work/it/dist/x.whl"}'}, []),
        ({"x.dist-info/direct_url.json": "not json"}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_an_editable_install_is_turned_to_the_tree(tmp_path, files, first):
    assert python_path({Path(".venv"): site(tmp_path, files)}, [Path("/work/it")], Path("/place")) == first
    assert python_path({Path(".venv"): site(tmp_path, files)}, [Path("/work/it")], Path("/work/it")) == []


@pytest.mark.parametrize("files", [
    {"x.pth": "import _x\n", "_x.py": FINDER % "/work/it/lib"},
    {"x.pth": "import _x\n", "_x.py": "where = '/work/it/src'"},
    {"x.dist-info/direct_url.json": EDITABLE},
])  # fmt: skip
def test_one_that_cannot_be_turned_is_refused(tmp_path, files):
    with pytest.raises(WorkspaceRefused, match="editable install of /work/it"):
        python_path({Path(".venv"): site(tmp_path, files)}, [Path("/work/it")], Path("/place"))


def test_what_is_installed_into_a_kept_folder_is_noticed_and_caches_are_not(tmp_path: Path):
    packages = tmp_path / ".venv/lib/python3.11/site-packages"
    (packages / "shop").mkdir(parents=True)
    before = kept_facts(tmp_path, [".venv"])
    (packages / "shop/__pycache__").mkdir()
    assert kept_facts(tmp_path, [".venv"]) == before
    (packages / "shop-2.dist-info").mkdir()
    assert kept_facts(tmp_path, [".venv"]) != before
