"""How connections end after their application, so that no peer can hold one; and how the server shuts down."""

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from aiohttp import ClientSession, WSServerHandshakeError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from tests.support.non_reading_peer import CLOSE_FRAME, open_non_reading_socket, wait_until_reset
from vocelio.gateway.server.protocols import CLOSE_TIMEOUT_SECONDS
from vocelio.gateway.server.server import MIN_SECOND_SIGNAL_SECONDS, GatewayServer, serve_embedded, uvicorn_config
from vocelio.gateway.server.sockets import bind_socket

MUCH = 4_000_000  # bytes: more than a kernel holds by itself
PREFIXES = ("/v1", "/twilio/media")


async def flood(socket):
    """Send until that blocks, and a little longer; then return without closing."""
    await socket.accept()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            for _ in range(MUCH // 50_000):
                await socket.send_bytes(bytes(50_000))


async def flood_until_closed(socket):
    """Send too much, and return when the peer has closed."""
    await flood(socket)
    with suppress(WebSocketDisconnect):
        await socket.receive_text()


async def close_at_once(socket):
    """Accept and close."""
    await socket.accept()
    await socket.close(4004)


async def refuse(socket):
    """Deny the handshake as the API does."""
    await socket.send_denial_response(PlainTextResponse("no", status_code=401))


async def send_then_close(socket):
    """Send a large message, then close."""
    await socket.accept()
    await socket.send_bytes(bytes(60_000))
    await socket.close(4004)


@pytest.fixture
async def origin():
    """A server with these applications, each under its name."""
    all_items = (flood, flood_until_closed, close_at_once, refuse, send_then_close)
    app = Starlette(
        routes=[WebSocketRoute(f"{prefix}/{item.__name__}", item) for item in all_items for prefix in PREFIXES]
    )
    async with serve_embedded(app, bind_socket()) as origin:
        yield origin


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_non_reading_peer_is_disconnected_at_once(origin, prefix):
    with await open_non_reading_socket(origin, f"{prefix}/flood") as line:
        assert await wait_until_reset(line, 5) < CLOSE_TIMEOUT_SECONDS


async def test_closing_peer_that_does_not_read_is_disconnected(origin):
    with await open_non_reading_socket(origin, "/v1/flood_until_closed") as line:
        await asyncio.sleep(0.5)
        line.send(CLOSE_FRAME)
        assert await wait_until_reset(line, 5) < CLOSE_TIMEOUT_SECONDS + 0.5


async def test_unanswered_close_times_out(origin):
    with await open_non_reading_socket(origin, "/v1/close_at_once") as line:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS + 1):
            while await loop.sock_recv(line, 4096):
                pass


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_slow_reader_gets_all_messages_and_the_close_code(origin, prefix):
    with await open_non_reading_socket(origin, f"{prefix}/send_then_close") as line:
        loop, heard = asyncio.get_running_loop(), b""
        async with asyncio.timeout(5):
            while (4004).to_bytes(2) not in heard[60_000:]:
                heard += await loop.sock_recv(line, 4096)
                await asyncio.sleep(0.01)


def test_response_does_not_wait_for_an_acknowledgment():
    with bind_socket() as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_denied_handshake_logs_no_error(origin, caplog):
    async with ClientSession() as session:
        with pytest.raises(WSServerHandshakeError) as caught:
            await session.ws_connect(f"{origin}/v1/refuse")
    assert caught.value.status == 401
    await asyncio.sleep(0.1)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_signal_during_start_stops_the_server_and_is_raised_again():
    order = []

    async def noted(what):
        order.append(what)

    @asynccontextmanager
    async def lifespan(_):
        server.handle_exit(signal.SIGTERM, None)
        await asyncio.sleep(0.1)
        yield

    before = signal.signal(signal.SIGTERM, lambda *_: order.append("raised"))
    try:
        server = GatewayServer(
            uvicorn_config(Starlette(lifespan=lifespan)), lambda _: noted("left"), lambda: noted("closed")
        )
        await asyncio.wait_for(server.serve([bind_socket()]), 5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert order == ["left", "closed", "raised"]


@pytest.mark.parametrize(("pause", "waits"), [(0.0, True), (MIN_SECOND_SIGNAL_SECONDS + 0.2, False)])
async def test_immediate_second_signal_is_ignored_and_a_later_one_skips_the_drain(pause, waits):
    began, left, raised = asyncio.Event(), [], []

    async def leave(_):
        began.set()
        await asyncio.sleep(MIN_SECOND_SIGNAL_SECONDS + 1)
        left.append(True)

    async def close():
        """Nothing to do."""

    before = signal.signal(signal.SIGTERM, lambda *_: raised.append(True))
    try:
        server = GatewayServer(uvicorn_config(Starlette()), leave, close)
        serving = asyncio.create_task(server.serve([bind_socket()]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            await began.wait()
            await asyncio.sleep(pause)
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (left == [True], raised) == (waits, [True])


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [((), "127.0.0.1"), (("192.0.2.0/24",), "127.0.0.1"), (("127.0.0.0/8", "::1"), "203.0.113.7")],
    ids=["default", "another proxy", "this proxy"],
)
async def test_forwarded_address_is_believed_from_trusted_proxies_only(trusted, seen):
    async def client(request):
        return PlainTextResponse(request.client.host)

    settings = uvicorn_config(Starlette(routes=[Route("/", client)]), trusted_proxies=trusted)
    settings.load()
    transport = httpx.ASGITransport(settings.loaded_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as session:
        assert (await session.get("/", headers={"X-Forwarded-For": "203.0.113.7"})).text == seen
