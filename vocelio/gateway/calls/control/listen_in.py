"""Who listens in to calls of any process: sound goes on the line only while somebody, somewhere, listens.

Whoever listens says so again and again, to all processes, since the call may move from one to another; the one that has
it sends its sound until it has heard nothing of that for a while. The sound is what a recording of the call would have:
both sides as they were heard, and silence in the place of what is said in confidence.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import msgspec

from vocelio.gateway.events import Line, read

CHANNEL = "vocelio:listeners"
ASK_SECONDS = 1.0  # between two times that a listener says that it is there
LEASE_SECONDS = 3.5  # since it was heard last: then it is gone

Put = Callable[[bytes], None]
Key = tuple[str, str]  # tenant and call


class Sink(Protocol):
    """Takes a call's sound: pairs of mu-law samples, the caller's and the gateway's."""

    def __call__(self, sound: bytes) -> None:
        """The next tenth of a second."""


class Overheard(Protocol):
    """A live call, to whoever listens in."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    def listen_in(self, sink: Sink) -> Callable[[], None]:
        """Give its sound from now on, until the stream ends or what is returned is called."""
        ...


class Listener(msgspec.Struct, frozen=True):
    """Somebody wants to hear the call."""

    tenant: str
    call: str


_decoder = msgspec.json.Decoder(Listener)


def channel(tenant: str, call: str) -> str:
    """The line's channel of a call's sound."""
    return f"vocelio:audio:{tenant}:{call}"


class _Tap:
    """On one stream of a call of this process."""

    def __init__(self, live: Overheard, sink: Sink) -> None:
        self.live = live
        self.until = 0.0  # when those who listen elsewhere are gone, by the loop's clock
        self.end = live.listen_in(sink)


class Audience:
    """One process's. ``live`` are its calls, by Twilio's name."""

    def __init__(self, live: Mapping[str, Overheard], line: Line) -> None:
        self._live, self._line = live, line
        self._here: dict[Key, list[Put]] = {}
        self._taps: dict[Key, _Tap] = {}
        self._end: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()

    async def start(self) -> None:
        """Hear who listens elsewhere, and tell who does here."""
        self._end = self._line.subscribe(CHANNEL, self._asked, _no_matter)
        self._task = asyncio.create_task(self._run(), name="audience")

    async def aclose(self) -> None:
        """Nobody hears anything any more."""
        if self._end:
            self._end()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        for key in list(self._taps):
            self._taps.pop(key).end()

    @contextmanager
    def listening(self, tenant: str, call: str, put: Put) -> Iterator[None]:
        """``put`` gets the call's sound, wherever the call is."""
        key = tenant, call
        end = self._line.subscribe(channel(*key), put, _no_matter)
        self._here.setdefault(key, []).append(put)
        self._wakeup.set()
        try:
            yield
        finally:
            end()
            self._here[key].remove(put)
            if not self._here[key]:
                del self._here[key]
            self._tidy()

    async def _run(self) -> None:
        while True:
            for tenant, call in list(self._here):
                if not self._tap(tenant, call):
                    self._line.send(CHANNEL, Listener(tenant, call))
            self._tidy()
            self._wakeup.clear()
            try:
                async with asyncio.timeout(ASK_SECONDS if self._here or self._taps else None):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    def _asked(self, message: bytes) -> None:
        listener = read(_decoder, message)
        if listener and self._tap(listener.tenant, listener.call):
            tap = self._taps[listener.tenant, listener.call]
            tap.until = asyncio.get_running_loop().time() + LEASE_SECONDS
            self._wakeup.set()

    def _tap(self, tenant: str, call: str) -> bool:
        """Be on the call's present stream; False when it is not here."""
        live, key = self._live.get(call), (tenant, call)
        if live is None or live.tenant != tenant:
            return False
        tap = self._taps.get(key)
        if tap is None or tap.live is not live:
            self._taps[key] = _Tap(live, lambda sound: self._pass_on(key, sound))
        return True

    def _pass_on(self, key: Key, sound: bytes) -> None:
        for put in self._here.get(key, ()):
            put(sound)
        if (tap := self._taps.get(key)) and tap.until > asyncio.get_running_loop().time():
            self._line.send(channel(*key), sound)

    def _tidy(self) -> None:
        """Leave calls that have ended, or that nobody listens to."""
        now = asyncio.get_running_loop().time()
        for key, tap in list(self._taps.items()):
            if self._live.get(key[1]) is not tap.live or (key not in self._here and tap.until <= now):
                tap.end()
                del self._taps[key]


def _no_matter() -> None:
    """Sound that was lost is not missed: what comes next is live."""
