"""From what was heard or keyed to what was meant: pure functions over English words.

Each returns None when nothing, or nothing unambiguous, was meant.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

YES = ("yes", "yeah", "yep", "correct", "that's right", "right", "sure", "yes please")
NO = ("no", "nope", "wrong", "that's wrong", "no thanks", "not right")

DIGITS = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_REPEATS = {"double": 2, "triple": 3}
_SMALL = {
    **{word: int(digit) for word, digit in DIGITS.items()},
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_LARGE = {"thousand": 1_000, "million": 1_000_000}

DIGIT_WORDS = (*DIGITS, *_REPEATS)
NUMBER_WORDS = (*_SMALL, "hundred", *_LARGE, "and", "point", "minus")


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold())


def choice(text: str, choices: Mapping[str, Iterable[str]]) -> str | None:
    """The choice one of whose phrases was said, also among other words; the longest phrase wins."""
    said = words(text)
    best, meant = 0, set[str]()
    for name, phrases in choices.items():
        for phrase in phrases:
            looked_for = words(phrase)
            if len(looked_for) >= max(best, 1) and _contains(said, looked_for):
                meant = {name} if len(looked_for) > best else meant | {name}
                best = len(looked_for)
    return meant.pop() if len(meant) == 1 else None


def could_become_another(text: str, name: str, choices: Mapping[str, Iterable[str]]) -> bool:
    """Whether more words could still turn the choice ``name``, heard so far, into a different one."""
    said = words(text)
    for other, phrases in choices.items():
        for phrase in phrases if other != name else ():
            longer = words(phrase)
            if any(said[-size:] == longer[:size] for size in range(1, len(longer))):
                return True
    return False


def yes_no(text: str) -> str | None:
    """``yes`` or ``no``."""
    return choice(text, {"yes": YES, "no": NO})


def digits(text: str) -> str | None:
    """Digits said one by one ("one two double three") or written ("1 2 3 3"): "1233"."""
    found, times = "", 1
    for word in words(text):
        if word in _REPEATS:
            times = _REPEATS[word]
        elif word in DIGITS or word.isdecimal():
            found += DIGITS.get(word, word) * times
            times = 1
        elif word not in ("and", "um", "uh"):
            return None
    return found or None


def number(text: str) -> int | float | None:
    """A number in words or figures ("minus two hundred and five", "3.5"), within a billion either way."""
    plain = text.strip().replace(",", "")
    if re.fullmatch(r"-?\d{1,9}(\.\d{1,6})?", plain):
        return float(plain) if "." in plain else int(plain)
    said = [word for word in words(text) if word != "and"]
    negative = bool(said) and said[0] in ("minus", "negative")
    whole, point, fraction = _split(said[1:] if negative else said, "point")
    value = _whole(whole)
    if value is None:
        return None
    if point:
        decimals = digits(" ".join(fraction))
        if decimals is None:
            return None
        return float(f"{'-' if negative else ''}{value}.{decimals}")
    return -value if negative else value


def _whole(said: Sequence[str]) -> int | None:
    if not said:
        return None
    if len(said) > 1 and all(word in DIGITS for word in said):
        return int("".join(DIGITS[word] for word in said[:9]))
    total = group = 0
    for word in said:
        if word in _SMALL:
            group += _SMALL[word]
        elif word.isdecimal() and len(word) <= 9:
            group += int(word)
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in _LARGE:
            total, group = total + max(group, 1) * _LARGE[word], 0
        else:
            return None
    return total + group if total + group < 1_000_000_000 else None


def _split(said: Sequence[str], at: str) -> tuple[Sequence[str], bool, Sequence[str]]:
    if at not in said:
        return said, False, ()
    place = said.index(at)
    return said[:place], True, said[place + 1 :]


def _contains(said: Sequence[str], phrase: Sequence[str]) -> bool:
    size = len(phrase)
    return any(said[start : start + size] == phrase for start in range(len(said) - size + 1))
