"""The HTTP requests of one call's flow, each a task; headers get the tenant's secrets only here."""

import re
from collections.abc import Callable

from vocelio.engine.actions import Request
from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.http_client.client import HttpClient, HttpResult
from vocelio.gateway.model.directory import Directory

SECRET_PLACEHOLDER = re.compile(r"\{\{ secret\.([A-Za-z0-9_]+) \}\}")  # as the engine leaves it in a request's header


class FlowHttpRequests:
    """``ended`` hears of each request's end, unless they are closed before."""

    def __init__(
        self, client: HttpClient, directory: Directory, tenant: str, on_done: Callable[[Request, HttpResult], None]
    ) -> None:
        self._client, self._directory, self._tenant, self._on_done = client, directory, tenant, on_done
        self._tasks = TaskSet()  # one at a time, but for those that an operator left behind

    def send(self, request: Request) -> None:
        """Carry it out."""
        self._tasks.start(self._send(request), f"request {request.id}")

    def close(self) -> None:
        """Break all off."""
        self._tasks.close()

    async def wait_closed(self) -> None:
        """Until nothing of them is left."""
        await self._tasks.wait_closed()

    async def _send(self, request: Request) -> None:
        try:
            headers = await self._resolve_secrets(request.headers)
        except GatewayError as error:
            reply = HttpResult("error", error=f"a secret for its headers: {error}")
        else:
            reply = await self._client.fetch(request, headers)
        self._on_done(request, reply)

    async def _resolve_secrets(self, headers: dict[str, str]) -> dict[str, str]:
        """The headers as they are sent. Raises NotFound, StoreUnavailable, VaultError."""
        names = {name for value in headers.values() for name in SECRET_PLACEHOLDER.findall(value)}
        secrets = {name: await self._directory.get_secret(self._tenant, name) for name in sorted(names)}
        return {name: SECRET_PLACEHOLDER.sub(lambda found: secrets[found[1]], value) for name, value in headers.items()}
