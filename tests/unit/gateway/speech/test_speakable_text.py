import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.gateway.speech.local.speakable_text import MAX_WORD_LENGTH, clean_text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Your table, 20 \u00b0C \u2014 $5.00!", "Your table, 20 \u00b0C \u2014 $5.00!"),
        ("a\0b\x07c\x9fd", "a b c d"),
        ("a \u28df b", "a   b"),
        ("\u24dc\u2460 \u2122", "m\u2460 TM"),
        ("\ud800\ufffe\ue000\U000e0001", "    "),
        ("\U0001f600 \u260e", "   "),
        ("\u0645\u06cc\u200c\u062e\u0648 \u4f60\u597d", "\u0645\u06cc\u200c\u062e\u0648 \u4f60\u597d"),
        ("x" * 121, f"{'x' * 60} {'x' * 60} x"),
        ("s'" * 40, f"{chr(39).join('s' * 30)}' {chr(39).join('s' * 10)}'"),
    ],
)  # fmt: skip
def test_text_is_cleaned(text: str, spoken: str):
    assert clean_text(text) == spoken


@given(st.text(max_size=200))
def test_cleaned_text_has_no_controls_and_no_long_words(text: str):
    cleaned = clean_text(text)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cn", "Co", "Cs"}
    assert all(len(word) <= MAX_WORD_LENGTH for word in cleaned.split())
    assert clean_text(cleaned) == cleaned
    cleaned.encode()
