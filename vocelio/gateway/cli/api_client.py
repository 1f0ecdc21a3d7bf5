"""Client of the control API for commands. The API key is read from the environment, never from the command line."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import typer

from vocelio.gateway.cli import common
from vocelio.gateway.errors import GatewayError

TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant to act on; needed with a platform key.")]

REQUEST_TIMEOUT_SECONDS = 30.0


class ApiClientError(GatewayError):
    """The API responded with an error, or not at all."""


class ApiResponse(msgspec.Struct, frozen=True):
    """``etag`` is the revision to send as If-Match."""

    status: int
    body: bytes
    etag: str = ""

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class ApiClient:
    """The API of one server. Raises ApiClientError if there is no API key."""

    def __init__(self, server: str, tenant: str = "") -> None:
        key, server = common.read_settings().api_key, common.base_url(server)
        if not key:
            raise ApiClientError("VOCELIO_KEY is not set: create an API key with `vocelio key create`")
        self._base_url = server
        self._headers = {"Authorization": f"Bearer {key}", **({"Vocelio-Tenant": tenant} if tenant else {})}

    def request(
        self, method: str, path: str, body: Any = None, *, etag: str = "", allowed_statuses: tuple[int, ...] = ()
    ) -> ApiResponse:
        """Send a request. Raises ApiClientError for an error status, unless it is in ``allowed_statuses``."""
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        response = asyncio.run(self._send(method, path, raw, etag))
        if response.status >= HTTPStatus.BAD_REQUEST and response.status not in allowed_statuses:
            raise ApiClientError(_error_message(response))
        return response

    async def _send(self, method: str, path: str, body: bytes | None, etag: str) -> ApiResponse:
        import aiohttp  # here: it takes a third of a second, and `flow validate` needs no server

        headers = {**self._headers, **({"If-Match": etag} if etag else {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self._base_url + path, data=body, headers=headers) as response,
            ):
                return ApiResponse(response.status, await response.read(), response.headers.get("ETag", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiClientError(f"no response from {self._base_url}: {error or 'timeout'}") from error


def _error_message(response: ApiResponse) -> str:
    try:
        problem = response.json()
        lines = [f"{problem['title']}: {problem['detail']}"]
        for error in problem.get("errors", ()):
            hint = f" ({error['hint']})" if error.get("hint") else ""
            lines.append(f"  {error['path'] or 'document'}: {error['message']}{hint}")
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"unexpected response from the server: status {response.status} without problem details"
    return "\n".join(lines)
