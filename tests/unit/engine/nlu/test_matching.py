"""Matching of transcripts: words, choices, digits, numbers, similar phrases; with properties for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.engine.nlu.matching import (
    DIGIT_BY_WORD,
    is_ambiguous_prefix,
    is_hesitating,
    match_choice,
    match_yes_no,
    parse_digits,
    parse_number,
    words,
)
from vocelio.engine.nlu.words import find_similar_phrases, phonetic_key

CHOICES = {"sales": ("sales", "buy something"), "billing": ("billing", "my invoice"), "support": ("sales support",)}

WORD = st.sampled_from(
    [
        "sales",
        "support",
        "billing",
        "my",
        "invoice",
        "buy",
        "something",
        "pay",
        "payroll",
        "pa",
        "the",
        "um",
        "please",
        "bill",
    ]
)
UTTERANCES = st.lists(WORD, max_size=8).map(" ".join)
PHRASES = st.lists(st.lists(WORD, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3).map(tuple)
MENUS = st.dictionaries(st.sampled_from("abcd"), PHRASES, min_size=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sales, please!", "sales"),
        ("I'd like to buy something", "sales"),
        ("SALES SUPPORT", "support"),
        ("billing or sales", None),
        ("sale", None),
        ("", None),
    ],
)
def test_match_choice(text: str, expected: str | None) -> None:
    assert match_choice(text, CHOICES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("yes", "yes"), ("No.", "no"), ("not right", "no"), ("that\u2019s right", "yes"), ("yes no", None), ("hm", None)],
)
def test_match_yes_no(text: str, expected: str | None) -> None:
    assert match_yes_no(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two", "12"),
        ("oh five, 5", "055"),
        ("double seven um triple one", "77111"),
        ("12 34", "1234"),
        ("double", None),
        ("double double one", None),
        ("one sales", None),
        ("", None),
    ],
)
def test_parse_digits(text: str, expected: str | None) -> None:
    assert parse_digits(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a hundred and five", 105),
        ("two thousand", 2000),
        ("one million two hundred thousand and six", 1_200_006),
        ("1,250", 1250),
        ("3.50", 3.5),
        ("minus twenty one", -21),
        ("five point oh five", 5.05),
        ("one two three", 123),
        ("300 thousand", 300_000),
        ("hundred", 100),
        ("oh", 0),
        ("twenty twenty", None),
        ("five twenty", None),
        ("ten hundred", None),
        ("thousand thousand", None),
        ("two and", 2),
        ("thousand million", None),
        ("twenty zero", None),
        ("point five", None),
        ("", None),
        ("hundred hundred", None),
        ("1,234.", 1234),
        ("3.5.", 3.5),
        ("-5.", -5),
        ("Minus five.", -5),
    ],
)
def test_parse_number(text: str, expected: float | None) -> None:
    assert parse_number(text) == expected


ONES = list(DIGIT_BY_WORD)
ONES.remove("oh")
ONES += ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def to_words(value: int) -> str:
    """Spell a number in English, the inverse of parse_number."""
    for size, name in ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = value % size
            return f"{to_words(value // size)} {name}" + (f" {to_words(rest)}" if rest else "")
    if value < 20:
        return ONES[value]
    return TENS[value // 10] + (f"-{ONES[value % 10]}" if value % 10 else "")


@given(st.integers(0, 999_999_999))
def test_number_in_words_round_trip(value: int) -> None:
    assert parse_number(to_words(value)) == value
    assert parse_number(f"minus {to_words(value)}") == -value


@given(st.text("0123456789", min_size=1, max_size=20))
def test_spoken_digits_round_trip(row: str) -> None:
    assert parse_digits(" ".join(ONES[int(digit)] for digit in row)) == row


@given(st.text(max_size=60))
def test_any_text_is_handled(text: str) -> None:
    for parse in (words, parse_digits, parse_number, match_yes_no, phonetic_key):
        parse(text)
    number = parse_number(text)
    assert number is None or abs(number) < 1_000_000_000


@given(UTTERANCES, MENUS)
def test_matched_choice_has_its_phrase_in_the_text(text: str, menu: dict[str, tuple[str, ...]]) -> None:
    expected = match_choice(text, menu)
    if expected is not None:
        assert any(f" {phrase} " in f" {text} " for phrase in menu[expected])


@given(UTTERANCES, MENUS, UTTERANCES)
def test_unambiguous_prefix_keeps_its_meaning(text: str, menu: dict[str, tuple[str, ...]], tail: str) -> None:
    """Except if a phrase of another choice follows: then the text has two meanings."""
    expected = match_choice(text, menu)
    if expected is None or is_ambiguous_prefix(text, expected, menu):
        return
    others = [phrase for name, phrases in menu.items() if name != expected for phrase in phrases]
    if any(f" {phrase} " in f" {tail} " for phrase in others):
        return
    assert match_choice(f"{text} {tail}", menu) == expected


@given(MENUS)
def test_prefix_of_a_longer_phrase_is_ambiguous(menu: dict[str, tuple[str, ...]]) -> None:
    """A partial match is ambiguous if it starts a longer phrase of another choice."""
    for name, phrases in menu.items():
        for phrase in phrases:
            for cut in range(1, len(phrase)):
                early = match_choice(phrase[:cut], menu)
                if early not in (None, name) and match_choice(phrase, menu) != early:
                    assert is_ambiguous_prefix(phrase[:cut], early, menu)


def test_hesitation_words_count_unless_part_of_the_phrase() -> None:
    assert is_hesitating("no sales", CHOICES["sales"])
    assert not is_hesitating("no delivery", ("no delivery",))


@pytest.mark.parametrize(
    ("item", "other"),
    [
        ("fifteen", "fifty"),
        ("sales", "sails"),
        ("billing", "bidding"),
        ("two", "to"),
        ("Tyre", "tire"),
        ("phone", "fone"),
    ],
)
def test_similar_phrases_are_found(item: str, other: str) -> None:
    assert list(find_similar_phrases([("a", item), ("b", other)])) == [("b", other, "a", item)]
    assert not list(find_similar_phrases([("a", item), ("a", other)])), "phrases of the same answer may sound alike"


@pytest.mark.parametrize(
    ("item", "other"),
    [("sales", "support"), ("billing", "sales"), ("yes", "no"), ("pay", "bill"), ("english", "spanish")],
)
def test_different_phrases_are_not_similar(item: str, other: str) -> None:
    assert not list(find_similar_phrases([("a", item), ("b", other)]))
