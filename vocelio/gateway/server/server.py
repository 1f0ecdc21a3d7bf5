"""The server around the application: uvicorn, set up for media sockets, and a way to run it inside a test.

On SIGTERM uvicorn closes every socket at once. The gateway acts first: it takes no more connections, hands its calls
over, and only then lets uvicorn go.
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

SHUTDOWN_GRACE_SECONDS = 1  # for requests that are under way when all calls are gone
MIN_SECOND_SIGNAL_SECONDS = 1.0
"""From a first signal to one that means: at once. systemd tells every process of a unit; then their parent does."""


def uvicorn_config(app: ASGIApp, host: str = "127.0.0.1", port: int = 8080) -> uvicorn.Config:
    """uvicorn's settings.

    Of its WebSocket implementations websockets-sansio costs the least a frame. Compression would cost more than all
    else on sound that does not compress. Twilio's sockets are watched by their sound, not by pings.
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
        log_config=None,  # what it has to say goes the way of everything else
        log_level="warning",
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest event loop that is installed, as uvicorn would choose it."""
    return uvicorn.Config("", log_config=None).get_loop_factory() or asyncio.new_event_loop


class GatewayServer(uvicorn.Server):
    """A server that leaves in two steps: ``leave`` is awaited before connections are closed, ``close`` at the very end.

    A signal again, after AGAIN_SECONDS, does not wait for ``leave``. With a ``parent`` its end is a first signal, too.
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
        self.servers: list[asyncio.base_events.Server] = []  # a signal may come before uvicorn has any
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signaled_at: float | None = None  # when, by the loop's clock
        self._drain_task: asyncio.Task[None] | None = None  # held, or it might be collected

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # all that was imported: to look through it for garbage stops every call for a tenth of a second
        if self._supervisor:
            self._supervisor.notify_ready(self._on_supervisor_exit)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn, which then raises the signal again that it has had: nothing behind ``serve`` would be run."""
        await super().shutdown(sockets)
        await self._close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn. It comes as a signal does, between any two instructions."""
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
        self._drain_task = asyncio.get_running_loop().create_task(self._drain_and_exit(sig, frame), name="leaving")

    async def _drain_and_exit(self, sig: int, frame: FrameType | None) -> None:
        for server in self.servers:
            server.close()  # no new connections; those that there are go on
        try:
            await self._drain()
        finally:
            super().handle_exit(sig, frame)


class _EmbeddedServer(uvicorn.Server):
    """A server that leaves signals to its process, and says when it is ready."""

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
    """A bound socket, so that the port is known before the application is built; ``shared`` with other processes.

    Its connections inherit TCP_NODELAY, which asyncio's own loop gives only those whose protocol was named: on it the
    body of an answer would wait 40 ms for the client to acknowledge the head.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=512, reuse_port=reuse_port)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def reserve_port(host: str, port: int) -> socket.socket:
    """A port for processes that share it: a socket that is bound but gets no connections. Raises SettingsError.

    With SO_REUSEPORT alone a second gateway would be let in beside the first, and get half of its calls.
    """
    try:
        with bind_socket(host, port) as alone:
            address, family = alone.getsockname(), alone.family
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(address)
    except OSError as error:
        raise SettingsError(f"{host}, port {port} cannot be listened on: {error.strerror}") from None
    return holder


@asynccontextmanager
async def serve_embedded(app: ASGIApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve the application on the socket; yields its origin once it answers."""
    host, port = listener.getsockname()[:2]
    server = _EmbeddedServer(uvicorn_config(app))
    serving = asyncio.create_task(server.serve([listener]), name="server")
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    try:
        if not server.started:
            await serving
            raise RuntimeError("the server did not start: its log says why")
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving
        listener.close()
