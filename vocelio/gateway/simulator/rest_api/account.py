"""One account of the emulated REST API: its resources, and the routing of paths to them."""

import random
import re
from typing import Any

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.rest_api import calls, numbers
from vocelio.gateway.simulator.rest_api.errors import RestError

_ACCOUNT_PATH_PATTERN = re.compile(r"/2010-04-01/Accounts/AC[0-9a-f]{32}\.json")
_PATH_PATTERN = re.compile(
    r"/2010-04-01/Accounts/AC[0-9a-f]{32}/(IncomingPhoneNumbers|Calls)(?:/([A-Z]{2}[0-9a-f]{32}))?\.json"
)


class RestAccount:
    """Account with its numbers and calls by SID, as JSON objects of the API."""

    def __init__(self, sid: str, rng: random.Random) -> None:
        self.sid, self._rng = sid, rng
        self.status = "active"  # or "suspended", "closed"
        self.numbers: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}

    def add_number(self, number: str, **fields: str) -> dict[str, Any]:
        """Add a number (E.164) with the configuration of a new one; ``fields`` override it by their API names."""
        resource = numbers.new_number(self.sid, sids.new_sid("PN", self._rng), number) | fields
        self.numbers[resource["sid"]] = resource
        return resource

    def get_number(self, number: str) -> dict[str, Any]:
        """Return the number's resource. Raises KeyError."""
        for resource in self.numbers.values():
            if resource["phone_number"] == number:
                return resource
        raise KeyError(number)

    def delete_number(self, number: str) -> None:
        """Remove the number from the account. Raises KeyError."""
        del self.numbers[self.get_number(number)["sid"]]

    def add_call(self, to: str, from_: str, status: str = "in-progress", direction: str = "inbound") -> dict[str, Any]:
        """Add a call to the account."""
        resource = calls.new_call(self.sid, sids.new_sid("CA", self._rng), to, from_, status, direction)
        self.calls[resource["sid"]] = resource
        return resource

    def handle(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> tuple[int, Any]:
        """Return status and body of the response. Raises RestError."""
        if _ACCOUNT_PATH_PATTERN.fullmatch(path):
            return self._get_account(method)
        match = _PATH_PATTERN.fullmatch(path)
        if match is None:
            raise _not_found(path)
        kind, sid = match[1], match[2]
        if sid is None:
            return self._handle_collection(kind, method, path, query, form)
        resources = self.numbers if kind == "IncomingPhoneNumbers" else self.calls
        if sid not in resources:
            raise _not_found(path)
        if method == "POST":
            (numbers if kind == "IncomingPhoneNumbers" else calls).update(resources[sid], form, path)
        elif method != "GET":
            raise RestError(405)
        return 200, resources[sid]

    def _get_account(self, method: str) -> tuple[int, dict[str, Any]]:
        """Return the Account resource: https://www.twilio.com/docs/iam/api/account."""
        if method != "GET":
            raise RestError(405)
        uri = f"/2010-04-01/Accounts/{self.sid}"
        return 200, {
            "sid": self.sid,
            "owner_account_sid": self.sid,  # a parent account
            "friendly_name": "An account",
            "status": self.status,
            "type": "Full",
            "date_created": "Wed, 15 Nov 2023 10:00:00 +0000",
            "date_updated": "Wed, 15 Nov 2023 10:00:00 +0000",
            "subresource_uris": {
                "calls": f"{uri}/Calls.json",
                "incoming_phone_numbers": f"{uri}/IncomingPhoneNumbers.json",
            },
            "uri": f"{uri}.json",
        }

    def _handle_collection(
        self, kind: str, method: str, path: str, query: dict[str, str], form: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        if kind == "Calls" and method == "POST":
            return 201, self._create_call(form)
        if kind == "IncomingPhoneNumbers" and method == "GET":
            return 200, numbers.list_page([*self.numbers.values()], path, query)
        raise RestError(405)

    def _create_call(self, form: dict[str, str]) -> dict[str, Any]:
        calls.validate_new(form)
        resource = self.add_call(form["To"], form["From"], "queued", "outbound-api")
        calls.set_instructions(resource, form)
        return resource


def _not_found(path: str) -> RestError:
    return RestError(404, 20404, f"The requested resource {path} was not found")
