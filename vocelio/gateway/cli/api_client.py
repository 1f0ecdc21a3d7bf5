"""The control API, as the commands use it: the key is in the environment, never on the command line."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import typer

from vocelio.gateway.cli import common
from vocelio.gateway.errors import GatewayError

TenantName = Annotated[str, typer.Option("--tenant", help="The tenant, where the key is a platform key.")]

SECONDS = 30.0


class ApiError(GatewayError):
    """The API's answer was a problem, or none came."""


class Answer(msgspec.Struct, frozen=True):
    """``etag`` is the revision to give as If-Match."""

    status: int
    body: bytes
    etag: str = ""

    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.body)


class Api:
    """One server's API with the environment's key. Raises ApiError when there is none."""

    def __init__(self, server: str, tenant: str = "") -> None:
        key, server = common.settings().key, common.address(server)
        if not key:
            raise ApiError("this needs an API key in VOCELIO_KEY: `vocelio key create` makes the first one")
        self._server = server
        self._headers = {"Authorization": f"Bearer {key}", **({"Vocelio-Tenant": tenant} if tenant else {})}

    def ask(self, method: str, path: str, body: Any = None, *, etag: str = "", accept: tuple[int, ...] = ()) -> Answer:
        """The answer. Raises ApiError for a problem, but for a status that is ``accept``-ed."""
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        answer = asyncio.run(self._send(method, path, raw, etag))
        if answer.status >= HTTPStatus.BAD_REQUEST and answer.status not in accept:
            raise ApiError(_explained(answer))
        return answer

    async def _send(self, method: str, path: str, body: bytes | None, etag: str) -> Answer:
        import aiohttp  # here: a third of a second, and who validates a flow asks nobody

        headers = {**self._headers, **({"If-Match": etag} if etag else {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, self._server + path, data=body, headers=headers) as answer,
            ):
                return Answer(answer.status, await answer.read(), answer.headers.get("ETag", ""))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(f"no answer from {self._server}: {error or 'it took too long'}") from error


def _explained(answer: Answer) -> str:
    try:
        problem = answer.json()
        lines = [f"{problem['title']}: {problem['detail']}"]
        for error in problem.get("errors", ()):
            hint = f" ({error['hint']})" if error.get("hint") else ""
            lines.append(f"  {error['path'] or 'document'}: {error['message']}{hint}")
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the server answered {answer.status} with something that is not of this API"
    return "\n".join(lines)
