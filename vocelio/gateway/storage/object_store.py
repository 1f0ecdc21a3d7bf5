"""The storage that lasts: a folder, s3://, gs:// or az://, by obstore (Rust's object_store, which works in threads).

Credentials come from the environment as each provider names them (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME ...) or from the machine's role. Only the process's own user can read in a folder.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from vocelio.gateway.errors import SettingsError, StorageUnavailable
from vocelio.gateway.storage.interfaces import ObjectInfo, ObjectNotFound

LOG = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 10.0  # of one object of a second's sound; past it the storage has stalled
CONNECT_TIMEOUT_SECONDS = 3.0
UPLOAD_TIMEOUT_SECONDS = 600.0  # of a recording as a whole: an hour of both sides has 58 MB
LIST_TIMEOUT_SECONDS = 60.0
DELETE_BATCH_SIZE = 1_000  # what S3 takes in one request
UPLOAD_PART_BYTES = 5 * 1024 * 1024  # bytes: no part of an upload but the last may be smaller

ObjectStore = S3Store | GCSStore | AzureStore | LocalStore

_STORES_BY_SCHEME: dict[str, type[S3Store | GCSStore | AzureStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}


class ObjectStorage:
    """The Storage port on what ``url`` names. Raises SettingsError when it names nothing that can be used."""

    def __init__(self, url: str) -> None:
        try:
            self._store = _open_store(url)
        except (BaseError, OSError, ValueError) as error:
            raise SettingsError(f"VOCELIO_STORAGE_URL cannot be used: {_first_line(error)}") from error

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        """See Storage."""
        seconds = REQUEST_TIMEOUT_SECONDS if isinstance(body, bytes) else UPLOAD_TIMEOUT_SECONDS
        with _map_errors(path):
            async with asyncio.timeout(seconds):
                await self._store.put_async(path, body, chunk_size=UPLOAD_PART_BYTES)

    async def get(self, path: str, start: int, end: int) -> bytes:
        """See Storage."""
        if start >= end:
            return b""
        with _map_errors(path):
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                return bytes(await self._store.get_range_async(path, start=start, end=end))

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        """See Storage."""
        with _map_errors(folder):
            async with asyncio.timeout(LIST_TIMEOUT_SECONDS):
                found = await self._store.list(folder).collect_async()
        return sorted(
            ObjectInfo(one["path"], one["size"], round(one["last_modified"].timestamp() * 1_000_000)) for one in found
        )

    async def delete(self, paths: Sequence[str]) -> None:
        """See Storage."""
        for first in range(0, len(paths), DELETE_BATCH_SIZE):
            await self._delete_batch(list(paths[first : first + DELETE_BATCH_SIZE]))

    async def _delete_batch(self, paths: list[str]) -> None:
        """At once; if one was not there, one by one: which have gone by then is not known."""
        try:
            with _map_errors(paths[0]):
                async with asyncio.timeout(LIST_TIMEOUT_SECONDS):
                    await self._store.delete_async(paths)
        except ObjectNotFound:
            if len(paths) > 1:
                for path in paths:
                    await self._delete_batch([path])


def _open_store(url: str) -> ObjectStore:
    scheme, found, _ = url.partition("://")
    if not found or scheme == "file":
        return _open_folder(Path(url.removeprefix("file://")))
    if scheme not in _STORES_BY_SCHEME:
        raise ValueError("it is a folder, or begins with s3://, gs:// or az://")
    patience = timedelta(seconds=REQUEST_TIMEOUT_SECONDS)
    return _STORES_BY_SCHEME[scheme].from_url(
        url,
        client_options={
            "timeout": patience,
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_SECONDS),
            "allow_http": True,  # only where AWS_ENDPOINT_URL or its like says http: a storage of one's own
        },
        retry_config={"max_retries": 2, "retry_timeout": patience},
    )


def _open_folder(path: Path) -> LocalStore:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(prefix=path.absolute(), automatic_cleanup=True)


@contextmanager
def _map_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise ObjectNotFound(f"there is no object {path}") from error
    except (BaseError, OSError, TimeoutError) as error:
        LOG.warning("the storage, at %s: %s", path, _first_line(error))
        raise StorageUnavailable(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """What obstore says; what follows is the same again for programmers."""
    return (str(error) or type(error).__name__).partition("\n")[0]
