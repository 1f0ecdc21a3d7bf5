"""The logs of ended calls: every event and what the flow did about it, for replay.

Keeping one never waits: a thread writes it. The newest are kept; a folder serves until the database does.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

KEPT = 1_000  # logs; a call's is about 5 KB
CALL = re.compile(r"CA[0-9a-zA-Z]{32}\Z")


class CallLogs(Protocol):
    """Where the logs go."""

    def keep(self, call: str, log: bytes) -> None:
        """Keep the log of an ended call, in place of an earlier one of the same call. Never waits."""

    async def aclose(self) -> None:
        """Until everything is kept."""


class MemoryLogs:
    """Keeps them while the process lives."""

    def __init__(self) -> None:
        self.logs: dict[str, bytes] = {}

    def keep(self, call: str, log: bytes) -> None:
        """See CallLogs."""
        self.logs[call] = log
        while len(self.logs) > KEPT:
            del self.logs[next(iter(self.logs))]

    async def aclose(self) -> None:
        """See CallLogs."""


class FolderLogs:
    """Keeps each in a file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="call logs")

    def keep(self, call: str, log: bytes) -> None:
        """See CallLogs."""
        if CALL.match(call):
            self._writer.submit(self._write, call, log)

    def read(self, call: str) -> bytes | None:
        """The log of a call, if it is there."""
        path = self._folder / f"{call}.jsonl"
        return path.read_bytes() if CALL.match(call) and path.exists() else None

    async def aclose(self) -> None:
        """See CallLogs."""
        await asyncio.to_thread(self._writer.shutdown)

    def _write(self, call: str, log: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{call}.jsonl").write_bytes(log)
        paths = sorted(self._folder.glob("CA*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in paths[:-KEPT]:
            path.unlink(missing_ok=True)
