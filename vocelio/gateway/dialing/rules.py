"""Toll-fraud rules: which destinations a call may be transferred to. Pure functions.

An attacker who can make a gateway dial can earn money: with a premium-rate number, or with a share of what calls into a
small country's network cost. So a number is rung only if it is an ordinary one (fixed, mobile, toll-free, VoIP), exists
as far as is known, and is in an allowed country. The country is derived from the whole number, because +1 alone covers
25 countries, some of them expensive. Prefixes listed by the tenant are always allowed. A SIP address has no known
price, so its host must be listed.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Literal, NamedTuple

import phonenumbers
from phonenumbers import PhoneNumberType

from vocelio.engine.diagnostics import Diagnostics
from vocelio.gateway.model.tenant import DialRules

RejectionReason = Literal["invalid_number", "premium_rate", "country_not_allowed", "sip_not_allowed"]

ALLOWED_TYPES = (
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.VOIP,
)
PREMIUM_TYPES = {
    PhoneNumberType.PREMIUM_RATE: "a premium-rate number",
    PhoneNumberType.SHARED_COST: "a shared-cost number",
    PhoneNumberType.PERSONAL_NUMBER: "a personal number, which may lead anywhere",
    PhoneNumberType.PAGER: "a pager",
    PhoneNumberType.UAN: "a company number with special rates",
    PhoneNumberType.VOICEMAIL: "a voicemail number",
}
NON_GEOGRAPHIC = "001"  # the library's region for satellites and international services, which are in no country
ALLOWED_SIP_PARAMETERS = ("transport", "region", "edge", "secure")  # Twilio's; `maddr` would route to another host
_PREMIUM_976_PATTERN = re.compile(r"\+1[0-9]{3}976[0-9]{4}")  # premium-rate in every North American area code, like 900

HomeCountries = Collection[str] | None


class Rejection(NamedTuple):
    """Why a destination is not allowed, and what would allow it."""

    reason: RejectionReason
    message: str
    hint: str


class _NumberInfo(NamedTuple):
    country: str  # ISO 3166, NON_GEOGRAPHIC, or empty if unknown
    rejection_reason: Literal["", "invalid_number", "premium_rate"]
    description: str


def check_destination(rules: DialRules, destination: str, home_countries: HomeCountries) -> Rejection | None:
    """Return why a number (E.164) or SIP address is not allowed; None if it is.

    ``home_countries`` apply when the tenant names no countries: that of the called number. None allows any country, for
    settings that are saved before the tenant has a number.
    """
    if is_sip_address(destination):
        return _check_sip_address(rules, destination)
    if any(destination.startswith(prefix) for prefix in rules.allowed_prefixes):
        return None
    info, hint = _get_number_info(destination), "add it, or a prefix of it, to the tenant's `allowed_prefixes`"
    if info.rejection_reason:
        return Rejection(info.rejection_reason, f"{destination} is {info.description}", hint)
    allowed = rules.allowed_countries or home_countries
    if allowed is not None and info.country not in allowed:
        return Rejection(
            "country_not_allowed",
            f"{destination} is in {info.country}",
            f"add {info.country} to the tenant's `allowed_countries`",
        )
    return None


def country_of(number: str) -> str:
    """Return the country (ISO 3166) of a number; empty if it has none."""
    country = _get_number_info(number).country
    return "" if country == NON_GEOGRAPHIC else country


def is_sip_address(destination: str) -> bool:
    """Return whether it is a SIP address and not a number."""
    return destination[:5].lower().startswith(("sip:", "sips:"))


def validate_dial_rules(rules: DialRules, diagnostics: Diagnostics) -> None:
    """Check what the types of the fields cannot express."""
    for place, country in enumerate(rules.allowed_countries):
        if country not in phonenumbers.SUPPORTED_REGIONS:
            message = f"`{country}` is not a country code with telephone numbers"
            diagnostics.unknown_word(
                f"allowed_countries[{place}]",
                "unknown-country",
                message,
                country,
                sorted(phonenumbers.SUPPORTED_REGIONS),
            )
    for place, prefix in enumerate(rules.allowed_prefixes):
        if wrong := _prefix_error(prefix):
            diagnostics.error(f"allowed_prefixes[{place}]", "prefix", *wrong)


def _prefix_error(prefix: str) -> tuple[str, str] | None:
    """Return message and hint for a bad prefix: that of a whole country would allow its premium-rate numbers, too.

    Countries that share +1 are told apart by area code.
    """
    digits = prefix[1:]
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    if NON_GEOGRAPHIC in codes.get(int(digits[:3]), ()):
        return None
    min_length = 4 if digits.startswith("1") else 2
    if len(digits) >= min_length and any(int(digits[:length]) in codes for length in range(1, min(4, len(digits)))):
        return None
    if any(str(code).startswith(digits) for code in codes):
        return (
            f"{prefix} covers one or more whole countries",
            "name countries in `allowed_countries`, and here only what is more",
        )
    return f"no number starts with {prefix}", "a prefix starts with a country code, such as +44"


def _check_sip_address(rules: DialRules, sip_address: str) -> Rejection | None:
    _, _, host_part = sip_address.partition("@")
    address, _, headers = host_part.partition("?")
    authority, *parameters = address.lower().split(";")
    host, _, port = authority.partition(":")
    names = [parameter.partition("=")[0] for parameter in parameters]
    if any(name not in ALLOWED_SIP_PARAMETERS for name in names) or not (port.isdecimal() or not port):
        return Rejection(
            "sip_not_allowed",
            "the address has SIP parameters that could route the call elsewhere",
            f"use {', '.join(ALLOWED_SIP_PARAMETERS)} only",
        )
    if any(not header.lower().startswith("x-") for header in headers.split("&") if header):
        return Rejection(
            "sip_not_allowed", "the address sets standard SIP headers", "only headers that start with X- are allowed"
        )
    if host not in rules.allowed_sip_hosts:
        return Rejection(
            "sip_not_allowed",
            f"{host[:100]} is not an allowed SIP host",
            "add it to the tenant's `allowed_sip_hosts`",
        )
    return None


@lru_cache(maxsize=10_000)
def _get_number_info(number: str) -> _NumberInfo:
    """Classify a number. The first one of a country takes some milliseconds, every other 0.1 ms."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return _NumberInfo("", "invalid_number", "not a dialable number")
    country = phonenumbers.region_code_for_number(parsed) or ""
    number_type = phonenumbers.number_type(parsed)
    if number_type in PREMIUM_TYPES:
        return _NumberInfo(country, "premium_rate", PREMIUM_TYPES[number_type])
    if _PREMIUM_976_PATTERN.fullmatch(number):
        return _NumberInfo(country, "premium_rate", PREMIUM_TYPES[PhoneNumberType.PREMIUM_RATE])
    if NON_GEOGRAPHIC in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ()):
        return _NumberInfo(NON_GEOGRAPHIC, "premium_rate", "a satellite or international service number")
    if number_type not in ALLOWED_TYPES or not country:
        return _NumberInfo(country, "invalid_number", "not a number that is known to exist")
    return _NumberInfo(country, "", "")
