"""Objects by their paths: the ``Storage`` port.

An object is written whole or not at all, and never appended to. Paths are names with slashes in between. Every method
raises StorageUnavailable when the storage does not answer, or not in time; Missing when an object is not there.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from vocelio.gateway.errors import GatewayError


class ObjectNotFound(GatewayError):
    """There is no such object."""


class ObjectInfo(NamedTuple):
    """An object: its ``size`` in bytes, and when it was ``changed``, whole microseconds UTC."""

    path: str
    size: int
    modified_at: int


class Storage(Protocol):
    """The port."""

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """Write an object, in place of what is there."""

    async def get(self, path: str, start: int, end: int) -> bytes:
        """The bytes of an object from ``start`` to before ``end``."""
        ...

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        """The objects whose paths begin with the folder's and a slash, by path."""
        ...

    async def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are as good as removed."""
