"""Listen-in: live audio of a call for operators at any process.

A process with a listener announces it to all processes again and again, since the call may move from one to another;
the one that has the call publishes its audio until the announcements have stopped for a while. The audio is that of a
recording: both sides as they were heard, with confidential parts masked.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import msgspec

from vocelio.gateway.events import PubSub, decode_message

REQUESTS_CHANNEL = "vocelio:listen-requests"
ANNOUNCE_INTERVAL_SECONDS = 1.0  # between two announcements of a listener
LEASE_SECONDS = 3.5  # after its last announcement

AudioCallback = Callable[[bytes], None]
CallKey = tuple[str, str]  # tenant and call SID


class AudioSink(Protocol):
    """Takes a call's audio: pairs of mu-law samples, the caller's and the gateway's."""

    def __call__(self, audio: bytes) -> None:
        """Take the next tenth of a second."""


class AudioSource(Protocol):
    """A live call that can be listened to."""

    @property
    def tenant(self) -> str:
        """The call's tenant."""
        ...

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Give its audio to the sink until the stream ends or the returned function is called."""
        ...


class ListenRequest(msgspec.Struct, frozen=True):
    """Announcement of a listener of the call."""

    tenant: str
    call: str


_decoder = msgspec.json.Decoder(ListenRequest)


def audio_channel(tenant: str, call: str) -> str:
    """Return the pub/sub channel of a call's audio."""
    return f"vocelio:audio:{tenant}:{call}"


class _Tap:
    """A sink on one stream of this process."""

    def __init__(self, source: AudioSource, sink: AudioSink) -> None:
        self.source = source
        self.expires_at = 0.0  # of the listeners elsewhere, loop time
        self.detach = source.listen_in(sink)


class ListenInRelay:
    """Relay of one process. ``live_calls`` are by call SID."""

    def __init__(self, live_calls: Mapping[str, AudioSource], pubsub: PubSub) -> None:
        self._live_calls, self._pubsub = live_calls, pubsub
        self._local_callbacks: dict[CallKey, list[AudioCallback]] = {}
        self._taps: dict[CallKey, _Tap] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()

    async def start(self) -> None:
        """Start to receive and send announcements."""
        self._unsubscribe = self._pubsub.subscribe(REQUESTS_CHANNEL, self._on_request, _ignore_gap)
        self._task = asyncio.create_task(self._run(), name="listen-in relay")

    async def aclose(self) -> None:
        """End all listening."""
        if self._unsubscribe:
            self._unsubscribe()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        for key in list(self._taps):
            self._taps.pop(key).detach()

    @contextmanager
    def subscribe(self, tenant: str, call: str, on_audio: AudioCallback) -> Iterator[None]:
        """Give the call's audio to ``on_audio``, in whichever process the call is."""
        key = tenant, call
        unsubscribe = self._pubsub.subscribe(audio_channel(*key), on_audio, _ignore_gap)
        self._local_callbacks.setdefault(key, []).append(on_audio)
        self._wakeup.set()
        try:
            yield
        finally:
            unsubscribe()
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
        request = decode_message(_decoder, message)
        if request and self._ensure_tap(request.tenant, request.call):
            tap = self._taps[request.tenant, request.call]
            tap.expires_at = asyncio.get_running_loop().time() + LEASE_SECONDS
            self._wakeup.set()

    def _ensure_tap(self, tenant: str, call: str) -> bool:
        """Attach a tap to the call's current stream; False when it is not here."""
        live, key = self._live_calls.get(call), (tenant, call)
        if live is None or live.tenant != tenant:
            return False
        tap = self._taps.get(key)
        if tap is None or tap.source is not live:
            self._taps[key] = _Tap(live, lambda audio: self._forward(key, audio))
        return True

    def _forward(self, key: CallKey, audio: bytes) -> None:
        for on_audio in self._local_callbacks.get(key, ()):
            on_audio(audio)
        if (tap := self._taps.get(key)) and tap.expires_at > asyncio.get_running_loop().time():
            self._pubsub.publish(audio_channel(*key), audio)

    def _prune(self) -> None:
        """Detach from calls that have ended or have no listeners."""
        now = asyncio.get_running_loop().time()
        for key, tap in list(self._taps.items()):
            if self._live_calls.get(key[1]) is not tap.source or (
                key not in self._local_callbacks and tap.expires_at <= now
            ):
                tap.detach()
                del self._taps[key]


def _ignore_gap() -> None:
    """Lost audio is not repeated: what follows is live."""
