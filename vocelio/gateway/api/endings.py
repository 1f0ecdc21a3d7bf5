"""When calls that are listened to are over: one look into the store for all of a process, however many listen."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vocelio.gateway.periodic import Periodic
from vocelio.gateway.store import live
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.live import CallKey

LOOK_SECONDS = 1.0
STORE_SECONDS = 5.0


class Endings:
    """Looks while somebody waits for an ending."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[CallKey, list[Callable[[], None]]] = {}
        self._looking = Periodic("look for the end of calls that are listened to", LOOK_SECONDS, self._look)

    @asynccontextmanager
    async def told(self, call: CallKey, over: Callable[[], None]) -> AsyncIterator[None]:
        """``over`` is called when the call does not go on, and again until this is left."""
        if not self._waiting:
            await self._looking.start()
        self._waiting.setdefault(call, []).append(over)
        try:
            yield
        finally:
            self._waiting[call].remove(over)
            if not self._waiting[call]:
                del self._waiting[call]
            if not self._waiting:
                await self._looking.aclose()

    async def _look(self) -> None:
        asked = list(self._waiting)
        found = await self._database.in_time(live.these(self._database, asked), STORE_SECONDS)
        for call in set(asked) - {one.key for one in found if one.ended is None}:
            for over in self._waiting.get(call, ()):
                over()
