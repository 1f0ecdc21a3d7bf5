"""Formatting of dates, times and money as spoken English.

Voices pronounce ``03/04`` and ``2:30`` differently; words are pronounced alike by all.
"""

from datetime import date, time
from decimal import ROUND_HALF_UP, Decimal

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty")
_ORDINALS = (
    "", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
)  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
CURRENCIES = {
    "USD": ("dollar", "dollars", "cent", "cents"),
    "CAD": ("dollar", "dollars", "cent", "cents"),
    "AUD": ("dollar", "dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "CHF": ("franc", "francs", "centime", "centimes"),
}


def spell_digits(value: object) -> str:
    """Separate letters and digits: ``+1234`` becomes "1 2 3 4"."""
    return " ".join(character for character in str(value) if character.isalnum())


def cardinal(number: int) -> str:
    """Return a number from 0 to 59 in words."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def ordinal(number: int) -> str:
    """Return an ordinal number from 1 to 31 in words."""
    if number < len(_ORDINALS):
        return _ORDINALS[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ORDINALS[ones]}" if ones else {20: "twentieth", 30: "thirtieth"}[number]


def format_date(day: date) -> str:
    """Format a date as "Tuesday the third of March", without the year."""
    return f"{_WEEKDAYS[day.weekday()]} the {ordinal(day.day)} of {_MONTHS[day.month]}"


def format_time(moment: time) -> str:
    """Format a time of day as "half past two in the afternoon", without seconds."""
    hour, minute = moment.hour, moment.minute
    if minute == 0 and hour in (0, 12):
        return "noon" if hour else "midnight"
    next_hour = (hour + 1) % 24
    match minute:
        case 0:
            return f"{_hour_word(hour)} o'clock {_part_of_day(hour)}"
        case 15:
            return f"quarter past {_hour_word(hour)} {_part_of_day(hour)}"
        case 30:
            return f"half past {_hour_word(hour)} {_part_of_day(hour)}"
        case 45:
            return f"quarter to {_hour_word(next_hour)} {_part_of_day(hour)}"
        case _:
            zero = "oh " if minute < 10 else ""
            return f"{_hour_word(hour)} {zero}{cardinal(minute)} {_part_of_day(hour)}"


def format_money(amount: Decimal, currency: str = "USD") -> str:
    """Format an amount as "12 dollars and 50 cents", rounded half up to cents.

    Raises KeyError for an unknown currency.
    """
    unit, units, subunit, subunits = CURRENCIES[currency.upper()]
    total = int((abs(amount) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    whole, cents = divmod(total, 100)
    parts = [f"{whole} {unit if whole == 1 else units}"] if whole or not cents else []
    parts += [f"{cents} {subunit if cents == 1 else subunits}"] if cents else []
    return ("minus " if amount < 0 and total else "") + " and ".join(parts)


def _hour_word(hour: int) -> str:
    return _ONES[hour % 12 or 12]


def _part_of_day(hour: int) -> str:
    if hour < 12:
        return "at night" if hour < 4 else "in the morning"
    if hour < 18:
        return "in the afternoon"
    return "in the evening" if hour < 22 else "at night"
