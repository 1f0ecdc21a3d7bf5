"""One recogniser process as the gateway sees it: orders go in, reports come out, and it may die."""

import asyncio
import os
import sys
from collections.abc import Callable

from vocelio.gateway.speech.local.messages import PREFIX, Order, Ready, Report, Trouble, framed, report
from vocelio.gateway.speech.ports import SpeechError

START_SECONDS = 30.0  # building the first decoder takes 0.3 s on an idle machine
END_SECONDS = 2.0
MAX_UNSENT = 400_000  # bytes waiting for the process: 50 s of one utterance, 4 s of twelve


class Process:
    """A running worker. ``told`` gets its reports; ``died`` is called once if it ends without being asked to."""

    def __init__(self, told: Callable[[Report], None], died: Callable[["Process"], None]) -> None:
        self._told, self._died = told, died
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.utterances: set[int] = set()

    async def start(self) -> None:
        """Run it. Raises SpeechError if it does not come up."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "vocelio.gateway.speech.local.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                first = await self._read()
        except TimeoutError:
            first = Trouble(0, f"no recogniser process within {START_SECONDS:g} s")
        if not isinstance(first, Ready):
            await self.aclose()
            raise SpeechError(first.why if isinstance(first, Trouble) else "the recogniser process ended at once")
        self._reading = asyncio.create_task(self._read_all(), name="recogniser")

    @property
    def alive(self) -> bool:
        """Whether it takes orders."""
        return self._reading is not None and not self._reading.done()

    @property
    def overloaded(self) -> bool:
        """Whether more waits for it than it will catch up with."""
        process = self._process
        return process is None or process.stdin is None or process.stdin.transport.get_write_buffer_size() > MAX_UNSENT

    def send(self, message: Order) -> None:
        """Give it an order. Never blocks."""
        if self._process and self._process.stdin and self.alive:
            self._process.stdin.write(framed(message))

    async def aclose(self) -> None:
        """End it: by the end of its input, then by force."""
        process, self._process = self._process, None
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()

    async def _read_all(self) -> None:
        while message := await self._read():
            self._told(message)
        self._died(self)

    async def _read(self) -> Report | None:
        if self._process is None or self._process.stdout is None:
            return None
        try:
            prefix = await self._process.stdout.readexactly(PREFIX)
            return report.decode(await self._process.stdout.readexactly(int.from_bytes(prefix, "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
