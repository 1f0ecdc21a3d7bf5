"""Timeouts and limits of HTTP connections."""

import asyncio
import socket
import subprocess
import sys
import time

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from tests.support.resource_checks import read_to_end
from vocelio.gateway.server.protocols import (
    MAX_HEAD_BYTES,
    REQUEST_TIMEOUT_SECONDS,
    UNREAD_TIMEOUT_SECONDS,
    TimeoutHttpProtocol,
)
from vocelio.gateway.server.server import uvicorn_config

SHORT_TIMEOUT_SECONDS = 1.2  # seconds, for what has thirty
MUCH = 20_000_000  # bytes: more than both kernels hold
GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"


class ImpatientHttpProtocol(TimeoutHttpProtocol):
    """The server's protocol with shorter timeouts."""

    request_timeout_seconds = unread_timeout_seconds = SHORT_TIMEOUT_SECONDS


class EchoApplication:
    """Records request bodies and disconnects, and responds."""

    def __init__(self):
        self.left = 0
        self.routes = [
            Route("/echo", self.echo, methods=["GET", "POST"]),
            Route("/much", self.large_response),
            Route("/slow", self.slow_response),
        ]

    async def echo(self, request):
        """The body."""
        try:
            return PlainTextResponse(await request.body() or b"nothing")
        except ClientDisconnect:
            self.left += 1
            raise

    async def large_response(self, request):
        """Far more than is read at once."""
        return PlainTextResponse(bytes(MUCH))

    async def slow_response(self, request):
        """Takes longer than a request may."""
        await asyncio.sleep(2 * SHORT_TIMEOUT_SECONDS)
        return PlainTextResponse("at last")


@pytest.fixture
def application():
    return EchoApplication()


@pytest.fixture
async def server_state():
    return ServerState()


@pytest.fixture
async def server_address(application, server_state):
    settings = uvicorn_config(Starlette(routes=application.routes))
    settings.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: ImpatientHttpProtocol(settings, server_state, {}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()
    server.close()
    assert not server_state.connections


async def read_body(reader):
    """Read the body of a response, after which the connection stays open."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        return await reader.readexactly(length)


def test_server_timeouts():
    assert (
        (TimeoutHttpProtocol.request_timeout_seconds, TimeoutHttpProtocol.unread_timeout_seconds)
        == (REQUEST_TIMEOUT_SECONDS, UNREAD_TIMEOUT_SECONDS)
        == (30, 30)
    )


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", GET[:3], GET[:-2], POST, POST + b"1234", GET[:-2] + b"X: " + b"x" * 1000], ids=repr
)
async def test_incomplete_request_times_out(server_address, application, begun):
    reader, writer = await asyncio.open_connection(*server_address)
    began = time.monotonic()
    writer.write(begun)
    assert await read_to_end(reader) == b""
    assert time.monotonic() - began > 0.9 * SHORT_TIMEOUT_SECONDS
    assert application.left == begun.startswith(POST)
    writer.close()


@pytest.mark.parametrize("dripped", [GET[:-2] + b"X: xxxxxxxxxxxx", POST.replace(b"5", b"500") + b"y" * 20])
async def test_dripping_request_times_out(server_address, dripped):
    reader, writer = await asyncio.open_connection(*server_address)
    ending = asyncio.create_task(read_to_end(reader))
    for byte in dripped:
        writer.write(bytes([byte]))
        await asyncio.sleep(SHORT_TIMEOUT_SECONDS / 20)
    assert await ending == b""
    writer.close()


async def test_incomplete_second_request_times_out(server_address):
    for first, second in [(GET, POST), (GET + POST, b""), (POST + b"12345", GET[:-1]), (GET, b"\r\n")]:
        reader, writer = await asyncio.open_connection(*server_address)
        writer.write(first)
        await read_body(reader)
        writer.write(second)
        assert await read_to_end(reader) == b""
        writer.close()


async def test_connection_serves_consecutive_requests(server_address):
    reader, writer = await asyncio.open_connection(*server_address)
    for _ in range(6):
        writer.write(POST)
        await asyncio.sleep(SHORT_TIMEOUT_SECONDS / 4)
        writer.write(b"12345")
        assert await read_body(reader) == b"12345"
    writer.write(GET + POST + b"abcde")
    assert [await read_body(reader), await read_body(reader)] == [b"nothing", b"abcde"]
    writer.close()
    await read_to_end(reader)


async def test_timeout_is_extended_for_a_large_body(server_address):
    reader, writer = await asyncio.open_connection(*server_address)
    writer.write(POST.replace(b"5", b"4000000"))
    for _ in range(20):
        writer.write(b"x" * 200_000)
        await asyncio.sleep(SHORT_TIMEOUT_SECONDS / 10)
    assert await read_body(reader) == b"x" * 4_000_000
    writer.close()
    await read_to_end(reader)


async def test_slow_response_does_not_time_out(server_address):
    reader, writer = await asyncio.open_connection(*server_address)
    writer.write(GET.replace(b"/echo", b"/slow"))
    assert await read_body(reader) == b"at last"
    writer.close()
    await read_to_end(reader)


async def test_endless_head_is_rejected(server_address):
    reader, writer = await asyncio.open_connection(*server_address)
    writer.write(GET[:-2])
    for _ in range(2 * MAX_HEAD_BYTES // 4096):
        writer.write(b"x" * 2000 + b": " + b"y" * 2092 + b"\r\n")
        await asyncio.sleep(0)
    said = await read_to_end(reader)
    assert said == b"" or (b" 400 " in said and b"65,536 bytes" in said)  # a reset may take the answer with it
    writer.close()


async def test_connection_of_a_non_reading_peer_is_dropped(server_address, server_state):
    with socket.create_connection(server_address) as line:
        line.sendall(GET.replace(b"/echo", b"/much"))
        async with asyncio.timeout(10):
            while not server_state.connections:  # noqa: ASYNC110 (uvicorn's own)
                await asyncio.sleep(0.01)
            while server_state.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_slow_reader_gets_the_whole_response(server_address):
    reader, writer = await asyncio.open_connection(*server_address)
    writer.write(GET.replace(b"/echo", b"/much").replace(b"Host", b"Connection: close\r\nHost"))
    got = 0
    async with asyncio.timeout(20):
        while data := await reader.read(1_000_000):
            got += len(data)
            await asyncio.sleep(0.02)
    assert got > MUCH
    writer.close()


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "complains"), [(64, 1_000, 1_000, True), (1_024, 8_192, 8_192, False)]
)
def test_open_file_limit_is_raised_as_far_as_allowed(soft, hard, allowed, complains):
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from vocelio.gateway.server.connection_limits import raise_open_file_limit
assert (raise_open_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)) == ({allowed}, ({allowed}, {hard}))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)  # noqa: S603
    assert (b"open files are allowed" in ended.stderr) == complains
