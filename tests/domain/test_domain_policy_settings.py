"""The [policy] table: read strictly, and equal settings have equal hashes."""

import dataclasses
import re

import pytest

from autopack.domain.policy import RULES, DualAuditor, OnRefusal, OnTimeout, Policy, load_policy, unsafe_path
from autopack.domain.policy import settings as policy_settings
from autopack.errors import InvalidInput
from tests.support import ROOT

WHOLE = """
[checks]
commands = ["true"]

[policy]
protected = ["deploy/", "src/**/*.sql"]
ask = ["LICENSE"]
frozen = ["acceptance/"]
auto_approve = ["delete a file", "lock file"]
violations = "ask"
max_files = 10
max_file_bytes = 2000
max_deleted_lines = 20
approval_timeout_minutes = 90
on_approval_timeout = "reject"
dual_auditor = "always"
risky_categories = ["security", "payments"]
"""


def test_every_key_is_read():
    assert load_policy(WHOLE) == Policy(
        protected=("deploy/", "src/**/*.sql"), ask=("LICENSE",), frozen=("acceptance/",),
        auto_approve=("delete a file", "lock file"), violations=OnRefusal.ASK, max_files=10, max_file_bytes=2000,
        max_deleted_lines=20, approval_timeout_minutes=90, on_approval_timeout=OnTimeout.REJECT,
        dual_auditor=DualAuditor.ALWAYS, risky_categories=("security", "payments"),
    )  # fmt: skip
    assert all(f"{field.name} = " in WHOLE for field in dataclasses.fields(Policy))


@pytest.mark.parametrize("text", [None, "", "[checks]\n", "[policy]\n"])
def test_nothing_said_is_the_default(text: str | None):
    assert load_policy(text) == Policy()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("protect = []", "protect is not known; it has protected, ask"),
        ("protected = 'deploy/'", "protected must be a list of texts"),
        ("protected = [1]", "protected must be a list of texts"),
        ("ask = ['']", "ask must be a list of texts"),
        ("ask = ['../x']", "'..' component"),
        ("frozen = ['/etc/']", "absolute or home path"),
        ("auto_approve = ['everything']", "holds 'everything'; it can name"),
        ("auto_approve = ['looks like a secret']", "it can name"),
        ("auto_approve = ['weakens tests']", "it can name"),
        ("violations = 'allow'", "violations must be one of 'fail', 'ask'"),
        ("violations = true", "violations must be one of"),
        ("max_files = 0", "max_files must be a whole number from 1"),
        ("max_files = true", "max_files must be a whole number"),
        ("max_files = 1.5", "max_files must be a whole number"),
        ("max_file_bytes = '1 MiB'", "max_file_bytes must be a whole number"),
        ("max_deleted_lines = -1", "max_deleted_lines must be a whole number"),
        ("approval_timeout_minutes = 99999999999", "approval_timeout_minutes must be a whole number"),
        ("on_approval_timeout = 'approve'", "on_approval_timeout must be one of 'wait', 'reject'"),
        ("dual_auditor = 'never'", "dual_auditor must be one of 'allowed', 'always'"),
        ("risky_categories = 'security'", "risky_categories must be a list of texts"),
    ],
)
def test_a_wrong_key_or_value_is_refused_and_named(line: str, words: str):
    with pytest.raises(InvalidInput, match=r"autopack.toml: \[policy\] ") as caught:
        load_policy(f"[policy]\n{line}\n")
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("policy = 1", "must be a table"), ("[policy", "is not TOML")])
def test_what_is_no_table_is_refused(text: str, words: str):
    with pytest.raises(InvalidInput, match=words):
        load_policy(text)


def test_the_hash_is_of_every_setting_and_of_the_rules(monkeypatch: pytest.MonkeyPatch):
    whole = load_policy(WHOLE)
    changed = [
        dataclasses.replace(Policy(), **{field.name: getattr(whole, field.name)})
        for field in dataclasses.fields(Policy)
    ]
    hashes = [policy.hash for policy in [Policy(), *changed]]
    assert len(set(hashes)) == len(hashes)
    assert load_policy("[policy]\nmax_files = 50\n").hash == Policy().hash
    monkeypatch.setattr(policy_settings, "RULES_VERSION", 999)
    assert Policy().hash != hashes[0]


# The page for users


PAGE = (ROOT / "docs" / "governance.md").read_text(encoding="utf-8")


def test_the_page_names_every_rule_and_its_example_is_a_policy():
    of_paths = {name for name, rule in RULES.items() if f"`{name}" not in PAGE}
    assert {
        unsafe_path(path)
        for path in ("", "a" * 2000, "a\nb", "e\u0301", "/x", "a\\b", "a:b", "a//b", "a" * 300, "a ", "CON")
    } == of_paths
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    policy = load_policy(example)
    assert policy == dataclasses.replace(
        Policy(), protected=policy.protected, ask=("LICENSE",), frozen=("acceptance/",), auto_approve=("lock file",),
        approval_timeout_minutes=1440,
    )  # fmt: skip
    assert all(f"{field.name} = " in example for field in dataclasses.fields(Policy))
