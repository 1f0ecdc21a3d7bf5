"""The IncomingPhoneNumber resource: https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource."""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from vocelio.gateway.simulator.rest_api.errors import RestError

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1_000
DEFAULT_VOICE_URL = "https://demo.twilio.com/welcome/voice/"  # of a new number

_URL_FIELDS: Final = ("VoiceUrl", "VoiceFallbackUrl", "StatusCallback", "SmsUrl", "SmsFallbackUrl")
_METHOD_FIELDS: Final = ("VoiceMethod", "VoiceFallbackMethod", "StatusCallbackMethod", "SmsMethod", "SmsFallbackMethod")
_SID_PREFIXES: Final = {"VoiceApplicationSid": "AP", "SmsApplicationSid": "AP", "TrunkSid": "TK"}
_EXCLUSIVE_FIELDS: Final = {
    "VoiceApplicationSid": "trunk_sid",
    "TrunkSid": "voice_application_sid",
}  # setting one deletes the other
_INVALID_URL, _INVALID_METHOD, _INVALID_SID = 21502, 21503, 20001


def new_number(account_sid: str, sid: str, number: str) -> dict[str, Any]:
    """Create a number with the configuration of a new one."""
    return {
        "sid": sid,
        "account_sid": account_sid,
        "phone_number": number,
        "friendly_name": number,
        "api_version": "2010-04-01",
        "capabilities": {"voice": True, "sms": True, "mms": False, "fax": False},
        "date_created": "Wed, 15 Nov 2023 10:00:00 +0000",
        "date_updated": "Wed, 15 Nov 2023 10:00:00 +0000",
        "voice_url": DEFAULT_VOICE_URL,
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
        "uri": f"/2010-04-01/Accounts/{account_sid}/IncomingPhoneNumbers/{sid}.json",
    }


def update(number: dict[str, Any], form: dict[str, str], _: str) -> None:
    """Update a number; if a field is invalid, nothing is changed. Unknown fields are ignored. Raises RestError."""
    for name in _URL_FIELDS:
        if form.get(name) and not _is_url(form[name]):
            raise RestError(400, _INVALID_URL, f"{name} is not valid: {form[name]}")
    for name in _METHOD_FIELDS:
        if name in form and form[name].upper() not in ("GET", "POST"):
            raise RestError(400, _INVALID_METHOD, f"{name} is not valid: {form[name]}")
    for name, prefix in _SID_PREFIXES.items():
        if form.get(name) and not re.fullmatch(prefix + "[0-9a-f]{32}", form[name]):
            raise RestError(400, _INVALID_SID, f"{name} is not valid: {form[name]}")
    for name in (*_URL_FIELDS, *_METHOD_FIELDS, *_SID_PREFIXES, "FriendlyName"):
        if name in form:
            number[_to_snake_case(name)] = form[name].upper() if name in _METHOD_FIELDS else form[name]
            if form[name] and name in _EXCLUSIVE_FIELDS:
                number[_EXCLUSIVE_FIELDS[name]] = None
    number["date_updated"] = "Wed, 15 Nov 2023 11:00:00 +0000"


def list_page(numbers: Sequence[dict[str, Any]], path: str, query: dict[str, str]) -> dict[str, Any]:
    """Return a page of the numbers that match the filters. Raises RestError."""
    size, page = _parse_int(query, "PageSize", DEFAULT_PAGE_SIZE), _parse_int(query, "Page", 0)
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise RestError(400, message=f"Page size must be between 1 and {MAX_PAGE_SIZE}")
    matching = [number for number in numbers if _matches(number, query)]
    start, items = page * size, matching[page * size : (page + 1) * size]
    has_more = start + size < len(matching)
    return {
        "incoming_phone_numbers": items,
        "page": page,
        "page_size": size,
        "start": start,
        "end": start + len(items) - 1 if items else start,
        "uri": _page_uri(path, query, size, page),
        "first_page_uri": _page_uri(path, query, size, 0),
        "previous_page_uri": _page_uri(path, query, size, page - 1) if page else None,
        "next_page_uri": _page_uri(path, query, size, page + 1, items[-1]["sid"]) if has_more else None,
    }


def _matches(number: dict[str, Any], query: dict[str, str]) -> bool:
    """Return whether a number matches: PhoneNumber is a substring with `*` for any digit, FriendlyName is exact."""
    if "FriendlyName" in query and number["friendly_name"] != query["FriendlyName"]:
        return False
    pattern = re.escape(query.get("PhoneNumber", "").lstrip("+")).replace(r"\*", r"\d")
    return re.search(pattern, number["phone_number"]) is not None


def _page_uri(path: str, query: dict[str, str], size: int, page: int, after_sid: str = "") -> str:
    token = {"PageToken": f"PA{after_sid}"} if after_sid else {}
    return f"{path}?{urlencode({**query, 'PageSize': size, 'Page': page, **token})}"


def _parse_int(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise RestError(400, message=f"{name} is not a number")
    return int(text)


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
