"""A peer that opens a WebSocket and then never reads, written with plain sockets: client libraries always read."""

import asyncio
import select
import socket
from urllib.parse import urlsplit

CLOSE_FRAME = bytes((0x88, 0x80, 0, 0, 0, 0))  # a close frame without a code, with a zero mask


async def open_non_reading_socket(origin, path, **headers):
    """Open the socket with a small receive buffer, so that unread data soon fills the sender's queue."""
    address = urlsplit(origin)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (address.hostname, address.port))
    all_headers = {
        "Host": address.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in all_headers.items())
    await loop.sock_sendall(sock, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert b" 101 " in await loop.sock_recv(sock, 64)
    return sock


async def wait_until_reset(sock, seconds):
    """Wait until the server has reset the connection, without reading; return the seconds it took."""
    poll = select.poll()
    poll.register(sock, 0)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    async with asyncio.timeout(seconds):
        while not poll.poll(0):  # noqa: ASYNC110 (the other side of a socket)
            await asyncio.sleep(0.02)
    return loop.time() - started_at
