"""Error responses of the emulated ElevenLabs service."""

import asyncio
import socket
import struct

from aiohttp import web

FAULT_KEY = web.RequestKey("fault", str)
"""The Fault to inject into this request."""


def error_response(status: int, name: str, message: str) -> web.Response:
    """Return an error response in the service's format."""
    return web.json_response({"detail": {"status": name, "message": message}}, status=status)


def abort_connection(request: web.Request) -> None:
    """Reset the connection."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    raise asyncio.CancelledError  # no response is possible
