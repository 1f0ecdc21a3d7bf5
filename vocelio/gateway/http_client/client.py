"""Carrying out a flow's request: tries, redirects and the size of the answer are all bounded.

Each try has its own ``timeout`` and the same Idempotency-Key. Only what may do better the next time is tried
again: no connection, no answer in time, a server in trouble. A redirect is followed only after the same check
as the first address, and takes no header of the flow to another host.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address
from types import TracebackType
from typing import Literal, Self

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from vocelio.engine.actions import Request
from vocelio.gateway.aio.backoff import Backoff
from vocelio.gateway.http_client.address_policy import (
    AddressNotAllowed,
    AddressPolicy,
    PublicResolver,
    check_address,
    is_public,
)

MAX_BODY_BYTES = 262_144  # bytes of an answer: a flow takes a few values out of it
MAX_REDIRECTS = 5
MAX_CONNECTIONS = 200  # at once, of the whole process
BACKOFF = Backoff(initial_seconds=0.3, max_seconds=2.0)  # between attempts
RETRY_STATUSES = (429, 500, 502, 503, 504)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)


class HttpResult(msgspec.Struct, frozen=True):
    """What came of a request. ``problem`` is for the flow's author; it holds no secret and no header."""

    outcome: Literal["ok", "error", "timeout"]
    status: int = 0
    body: object = None
    error: str = ""


class HttpClient:
    """Makes the requests of all calls of a process."""

    def __init__(self, policy: AddressPolicy = is_public) -> None:
        self._policy = policy
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session:
            await self._session.close()
            self._session = None

    async def fetch(self, request: Request, headers: Mapping[str, str]) -> HttpResult:
        """Make the request with those headers, secrets and all. Never raises but when cancelled."""
        reply = HttpResult("error")
        for attempt in range(request.retries + 1):
            if attempt:
                await asyncio.sleep(BACKOFF.delay_seconds(attempt))
            reply, again = await self._attempt(request, headers)
            if not again:
                break
        return reply

    async def _attempt(self, request: Request, headers: Mapping[str, str]) -> tuple[HttpResult, bool]:
        try:
            async with asyncio.timeout(request.timeout_seconds):
                reply = await self._follow_redirects(request, {**headers, "Idempotency-Key": request.idempotency_key})
            return reply, reply.status in RETRY_STATUSES
        except TimeoutError:
            return HttpResult("timeout", error=f"no answer within {request.timeout_seconds:g} s"), True
        except AddressNotAllowed as error:
            return HttpResult("error", error=str(error)), False
        except (ClientError, OSError, ValueError) as error:
            return HttpResult("error", error=f"no connection: {type(error).__name__}"), True

    async def _follow_redirects(self, request: Request, headers: Mapping[str, str]) -> HttpResult:
        url, method, json = _require_http(URL(request.url)), request.method, request.json
        for _ in range(MAX_REDIRECTS + 1):
            async with self._send(method, url, headers, json) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECT_STATUSES or not location:
                    return await _read_result(response)
            target = _require_http(url.join(URL(location)))
            if target.origin() != url.origin():
                headers = {"Idempotency-Key": request.idempotency_key}
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, json = "GET", None  # RFC 9110, 15.4: so do browsers and clients
            url = target
        return HttpResult("error", error=f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, url: URL, headers: Mapping[str, str], json: object
    ) -> AbstractAsyncContextManager[ClientResponse]:
        host = url.host or ""
        if _is_ip_address(host):  # which the resolver is never asked for
            check_address(host, host, self._policy)
        body = None if json is None else msgspec.json.encode(json)
        kind = {} if json is None else {"Content-Type": "application/json"}
        return self._get_session().request(
            method, url, data=body, headers={"Accept": "application/json", **kind, **headers}, allow_redirects=False
        )

    def _get_session(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(
                resolver=PublicResolver(self._policy), use_dns_cache=False, limit=MAX_CONNECTIONS, force_close=True
            )
            # No cookies, no proxy, no credentials of this machine: a flow has only what its document says.
            self._session = ClientSession(
                connector=connector, cookie_jar=DummyCookieJar(), trust_env=False, timeout=ClientTimeout(total=None)
            )
        return self._session


async def _read_result(response: ClientResponse) -> HttpResult:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return HttpResult("error", response.status, error=f"the answer is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        decoded = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        decoded = None
    return HttpResult("ok" if response.status < 400 else "error", response.status, decoded)


def masked_url(url: str) -> str:
    """The URL as it may be shown: without user, password, query and fragment, where secrets stand."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "not a URL"


def _require_http(url: URL) -> URL:
    if url.scheme not in ("http", "https") or not url.host:
        raise AddressNotAllowed(f"`{url.scheme}` is not a way to ask another system")
    return url


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
