"""Understanding: words, choices, digits and numbers; what must hold whatever is said."""

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
SAID = st.lists(WORD, max_size=8).map(" ".join)
PHRASES = st.lists(st.lists(WORD, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3).map(tuple)
MENUS = st.dictionaries(st.sampled_from("abcd"), PHRASES, min_size=1)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Sales, please!", "sales"),
        ("I'd like to buy something", "sales"),
        ("SALES SUPPORT", "support"),
        ("billing or sales", None),
        ("sale", None),
        ("", None),
    ],
)
def test_choices(said: str, meant: str | None) -> None:
    assert match_choice(said, CHOICES) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [("yes", "yes"), ("No.", "no"), ("not right", "no"), ("that\u2019s right", "yes"), ("yes no", None), ("hm", None)],
)
def test_yes_and_no(said: str, meant: str | None) -> None:
    assert match_yes_no(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
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
def test_digits(said: str, meant: str | None) -> None:
    assert parse_digits(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
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
def test_numbers(said: str, meant: float | None) -> None:
    assert parse_number(said) == meant


ONES = list(DIGIT_BY_WORD)
ONES.remove("oh")
ONES += ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def to_words(value: int) -> str:
    """The other way round, to check with."""
    for size, name in ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = value % size
            return f"{to_words(value // size)} {name}" + (f" {to_words(rest)}" if rest else "")
    if value < 20:
        return ONES[value]
    return TENS[value // 10] + (f"-{ONES[value % 10]}" if value % 10 else "")


@given(st.integers(0, 999_999_999))
def test_every_number_in_words_is_understood(value: int) -> None:
    assert parse_number(to_words(value)) == value
    assert parse_number(f"minus {to_words(value)}") == -value


@given(st.text("0123456789", min_size=1, max_size=20))
def test_every_row_of_digits_is_understood(row: str) -> None:
    assert parse_digits(" ".join(ONES[int(digit)] for digit in row)) == row


@given(st.text(max_size=60))
def test_nothing_that_is_said_is_too_much(text: str) -> None:
    for understand in (words, parse_digits, parse_number, match_yes_no, phonetic_key):
        understand(text)
    found = parse_number(text)
    assert found is None or abs(found) < 1_000_000_000


@given(SAID, MENUS)
def test_a_choice_is_one_whose_phrase_was_said(said: str, menu: dict[str, tuple[str, ...]]) -> None:
    meant = match_choice(said, menu)
    if meant is not None:
        assert any(f" {phrase} " in f" {said} " for phrase in menu[meant])


@given(SAID, MENUS, SAID)
def test_what_was_taken_early_is_what_the_end_would_have_meant(
    said: str, menu: dict[str, tuple[str, ...]], tail: str
) -> None:
    """Unless a whole other answer follows: then the caller has said two things."""
    meant = match_choice(said, menu)
    if meant is None or is_ambiguous_prefix(said, meant, menu):
        return
    others = [phrase for name, phrases in menu.items() if name != meant for phrase in phrases]
    if any(f" {phrase} " in f" {tail} " for phrase in others):
        return
    assert match_choice(f"{said} {tail}", menu) == meant


@given(MENUS)
def test_a_phrase_cut_short_waits(menu: dict[str, tuple[str, ...]]) -> None:
    """Nothing is taken early that a longer phrase of another choice goes on from."""
    for name, phrases in menu.items():
        for phrase in phrases:
            for cut in range(1, len(phrase)):
                early = match_choice(phrase[:cut], menu)
                if early not in (None, name) and match_choice(phrase, menu) != early:
                    assert is_ambiguous_prefix(phrase[:cut], early, menu)


def test_wavering_words_count_unless_they_are_a_choice_s_own() -> None:
    assert is_hesitating("no sales", CHOICES["sales"])
    assert not is_hesitating("no delivery", ("no delivery",))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fifteen", "fifty"),
        ("sales", "sails"),
        ("billing", "bidding"),
        ("two", "to"),
        ("Tyre", "tire"),
        ("phone", "fone"),
    ],
)
def test_phrases_that_sound_alike(one: str, other: str) -> None:
    assert list(find_similar_phrases([("a", one), ("b", other)])) == [("b", other, "a", one)]
    assert not list(find_similar_phrases([("a", one), ("a", other)])), "within one answer it does not matter"


@pytest.mark.parametrize(
    ("one", "other"),
    [("sales", "support"), ("billing", "sales"), ("yes", "no"), ("pay", "bill"), ("english", "spanish")],
)
def test_phrases_that_do_not(one: str, other: str) -> None:
    assert not list(find_similar_phrases([("a", one), ("b", other)]))
