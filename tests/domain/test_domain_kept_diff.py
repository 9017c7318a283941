"""The diff that is kept of an attempt: bounded, cut where a line ends, and without half a secret at the cut."""

from autopack.domain.kept_diff import bounded_diff, is_cut, readable_diff
from autopack.domain.redaction import Redactor

HEAD = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -0,0 +1,9 @@\n"
KEY = "sk-proj-Ab3dEf6hIj9lMn0pQr5t"


def test_a_diff_that_fits_is_kept_as_it_is():
    whole = HEAD + "+line\n" * 100
    assert bounded_diff(whole, len(whole)) == whole
    assert not is_cut(whole)
    assert not is_cut("")


def test_a_longer_one_is_cut_where_a_line_ends_and_says_so():
    whole = HEAD + "+a line\n" * 1000
    cut = bounded_diff(whole, 500)
    *lines, remark = cut.splitlines()
    assert len(cut) <= 500
    assert "\n".join(lines) + "\n" == whole[: len(cut) - len(remark) - 1]
    assert remark == f"[cut: the diff has {len(whole)} characters in all]"
    assert is_cut(cut)


def test_of_a_line_that_is_nearly_everything_the_beginning_is_kept():
    cut = bounded_diff(HEAD + "+" + "x" * 10_000, 500)
    assert len(cut) <= 500
    assert cut.count("x") > 300
    assert is_cut(cut)


def test_a_file_that_holds_the_same_words_does_not_look_cut():
    assert not is_cut(HEAD + "+[cut: the diff has 9 characters in all]\n")


def redact(text: str) -> str:
    return Redactor({"API_KEY": KEY}).redact(text)


def test_a_secret_is_taken_out_wherever_the_cut_falls():
    line = f"+token = '{KEY}'\n"
    for shift in range(0, 60, 7):
        whole = HEAD + "+" + "y" * shift + "\n" + line * 8000
        shown = readable_diff(whole, redact, 2000)
        assert "sk-proj" not in shown
        assert "[redacted:API_KEY]" in shown
        assert is_cut(shown)
        assert len(shown) <= 2000


def test_a_secret_that_the_cut_would_part_is_not_kept_by_half():
    secret = "z9" * 20_000
    hide = Redactor({"DEPLOY_KEY": secret}).redact
    whole = HEAD + "+" + "a" * 900 + secret + "\n" + "+more\n" * 20_000
    assert "z9z9" not in readable_diff(whole, hide, 1000)
    assert "z9z9" not in readable_diff(whole, hide, 30_000)


def test_a_diff_that_redaction_made_shorter_is_not_called_cut():
    whole = HEAD + f"+{KEY}\n"
    assert readable_diff(whole, lambda text: text.replace(KEY, "x"), 2000) == HEAD + "+x\n"
