"""uvicorn, configured for media sockets, with a drain phase on shutdown; and an embedded server.

On SIGTERM uvicorn closes every socket at once. The gateway acts first: it accepts no more connections, hands its calls
over, and only then lets uvicorn exit.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from vocelio.gateway.app import MAX_WEBSOCKET_MESSAGE_BYTES
from vocelio.gateway.errors import SettingsError
from vocelio.gateway.server.protocols import BoundedWebSocketProtocol, TimeoutHttpProtocol
from vocelio.gateway.server.supervisor import SupervisorChannel

SHUTDOWN_GRACE_SECONDS = 1  # for pending requests after all calls have been handed over
MIN_SECOND_SIGNAL_SECONDS = 1.0
"""Between a signal to drain and one to exit at once: systemd signals all processes, and the supervisor its workers."""


def uvicorn_config(app: ASGIApp, host: str = "127.0.0.1", port: int = 8080) -> uvicorn.Config:
    """Return uvicorn's configuration.

    Of its WebSocket implementations websockets-sansio costs the least per frame. Compression would cost more than
    everything else, on audio that does not compress. Twilio's sockets are supervised by their audio, not by pings.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=TimeoutHttpProtocol,
        ws=BoundedWebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=MAX_WEBSOCKET_MESSAGE_BYTES,
        ws_ping_interval=None,
        access_log=False,
        log_config=None,  # its log goes the same way as ours
        log_level="warning",
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the fastest event loop that is installed, as uvicorn chooses it."""
    return uvicorn.Config("", log_config=None).get_loop_factory() or asyncio.new_event_loop


class GatewayServer(uvicorn.Server):
    """Shuts down in two steps: ``drain`` is awaited before connections are closed, ``close`` at the very end.

    A second signal, after MIN_SECOND_SIGNAL_SECONDS, does not wait for ``drain``. The exit of the supervisor, if there
    is one, counts as a first signal.
    """

    def __init__(
        self,
        settings: uvicorn.Config,
        drain: Callable[[], Awaitable[object]],
        close: Callable[[], Awaitable[object]],
        supervisor: SupervisorChannel | None = None,
    ) -> None:
        super().__init__(settings)
        self._drain, self._close, self._supervisor = drain, close, supervisor
        self.servers: list[asyncio.base_events.Server] = []  # a signal may come before uvicorn sets it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signaled_at: float | None = None  # loop time
        self._drain_task: asyncio.Task[None] | None = None  # a reference, so that it is not garbage-collected

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # excludes imported modules: collecting them would stop all calls for 0.1 s
        if self._supervisor:
            self._supervisor.notify_ready(self._on_supervisor_exit)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the gateway here: uvicorn raises the signal again afterwards, so code after ``serve`` would not run."""
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
        for server in self.servers:
            server.close()  # no new connections; existing ones continue
        try:
            await self._drain()
        finally:
            super().handle_exit(sig, frame)


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


def bind_socket(host: str = "127.0.0.1", port: int = 0, *, reuse_port: bool = False) -> socket.socket:
    """Bind a socket, so that the port is known before the application is created.

    Its connections inherit TCP_NODELAY, which asyncio's own loop sets only if the protocol was given: without it the
    body of a response would wait 40 ms for the client to acknowledge the head.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=512, reuse_port=reuse_port)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def reserve_port(host: str, port: int) -> socket.socket:
    """Reserve a port for worker processes, with a socket that accepts no connections. Raises SettingsError.

    With SO_REUSEPORT alone a second gateway could bind the same port, and would get half of the calls.
    """
    try:
        with bind_socket(host, port) as probe:  # fails if another gateway has the port
            address, family = probe.getsockname(), probe.family
        reservation = socket.socket(family, socket.SOCK_STREAM)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(address)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return reservation


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
