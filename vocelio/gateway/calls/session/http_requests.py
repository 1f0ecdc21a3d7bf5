"""The HTTP requests of one call's flow, each a task; headers get the tenant's secrets only here."""

import re
from collections.abc import Callable

from vocelio.engine.actions import Request
from vocelio.gateway.aio.task_set import Tasks
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.http_client.client import Fetcher, Reply
from vocelio.gateway.model.directory import Site

SECRET = re.compile(r"\{\{ secret\.([A-Za-z0-9_]+) \}\}")  # as the engine leaves it in a request's header


class Requests:
    """``ended`` hears of each request's end, unless they are closed before."""

    def __init__(self, fetcher: Fetcher, site: Site, tenant: str, ended: Callable[[Request, Reply], None]) -> None:
        self._fetcher, self._site, self._tenant, self._ended = fetcher, site, tenant, ended
        self._tasks = Tasks()  # one at a time, but for those that an operator left behind

    def send(self, request: Request) -> None:
        """Carry it out."""
        self._tasks.begin(self._send(request), f"request {request.id}")

    def close(self) -> None:
        """Break all off."""
        self._tasks.close()

    async def wait_closed(self) -> None:
        """Until nothing of them is left."""
        await self._tasks.wait_closed()

    async def _send(self, request: Request) -> None:
        try:
            headers = await self._with_secrets(request.headers)
        except GatewayError as error:
            reply = Reply("error", problem=f"a secret for its headers: {error}")
        else:
            reply = await self._fetcher.fetch(request, headers)
        self._ended(request, reply)

    async def _with_secrets(self, headers: dict[str, str]) -> dict[str, str]:
        """The headers as they are sent. Raises NotFound, StoreUnavailable, VaultError."""
        names = {name for value in headers.values() for name in SECRET.findall(value)}
        secrets = {name: await self._site.secret(self._tenant, name) for name in sorted(names)}
        return {name: SECRET.sub(lambda found: secrets[found[1]], value) for name, value in headers.items()}
