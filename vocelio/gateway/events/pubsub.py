"""The way to the gateway's other processes: the ``Line`` port, and the line of a process that is alone.

Messages go to whoever is on a channel at the moment, each at most once and in the order they were sent. Some may be
lost, and then the channel's subscribers are told of a gap. Nothing here is the authority on anything: the store is.
"""

import secrets
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")

Message = bytes | msgspec.Struct
"""Of a struct, its JSON goes out; it is made when it is sent, not while a call waits."""


def decode_message(decoder: msgspec.json.Decoder[T], message: bytes) -> T | None:
    """What somebody has sent; None of what cannot be read: it comes from another release, or from nobody of ours."""
    try:
        return decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class PubSub(Protocol):
    """``process`` is this process's id, different at each start. ``alone``: there are no others."""

    process: str
    is_local: bool

    @property
    def dropped(self) -> int:
        """Messages that were dropped, since the start."""
        ...

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        """Tell the others. Never waits, never raises; past a bound the oldest messages are dropped.

        While the others cannot be reached only what is ``lasting`` waits: a command, say, would be carried out when
        whoever gave it has long been told that it was not.
        """

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        """Hear what others send, from soon on; what is returned ends it.

        ``gap`` is called when the subscription stands, and again whenever messages may have been lost, as is one for
        which ``heard`` raises an error.
        """
        ...

    async def start(self) -> None:
        """Begin. Does not wait for a server."""

    async def aclose(self) -> None:
        """End, in bounded time."""


class LocalPubSub:
    """The Line port where there is nobody else."""

    def __init__(self) -> None:
        self.process = secrets.token_hex(4)
        self.is_local = True
        self.dropped = 0

    def publish(self, channel: str, message: Message, *, durable: bool = False) -> None:
        """See Line."""

    def subscribe(
        self, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> Callable[[], None]:
        """See Line."""
        return _noop

    async def start(self) -> None:
        """See Line."""

    async def aclose(self) -> None:
        """See Line."""


def _noop() -> None:
    """There is nothing to end."""
