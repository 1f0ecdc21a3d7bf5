"""Parsing of spoken English digits and numbers.

Each function returns None for ambiguous input: "twenty twenty" is not a number, since it may be a year, a score or
2020.
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
    """Parse digits spoken one by one ("one two double three") or written ("1 2 3 3"): "1233"."""
    digits, repeat = "", 1
    for word in words(text):
        if word in _REPEAT_COUNTS and repeat == 1:
            repeat = _REPEAT_COUNTS[word]
        elif word in DIGIT_BY_WORD or _is_numeral(word):
            digits += DIGIT_BY_WORD.get(word, word) * repeat
            repeat = 1
        elif word not in _FILLER_WORDS:
            return None
    return digits if digits and repeat == 1 else None


def parse_number(text: str) -> int | float | None:
    """Parse a number in words or figures ("minus two hundred and five", "3.5"), between plus and minus a billion."""
    figures = text.strip().rstrip(".?!").replace(",", "")  # recognizers punctuate numbers like sentences
    if re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", figures):
        return float(figures) if "." in figures else int(figures)
    tokens = [word for word in words(text) if word not in _FILLER_WORDS]
    negative = bool(tokens) and tokens[0] in ("minus", "negative")
    whole, point, fraction = _split_at(tokens[1:] if negative else tokens, "point")
    value = _parse_integer(whole)
    if value is None:
        return None
    if point:
        decimals = parse_digits(" ".join(fraction))
        if decimals is None or len(decimals) > 6:
            return None
        return float(f"{'-' if negative else ''}{value}.{decimals}")
    return -value if negative else value


def _parse_integer(tokens: Sequence[str]) -> int | None:
    """Parse a whole number: figures, digits one by one, or millions, thousands and the rest."""
    if not tokens:
        return None
    if len(tokens) > 1 and all(word in DIGIT_BY_WORD for word in tokens):
        return int("".join(DIGIT_BY_WORD[word] for word in tokens)) if len(tokens) <= 9 else None
    total, rest = 0, tokens
    for name, size in _SCALES.items():
        before, has_scale, after = _split_at(rest, name)
        if has_scale:
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


def _parse_last_group(tokens: Sequence[str], *, alone: bool) -> int | None:
    if len(tokens) == 1 and _is_numeral(tokens[0]) and (alone or int(tokens[0]) < 1_000):
        return int(tokens[0])
    return _parse_below_thousand(tokens)


def _parse_below_thousand(tokens: Sequence[str]) -> int | None:
    before, has_hundred, after = _split_at(tokens, "hundred")
    if not has_hundred:
        return _parse_below_hundred(tokens)
    hundreds = 1 if list(before) in (["a"], []) else _parse_below_hundred(before)
    if not hundreds or hundreds > 9:
        return None
    if not after:
        return hundreds * 100
    rest = _parse_below_hundred(after)
    return None if rest is None else hundreds * 100 + rest


def _parse_below_hundred(tokens: Sequence[str]) -> int | None:
    match tokens:
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


def _split_at(tokens: Sequence[str], separator: str) -> tuple[Sequence[str], bool, Sequence[str]]:
    if separator not in tokens:
        return tokens, False, ()
    index = tokens.index(separator)
    return tokens[:index], True, tokens[index + 1 :]
