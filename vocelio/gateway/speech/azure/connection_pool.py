"""Pool of synthesis connections, opened in advance: connecting on demand would cost a caller 0.3 s of silence.

A connection returns to the pool only after it has spoken a text in full. One that was stopped or failed is torn down
and replaced.
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
"""For creating the SDK's object, which takes milliseconds."""

RECONNECT_DELAY_SECONDS = 5.0
"""Until a connection that the service closed, as it does after minutes of silence, is replaced. One that could never
connect is not replaced: the next text will try."""

LOG = logging.getLogger(__name__)


class PooledConnection:
    """A synthesis connection and the state of its network connection."""

    def __init__(self, resources: SdkResourceManager, account: AzureSettings, pool: "SynthesisConnectionPool") -> None:
        """Start to create the connection. Raises SpeechError when the limit is reached."""
        loop = asyncio.get_running_loop()
        self.connected = asyncio.Event()
        self._pool = pool
        self._stream: SynthesisStream | None = None
        self.lease: ResourceLease[SynthesisConnection] = resources.create(
            lambda: _create_connection(account, self._on_event, loop)
        )

    async def attach(self, stream: SynthesisStream | None = None) -> "SynthesisConnection":
        """Wait until the connection is created; route its audio to ``stream`` from now on. Raises SpeechError."""
        self._stream = stream
        done, _ = await asyncio.wait((self.lease.resource,), timeout=CREATE_TIMEOUT_SECONDS)
        if not done:
            raise SpeechError(f"Azure's SDK created no connection within {CREATE_TIMEOUT_SECONDS:g} s")
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
    """Keeps ``min_idle`` to twice as many idle connections, as far as the limit of ``resources`` allows.

    With one limit instead of two, each text would leave one connection too many, and the next text one too few.
    """

    def __init__(self, resources: SdkResourceManager, account: AzureSettings, min_idle: int) -> None:
        self._resources, self._account, self._min_idle = resources, account, min_idle
        self._idle: list[PooledConnection] = []
        self._refill_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def acquire(self) -> PooledConnection:
        """Take an idle connection, if possible a connected one. Raises SpeechError when the limit is reached."""
        connection = self._idle.pop() if self._idle else self._create()
        self.fill_idle()
        return connection

    def release(self, connection: PooledConnection, reusable: bool) -> None:
        """Return a connection; it is ``reusable`` if its text was spoken in full."""
        if reusable and not self._closed and connection.connected.is_set() and len(self._idle) < 2 * self._min_idle:
            self._idle.append(connection)
        else:
            connection.lease.release()

    def fill_idle(self) -> None:
        """Open connections until there are ``min_idle`` idle ones or the limit is reached."""
        try:
            while len(self._idle) < self._min_idle:
                self._idle.insert(0, self._create())  # taken last, after those that are connected
        except SpeechError as error:
            LOG.info("Azure synthesis: no idle connection opened: %s", error)

    def on_disconnect(self, connection: PooledConnection) -> None:
        """Replace an idle connection that was closed by the service; one in use reports the failure to its stream."""
        if connection in self._idle:
            self._idle.remove(connection)
            connection.lease.release()
            if self._refill_timer is None and not self._closed:
                self._refill_timer = asyncio.get_running_loop().call_later(RECONNECT_DELAY_SECONDS, self._refill)

    def close(self) -> None:
        """Release all idle connections."""
        self._closed = True
        if self._refill_timer:
            self._refill_timer.cancel()
        for connection in self._idle:
            connection.lease.release()
        self._idle.clear()

    def _refill(self) -> None:
        self._refill_timer = None
        self.fill_idle()

    def _create(self) -> PooledConnection:
        return PooledConnection(self._resources, self._account, self)


def _create_connection(
    account: AzureSettings, on_event: Callable[[SynthesisEvent], None], loop: asyncio.AbstractEventLoop
) -> "SynthesisConnection":
    # On a thread: importing the SDK takes 0.25 s.
    from vocelio.gateway.speech.azure.synthesis_connection import SynthesisConnection

    connection = SynthesisConnection(on_event, loop)
    try:
        connection.open(account)
    except BaseException:
        connection.tear_down()
        raise
    return connection
