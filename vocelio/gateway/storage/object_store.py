"""Persistent storage: a directory, s3://, gs:// or az://, with obstore (Rust's object_store, which works in threads).

Credentials come from each provider's own environment variables (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME ...) or from the machine's role. A directory is readable only by the process's user.
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

REQUEST_TIMEOUT_SECONDS = 10.0  # for an object with a second of audio; beyond that the storage has stalled
CONNECT_TIMEOUT_SECONDS = 3.0
UPLOAD_TIMEOUT_SECONDS = 600.0  # for a whole recording: one hour of both sides has 58 MB
LIST_TIMEOUT_SECONDS = 60.0
DELETE_BATCH_SIZE = 1_000  # S3's limit per request
UPLOAD_PART_BYTES = 5 * 1024 * 1024  # the least for any part of an upload but the last

ObjectStore = S3Store | GCSStore | AzureStore | LocalStore

_STORES_BY_SCHEME: dict[str, type[S3Store | GCSStore | AzureStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}


class ObjectStorage:
    """Storage at a URL or in a directory. Raises SettingsError if ``url`` cannot be used."""

    def __init__(self, url: str) -> None:
        try:
            self._store = _open_store(url)
        except (BaseError, OSError, ValueError) as error:
            raise SettingsError(f"VOCELIO_STORAGE_URL cannot be used: {_first_line(error)}") from error

    async def put(self, path: str, body: bytes | AsyncIterator[bytes]) -> None:
        seconds = REQUEST_TIMEOUT_SECONDS if isinstance(body, bytes) else UPLOAD_TIMEOUT_SECONDS
        with _map_errors(path):
            async with asyncio.timeout(seconds):
                await self._store.put_async(path, body, chunk_size=UPLOAD_PART_BYTES)

    async def get(self, path: str, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        with _map_errors(path):
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                return bytes(await self._store.get_range_async(path, start=start, end=end))

    async def list_objects(self, folder: str) -> list[ObjectInfo]:
        with _map_errors(folder):
            async with asyncio.timeout(LIST_TIMEOUT_SECONDS):
                objects = await self._store.list(folder).collect_async()
        return sorted(
            ObjectInfo(entry["path"], entry["size"], round(entry["last_modified"].timestamp() * 1_000_000))
            for entry in objects
        )

    async def delete(self, paths: Sequence[str]) -> None:
        for first in range(0, len(paths), DELETE_BATCH_SIZE):
            await self._delete_batch(list(paths[first : first + DELETE_BATCH_SIZE]))

    async def _delete_batch(self, paths: list[str]) -> None:
        """Delete in one request; if an object was missing, one by one, since it is unknown which were deleted."""
        try:
            with _map_errors(paths[0]):
                async with asyncio.timeout(LIST_TIMEOUT_SECONDS):
                    await self._store.delete_async(paths)
        except ObjectNotFound:
            if len(paths) > 1:
                for path in paths:
                    await self._delete_batch([path])


def _open_store(url: str) -> ObjectStore:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        return _open_directory(Path(url.removeprefix("file://")))
    if scheme not in _STORES_BY_SCHEME:
        raise ValueError("it must be a directory, or begin with s3://, gs:// or az://")
    timeout = timedelta(seconds=REQUEST_TIMEOUT_SECONDS)
    return _STORES_BY_SCHEME[scheme].from_url(
        url,
        client_options={
            "timeout": timeout,
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_SECONDS),
            "allow_http": True,  # only if AWS_ENDPOINT_URL or its like is an http URL: self-hosted storage
        },
        retry_config={"max_retries": 2, "retry_timeout": timeout},
    )


def _open_directory(path: Path) -> LocalStore:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(prefix=path.absolute(), automatic_cleanup=True)


@contextmanager
def _map_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:
        raise ObjectNotFound(f"there is no object {path}") from error
    except (BaseError, OSError, TimeoutError) as error:
        LOG.warning("storage request for %s failed: %s", path, _first_line(error))
        raise StorageUnavailable(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error message of obstore; further ones repeat it with internals."""
    return (str(error) or type(error).__name__).partition("\n")[0]
