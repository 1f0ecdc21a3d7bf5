"""What must not be in a log, taken out of any text: numbers of people and of cards, long digit strings, addresses.

Identifiers stay: digits that touch a letter, as in a call's SID, are no number that anybody owns; the letters of a
%XX are none. So do IP addresses, dates, and numbers with a single dot, unless they have seven digits on one side of it
or look like 224.9663; in doubt a text goes. A telephone number keeps its last digits, so that somebody who knows it
finds it. Nothing here knows where a text comes from.
"""

import re

MASK = "***"
MIN_DIGITS = 7  # digits of a number that is hidden: shorter ones are counts, ports and times
MAX_NUMBER_DIGITS = 15  # digits (E.164)
VISIBLE_DIGITS, MIN_FULL_NUMBER_DIGITS = (
    4,
    11,
)  # last digits shown of a telephone number with so many; of a shorter one two

_CANDIDATE = re.compile(r"@|[0-9](?:[ .-]?[0-9]){6}")  # most texts have neither, and cost only this
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_OCTET = "(?:1[0-9]{2}|2[0-5][0-9]|[1-9]?[0-9])"
_YEAR, _MONTH, _DAY = "(?:19|20)[0-9]{2}", "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_IP_ADDRESS = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_DATE = rf"{_YEAR}(?P<between>[.-]){_MONTH}(?P=between){_DAY}|{_DAY}\.{_MONTH}\.{_YEAR}"
_DOTTED = r"(?=(?:\.?[0-9]){7})(?:[1-9][0-9]{0,3}|0[0-9]{1,3})(?:\.[0-9]{2,8}){2,}(?:\.[0-9])?|[0-9]{3}\.[0-9]{4}"
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
    rf"(?:(?:{_IP_ADDRESS}|{_DATE})(?![.-]?[0-9A-Za-z])"
    r"|(?:(?P<sign>\+|%(?:25)?2[Bb])(?P<signed>[0-9](?:[ .-]?[0-9]){6,})"
    rf"|(?P<plain>{_DOTTED}|[0-9](?:[ -]?[0-9]){{6,}}))(?![0-9A-Za-z]))"
)


def redact(text: str) -> str:
    """The text without them. What was redacted once is left as it is."""
    if not _CANDIDATE.search(text):
        return text
    return _NUMBER.sub(_mask, _EMAIL.sub(MASK, text))


def is_card(digits: str) -> bool:
    """Whether digits alone can be the number of a payment card: 13 to 19, and the sum of Luhn (ISO/IEC 7812)."""
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(two - 9 if two > 9 else two for two in doubled)) % 10 == 0


def _mask(match: re.Match[str]) -> str:
    sign, signed, plain = match["sign"], match["signed"], match["plain"]
    if not signed:
        return MASK if plain else match[0]
    digits = re.sub("[ .-]", "", signed)
    if len(digits) > MAX_NUMBER_DIGITS or is_card(digits):
        return MASK
    return f"{sign}{MASK}{digits[-VISIBLE_DIGITS if len(digits) >= MIN_FULL_NUMBER_DIGITS else -2 :]}"
