"""uvicorn, configured for media sockets, with a drain phase on shutdown; and an embedded server.

On SIGTERM uvicorn closes every socket at once. The gateway acts first: it hands its calls over, or lets them end if
there is no other process, and only then lets uvicorn exit.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from vocelio.gateway.app import MAX_WEBSOCKET_MESSAGE_BYTES
from vocelio.gateway.server.connection_limits import ConnectionLimits
from vocelio.gateway.server.protocols import BoundedWebSocketProtocol, TimeoutHttpProtocol
from vocelio.gateway.server.supervisor import SupervisorChannel

SHUTDOWN_GRACE_SECONDS = 1  # for pending requests after all calls have been handed over
MIN_SECOND_SIGNAL_SECONDS = 1.0
"""Between a signal to drain and one to exit at once: systemd signals all processes, and the supervisor its workers."""


def uvicorn_config(
    app: ASGIApp,
    *,
    limits: ConnectionLimits | None = None,
    trusted_proxies: Sequence[str] = (),
) -> uvicorn.Config:
    """Return uvicorn's configuration; ``serve`` gets the listening socket.

    X-Forwarded-For is believed from ``trusted_proxies`` only.

    Of its WebSocket implementations websockets-sansio costs the least per frame. Compression would cost more than
    everything else, on audio that does not compress. Twilio's sockets are supervised by their audio, not by pings.
    """
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(TimeoutHttpProtocol, limits=limits)),
        ws=BoundedWebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=MAX_WEBSOCKET_MESSAGE_BYTES,
        ws_ping_interval=None,
        access_log=False,
        log_config=None,  # its log goes the same way as ours
        log_level="warning",
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the fastest event loop that is installed, as uvicorn chooses it."""
    return uvicorn.Config("", log_config=None).get_loop_factory() or asyncio.new_event_loop


class GatewayServer(uvicorn.Server):
    """Shuts down in two steps: ``drain`` is awaited before connections are closed, ``close`` at the very end.

    ``drain`` gets a function that stops the server from accepting connections; those that exist continue. A second
    signal, after MIN_SECOND_SIGNAL_SECONDS, cancels ``drain``. The exit of the supervisor, if there is one, counts as a
    first signal.
    """

    def __init__(
        self,
        settings: uvicorn.Config,
        drain: Callable[[Callable[[], None]], Coroutine[Any, Any, object]],
        close: Callable[[], Awaitable[object]],
        supervisor: SupervisorChannel | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(settings)
        self._drain, self._close, self._supervisor, self._on_ready = drain, close, supervisor, on_ready
        self.servers: list[asyncio.base_events.Server] = []  # a signal may come before uvicorn sets it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signaled_at: float | None = None  # loop time
        self._drain_task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if not self.started:
            return
        gc.collect()
        gc.freeze()  # excludes imported modules: collecting them would stop all calls for 0.1 s
        if self._supervisor:
            self._supervisor.notify_ready(self._on_supervisor_exit)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the gateway here: uvicorn raises the signal again afterwards, so code after ``serve`` would not run."""
        if self._drain_task:
            self._drain_task.cancel()  # by a second signal; otherwise it is done
            await asyncio.wait({self._drain_task})
        await super().shutdown(sockets)
        await self._close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first signal, exit on a second. A signal handler: it runs between any two instructions."""
        if self._loop is None:
            super().handle_exit(sig, frame)
        elif self._signaled_at is None:
            self._signaled_at = self._loop.time()
            self._loop.call_soon_threadsafe(self._start_drain, sig, frame)
        elif self._loop.time() - self._signaled_at >= MIN_SECOND_SIGNAL_SECONDS:
            super().handle_exit(sig, frame)

    def _on_supervisor_exit(self) -> None:
        if self._signaled_at is None:
            self.handle_exit(signal.SIGTERM, None)

    def _start_drain(self, sig: int, frame: FrameType | None) -> None:
        self._drain_task = asyncio.get_running_loop().create_task(self._drain_and_exit(sig, frame), name="drain")

    async def _drain_and_exit(self, sig: int, frame: FrameType | None) -> None:
        try:
            await self._drain(self._stop_accepting)
        finally:
            if not self.should_exit:  # set by a second signal
                super().handle_exit(sig, frame)

    def _stop_accepting(self) -> None:
        for server in self.servers:
            server.close()
        if self._supervisor:
            self._supervisor.notify_closed()


class _EmbeddedServer(uvicorn.Server):
    """A server that does not handle signals, and signals when it is ready."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()


@asynccontextmanager
async def serve_embedded(app: ASGIApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve the application on the socket; yield its origin once it is ready."""
    host, port = listener.getsockname()[:2]
    server = _EmbeddedServer(uvicorn_config(app))
    serving = asyncio.create_task(server.serve([listener]), name="server")
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    try:
        if not server.started:
            await serving
            raise RuntimeError("the server did not start; the log has the reason")
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
