"""Files of the gateway: only its own user may read them, since they contain what callers said, and secrets.

New files get their mode from the umask; existing ones may be older than this rule, or copied, and are corrected at the
start of ``vocelio serve``. Files that somebody else keeps (a folder that holds the database) are left alone.
"""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vocelio.gateway.config import DEFAULT_SECRET_FILE, Settings

LOG = logging.getLogger(__name__)

PRIVATE_UMASK = 0o077
EXPOSED_BITS = stat.S_IRWXG | stat.S_IRWXO


class ExposedFile(NamedTuple):
    """A file or folder that others than its owner have access to, and its mode."""

    path: Path
    mode: int

    def __str__(self) -> str:
        return f"{self.path} has mode {self.mode:04o}"


def make_new_files_private() -> None:
    """Let this process and its children create files that only their user can read."""
    os.umask(PRIVATE_UMASK)


def find_exposed(settings: Settings) -> list[ExposedFile]:
    """Return the gateway's existing files and folders that others have access to."""
    modes = [(path, stat.S_IMODE(path.stat().st_mode)) for path in _paths(settings) if path.exists()]
    return [ExposedFile(path, mode) for path, mode in modes if mode & EXPOSED_BITS]


def make_existing_files_private(settings: Settings) -> None:
    """Correct the modes of the gateway's files; what belongs to another user is logged."""
    for file in find_exposed(settings):
        try:
            file.path.chmod(file.mode & ~EXPOSED_BITS)
        except OSError as error:
            LOG.warning("%s and cannot be made private: %s", file, error.strerror)
        else:
            LOG.info("%s: made private", file)


def _paths(settings: Settings) -> Iterator[Path]:
    yield DEFAULT_SECRET_FILE.parent
    yield DEFAULT_SECRET_FILE
    if settings.database_url.startswith("sqlite"):
        database = settings.database_url.partition(":///")[2].partition("?")[0]  # SQLAlchemy takes long to import
        yield from (Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm") if database)
    if "://" not in settings.storage_url or settings.storage_url.startswith("file://"):
        yield Path(settings.storage_url.removeprefix("file://"))
