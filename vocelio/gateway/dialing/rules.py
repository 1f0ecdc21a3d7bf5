"""Whom calls may be put through to: the rules against toll fraud, as pure functions.

Who can make a gateway dial can make money with it: by a premium-rate number of their own, or a share in what calls
into a small country's network cost. So a number is rung only if it is an ordinary one (fixed, mobile, toll-free,
VoIP), exists as far as is known, and is in a country that the tenant calls; its country is told from the whole
number, since +1 alone leads to 25 of them and some of these are dear. What is listed by prefix is always allowed.
A SIP address is no number with a known price, so its host must be listed.
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
    PhoneNumberType.PERSONAL_NUMBER: "a personal number, which leads anywhere",
    PhoneNumberType.PAGER: "a pager",
    PhoneNumberType.UAN: "a company's number with a price of its own",
    PhoneNumberType.VOICEMAIL: "a mailbox",
}
NON_GEOGRAPHIC = "001"  # the library's region of what belongs to no country: satellites, international services
ALLOWED_SIP_PARAMETERS = ("transport", "region", "edge", "secure")  # Twilio's; `maddr` would lead to another host
_PREMIUM_976_PATTERN = re.compile(r"\+1[0-9]{3}976[0-9]{4}")  # premium in every North American area, as 900 is

HomeCountries = Collection[str] | None


class Rejection(NamedTuple):
    """Why a destination is not rung, in a word and in a sentence, and what would allow it."""

    reason: RejectionReason
    message: str
    hint: str


class _NumberInfo(NamedTuple):
    country: str  # ISO; NOWHERE; empty when it is not known
    rejection_reason: Literal["", "invalid_number", "premium_rate"]
    description: str


def check_destination(rules: DialRules, destination: str, home_countries: HomeCountries) -> Rejection | None:
    """Why a number (E.164) or a SIP address is not to be rung; None when it may be.

    ``home`` are the countries that are meant when the tenant names none: that of the number called. None is for
    settings that are made before there is such a number: then any country may be meant.
    """
    if is_sip_address(destination):
        return _check_sip_address(rules, destination)
    if any(destination.startswith(prefix) for prefix in rules.allowed_prefixes):
        return None
    facts, hint = _get_number_info(destination), "add it, or how it begins, to the tenant's `allowed_prefixes`"
    if facts.rejection_reason:
        return Rejection(facts.rejection_reason, f"{destination} is {facts.description}", hint)
    allowed = rules.allowed_countries or home_countries
    if allowed is not None and facts.country not in allowed:
        return Rejection(
            "country_not_allowed",
            f"{destination} is in {facts.country}",
            f"add {facts.country} to the tenant's `allowed_countries`",
        )
    return None


def country_of(number: str) -> str:
    """The country (ISO 3166) in which a number is; empty when it is in none."""
    found = _get_number_info(number).country
    return "" if found == NON_GEOGRAPHIC else found


def is_sip_address(destination: str) -> bool:
    """Whether it is an address, not a number."""
    return destination[:5].lower().startswith(("sip:", "sips:"))


def validate_dial_rules(rules: DialRules, diagnostics: Diagnostics) -> None:
    """What the fields' types cannot say."""
    for place, country in enumerate(rules.allowed_countries):
        if country not in phonenumbers.SUPPORTED_REGIONS:
            message = f"there is no country {country} with telephones"
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
    """A whole country's prefix would let its premium numbers in; those that share +1 are told apart by area."""
    figures = prefix[1:]
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    if NON_GEOGRAPHIC in codes.get(int(figures[:3]), ()):
        return None
    shortest = 4 if figures.startswith("1") else 2
    if len(figures) >= shortest and any(int(figures[:length]) in codes for length in range(1, min(4, len(figures)))):
        return None
    if any(str(code).startswith(figures) for code in codes):
        return (
            f"{prefix} is a whole country, or several",
            "name countries in `allowed_countries`, and here only what is more",
        )
    return f"no number begins with {prefix}", "a prefix begins with a country's code, such as +44"


def _check_sip_address(rules: DialRules, sip_address: str) -> Rejection | None:
    _, _, where = sip_address.partition("@")
    address, _, headers = where.partition("?")
    authority, *parameters = address.lower().split(";")
    host, _, port = authority.partition(":")
    names = [parameter.partition("=")[0] for parameter in parameters]
    if any(name not in ALLOWED_SIP_PARAMETERS for name in names) or not (port.isdecimal() or not port):
        return Rejection(
            "sip_not_allowed",
            "it has SIP parameters that could lead elsewhere",
            f"use {', '.join(ALLOWED_SIP_PARAMETERS)} only",
        )
    if any(not header.lower().startswith("x-") for header in headers.split("&") if header):
        return Rejection("sip_not_allowed", "it sets headers of SIP's own", "headers begin with X-")
    if host not in rules.allowed_sip_hosts:
        return Rejection(
            "sip_not_allowed",
            f"{host[:100]} is none of the hosts allowed",
            "add it to the tenant's `allowed_sip_hosts`",
        )
    return None


@lru_cache(maxsize=10_000)
def _get_number_info(number: str) -> _NumberInfo:
    """The first of a country takes some milliseconds, every other number a tenth of one."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return _NumberInfo("", "invalid_number", "no number that can be rung")
    where = phonenumbers.region_code_for_number(parsed) or ""
    kind = phonenumbers.number_type(parsed)
    if kind in PREMIUM_TYPES:
        return _NumberInfo(where, "premium_rate", PREMIUM_TYPES[kind])
    if _PREMIUM_976_PATTERN.fullmatch(number):
        return _NumberInfo(where, "premium_rate", PREMIUM_TYPES[PhoneNumberType.PREMIUM_RATE])
    if NON_GEOGRAPHIC in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ()):
        return _NumberInfo(NON_GEOGRAPHIC, "premium_rate", "a satellite's or an international service's")
    if kind not in ALLOWED_TYPES or not where:
        return _NumberInfo(where, "invalid_number", "no number that is known to exist")
    return _NumberInfo(where, "", "")
