"""A peer that opens a WebSocket and then reads nothing, as bytes: no client's library would behave so."""

import asyncio
import select
import socket
from urllib.parse import urlsplit

CLOSE_FRAME = bytes((0x88, 0x80, 0, 0, 0, 0))  # a close frame without a code, masked with nothing


async def open_non_reading_socket(origin, path, **headers):
    """Its socket; the kernel's buffer for it is small, so that what is not read is soon the sender's."""
    place = urlsplit(origin)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, (place.hostname, place.port))
    sent = {
        "Host": place.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in sent.items())
    await loop.sock_sendall(line, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert b" 101 " in await loop.sock_recv(line, 64)
    return line


async def wait_until_reset(line, seconds):
    """Until the other side has reset the connection, which is seen without reading; gives the seconds that took."""
    news = select.poll()
    news.register(line, 0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(seconds):
        while not news.poll(0):  # noqa: ASYNC110 (the other side of a socket)
            await asyncio.sleep(0.02)
    return loop.time() - began
