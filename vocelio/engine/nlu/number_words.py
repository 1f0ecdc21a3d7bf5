"""Digits and numbers as people say them in English.

Each function returns None when nothing, or nothing unambiguous, was said: "twenty twenty" is no number here, for
it may be a year, a score or 2020.
"""

import re
from collections.abc import Sequence

from vocelio.engine.nlu.words import words

DIGIT_BY_WORD = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_REPEAT_COUNTS = {"double": 2, "triple": 3}
_TEENS = {
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"million": 1_000_000, "thousand": 1_000}
_FILLER_WORDS = ("and", "um", "uh")
MAX_NUMBER = 999_999_999

DIGIT_WORDS = (*DIGIT_BY_WORD, *_REPEAT_COUNTS)
NUMBER_WORDS = (*DIGIT_BY_WORD, *_TEENS, *_TENS, "hundred", *_SCALES, "and", "a", "point", "minus")


def parse_digits(text: str) -> str | None:
    """Digits said one by one ("one two double three") or written ("1 2 3 3"): "1233"."""
    found, times = "", 1
    for word in words(text):
        if word in _REPEAT_COUNTS and times == 1:
            times = _REPEAT_COUNTS[word]
        elif word in DIGIT_BY_WORD or _is_numeral(word):
            found += DIGIT_BY_WORD.get(word, word) * times
            times = 1
        elif word not in _FILLER_WORDS:
            return None
    return found if found and times == 1 else None


def parse_number(text: str) -> int | float | None:
    """A number in words or figures ("minus two hundred and five", "3.5"), below a billion either way."""
    plain = text.strip().rstrip(".?!").replace(",", "")  # recognisers end what they write like a sentence
    if re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", plain):
        return float(plain) if "." in plain else int(plain)
    said = [word for word in words(text) if word not in _FILLER_WORDS]
    negative = bool(said) and said[0] in ("minus", "negative")
    whole, point, fraction = _split_at(said[1:] if negative else said, "point")
    value = _parse_integer(whole)
    if value is None:
        return None
    if point:
        decimals = parse_digits(" ".join(fraction))
        if decimals is None or len(decimals) > 6:
            return None
        return float(f"{'-' if negative else ''}{value}.{decimals}")
    return -value if negative else value


def _parse_integer(said: Sequence[str]) -> int | None:
    """A whole number: figures alone, digits one by one, or thousands and millions in their order."""
    if not said:
        return None
    if len(said) > 1 and all(word in DIGIT_BY_WORD for word in said):
        return int("".join(DIGIT_BY_WORD[word] for word in said)) if len(said) <= 9 else None
    total, rest = 0, said
    for name, size in _SCALES.items():
        before, there, after = _split_at(rest, name)
        if there:
            group = 1 if list(before) == ["a"] else _parse_below_thousand(before)
            if not group:
                return None
            total, rest = total + group * size, after
    if rest or not total:
        last = _parse_last_group(rest, alone=not total)
        if last is None:
            return None
        total += last
    return total if total <= MAX_NUMBER else None


def _parse_last_group(said: Sequence[str], *, alone: bool) -> int | None:
    if len(said) == 1 and _is_numeral(said[0]) and (alone or int(said[0]) < 1_000):
        return int(said[0])
    return _parse_below_thousand(said)


def _parse_below_thousand(said: Sequence[str]) -> int | None:
    before, there, after = _split_at(said, "hundred")
    if not there:
        return _parse_below_hundred(said)
    hundreds = 1 if list(before) in (["a"], []) else _parse_below_hundred(before)
    if not hundreds or hundreds > 9:
        return None
    if not after:
        return hundreds * 100
    rest = _parse_below_hundred(after)
    return None if rest is None else hundreds * 100 + rest


def _parse_below_hundred(said: Sequence[str]) -> int | None:
    match said:
        case [word] if word in DIGIT_BY_WORD:
            return int(DIGIT_BY_WORD[word])
        case [word] if word in _TEENS:
            return _TEENS[word]
        case [word] if word in _TENS:
            return _TENS[word]
        case [word] if _is_numeral(word) and len(word) <= 3:
            return int(word)
        case [tens, ones] if tens in _TENS and DIGIT_BY_WORD.get(ones, "0") != "0":
            return _TENS[tens] + int(DIGIT_BY_WORD[ones])
        case _:
            return None


def _is_numeral(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= 32


def _split_at(said: Sequence[str], separator: str) -> tuple[Sequence[str], bool, Sequence[str]]:
    if separator not in said:
        return said, False, ()
    place = said.index(separator)
    return said[:place], True, said[place + 1 :]
