"""Speech recognition with pocketsphinx in worker processes: expected phrases only, in English.

Each utterance goes to the least busy worker. If a worker dies, its utterances fail and it is replaced
(``worker_pool``). Everything here runs on the event loop and never waits: audio is collected in chunks of 100 ms and
written to the worker's socket.
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
"""Phrases per recognition: building a grammar of so many takes 50 ms."""

MAX_PHRASE_LENGTH = 200
"""Characters per phrase."""

MAX_UTTERANCE_BYTES = 60 * 8000
"""One minute of mu-law."""

SEND_BYTES = 800
"""100 ms of mu-law at a time: a system call per 20 ms frame would cost more than everything else here."""

FINAL_TIMEOUT_SECONDS = 5.0
"""For the final transcript, which takes milliseconds: a worker that needs longer is stuck and is replaced. This timeout
runs even if the recognition was closed meanwhile, since calls do not wait that long."""


class LocalRecognizer:
    """Recognizes in ``workers`` worker processes."""

    def __init__(self, workers: int = DEFAULT_WORKERS) -> None:
        self._pool = WorkerPool(workers)
        self._stream_ids = itertools.count(1)

    async def start(self) -> None:
        """Start the workers. Raises SpeechError if one of them does not start; ``open`` tries again."""
        await self._pool.start()

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return self._pool.pids

    async def wait_started(self) -> None:
        """Wait until every worker that died has been replaced or given up on."""
        await self._pool.wait_started()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> "LocalRecognition":
        """Open a recognition. Its texts are lower-case words, as ``grammar.normalize_phrase`` returns them.

        Raises RequestNotSupported if there are too many or too long phrases.
        """
        request = _open_request(next(self._stream_ids), hints)
        self._pool.ensure_started()
        return LocalRecognition(request, self._pool.least_busy, on_transcript, on_error)

    async def aclose(self) -> None:
        """End every recognition and every worker."""
        await self._pool.aclose()


class LocalRecognition:
    """Open until its final transcript, its failure or ``close``. It is assigned to a worker at its first audio."""

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
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        self._unsent += mulaw
        self._remaining_bytes -= len(mulaw)
        if self._remaining_bytes < 0:
            self._fail_soon(RequestNotSupported(f"the utterance is longer than {MAX_UTTERANCE_BYTES // 8000} s"))
        elif len(self._unsent) >= SEND_BYTES:
            self._flush(worker)

    def finish(self) -> None:
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        self._finished = True
        self._flush(worker)
        worker.finish_stream(self.stream_id)
        self._deadline = asyncio.get_running_loop().call_later(FINAL_TIMEOUT_SECONDS, worker.kill, "does not respond")

    def close(self) -> None:
        """Discard the recognition. The worker drops an unfinished utterance at once.

        A finished one stays with the worker until it has responded: otherwise a hanging worker would always be the
        least busy one, get every new utterance, and never be detected.
        """
        self._ended = True
        self._unsent.clear()
        if self._worker is not None and not self._finished:
            self._worker.close_stream(self.stream_id)

    def _ensure_worker(self) -> WorkerProcess | None:
        """Return the worker; None if the recognition has failed or is about to."""
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
        """Fail in the loop's next iteration: callbacks must not run inside the caller's own call."""
        self._failing = True
        if self._worker is not None:
            self._worker.close_stream(self.stream_id)
            self._worker = None
        asyncio.get_running_loop().call_soon(self.fail, error)

    def on_result(self, result: ipc.PartialResult | ipc.FinalResult) -> None:
        """Handle a result of the worker."""
        final = isinstance(result, ipc.FinalResult)
        if final:
            self._cancel_deadline()
        if not self._ended:
            self._ended = final
            self._on_transcript(Transcript(result.text, result.confidence, final))

    def fail(self, error: SpeechError) -> None:
        """End with an error, from the worker or from ``_fail_soon``."""
        self._cancel_deadline()
        if not self._ended:
            self._ended = True
            self._on_error(error)


def _open_request(stream_id: int, hints: RecognitionHints) -> ipc.OpenStream:
    if len(hints.phrases) > MAX_PHRASES:
        raise RequestNotSupported(f"{len(hints.phrases)} phrases; local recognition takes at most {MAX_PHRASES}")
    if any(len(phrase) > MAX_PHRASE_LENGTH for phrase in hints.phrases):
        raise RequestNotSupported(f"a phrase is longer than {MAX_PHRASE_LENGTH} characters")
    return ipc.OpenStream(stream_id, hints.phrases, hints.language, hints.repeat)
