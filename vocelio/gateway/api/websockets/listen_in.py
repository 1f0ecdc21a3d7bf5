"""The sound that is on its way to somebody who listens in: a few seconds, and whoever is slower hears the newest.

When calls that are listened to are over: one look into the store for all of a process, however many listen.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from vocelio.gateway.aio.periodic import Periodic
from vocelio.gateway.store.calls import live
from vocelio.gateway.store.calls.live import CallKey
from vocelio.gateway.store.db.database import Database

PIECES = 50  # tenths of a second: 80 kB; past them the oldest are dropped


class Format(msgspec.Struct, frozen=True, tag_field="message", tag="format"):
    """The first message: what every binary message behind it is. ``rate`` is in samples a second of each side."""

    encoding: str = "audio/x-mulaw"
    rate: int = 8_000
    channels: tuple[str, str] = ("caller", "gateway")


class Ear:
    """One listener's."""

    def __init__(self) -> None:
        self.behind: float | None = None  # since when it does not keep up, by the loop's clock
        self._greeted = False
        self._pieces: deque[bytes] = deque(maxlen=PIECES)
        self._wakeup = asyncio.Event()

    def put(self, sound: bytes) -> None:
        """The next piece. Never waits."""
        if len(self._pieces) == PIECES and self.behind is None:
            self.behind = asyncio.get_running_loop().time()
        self._pieces.append(sound)
        self._wakeup.set()

    async def take(self) -> str | bytes:
        """What is to be sent next, when there is something."""
        if not self._greeted:
            self._greeted = True
            return msgspec.json.encode(Format()).decode()
        while not self._pieces:
            self.behind = None
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._pieces.popleft()


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
