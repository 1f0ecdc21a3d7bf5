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

from vocelio.engine.diagnostics import Report
from vocelio.gateway.model.tenant import Reach

Reason = Literal["impossible", "costly", "country", "sip"]

ORDINARY = (
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.VOIP,
)
DEAR = {
    PhoneNumberType.PREMIUM_RATE: "a premium-rate number",
    PhoneNumberType.SHARED_COST: "a shared-cost number",
    PhoneNumberType.PERSONAL_NUMBER: "a personal number, which leads anywhere",
    PhoneNumberType.PAGER: "a pager",
    PhoneNumberType.UAN: "a company's number with a price of its own",
    PhoneNumberType.VOICEMAIL: "a mailbox",
}
NOWHERE = "001"  # the library's region of what belongs to no country: satellites, international services
SIP_PARAMETERS = ("transport", "region", "edge", "secure")  # Twilio's; `maddr` would lead to another host
_976 = re.compile(r"\+1[0-9]{3}976[0-9]{4}")  # premium in every North American area, as 900 is

Home = Collection[str] | None


class Refused(NamedTuple):
    """Why a destination is not rung, in a word and in a sentence, and what would allow it."""

    reason: Reason
    message: str
    hint: str


class _Facts(NamedTuple):
    region: str  # ISO; NOWHERE; empty when it is not known
    wrong: Literal["", "impossible", "costly"]
    kind: str


def refused(reach: Reach, target: str, home: Home) -> Refused | None:
    """Why a number (E.164) or a SIP address is not to be rung; None when it may be.

    ``home`` are the countries that are meant when the tenant names none: that of the number called. None is for
    settings that are made before there is such a number: then any country may be meant.
    """
    if is_sip(target):
        return _refused_sip(reach, target)
    if any(target.startswith(prefix) for prefix in reach.destinations):
        return None
    facts, hint = _facts(target), "add it, or how it begins, to the tenant's `destinations`"
    if facts.wrong:
        return Refused(facts.wrong, f"{target} is {facts.kind}", hint)
    allowed = reach.countries or home
    if allowed is not None and facts.region not in allowed:
        return Refused("country", f"{target} is in {facts.region}", f"add {facts.region} to the tenant's `countries`")
    return None


def region(number: str) -> str:
    """The country (ISO 3166) in which a number is; empty when it is in none."""
    found = _facts(number).region
    return "" if found == NOWHERE else found


def is_sip(target: str) -> bool:
    """Whether it is an address, not a number."""
    return target[:5].lower().startswith(("sip:", "sips:"))


def check(reach: Reach, report: Report) -> None:
    """What the fields' types cannot say."""
    for place, country in enumerate(reach.countries):
        if country not in phonenumbers.SUPPORTED_REGIONS:
            message = f"there is no country {country} with telephones"
            report.unknown(
                f"countries[{place}]", "unknown-country", message, country, sorted(phonenumbers.SUPPORTED_REGIONS)
            )
    for place, prefix in enumerate(reach.destinations):
        if wrong := _too_wide(prefix):
            report.error(f"destinations[{place}]", "prefix", *wrong)


def _too_wide(prefix: str) -> tuple[str, str] | None:
    """A whole country's prefix would let its premium numbers in; those that share +1 are told apart by area."""
    figures = prefix[1:]
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    if NOWHERE in codes.get(int(figures[:3]), ()):
        return None
    shortest = 4 if figures.startswith("1") else 2
    if len(figures) >= shortest and any(int(figures[:length]) in codes for length in range(1, min(4, len(figures)))):
        return None
    if any(str(code).startswith(figures) for code in codes):
        return f"{prefix} is a whole country, or several", "name countries in `countries`, and here only what is more"
    return f"no number begins with {prefix}", "a prefix begins with a country's code, such as +44"


def _refused_sip(reach: Reach, target: str) -> Refused | None:
    _, _, where = target.partition("@")
    address, _, headers = where.partition("?")
    authority, *parameters = address.lower().split(";")
    host, _, port = authority.partition(":")
    names = [parameter.partition("=")[0] for parameter in parameters]
    if any(name not in SIP_PARAMETERS for name in names) or not (port.isdecimal() or not port):
        return Refused(
            "sip", "it has SIP parameters that could lead elsewhere", f"use {', '.join(SIP_PARAMETERS)} only"
        )
    if any(not header.lower().startswith("x-") for header in headers.split("&") if header):
        return Refused("sip", "it sets headers of SIP's own", "headers begin with X-")
    if host not in reach.sip_hosts:
        return Refused("sip", f"{host[:100]} is none of the hosts allowed", "add it to the tenant's `sip_hosts`")
    return None


@lru_cache(maxsize=10_000)
def _facts(number: str) -> _Facts:
    """The first of a country takes some milliseconds, every other number a tenth of one."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return _Facts("", "impossible", "no number that can be rung")
    where = phonenumbers.region_code_for_number(parsed) or ""
    kind = phonenumbers.number_type(parsed)
    if kind in DEAR:
        return _Facts(where, "costly", DEAR[kind])
    if _976.fullmatch(number):
        return _Facts(where, "costly", DEAR[PhoneNumberType.PREMIUM_RATE])
    if NOWHERE in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ()):
        return _Facts(NOWHERE, "costly", "a satellite's or an international service's")
    if kind not in ORDINARY or not where:
        return _Facts(where, "impossible", "no number that is known to exist")
    return _Facts(where, "", "")
