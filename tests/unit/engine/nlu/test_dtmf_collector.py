"""DtmfCollector: single keys, terminators, limits, timeouts and global commands."""

import pytest

from vocelio.engine.nlu.answer_grammar import AnswerGrammar, yes_no_grammar
from vocelio.engine.nlu.dtmf_collector import DtmfCollector, DtmfInput
from vocelio.engine.runtime.node_context import ActiveGlobalCommand

OPERATOR = ActiveGlobalCommand(("operator",), "*", "desk", 0)
COMMANDS = {"operator": OPERATOR}
DIGITS = AnswerGrammar("digits", global_commands=COMMANDS, min_digits=2, max_digits=4, terminator="#")


def feed_keys(grammar: AnswerGrammar, keys: str, digits: str = "") -> tuple[DtmfInput | None, str]:
    """Feed keys up to the one that completes the input. Returns the input and the digits left in the collector."""
    collector = DtmfCollector(grammar, digits)
    completed = next((dtmf for dtmf in map(collector.feed, keys) if dtmf is not None), None)
    return completed, collector.digits


@pytest.mark.parametrize(("key", "meaning"), [("1", "yes"), ("2", "no"), ("7", None), ("#", None), ("*", OPERATOR)])
def test_single_key_is_a_whole_answer(key: str, meaning: object) -> None:
    assert feed_keys(yes_no_grammar(COMMANDS), key) == (DtmfInput(key, meaning), "")  # type: ignore[arg-type]


def test_text_question_accepts_only_global_commands() -> None:
    assert feed_keys(AnswerGrammar("text", global_commands=COMMANDS), "12*") == (DtmfInput("*", OPERATOR), "")


@pytest.mark.parametrize(
    ("keys", "completed", "digits"),
    [
        ("12", None, "12"),
        ("12#", DtmfInput("12", "12"), ""),
        ("1#", DtmfInput("1", None), ""),
        ("#", DtmfInput("", None), ""),
        ("12345", DtmfInput("1234", "1234"), ""),
        ("*", DtmfInput("*", OPERATOR), ""),
        ("1*#", DtmfInput("1*", None), ""),
    ],
)
def test_digits_are_complete_at_the_terminator_or_the_limit(
    keys: str, completed: DtmfInput | None, digits: str
) -> None:
    assert feed_keys(DIGITS, keys) == (completed, digits)


def test_collector_continues_after_earlier_digits() -> None:
    assert feed_keys(DIGITS, "3#", digits="12") == (DtmfInput("123", "123"), "")


@pytest.mark.parametrize(("digits", "meaning"), [("12", "12"), ("1", None)])
def test_timeout_completes_the_input(digits: str, meaning: str | None) -> None:
    collector = DtmfCollector(DIGITS, digits)
    assert collector.on_timeout() == DtmfInput(digits, meaning)
    assert collector.digits == ""


def test_number_is_an_integer() -> None:
    assert feed_keys(AnswerGrammar("number", terminator="#"), "042#") == (DtmfInput("042", 42), "")
