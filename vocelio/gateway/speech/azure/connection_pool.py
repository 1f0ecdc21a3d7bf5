"""Lines that are connected before they are needed: a first connection costs a caller 0.3 s of silence.

A line goes back to the pool only after it has said a text in full. One that was stopped or failed is torn down, and
another connects in its place.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from vocelio.gateway.config import AzureSettings
from vocelio.gateway.speech.azure.sdk_events import (
    AudioChunk,
    Completed,
    Connected,
    Disconnected,
    Failed,
    SynthesisEvent,
)
from vocelio.gateway.speech.azure.sdk_resources import ResourceLease, SdkResourceManager
from vocelio.gateway.speech.azure.synthesis_stream import SynthesisStream
from vocelio.gateway.speech.interfaces import SpeechError

if TYPE_CHECKING:
    from vocelio.gateway.speech.azure.synthesis_connection import SynthesisConnection

CREATE_TIMEOUT_SECONDS = 2.0
"""For making a line, which takes milliseconds."""

RECONNECT_DELAY_SECONDS = 5.0
"""Until a line that the service hung up on, as it does after minutes of silence, is replaced. One that never got a
connection is not: the next text will try."""

LOG = logging.getLogger(__name__)


class PooledConnection:
    """A line, and what is known of its connection."""

    def __init__(self, resources: SdkResourceManager, account: AzureSettings, pool: "SynthesisConnectionPool") -> None:
        """Raises SpeechError when there is no room."""
        loop = asyncio.get_running_loop()
        self.connected = asyncio.Event()
        self._pool = pool
        self._stream: SynthesisStream | None = None
        self.lease: ResourceLease[SynthesisConnection] = resources.create(
            lambda: _create_connection(account, self._on_event, loop)
        )

    async def attach(self, stream: SynthesisStream | None = None) -> "SynthesisConnection":
        """The line, once it has been made; from now on it is ``speech`` that it says. Raises SpeechError."""
        self._stream = stream
        done, _ = await asyncio.wait((self.lease.resource,), timeout=CREATE_TIMEOUT_SECONDS)
        if not done:
            raise SpeechError("Azure's SDK does not answer")
        if error := self.lease.resource.exception():
            raise SpeechError(f"Azure's SDK failed: {type(error).__name__}") from None
        return self.lease.resource.result()

    def _on_event(self, event: SynthesisEvent) -> None:
        match event:
            case Connected():
                self.connected.set()
            case Disconnected():
                self.connected.clear()
                self._pool.on_disconnect(self)
            case AudioChunk() | Completed() | Failed():
                if self._stream:
                    self._stream.on_event(event)
            case _:
                assert_never(event)


class SynthesisConnectionPool:
    """At least ``warm`` lines wait, as far as the upkeep has room, and at most twice as many.

    With one limit instead of two, each text would leave a line too many, and the next one a line too few.
    """

    def __init__(self, resources: SdkResourceManager, account: AzureSettings, min_idle: int) -> None:
        self._resources, self._account, self._min_idle = resources, account, min_idle
        self._idle: list[PooledConnection] = []
        self._refill_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def acquire(self) -> PooledConnection:
        """A line that nobody uses, if possible one that is connected. Raises SpeechError when there is no room."""
        slot = self._idle.pop() if self._idle else self._create()
        self.fill_idle()
        return slot

    def release(self, connection: PooledConnection, reusable: bool) -> None:
        """It is used no more. It is ``clean`` when all that was asked of it has been done."""
        if reusable and not self._closed and connection.connected.is_set() and len(self._idle) < 2 * self._min_idle:
            self._idle.append(connection)
        else:
            connection.lease.release()

    def fill_idle(self) -> None:
        """Have as many lines waiting as there should be, as far as there is room."""
        try:
            while len(self._idle) < self._min_idle:
                self._idle.insert(0, self._create())  # behind those that are connected
        except SpeechError as error:
            LOG.info("no spare line for speech: %s", error)

    def on_disconnect(self, connection: PooledConnection) -> None:
        """From a slot: its connection has ended. One that is in use tells its user by itself."""
        if connection in self._idle:
            self._idle.remove(connection)
            connection.lease.release()
            if self._refill_timer is None and not self._closed:
                self._refill_timer = asyncio.get_running_loop().call_later(RECONNECT_DELAY_SECONDS, self._refill)

    def close(self) -> None:
        """Let go of what waits."""
        self._closed = True
        if self._refill_timer:
            self._refill_timer.cancel()
        for slot in self._idle:
            slot.lease.release()
        self._idle.clear()

    def _refill(self) -> None:
        self._refill_timer = None
        self.fill_idle()

    def _create(self) -> PooledConnection:
        return PooledConnection(self._resources, self._account, self)


def _create_connection(
    account: AzureSettings, on_event: Callable[[SynthesisEvent], None], loop: asyncio.AbstractEventLoop
) -> "SynthesisConnection":
    from vocelio.gateway.speech.azure.synthesis_connection import (
        SynthesisConnection,  # here, on a thread: the SDK takes 0.25 s to import
    )

    line = SynthesisConnection(on_event, loop)
    try:
        line.open(account)
    except BaseException:
        line.tear_down()
        raise
    return line
