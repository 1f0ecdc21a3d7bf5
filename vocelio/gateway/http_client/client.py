"""Executes HTTP requests of flows, with bounded attempts, redirects and response sizes.

Every attempt has its own timeout and the same Idempotency-Key. Only failures that may be temporary are retried: no
connection, a timeout, a server error. A redirect target is checked like the first address, and the flow's headers are
never sent to another origin.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
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
    check_host,
    is_public,
)

MAX_BODY_BYTES = 262_144  # of a response; a flow extracts a few values from it
MAX_REDIRECTS = 5
MAX_CONNECTIONS = 200  # of the whole process
BACKOFF = Backoff(initial_seconds=0.3, max_seconds=2.0)  # between attempts
RETRY_STATUSES = (429, 500, 502, 503, 504)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)


class HttpResult(msgspec.Struct, frozen=True):
    """Result of a request. ``error`` is for the flow's author; it contains no secrets and no headers."""

    outcome: Literal["ok", "error", "timeout"]
    status: int = 0
    body: object = None
    error: str = ""


class HttpClient:
    """Executes the requests of all calls of a process."""

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
        """Execute a request with these headers, which may contain secrets. Never raises, except when canceled."""
        result = HttpResult("error")
        for attempt in range(request.retries + 1):
            if attempt:
                await asyncio.sleep(BACKOFF.delay_seconds(attempt))
            result, retryable = await self._attempt(request, headers)
            if not retryable:
                break
        return result

    async def _attempt(self, request: Request, headers: Mapping[str, str]) -> tuple[HttpResult, bool]:
        try:
            async with asyncio.timeout(request.timeout_seconds):
                result = await self._follow_redirects(request, {**headers, "Idempotency-Key": request.idempotency_key})
            return result, result.status in RETRY_STATUSES
        except TimeoutError:
            return HttpResult("timeout", error=f"no response within {request.timeout_seconds:g} s"), True
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
                method, json = "GET", None  # RFC 9110, 15.4: what browsers and clients do
            url = target
        return HttpResult("error", error=f"more than {MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, url: URL, headers: Mapping[str, str], json: object
    ) -> AbstractAsyncContextManager[ClientResponse]:
        check_host(url.raw_host or "", self._policy)  # the resolver is not called for addresses
        body = None if json is None else msgspec.json.encode(json)
        content_type = {} if json is None else {"Content-Type": "application/json"}
        return self._get_session().request(
            method,
            url,
            data=body,
            headers={"Accept": "application/json", **content_type, **headers},
            allow_redirects=False,
        )

    def _get_session(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(
                resolver=PublicResolver(self._policy), use_dns_cache=False, limit=MAX_CONNECTIONS, force_close=True
            )
            # No cookies, proxy or credentials of this machine: a request has only what the flow document says.
            self._session = ClientSession(
                connector=connector, cookie_jar=DummyCookieJar(), trust_env=False, timeout=ClientTimeout(total=None)
            )
        return self._session


async def _read_result(response: ClientResponse) -> HttpResult:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return HttpResult("error", response.status, error=f"the response is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        decoded = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        decoded = None
    return HttpResult("ok" if response.status < 400 else "error", response.status, decoded)


def masked_url(url: str) -> str:
    """Remove user, password, query and fragment, which may contain secrets."""
    try:
        return str(URL(url).with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "not a URL"


def _require_http(url: URL) -> URL:
    if url.scheme not in ("http", "https") or not url.host:
        raise AddressNotAllowed(f"`{url.scheme}` URLs are not supported; use http or https")
    return url
