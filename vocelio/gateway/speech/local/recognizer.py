"""Recognition on pocketsphinx: it hears the phrases that it expects, in English and over the telephone.

Each utterance goes to the worker process that has the fewest. A worker that dies fails what it was hearing,
and another takes its place (``crew``). Everything here runs on the event loop, without waiting: an utterance's
audio is gathered to a tenth of a second and written to the worker's socket.
"""

import asyncio
import itertools
from collections.abc import Callable

from vocelio.gateway.speech.interfaces import Expectation, Heard, SpeechError, Unsuitable
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.worker_pool import Crew
from vocelio.gateway.speech.local.worker_process import WorkerProcess

DEFAULT_WORKERS = 2

MAX_PHRASES = 500
"""Phrases in one expectation: a grammar of them costs 50 ms to build."""

MAX_PHRASE = 200
"""Characters in a phrase."""

MAX_UTTERANCE = 60 * 8000
"""Bytes of mu-law in one utterance: a minute."""

SEND_BYTES = 800
"""Mu-law sent at a time, 100 ms: a system call per 20 ms frame would cost more than all else here."""

FINAL_SECONDS = 5.0
"""For the final, which takes milliseconds: a worker that needs longer is stuck, and is replaced. That is found out
also when nobody waits for the final any more: callers are less patient."""


class LocalRecognizer:
    """A Recognizer with ``workers`` processes."""

    def __init__(self, workers: int = DEFAULT_WORKERS) -> None:
        self._crew = Crew(workers)
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Start the workers. Raises SpeechError if one of them does not start; ``open`` tries anew."""
        await self._crew.start()

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return self._crew.pids

    async def settled(self) -> None:
        """Wait until every worker that died has been replaced or given up."""
        await self._crew.settled()

    def open(
        self,
        expectation: Expectation,
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
    ) -> "LocalRecognition":
        """See ``Recognizer.open``. A text is lower-case words, as ``grammar.normal`` writes them.

        Raises Unsuitable when the phrases are too many or too long.
        """
        request = _request(next(self._numbers), expectation)
        self._crew.fill()
        return LocalRecognition(request, self._crew.least_busy, heard, failed)

    async def aclose(self) -> None:
        """End every recognition and every worker."""
        await self._crew.aclose()


class LocalRecognition:
    """One utterance, open until its final, its failure or ``close``. It has a worker from its first sound on."""

    def __init__(
        self,
        request: ipc.Open,
        find: Callable[[], WorkerProcess],
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
    ) -> None:
        self.number = request.stream
        self._request, self._find = request, find
        self._heard, self._failed = heard, failed
        self._worker: WorkerProcess | None = None
        self._unsent = bytearray()  # under SEND_BYTES
        self._room = MAX_UTTERANCE
        self._finished = self._ended = self._failing = False
        self._deadline: asyncio.TimerHandle | None = None

    def feed(self, mulaw: bytes) -> None:
        """See ``Recognition.feed``: fails past MAX_UTTERANCE."""
        if self._ended or self._finished or not (worker := self._begun()):
            return
        self._unsent += mulaw
        self._room -= len(mulaw)
        if self._room < 0:
            self._fail_soon(Unsuitable(f"an utterance of more than {MAX_UTTERANCE // 8000} s"))
        elif len(self._unsent) >= SEND_BYTES:
            self._send(worker)

    def finish(self) -> None:
        """See ``Recognition.finish``."""
        if self._ended or self._finished or not (worker := self._begun()):
            return
        self._finished = True
        self._send(worker)
        worker.finish(self.number)
        self._deadline = asyncio.get_running_loop().call_later(FINAL_SECONDS, worker.end, "does not answer")

    def close(self) -> None:
        """See ``Recognition.close``. An utterance that is not finished is dropped by the worker at once.

        One that is finished counts as the worker's until it has answered, for nobody to hear: a worker that hangs
        would otherwise always be the least busy, get every next utterance, and never be found out.
        """
        self._ended = True
        self._unsent.clear()
        if self._worker is not None and not self._finished:
            self._worker.close(self.number)

    def _begun(self) -> WorkerProcess | None:
        """Its worker; None when it has failed, or is about to."""
        if self._worker is None and not self._failing:
            try:
                worker = self._find()
            except SpeechError as error:
                self._fail_soon(error)
                return None
            worker.open(self._request, self)
            self._worker = worker
        return self._worker

    def _send(self, worker: WorkerProcess) -> None:
        if self._unsent:
            worker.audio(self.number, bytes(self._unsent))
            self._unsent.clear()

    def _answered(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _fail_soon(self, error: SpeechError) -> None:
        """Fail on the loop's next turn: a caller is never called back from inside its own call."""
        self._failing = True
        if self._worker is not None:
            self._worker.close(self.number)
            self._worker = None
        asyncio.get_running_loop().call_soon(self.fail, error)

    def report(self, report: ipc.Partial | ipc.Final) -> None:
        """From the worker."""
        final = isinstance(report, ipc.Final)
        if final:
            self._answered()
        if not self._ended:
            self._ended = final
            self._heard(Heard(report.text, report.confidence, final))

    def fail(self, error: SpeechError) -> None:
        """From the worker, or from ``_fail_soon``."""
        self._answered()
        if not self._ended:
            self._ended = True
            self._failed(error)


def _request(number: int, expectation: Expectation) -> ipc.Open:
    if len(expectation.phrases) > MAX_PHRASES:
        raise Unsuitable(f"{len(expectation.phrases)} phrases: local recognition takes {MAX_PHRASES}")
    if any(len(phrase) > MAX_PHRASE for phrase in expectation.phrases):
        raise Unsuitable(f"a phrase of more than {MAX_PHRASE} characters")
    return ipc.Open(number, expectation.phrases, expectation.language, expectation.repeat)
