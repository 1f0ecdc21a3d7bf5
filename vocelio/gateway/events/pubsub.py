"""Pub/sub between gateway processes: the ``PubSub`` interface and its no-op implementation for a single process.

A message reaches the subscribers that a channel has at the moment, at most once and in order. Messages may be lost; the
channel's subscribers then learn of a gap. No state may depend on messages alone: the database is the authority.
"""

import secrets
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")

Message = bytes | msgspec.Struct
"""A struct is sent as JSON. It is encoded by the sending task, so that a call does not wait for that."""


def decode_message(decoder: msgspec.json.Decoder[T], message: bytes) -> T | None:
    """Decode a message; return None if it is malformed, or was sent by another release or a foreign program."""
    try:
        return decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class PubSub(Protocol):
    """``process`` identifies this process and changes at each start; ``is_local`` means that there are no others."""

    process: str
    is_local: bool

    @property
    def dropped(self) -> int:
        """Messages dropped since the start."""
        ...

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        """Send a message to the other processes. Never waits, never raises; past a bound the oldest are dropped.

        While the other processes cannot be reached, only ``durable`` messages are queued: an operator's command, for
        example, would otherwise be executed long after its sender was told that it failed.
        """

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Subscribe to the messages of other processes; return a function that unsubscribes.

        ``on_gap`` is called when the subscription has been established, and whenever messages may have been lost: a
        message for which ``on_message`` raises counts as lost, too.
        """
        ...

    async def start(self) -> None:
        """Start in the background, without waiting for a server."""

    async def aclose(self) -> None:
        """Close within a bounded time."""


class LocalPubSub:
    """Pub/sub of a deployment with a single process: nobody else receives anything."""

    def __init__(self) -> None:
        self.process = secrets.token_hex(4)
        self.is_local = True
        self.dropped = 0

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        pass

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        return _noop

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def _noop() -> None:
    pass
