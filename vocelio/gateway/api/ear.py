"""The sound that is on its way to somebody who listens in: a few seconds, and whoever is slower hears the newest."""

import asyncio
from collections import deque

import msgspec

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
