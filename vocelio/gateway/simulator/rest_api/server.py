"""Twilio's REST API on the loopback: accounts with numbers and calls, checked credentials, and trouble to order.

Made from Twilio's documentation of the 2010-04-01 API (https://www.twilio.com/docs/usage/api and the pages that it
leads to), not from what our client sends, so that the two can disagree:

    async with RestApi() as api:
        account = api.account("AC...", "its token")
        account.add("+13072249663", voice_url="https://demo.example/welcome")
        api.trouble(Trouble(429, retry_after=1), times=2)
        ... Rest(api.origin) ...
        assert api.seen[-1].form["VoiceUrl"] == ...

It keeps everything in memory. What real accounts do that it does not: subaccounts reached by their parent's
credentials, API keys (SK...), XML.
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
    """What happens to a request in place of its answer.

    It is answered with ``status`` (and ``code``), or with none its connection is dropped; after ``seconds``. A request
    that is ``done`` is carried out all the same. With ``slow`` the answer is the right one, only late.
    """

    status: int = 0
    code: int = 0
    retry_after_seconds: int | None = None
    delay_seconds: float = 0.0
    is_applied: bool = False
    is_delay_only: bool = False


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in. ``user`` is the account of its credentials, empty without any."""

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
    """The API. ``origin`` is where it listens, once it does."""

    recorded_requests: list[RecordedRequest] = field(default_factory=list)
    origin: str = ""

    def __post_init__(self) -> None:
        self._accounts: dict[str, tuple[str, RestAccount]] = {}
        self._faults: deque[_ActiveFault] = deque()
        self._rng = sids.new_rng()
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    def add_account(self, sid: str, auth_token: str) -> RestAccount:
        """An account with that token; known already, it gets another token and keeps what it has."""
        account = self._accounts[sid][1] if sid in self._accounts else RestAccount(sid, self._rng)
        self._accounts[sid] = auth_token, account
        return account

    def add_fault(self, rule: FaultRule, *, times: int = 1, path: str = "", method: str = "") -> None:
        """Trouble for the next requests: ``times`` of those whose path contains ``path``."""
        self._faults.append(_ActiveFault(rule, times, path, method))

    def clear_faults(self) -> None:
        """No trouble any more."""
        self._faults.clear()

    def find_requests(self, method: str = "", path: str = "") -> list[RecordedRequest]:
        """What came in of that kind."""
        return [one for one in self.recorded_requests if method in ("", one.method) and path in one.path]

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
        trouble = self._next_fault(request)
        if trouble is None:
            return self._respond(request, query, form, user, token)
        if trouble.delay_seconds:
            await self._delay(trouble.delay_seconds)
        answer = (
            self._respond(request, query, form, user, token) if trouble.is_applied or trouble.is_delay_only else None
        )
        if trouble.is_delay_only and answer is not None:
            return answer
        if trouble.status:
            return _error_response(RestError(trouble.status, trouble.code or None), trouble.retry_after_seconds)
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
        for order in self._faults:
            if order.matches(request):
                order.times_left -= 1
                if order.times_left <= 0:
                    self._faults.remove(order)
                return order.rule
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
        """The account of the path, which is that of the credentials. Raises RestError."""
        known = self._accounts.get(user)
        if known is None or known[0] != token:
            raise RestError(401, 20003, "Authenticate")
        if not path.startswith(f"{API_PREFIX}/Accounts/"):
            raise RestError(404, 20404, f"The requested resource {path} was not found")
        if path.removeprefix(f"{API_PREFIX}/Accounts/").partition("/")[0] != user:
            raise RestError(401, 20003, "Authenticate")
        return known[1]


def _basic_credentials(header: str) -> tuple[str, str]:
    """User and password of HTTP's basic authentication; empty where there is none."""
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
