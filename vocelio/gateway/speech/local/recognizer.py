"""Recognition on pocketsphinx: it hears the phrases that it expects, in English and over the telephone.

Each utterance goes to the worker process that has the fewest. A worker that dies fails what it was hearing,
and another takes its place (``crew``). Everything here runs on the event loop, without waiting: an utterance's
audio is gathered to a tenth of a second and written to the worker's socket.
"""

import asyncio
import itertools
from collections.abc import Callable

from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.worker_pool import WorkerPool
from vocelio.gateway.speech.local.worker_process import WorkerProcess

DEFAULT_WORKERS = 2

MAX_PHRASES = 500
"""Phrases in one expectation: a grammar of them costs 50 ms to build."""

MAX_PHRASE_LENGTH = 200
"""Characters in a phrase."""

MAX_UTTERANCE_BYTES = 60 * 8000
"""Bytes of mu-law in one utterance: a minute."""

SEND_BYTES = 800
"""Mu-law sent at a time, 100 ms: a system call per 20 ms frame would cost more than all else here."""

FINAL_TIMEOUT_SECONDS = 5.0
"""For the final, which takes milliseconds: a worker that needs longer is stuck, and is replaced. That is found out
also when nobody waits for the final any more: callers are less patient."""


class LocalRecognizer:
    """A Recognizer with ``workers`` processes."""

    def __init__(self, workers: int = DEFAULT_WORKERS) -> None:
        self._pool = WorkerPool(workers)
        self._stream_ids = itertools.count(1)

    async def start(self) -> None:
        """Start the workers. Raises SpeechError if one of them does not start; ``open`` tries anew."""
        await self._pool.start()

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return self._pool.pids

    async def wait_started(self) -> None:
        """Wait until every worker that died has been replaced or given up."""
        await self._pool.wait_started()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> "LocalRecognition":
        """See ``Recognizer.open``. A text is lower-case words, as ``grammar.normal`` writes them.

        Raises Unsuitable when the phrases are too many or too long.
        """
        request = _open_request(next(self._stream_ids), hints)
        self._pool.ensure_started()
        return LocalRecognition(request, self._pool.least_busy, on_transcript, on_error)

    async def aclose(self) -> None:
        """End every recognition and every worker."""
        await self._pool.aclose()


class LocalRecognition:
    """One utterance, open until its final, its failure or ``close``. It has a worker from its first sound on."""

    def __init__(
        self,
        request: ipc.OpenStream,
        select_worker: Callable[[], WorkerProcess],
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> None:
        self.stream_id = request.stream_id
        self._request, self._select_worker = request, select_worker
        self._on_transcript, self._on_error = on_transcript, on_error
        self._worker: WorkerProcess | None = None
        self._unsent = bytearray()  # under SEND_BYTES
        self._remaining_bytes = MAX_UTTERANCE_BYTES
        self._finished = self._ended = self._failing = False
        self._deadline: asyncio.TimerHandle | None = None

    def feed(self, mulaw: bytes) -> None:
        """See ``Recognition.feed``: fails past MAX_UTTERANCE."""
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        self._unsent += mulaw
        self._remaining_bytes -= len(mulaw)
        if self._remaining_bytes < 0:
            self._fail_soon(RequestNotSupported(f"an utterance of more than {MAX_UTTERANCE_BYTES // 8000} s"))
        elif len(self._unsent) >= SEND_BYTES:
            self._flush(worker)

    def finish(self) -> None:
        """See ``Recognition.finish``."""
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        self._finished = True
        self._flush(worker)
        worker.finish_stream(self.stream_id)
        self._deadline = asyncio.get_running_loop().call_later(FINAL_TIMEOUT_SECONDS, worker.kill, "does not answer")

    def close(self) -> None:
        """See ``Recognition.close``. An utterance that is not finished is dropped by the worker at once.

        One that is finished counts as the worker's until it has answered, for nobody to hear: a worker that hangs
        would otherwise always be the least busy, get every next utterance, and never be found out.
        """
        self._ended = True
        self._unsent.clear()
        if self._worker is not None and not self._finished:
            self._worker.close_stream(self.stream_id)

    def _ensure_worker(self) -> WorkerProcess | None:
        """Its worker; None when it has failed, or is about to."""
        if self._worker is None and not self._failing:
            try:
                worker = self._select_worker()
            except SpeechError as error:
                self._fail_soon(error)
                return None
            worker.open_stream(self._request, self)
            self._worker = worker
        return self._worker

    def _flush(self, worker: WorkerProcess) -> None:
        if self._unsent:
            worker.send_audio(self.stream_id, bytes(self._unsent))
            self._unsent.clear()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _fail_soon(self, error: SpeechError) -> None:
        """Fail on the loop's next turn: a caller is never called back from inside its own call."""
        self._failing = True
        if self._worker is not None:
            self._worker.close_stream(self.stream_id)
            self._worker = None
        asyncio.get_running_loop().call_soon(self.fail, error)

    def on_result(self, result: ipc.PartialResult | ipc.FinalResult) -> None:
        """From the worker."""
        final = isinstance(result, ipc.FinalResult)
        if final:
            self._cancel_deadline()
        if not self._ended:
            self._ended = final
            self._on_transcript(Transcript(result.text, result.confidence, final))

    def fail(self, error: SpeechError) -> None:
        """From the worker, or from ``_fail_soon``."""
        self._cancel_deadline()
        if not self._ended:
            self._ended = True
            self._on_error(error)


def _open_request(stream_id: int, hints: RecognitionHints) -> ipc.OpenStream:
    if len(hints.phrases) > MAX_PHRASES:
        raise RequestNotSupported(f"{len(hints.phrases)} phrases: local recognition takes {MAX_PHRASES}")
    if any(len(phrase) > MAX_PHRASE_LENGTH for phrase in hints.phrases):
        raise RequestNotSupported(f"a phrase of more than {MAX_PHRASE_LENGTH} characters")
    return ipc.OpenStream(stream_id, hints.phrases, hints.language, hints.repeat)
