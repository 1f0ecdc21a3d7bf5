"""The control API, as the commands use it: the key is in the environment, never on the command line."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import typer

from vocelio.gateway.cli import common
from vocelio.gateway.errors import GatewayError

TenantOption = Annotated[str, typer.Option("--tenant", help="The tenant, where the key is a platform key.")]

REQUEST_TIMEOUT_SECONDS = 30.0


class ApiClientError(GatewayError):
    """The API's answer was a problem, or none came."""


class ApiResponse(msgspec.Struct, frozen=True):
    """``etag`` is the revision to give as If-Match."""

    status: int
    body: bytes
    etag: str = ""

    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.body)


class ApiClient:
    """One server's API with the environment's key. Raises ApiError when there is none."""

    def __init__(self, server: str, tenant: str = "") -> None:
        key, server = common.read_settings().api_key, common.base_url(server)
        if not key:
            raise ApiClientError("this needs an API key in VOCELIO_KEY: `vocelio key create` makes the first one")
        self._base_url = server
        self._headers = {"Authorization": f"Bearer {key}", **({"Vocelio-Tenant": tenant} if tenant else {})}

    def request(
        self, method: str, path: str, body: Any = None, *, etag: str = "", allowed_statuses: tuple[int, ...] = ()
    ) -> ApiResponse:
        """The answer. Raises ApiError for a problem, but for a status that is ``accept``-ed."""
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        answer = asyncio.run(self._send(method, path, raw, etag))
        if answer.status >= HTTPStatus.BAD_REQUEST and answer.status not in allowed_statuses:
            raise ApiClientError(_error_message(answer))
        return answer

    async def _send(self, method: str, path: str, body: bytes | None, etag: str) -> ApiResponse:
        import aiohttp  # here: a third of a second, and who validates a flow asks nobody

        headers = {**self._headers, **({"If-Match": etag} if etag else {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self._base_url + path, data=body, headers=headers) as answer,
            ):
                return ApiResponse(answer.status, await answer.read(), answer.headers.get("ETag", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiClientError(f"no answer from {self._base_url}: {error or 'it took too long'}") from error


def _error_message(response: ApiResponse) -> str:
    try:
        problem = response.json()
        lines = [f"{problem['title']}: {problem['detail']}"]
        for error in problem.get("errors", ()):
            hint = f" ({error['hint']})" if error.get("hint") else ""
            lines.append(f"  {error['path'] or 'document'}: {error['message']}{hint}")
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered {response.status} with something that is not of this API"
    return "\n".join(lines)
