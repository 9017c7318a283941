"""Which paths may be written at all, which are never a builder's, and which a person decides about. Pure."""

import re
import unicodedata
from collections.abc import Iterable

from autopack.domain.policy import rules
from autopack.domain.policy.rules import Rule
from autopack.domain.testing.paths import decides_how_tests_run

MAX_PATH_CHARS = 1024
MAX_COMPONENT_BYTES = 255

PROTECTED_DIRECTORIES = frozenset({".git", "git~1", ".autopack", ".venv", "__pycache__", "node_modules"})
PROTECTED_FILES = frozenset({
    ".gitmodules", ".env", "autopack.toml", "pip.conf", "pip.ini", ".npmrc", ".pypirc", ".netrc",
})  # fmt: skip
_EXAMPLES = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist"})
"""What a `.env` is to look like, without its values: the one kind of them that a project commits."""
_ASKED_DIRECTORIES = {
    **dict.fromkeys((
        ".github", ".gitlab", ".gitea", ".forgejo", ".woodpecker", ".semaphore", ".circleci", ".ci", ".buildkite",
        ".husky", ".githooks", ".git-hooks", ".lefthook",
    ), rules.CI),
    **dict.fromkeys((
        ".cursor", ".claude", ".codex", ".gemini", ".windsurf", ".clinerules", ".roo", ".continue", ".kiro", ".junie",
        ".amazonq",
    ), rules.INSTRUCTS_AGENTS),
    **dict.fromkeys((".vscode", ".idea", ".devcontainer", ".zed", ".vs", ".fleet"), rules.CONFIGURES_EDITOR),
    **dict.fromkeys((".cargo", ".mvn", ".yarn", ".mise"), rules.BUILDS),
}  # fmt: skip
_ASKED_FILES = {
    **dict.fromkeys((".gitattributes", ".lfsconfig", ".gitconfig"), rules.GIT_ATTRIBUTES),
    ".gitignore": rules.GIT_IGNORE,
    **dict.fromkeys((
        "setup.py", "manifest.in", "uv.toml", "pdm.toml", "poetry.toml", "hatch.toml", "pipfile", "constraints.txt",
        "makefile", "gnumakefile", "justfile", "rakefile", "gemfile", "procfile", "cmakelists.txt", "meson.build",
        "pom.xml", "mvnw", "mvnw.cmd", "gradlew", "gradlew.bat", "gradle.properties", "cargo.toml", "build.rs", "build.zig",
        "go.mod", "go.work", "deno.json", "deno.jsonc", "bunfig.toml", "build", "workspace", ".bazelrc",
        ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpmfile.js", "pnpm-workspace.yaml", "turbo.json", "nx.json", "lerna.json",
        ".envrc", ".mise.toml", "mise.toml", ".tool-versions", ".python-version", ".node-version", ".nvmrc", ".ruby-version",
    ), rules.BUILDS),
    **dict.fromkeys((
        "package-lock.json", "npm-shrinkwrap.json", "go.sum", "go.work.sum", "bun.lockb", "gradle.lockfile",
        "packages.lock.json", "pnpm-lock.yaml",
    ), rules.LOCK_FILE),
    **dict.fromkeys((
        "agents.md", "agents.override.md", "claude.md", "claude.local.md", "gemini.md", ".cursorrules", ".windsurfrules",
        ".clinerules", ".roorules", ".roomodes", ".goosehints", ".mcp.json", "mcp.json", ".aider.conf.yml",
    ), rules.INSTRUCTS_AGENTS),
    **dict.fromkeys((".exrc", ".nvim.lua", ".vimrc", ".dir-locals.el"), rules.CONFIGURES_EDITOR),
}  # fmt: skip
_ASKED_PATTERNS = tuple((re.compile(pattern), rule) for pattern, rule in (
    (r".*\.lock", rules.LOCK_FILE),
    (r"requirements([-_.].*)?\.(txt|in)|(dockerfile|containerfile)(\..*)?|.*\.(mk|cmake|rake|gemspec|bazel)", rules.BUILDS),
    (r"(docker-)?compose(\..*)?\.ya?ml|taskfile(\.dist)?\.ya?ml|(build|settings)\.gradle(\.kts)?", rules.BUILDS),
    (r"\.envrc\..*|(flake|shell|default)\.nix|(gulpfile|gruntfile)\..*", rules.BUILDS),
    # What the project's checks go by: a linter that is told to look away is green.
    (r"\.?(ruff|clippy|rustfmt|biome)\.(toml|jsonc?)|\.flake8|\.?(mypy|pylint)\.ini|\.?pylintrc(\.toml)?", rules.BUILDS),
    (r"pyrightconfig\.json|(ts|js)config(\..*)?\.json|\.(eslintrc|eslintignore|prettierrc|stylelintrc)(\..*)?", rules.BUILDS),
    (r"(vite|eslint|prettier|stylelint)\.config\..*|\.golangci\.ya?ml|\.rubocop\.yml|\.?bandit(\.ya?ml)?", rules.BUILDS),
    (r"(webpack|rollup|esbuild|babel)\.config\..*|\.babelrc(\..*)?", rules.BUILDS),
    (
        r"\.?(gitlab-ci|travis|drone|woodpecker|cirrus|appveyor|lefthook|lefthook-local|overcommit)\.(ya?ml|toml|json)"
        r"|(azure|bitbucket)-pipelines\.ya?ml|(cloudbuild|buildspec)\.(ya?ml|json)|jenkinsfile(\..*)?"
        r"|\.pre-commit-(config|hooks)\.ya?ml|\.?lint-?staged(rc|\.config)(\..*)?",
        rules.CI,
    ),
    (r".*\.code-workspace", rules.CONFIGURES_EDITOR),
))  # fmt: skip
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.I)


def unsafe_path(path: str) -> str | None:
    """Why a path may never be written, wherever it lies; None when it may."""
    rule = unsafe(path)
    return None if rule is None else rule.name


def is_protected(path: str) -> bool:
    """Whether the path is never written by a builder, nor shown to one."""
    return protection(path) is not None


def unsafe(path: str) -> Rule | None:
    problem = _unsafe_text(path) or _unsafe_shape(path)
    if problem:
        return problem
    return next((rule for part in path.split("/") if (rule := _unsafe_component(part))), None)


def protection(path: str) -> tuple[Rule, str] | None:
    """The rule that protects the path, and the directory that it is about; names count in any case."""
    parts = path.split("/")
    for part in parts:
        if part.casefold() in PROTECTED_DIRECTORIES:
            return rules.PROTECTED_DIRECTORY, part
    name = parts[-1].casefold()
    if name in PROTECTED_FILES or (name.startswith(".env.") and name not in _EXAMPLES):
        return rules.PROTECTED_FILE, ""
    return None


def asked(path: str) -> Rule | None:
    """The rule by which a person decides about the path, because of what tools make of its name."""
    parts = path.casefold().split("/")
    for part in parts[:-1]:
        if part in _ASKED_DIRECTORIES:
            return _ASKED_DIRECTORIES[part]
    if rule := _ASKED_FILES.get(parts[-1]):
        return rule
    if rule := next((rule for pattern, rule in _ASKED_PATTERNS if pattern.fullmatch(parts[-1])), None):
        return rule
    return rules.DECIDES_TESTS if decides_how_tests_run(path) else None


def prefixes(path: str) -> list[str]:
    """`a/b/c` is reached through `a` and `a/b`, and is the last of them."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def fold(name: str) -> str:
    """Equal for names that a file system without case, or with a Unicode normal form of its own, takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def named(path: str, entries: Iterable[str]) -> str | None:
    """The entry of a policy that the path falls under: a directory (`docs/`), a glob (`*` within a name, `**`
    across), or a path. Case does not matter, as it does not to some file systems.
    """
    folded = fold(path)
    return next((entry for entry in entries if _falls_under(folded, fold(entry))), None)


def _falls_under(path: str, entry: str) -> bool:
    if not set(entry) & set("*?"):
        return path == entry or (entry.endswith("/") and path.startswith(entry))
    pattern = re.escape(entry + ("**" if entry.endswith("/") else ""))
    for written, means in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
        pattern = pattern.replace(written, means)
    return re.fullmatch(pattern, path) is not None


def _unsafe_text(path: str) -> Rule | None:
    if not path:
        return rules.EMPTY_PATH
    if len(path) > MAX_PATH_CHARS:
        return rules.LONG_PATH
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in path):
        return rules.INVISIBLE_IN_PATH
    return rules.NOT_NFC if path != unicodedata.normalize("NFC", path) else None


def _unsafe_shape(path: str) -> Rule | None:
    if path.startswith(("/", "~")):
        return rules.ABSOLUTE
    if "\\" in path:
        return rules.BACKSLASH
    return rules.COLON if ":" in path else None


def _unsafe_component(part: str) -> Rule | None:
    if part == "..":
        return rules.DOT_DOT
    if part in ("", "."):
        return rules.EMPTY_COMPONENT
    if len(part.encode(errors="replace")) > MAX_COMPONENT_BYTES:
        return rules.LONG_COMPONENT
    if part != part.strip() or part.endswith("."):
        return rules.TRAILING_SPACE
    return rules.RESERVED_NAME if _RESERVED.fullmatch(part) else None
