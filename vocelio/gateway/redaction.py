"""What must not be in a log, taken out of any text: numbers of people and of cards, long digit strings, addresses.

Identifiers stay: digits that touch a letter, as in a call's SID, are no number that anybody owns. A telephone number
keeps its last digits, so that somebody who knows it finds it. Nothing here knows where a text comes from.
"""

import re

GONE = "***"
FEWEST = 7  # digits of a number that is hidden: shorter ones are counts, ports and times
LONGEST_NUMBER = 15  # digits (E.164)
SHOWN, SHOWN_OF = 4, 11  # last digits shown of a telephone number with so many; of a shorter one two

_SUSPECT = re.compile(r"@|[0-9](?:[ -]?[0-9]){6}")  # most texts have neither, and cost only this
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_DIGITS = re.compile(r"(?<![0-9A-Za-z])(%2[Bb](?=[0-9])|\+)?([0-9](?:[ -]?[0-9]){6,})(?![0-9A-Za-z])")


def redact(text: str) -> str:
    """The text without them. What was redacted once is left as it is."""
    if not _SUSPECT.search(text):
        return text
    return _DIGITS.sub(_hidden, _EMAIL.sub(GONE, text))


def is_card(digits: str) -> bool:
    """Whether digits alone can be the number of a payment card: 13 to 19, and the sum of Luhn (ISO/IEC 7812)."""
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(two - 9 if two > 9 else two for two in doubled)) % 10 == 0


def _hidden(match: re.Match[str]) -> str:
    sign, digits = match[1], re.sub("[ -]", "", match[2])
    if not sign or len(digits) > LONGEST_NUMBER or is_card(digits):
        return GONE
    return f"{sign}{GONE}{digits[-SHOWN if len(digits) >= SHOWN_OF else -2 :]}"
