"""What others wrote is seen, and does nothing."""

import json

from autopack.domain.visible import harmless, harmless_json, visible

ACTS = "\x1b[2J\x07\r\x9b31m\u202eabc\u2066\u2028"


def test_what_a_terminal_would_obey_is_written_as_its_escape():
    assert harmless(f"a\tb\n{ACTS}") == "a\tb\n\\x1b[2J\\x07\\r\\x9b31m\\u202eabc\\u2066\\u2028"
    words = "نیم\u200cفاصله 👩\u200d🚀 é ü"
    assert harmless(words) == words, "what joins letters is not what acts"


def test_what_a_person_judges_hides_nothing():
    assert visible("a\u200bb\u00ad\ufeff\U000e0041\u202e\t") == "a\\u200bb\\xad\\ufeff\\U000e0041\\u202e\t"


def test_json_keeps_its_value():
    value = {"reason": ACTS}
    told = harmless_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(told) == value
    assert told == harmless(told)
