"""The resource IncomingPhoneNumber: https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource."""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from vocelio.gateway.simulator.rest_api.errors import RestError

USUAL_PAGE, LARGEST_PAGE = 50, 1_000
WELCOME = "https://demo.twilio.com/welcome/voice/"  # what a number is set to that was just bought

_URLS: Final = ("VoiceUrl", "VoiceFallbackUrl", "StatusCallback", "SmsUrl", "SmsFallbackUrl")
_METHODS: Final = ("VoiceMethod", "VoiceFallbackMethod", "StatusCallbackMethod", "SmsMethod", "SmsFallbackMethod")
_SIDS: Final = {"VoiceApplicationSid": "AP", "SmsApplicationSid": "AP", "TrunkSid": "TK"}
_OTHERS: Final = {
    "VoiceApplicationSid": "trunk_sid",
    "TrunkSid": "voice_application_sid",
}  # setting one deletes the other
_INVALID_URL, _INVALID_METHOD, _INVALID_SID = 21502, 21503, 20001


def made(account: str, sid: str, number: str) -> dict[str, Any]:
    """A number as it is bought."""
    return {
        "sid": sid,
        "account_sid": account,
        "phone_number": number,
        "friendly_name": number,
        "api_version": "2010-04-01",
        "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
        "date_created": "Wed, 15 Nov 2023 10:00:00 +0000",
        "date_updated": "Wed, 15 Nov 2023 10:00:00 +0000",
        "voice_url": WELCOME,
        "voice_method": "POST",
        "voice_fallback_url": None,
        "voice_fallback_method": "POST",
        "status_callback": "",
        "status_callback_method": "POST",
        "voice_application_sid": "",
        "voice_caller_id_lookup": False,
        "trunk_sid": None,
        "sms_url": "",
        "sms_method": "POST",
        "sms_fallback_url": "",
        "sms_fallback_method": "POST",
        "sms_application_sid": "",
        "origin": "twilio",
        "status": "in-use",
        "uri": f"/2010-04-01/Accounts/{account}/IncomingPhoneNumbers/{sid}.json",
    }


def change(number: dict[str, Any], form: dict[str, str], _: str) -> None:
    """An update: all of it or, when a field cannot be, nothing. Unknown fields are ignored. Raises RestError."""
    for name in _URLS:
        if form.get(name) and not _is_url(form[name]):
            raise RestError(400, _INVALID_URL, f"{name} is not valid: {form[name]}")
    for name in _METHODS:
        if name in form and form[name].upper() not in ("GET", "POST"):
            raise RestError(400, _INVALID_METHOD, f"{name} is not valid: {form[name]}")
    for name, prefix in _SIDS.items():
        if form.get(name) and not re.fullmatch(prefix + "[0-9a-f]{32}", form[name]):
            raise RestError(400, _INVALID_SID, f"{name} is not valid: {form[name]}")
    for name in (*_URLS, *_METHODS, *_SIDS, "FriendlyName"):
        if name in form:
            number[_field(name)] = form[name].upper() if name in _METHODS else form[name]
            if form[name] and name in _OTHERS:
                number[_OTHERS[name]] = None
    number["date_updated"] = "Wed, 15 Nov 2023 11:00:00 +0000"


def page(numbers: Sequence[dict[str, Any]], path: str, query: dict[str, str]) -> dict[str, Any]:
    """A page of those that the filters find. Raises RestError."""
    size, place = _integer(query, "PageSize", USUAL_PAGE), _integer(query, "Page", 0)
    if not 1 <= size <= LARGEST_PAGE:
        raise RestError(400, message=f"Page size must be between 1 and {LARGEST_PAGE}")
    found = [one for one in numbers if _is_wanted(one, query)]
    start, shown = place * size, found[place * size : (place + 1) * size]
    more = start + size < len(found)
    return {
        "incoming_phone_numbers": shown,
        "page": place,
        "page_size": size,
        "start": start,
        "end": start + len(shown) - 1 if shown else start,
        "uri": _uri(path, query, size, place),
        "first_page_uri": _uri(path, query, size, 0),
        "previous_page_uri": _uri(path, query, size, place - 1) if place else None,
        "next_page_uri": _uri(path, query, size, place + 1, shown[-1]["sid"]) if more else None,
    }


def _is_wanted(number: dict[str, Any], query: dict[str, str]) -> bool:
    """A number is found by a part of it, too, in which `*` stands for any digit; a name by all of it."""
    if "FriendlyName" in query and number["friendly_name"] != query["FriendlyName"]:
        return False
    wanted = re.escape(query.get("PhoneNumber", "").lstrip("+")).replace(r"\*", r"\d")
    return re.search(wanted, number["phone_number"]) is not None


def _uri(path: str, query: dict[str, str], size: int, place: int, behind: str = "") -> str:
    token = {"PageToken": f"PA{behind}"} if behind else {}
    return f"{path}?{urlencode({**query, 'PageSize': size, 'Page': place, **token})}"


def _integer(query: dict[str, str], name: str, usual: int) -> int:
    text = query.get(name, str(usual))
    if not text.isdecimal():
        raise RestError(400, message=f"{name} is not a number")
    return int(text)


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _field(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
