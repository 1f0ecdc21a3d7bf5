"""The Call resource: https://www.twilio.com/docs/voice/api/call-resource."""

import re
from typing import Any

from vocelio.gateway.simulator.rest_api.errors import RestError

FINAL_STATUSES = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
CANCELABLE_STATUSES = frozenset({"queued", "ringing"})
E164_PATTERN = re.compile(r"\+[1-9]\d{6,14}")

_NO_INSTRUCTIONS, _NOT_IN_PROGRESS, _INVALID_TO, _INVALID_FROM = 21205, 21220, 21211, 21212


def new_call(account_sid: str, sid: str, to: str, from_: str, status: str, direction: str) -> dict[str, Any]:
    """Create a call. ``url`` and ``twiml`` are its latest instructions; Twilio's API does not return them."""
    return {
        "sid": sid,
        "account_sid": account_sid,
        "to": to,
        "from": from_,
        "status": status,
        "direction": direction,
        "api_version": "2010-04-01",
        "date_created": "Wed, 15 Nov 2023 10:00:00 +0000",
        "date_updated": "Wed, 15 Nov 2023 10:00:00 +0000",
        "start_time": None,
        "end_time": None,
        "duration": None,
        "price": None,
        "uri": f"/2010-04-01/Accounts/{account_sid}/Calls/{sid}.json",
        "url": "",
        "twiml": "",
    }


def validate_new(form: dict[str, str]) -> None:
    """Validate the form of a new call. Raises RestError."""
    if not E164_PATTERN.fullmatch(form.get("To", "")) and not form.get("To", "").startswith(("sip:", "client:")):
        raise RestError(400, _INVALID_TO, f"Invalid 'To' Phone Number: {form.get('To', '')}")
    if not E164_PATTERN.fullmatch(form.get("From", "")):
        raise RestError(400, _INVALID_FROM, f"Invalid 'From' Phone Number: {form.get('From', '')}")
    if not any(form.get(name) for name in ("Url", "Twiml", "ApplicationSid")):
        raise RestError(400, _NO_INSTRUCTIONS, "Url parameter is required.")


def update(call: dict[str, Any], form: dict[str, str], path: str) -> None:
    """Update a call: end it or give it new instructions. Raises RestError.

    For a call that has ended, ending it is a 404, and new instructions are a 400 ("not in-progress").
    """
    status = form.get("Status", "")
    if status not in ("", "completed", "canceled"):
        raise RestError(400, _NOT_IN_PROGRESS, f"Invalid status: {status}")
    if call["status"] in FINAL_STATUSES:
        if status:
            raise RestError(404, 20404, f"The requested resource {path} was not found")
        raise RestError(400, _NOT_IN_PROGRESS, "Call is not in-progress. Cannot redirect.")
    if status == "completed" or (status == "canceled" and call["status"] in CANCELABLE_STATUSES):
        call["status"] = status
    set_instructions(call, form)


def set_instructions(call: dict[str, Any], form: dict[str, str]) -> None:
    """Set the URL or TwiML that the call continues with."""
    for name, field in (("Url", "url"), ("Twiml", "twiml")):
        if name in form:
            call[field] = form[name]
