"""How the emulated ElevenLabs refuses."""

import asyncio
import socket
import struct

from aiohttp import web

FAULT_KEY = web.RequestKey("fault", str)
"""What this request is to do wrong: a Fault."""


def error_response(status: int, name: str, message: str) -> web.Response:
    """An error in the service's form."""
    return web.json_response({"detail": {"status": name, "message": message}}, status=status)


def abort_connection(request: web.Request) -> None:
    """Break the connection off, so that the client gets a reset."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    raise asyncio.CancelledError  # there is nobody to answer
