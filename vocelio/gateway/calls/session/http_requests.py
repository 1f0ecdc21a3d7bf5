"""HTTP requests of one call's flow, each a task. The tenant's secrets are put into headers only here."""

import re
from collections.abc import Callable

from vocelio.engine.actions import Request
from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.http_client.client import HttpClient, HttpResult
from vocelio.gateway.model.directory import Directory

SECRET_PLACEHOLDER = re.compile(r"\{\{ secret\.([A-Za-z0-9_]+) \}\}")  # as the engine leaves it in headers


class FlowHttpRequests:
    """Sends requests; ``on_done`` gets each result, unless this is closed before."""

    def __init__(
        self, client: HttpClient, directory: Directory, tenant: str, on_done: Callable[[Request, HttpResult], None]
    ) -> None:
        self._client, self._directory, self._tenant, self._on_done = client, directory, tenant, on_done
        self._tasks = TaskSet()  # usually one, beside those whose node an operator left

    def send(self, request: Request) -> None:
        """Send the request."""
        self._tasks.start(self._send(request), f"request {request.id}")

    def close(self) -> None:
        """Cancel all requests."""
        self._tasks.close()

    async def wait_closed(self) -> None:
        """Wait until all have ended."""
        await self._tasks.wait_closed()

    async def _send(self, request: Request) -> None:
        try:
            headers = await self._resolve_secrets(request.headers)
        except GatewayError as error:
            reply = HttpResult("error", error=f"secret of a header: {error}")
        else:
            reply = await self._client.fetch(request, headers)
        self._on_done(request, reply)

    async def _resolve_secrets(self, headers: dict[str, str]) -> dict[str, str]:
        """Replace the placeholders by secrets. Raises NotFound, DatabaseUnavailable, DecryptionError."""
        names = {name for value in headers.values() for name in SECRET_PLACEHOLDER.findall(value)}
        secrets = {name: await self._directory.get_secret(self._tenant, name) for name in sorted(names)}
        return {name: SECRET_PLACEHOLDER.sub(lambda match: secrets[match[1]], value) for name, value in headers.items()}
