"""Listening sockets, and the reservation of a port. Cheap to import, for the supervisor."""

import socket

from vocelio.gateway.errors import SettingsError

BACKLOG = 512  # connections that wait in the kernel


def bind_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Bind a listening socket, so that the port is known before the application is created.

    Its connections inherit TCP_NODELAY, which asyncio's own loop sets only if the protocol was given: without it the
    body of a response would wait 40 ms for the client to acknowledge the head.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def reserve_port(host: str, port: int) -> socket.socket:
    """Reserve a port for worker processes, with a socket that accepts no connections. Raises SettingsError.

    With SO_REUSEPORT alone a second gateway could bind the same port, and would get half of the calls.
    """
    try:
        with bind_socket(host, port) as probe:  # fails if another gateway has the port
            address, family = probe.getsockname(), probe.family
        return _bind_shared(family, address)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def share_port(reserved: socket.socket) -> socket.socket:
    """Bind another socket to a reserved port. It gets no connections before its worker listens. Raises OSError."""
    return _bind_shared(reserved.family, reserved.getsockname())


def _bind_shared(family: int, address: tuple[str, int]) -> socket.socket:
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see bind_socket
    shared.bind(address)
    return shared
