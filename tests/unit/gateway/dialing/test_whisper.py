"""Whispers: numbers are spoken clearly, and the text is always valid TwiML."""

import pytest

from vocelio.gateway.dialing import whisper as whisper_text

WHISPER_VARIABLES = {
    "caller": "+13105550142",
    "number": "+13072249663",
    "department": "front-desk",
    "tenant": "Harbour Tools",
}


@pytest.mark.parametrize(
    ("whisper", "said"),
    [
        ("A sales call.", "A sales call."),
        ("A call from {{ caller.number }}.", "A call from 3 1 0, 5 5 5, 0 1 4 2."),
        ("{{ department }} call for {{ tenant.name }}", "front desk call for Harbour Tools"),
        ("They called {{ number }}", "They called 3 0 7, 2 2 4, 9 6 6 3"),
        ("a \0 b", "a   b"),
        ("{{ broken", ""),
        ("", ""),
    ],
)
def test_whisper_is_rendered(whisper, said):
    assert whisper_text.render_whisper(whisper, **WHISPER_VARIABLES) == said


def test_withheld_and_foreign_numbers_are_spoken():
    say = "From {{ caller.number }}"
    assert whisper_text.render_whisper(say, **WHISPER_VARIABLES | {"caller": ""}) == "From a withheld number"
    assert (
        whisper_text.render_whisper(say, **WHISPER_VARIABLES | {"caller": "+442079460123"})
        == "From plus 4 4, 2 0, 7 9 4 6, 0 1 2 3"
    )
    assert (
        whisper_text.render_whisper(say, **WHISPER_VARIABLES | {"caller": "+999123456789"})
        == "From plus 9 9 9 1 2 3 4 5 6 7 8 9"
    )


def test_long_whisper_is_truncated():
    assert (
        len(whisper_text.render_whisper("{% for i in (1..100) %}a rather long word, {% endfor %}", **WHISPER_VARIABLES))
        == 1_000
    )


@pytest.mark.parametrize(
    ("whisper", "codes"),
    [
        ("A call from {{ caller.number }} for {{ department }}, {{ tenant.name }}, {{ number }}", []),
        ("{{ caller.name }}", ["unknown-variable"]),
        ("{{ caller }} {{ tries }}", ["unknown-variable", "unknown-variable"]),
        ("{{ caller.number", ["template"]),
        ("{% include 'x' %}", ["template"]),
    ],
)
def test_invalid_whisper_is_reported(whisper, codes):
    result = list(whisper_text.check_whisper(whisper))
    assert [problem.code for problem in result] == codes
    assert {problem.path for problem in result} <= {"whisper"}
