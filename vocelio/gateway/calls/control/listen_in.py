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

from vocelio.gateway.events import PubSub, decode_message

REQUESTS_CHANNEL = "vocelio:listen-requests"
ANNOUNCE_INTERVAL_SECONDS = 1.0  # between two times that a listener says that it is there
LEASE_SECONDS = 3.5  # since it was heard last: then it is gone

AudioCallback = Callable[[bytes], None]
CallKey = tuple[str, str]  # tenant and call


class AudioSink(Protocol):
    """Takes a call's sound: pairs of mu-law samples, the caller's and the gateway's."""

    def __call__(self, audio: bytes) -> None:
        """The next tenth of a second."""


class AudioSource(Protocol):
    """A live call, to whoever listens in."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Give its sound from now on, until the stream ends or what is returned is called."""
        ...


class ListenRequest(msgspec.Struct, frozen=True):
    """Somebody wants to hear the call."""

    tenant: str
    call: str


_decoder = msgspec.json.Decoder(ListenRequest)


def audio_channel(tenant: str, call: str) -> str:
    """The line's channel of a call's sound."""
    return f"vocelio:audio:{tenant}:{call}"


class _Tap:
    """On one stream of a call of this process."""

    def __init__(self, source: AudioSource, sink: AudioSink) -> None:
        self.source = source
        self.expires_at = 0.0  # when those who listen elsewhere are gone, by the loop's clock
        self.detach = source.listen_in(sink)


class ListenInRelay:
    """One process's. ``live`` are its calls, by Twilio's name."""

    def __init__(self, live_calls: Mapping[str, AudioSource], pubsub: PubSub) -> None:
        self._live_calls, self._pubsub = live_calls, pubsub
        self._local_callbacks: dict[CallKey, list[AudioCallback]] = {}
        self._taps: dict[CallKey, _Tap] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()

    async def start(self) -> None:
        """Hear who listens elsewhere, and tell who does here."""
        self._unsubscribe = self._pubsub.subscribe(REQUESTS_CHANNEL, self._on_request, _ignore_gap)
        self._task = asyncio.create_task(self._run(), name="audience")

    async def aclose(self) -> None:
        """Nobody hears anything any more."""
        if self._unsubscribe:
            self._unsubscribe()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        for key in list(self._taps):
            self._taps.pop(key).detach()

    @contextmanager
    def subscribe(self, tenant: str, call: str, on_audio: AudioCallback) -> Iterator[None]:
        """``put`` gets the call's sound, wherever the call is."""
        key = tenant, call
        end = self._pubsub.subscribe(audio_channel(*key), on_audio, _ignore_gap)
        self._local_callbacks.setdefault(key, []).append(on_audio)
        self._wakeup.set()
        try:
            yield
        finally:
            end()
            self._local_callbacks[key].remove(on_audio)
            if not self._local_callbacks[key]:
                del self._local_callbacks[key]
            self._prune()

    async def _run(self) -> None:
        while True:
            for tenant, call in list(self._local_callbacks):
                if not self._ensure_tap(tenant, call):
                    self._pubsub.publish(REQUESTS_CHANNEL, ListenRequest(tenant, call))
            self._prune()
            self._wakeup.clear()
            try:
                async with asyncio.timeout(ANNOUNCE_INTERVAL_SECONDS if self._local_callbacks or self._taps else None):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    def _on_request(self, message: bytes) -> None:
        listener = decode_message(_decoder, message)
        if listener and self._ensure_tap(listener.tenant, listener.call):
            tap = self._taps[listener.tenant, listener.call]
            tap.expires_at = asyncio.get_running_loop().time() + LEASE_SECONDS
            self._wakeup.set()

    def _ensure_tap(self, tenant: str, call: str) -> bool:
        """Be on the call's present stream; False when it is not here."""
        live, key = self._live_calls.get(call), (tenant, call)
        if live is None or live.tenant != tenant:
            return False
        tap = self._taps.get(key)
        if tap is None or tap.source is not live:
            self._taps[key] = _Tap(live, lambda audio: self._forward(key, audio))
        return True

    def _forward(self, key: CallKey, audio: bytes) -> None:
        for put in self._local_callbacks.get(key, ()):
            put(audio)
        if (tap := self._taps.get(key)) and tap.expires_at > asyncio.get_running_loop().time():
            self._pubsub.publish(audio_channel(*key), audio)

    def _prune(self) -> None:
        """Leave calls that have ended, or that nobody listens to."""
        now = asyncio.get_running_loop().time()
        for key, tap in list(self._taps.items()):
            if self._live_calls.get(key[1]) is not tap.source or (
                key not in self._local_callbacks and tap.expires_at <= now
            ):
                tap.detach()
                del self._taps[key]


def _ignore_gap() -> None:
    """Sound that was lost is not missed: what comes next is live."""
