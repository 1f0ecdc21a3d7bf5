"""Bounds of what a peer can queue on one connection: pipelined requests, heads, frames, unread output."""

import asyncio
import logging
import struct
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from uvicorn.server import ServerState

from tests.support.resource_checks import read_to_end
from vocelio.gateway.server.connection_limits import ConnectionLimits
from vocelio.gateway.server.protocols import (
    MAX_CONTROL_FRAMES,
    MAX_FRAGMENTS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED_REQUESTS,
    MAX_QUEUED_MESSAGES,
    PARSE_BYTES,
    BoundedWebSocketProtocol,
    TimeoutHttpProtocol,
)
from vocelio.gateway.server.server import uvicorn_config

GET = b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345"
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, CONTINUATION, CLOSE, PING, PONG = 1, 0, 8, 9, 10


def frame(opcode, payload=b"", fin=True):
    """A masked frame, whose mask is zero."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([opcode | (0x80 if fin else 0)]) + length + bytes(4) + payload


class RecordingHttpProtocol(TimeoutHttpProtocol):
    """Records the most requests that waited on any connection."""

    most_queued = 0

    def data_received(self, data):
        super().data_received(data)
        type(self).most_queued = max(type(self).most_queued, len(self.pipeline))


class WaitingApplication:
    """Requests and accepted sockets wait until ``proceed`` is set."""

    def __init__(self):
        self.proceed = asyncio.Event()
        self.received, self.disconnects, self.requests = 0, [], 0
        self.disconnected = asyncio.Event()
        self.accepted = asyncio.Event()

    async def wait(self, request):
        self.requests += 1
        await self.proceed.wait()
        return PlainTextResponse(await request.body() or b"nothing")

    async def socket(self, socket):
        await socket.accept()
        self.accepted.set()
        await self.proceed.wait()
        try:
            while True:
                await socket.receive_text()
                self.received += 1
        except WebSocketDisconnect as error:
            self.disconnects.append((error.code, error.reason))
            self.disconnected.set()


@pytest.fixture
async def application():
    return WaitingApplication()


@asynccontextmanager
async def serving(application, limits=None):
    routes = [
        Route("/wait", application.wait, methods=["GET", "POST"]),
        WebSocketRoute("/socket", application.socket),
    ]
    settings, state = uvicorn_config(Starlette(routes=routes)), ServerState()
    settings.load()

    class Protocol(RecordingHttpProtocol):
        pass

    server = await asyncio.get_running_loop().create_server(
        lambda: Protocol(settings, state, {}, limits=limits), "127.0.0.1", 0
    )
    server.state, server.protocol, server.address = state, Protocol, server.sockets[0].getsockname()
    try:
        yield server
    finally:
        application.proceed.set()
        server.close()
        async with asyncio.timeout(10):
            while state.connections or state.tasks:  # noqa: ASYNC110 (uvicorn's own)
                await asyncio.sleep(0.01)


@pytest.fixture
async def server(application):
    async with serving(application) as running:
        yield running


async def send_and_read(server, data):
    """Send, and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*server.address)
    reading = asyncio.create_task(read_to_end(reader))
    try:
        writer.write(data)
        await writer.drain()
    except ConnectionError:
        pass
    received = await reading
    writer.close()
    return received


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(GET * 20_000, id="GET"),
        pytest.param(POST * 20_000, id="POST"),
        pytest.param(
            GET + b"POST /wait HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" * 20_000, id="chunked"
        ),
        pytest.param(GET.replace(b"/wait", b"/nowhere") * 20_000, id="answered at once"),
    ],
)
async def test_pipelined_requests_are_bounded(server, application, flood):
    await send_and_read(server, flood)
    assert server.protocol.most_queued <= MAX_PIPELINED_REQUESTS
    assert application.requests <= MAX_PIPELINED_REQUESTS + 1


async def test_reading_pauses_while_requests_wait_and_goes_on_afterwards(server, application):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(GET * 3)
    await writer.drain()
    async with asyncio.timeout(10):
        while server.protocol.most_queued < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (connection,) = server.state.connections
    assert not connection.transport.is_reading()
    writer.write(GET * 20)
    application.proceed.set()
    assert b"HTTP/1.1 200" in await reader.readuntil(b"nothing")
    for _ in range(2):
        await reader.readuntil(b"nothing")
    assert server.protocol.most_queued <= MAX_PIPELINED_REQUESTS
    writer.close()
    await read_to_end(reader)


async def test_upgrade_behind_an_unanswered_request_closes_the_connection(server):
    assert await send_and_read(server, GET + UPGRADE) == b""


async def test_invalid_request_behind_another_is_not_taken_for_its_response(server):
    assert await send_and_read(server, GET + b"NONSENSE\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("request_bytes", "reason"),
    [
        (GET[:-2] + b"X: " + b"x" * (MAX_HEAD_BYTES + 10) + b"\r\n\r\n", b"65,536 bytes"),
        (GET.replace(b"/wait", b"/wait?" + b"x" * MAX_HEAD_BYTES), b"65,536 bytes"),
        (GET[:-2] + b"a:\r\n" * (MAX_HEADERS + 1) + b"\r\n", b"256 headers"),
        (
            b"POST /wait HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"a: b\r\n" * (MAX_HEADERS + 1)
            + b"\r\n",
            b"256 headers",
        ),
    ],
    ids=["header", "URL", "many headers", "trailer fields"],
)
async def test_large_head_in_one_read_is_rejected(server, request_bytes, reason):
    received = await send_and_read(server, request_bytes)
    assert received.startswith(b"HTTP/1.1 400")
    assert reason in received


@asynccontextmanager
async def open_socket(server):
    """Upgrade; yield reader and writer after the handshake."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(UPGRADE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    yield reader, writer
    writer.close()
    await read_to_end(reader)


@pytest.mark.parametrize(
    ("flood", "code"),
    [
        pytest.param(frame(PING, b"x" * 125) * 5_000, 1008, id="pings"),
        pytest.param(frame(PONG) * 5_000, 1008, id="pongs"),
        pytest.param(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 5_000, 1008, id="empty fragments"),
        pytest.param(frame(TEXT) * 40_000, 1008, id="empty messages"),
        pytest.param((frame(PING) + frame(TEXT, b"{}")) * 5_000, 1008, id="pings between messages"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="no UTF-8"),
        pytest.param(
            frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xc3"), 1007, id="no UTF-8 in two fragments"
        ),
    ],
)
async def test_flood_of_frames_closes_the_socket(server, application, caplog, flood, code):
    async with open_socket(server) as (reader, writer):
        writer.write(flood)
        received = await read_to_end(reader)
    application.proceed.set()
    async with asyncio.timeout(10):
        await application.disconnected.wait()
    assert len(received) < 2 * PARSE_BYTES  # the pongs of what was parsed at once
    assert b"\x88" in received
    assert struct.pack("!H", code) in received
    assert application.disconnects[0][0] == code
    assert application.received <= MAX_QUEUED_MESSAGES
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_usual_frames_close_nothing(server, application):
    application.proceed.set()
    async with open_socket(server) as (reader, writer):
        writer.write(frame(PING, b"1") * MAX_CONTROL_FRAMES)
        writer.write(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * (MAX_FRAGMENTS - 2))
        writer.write(frame(CONTINUATION, "é".encode()))
        for _ in range(300):
            writer.write(frame(TEXT, b"x" * 350))
            await writer.drain()
        for _ in range(MAX_CONTROL_FRAMES):
            assert await reader.readexactly(3) == b"\x8a\x011"
        async with asyncio.timeout(10):
            while application.received < 301:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class FullTransport:
    """A transport whose peer does not read."""

    def __init__(self):
        self.reading, self.written = True, b""

    def pause_reading(self):
        assert self.reading
        self.reading = False

    def resume_reading(self):
        assert not self.reading
        self.reading = True

    def is_closing(self):
        return False

    def write(self, data):
        self.written += data


async def test_reading_pauses_after_a_ping_while_output_is_not_read():
    """The protocol alone. Without a ping it reads on: the peer may be about to close."""
    settings = uvicorn_config(Starlette())
    settings.load()
    protocol = BoundedWebSocketProtocol(settings, ServerState(), {})
    protocol.transport = transport = FullTransport()
    protocol.pause_writing()
    assert transport.reading
    protocol.handle_ping()
    assert not transport.reading
    protocol.queue.put_nowait({"type": "websocket.receive", "text": ""})
    await protocol.receive()
    assert not transport.reading  # until the output has been read
    protocol.resume_writing()
    assert transport.reading


async def test_reading_waits_for_the_application_to_read_the_upgrade(application):
    """Before that, it authenticates the request."""
    authenticating, proceed = asyncio.Event(), asyncio.Event()

    async def authenticate(socket):
        authenticating.set()
        await proceed.wait()
        await type(application).socket(application, socket)

    application.socket = authenticate
    async with serving(application) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(UPGRADE)
        await authenticating.wait()
        (connection,) = server.state.connections
        assert not connection.transport.is_reading()
        writer.write(frame(PING) * 5_000)
        proceed.set()
        assert struct.pack("!H", 1008) in await read_to_end(reader)
        writer.close()


@pytest.mark.parametrize("begun", [b"", GET[:9], GET], ids=["nothing", "half a head", "a request"])
async def test_newest_connection_over_the_limit_is_closed(application, begun):
    limits = ConnectionLimits(3, 100)
    async with serving(application, limits) as server:
        open_ones = [await asyncio.open_connection(*server.address) for _ in range(2)]
        async with open_socket(server) as (reader, writer):  # a socket counts as well
            for _, held in open_ones:
                held.write(begun)
            assert await send_and_read(server, GET) == b""
            assert limits.total == 3
            writer.write(frame(PING))
            assert await reader.readexactly(2) == b"\x8a\x00"  # the others go on
        for held_reader, held in open_ones:
            held.close()
            application.proceed.set()
            await read_to_end(held_reader)
    assert limits.total == 0
