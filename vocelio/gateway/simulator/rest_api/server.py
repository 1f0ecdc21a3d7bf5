"""Emulator of Twilio's REST API: accounts with numbers and calls, credential checks, and fault injection.

Written from Twilio's documentation of the 2010-04-01 API (https://www.twilio.com/docs/usage/api and the pages that it
links to), not from the requests of our client, so that tests find differences:

    async with TwilioRestApi() as api:
        account = api.add_account("AC...", "auth token")
        account.add_number("+13072249663", voice_url="https://demo.example/welcome")
        api.add_fault(FaultRule(429, retry_after_seconds=1), times=2)
        ... requests to api.origin ...
        assert api.recorded_requests[-1].form["VoiceUrl"] == ...

All state is in memory. Not supported: subaccounts accessed with their parent's credentials, API keys (SK...), XML.
"""

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.rest_api.account import RestAccount
from vocelio.gateway.simulator.rest_api.errors import RestError

API_PREFIX = "/2010-04-01"


@dataclass(frozen=True, slots=True)
class FaultRule:
    """An injected fault.

    After ``delay_seconds`` the response is ``status`` with ``code``; without a ``status``, the connection is aborted.
    ``is_applied``: the request takes effect nevertheless. ``is_delay_only``: the response is the normal one, but late.
    """

    status: int = 0
    code: int = 0
    retry_after_seconds: int | None = None
    delay_seconds: float = 0.0
    is_applied: bool = False
    is_delay_only: bool = False


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A received request. ``username`` is the account SID of its credentials, empty without credentials."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    user_agent: str
    username: str


@dataclass(slots=True)
class _ActiveFault:
    rule: FaultRule
    times_left: int
    path: str
    method: str

    def matches(self, request: web.Request) -> bool:
        return self.path in request.path and self.method in ("", request.method)


@dataclass
class TwilioRestApi:
    """The emulated API. ``origin`` is set when it listens."""

    recorded_requests: list[RecordedRequest] = field(default_factory=list)
    origin: str = ""

    def __post_init__(self) -> None:
        self._accounts: dict[str, tuple[str, RestAccount]] = {}
        self._faults: deque[_ActiveFault] = deque()
        self._rng = sids.new_rng()
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    def add_account(self, sid: str, auth_token: str) -> RestAccount:
        """Add an account; an existing one gets the new token and keeps its resources."""
        account = self._accounts[sid][1] if sid in self._accounts else RestAccount(sid, self._rng)
        self._accounts[sid] = auth_token, account
        return account

    def add_fault(self, rule: FaultRule, *, times: int = 1, path: str = "", method: str = "") -> None:
        """Inject a fault into the next ``times`` requests whose path contains ``path``."""
        self._faults.append(_ActiveFault(rule, times, path, method))

    def clear_faults(self) -> None:
        self._faults.clear()

    def find_requests(self, method: str = "", path: str = "") -> list[RecordedRequest]:
        """Return the received requests with that method whose path contains ``path``."""
        return [each for each in self.recorded_requests if method in ("", each.method) and path in each.path]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle_request(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        user, token = _basic_credentials(request.headers.get("Authorization", ""))
        query = dict(request.query)
        self.recorded_requests.append(
            RecordedRequest(request.method, request.path, query, form, request.headers.get("User-Agent", ""), user)
        )
        fault = self._next_fault(request)
        if fault is None:
            return self._respond(request, query, form, user, token)
        if fault.delay_seconds:
            await self._delay(fault.delay_seconds)
        response = self._respond(request, query, form, user, token) if fault.is_applied or fault.is_delay_only else None
        if fault.is_delay_only and response is not None:
            return response
        if fault.status:
            return _error_response(RestError(fault.status, fault.code or None), fault.retry_after_seconds)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _delay(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _next_fault(self, request: web.Request) -> FaultRule | None:
        for fault in self._faults:
            if fault.matches(request):
                fault.times_left -= 1
                if fault.times_left <= 0:
                    self._faults.remove(fault)
                return fault.rule
        return None

    def _respond(
        self, request: web.Request, query: dict[str, str], form: dict[str, str], user: str, token: str
    ) -> web.Response:
        try:
            account = self._authenticate(request.path, user, token)
            status, body = account.handle(request.method, request.path, query, form)
        except RestError as error:
            return _error_response(error)
        return web.json_response(body, status=status)

    def _authenticate(self, path: str, user: str, token: str) -> RestAccount:
        """Return the account of the path if the credentials are its own. Raises RestError."""
        entry = self._accounts.get(user)
        if entry is None or entry[0] != token:
            raise RestError(401, 20003, "Authenticate")
        if not path.startswith(f"{API_PREFIX}/Accounts/"):
            raise RestError(404, 20404, f"The requested resource {path} was not found")
        if path.removeprefix(f"{API_PREFIX}/Accounts/").partition("/")[0].removesuffix(".json") != user:
            raise RestError(401, 20003, "Authenticate")
        return entry[1]


def _basic_credentials(header: str) -> tuple[str, str]:
    """Parse HTTP basic authentication into user and password; both are empty if it is missing or invalid."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _error_response(error: RestError, retry_after: int | None = None) -> web.Response:
    headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if error.status == 401 else {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.json_response(error.body(), status=error.status, headers=headers)
