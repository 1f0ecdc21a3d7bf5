"""Speech recognition with pocketsphinx in worker processes: expected phrases only, in English.

Each utterance goes to the least busy worker. If a worker dies, it is replaced (``worker_pool``), and its utterances are
heard by another from the beginning, except the one that it died on. Everything here runs on the event loop and never
waits: audio is collected in chunks of 100 ms and written to the worker's socket.
"""

import asyncio
import itertools
from collections.abc import Callable

from vocelio.gateway.speech.interfaces import RecognitionHints, RequestNotSupported, SpeechError, Transcript
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.crash_ledger import CrashLedger, input_digest
from vocelio.gateway.speech.local.recognition_process import RecognitionProcess, StreamRole
from vocelio.gateway.speech.local.worker_pool import WorkerPool

DEFAULT_WORKERS = 2

MAX_STREAMS_PER_WORKER = 24
"""Concurrent utterances per worker: each takes 3% of a core and 5 MB."""

MAX_PHRASES = 500
"""Phrases per recognition: building a grammar of so many takes 50 ms."""

MAX_PHRASE_LENGTH = 200
"""Characters per phrase."""

MAX_UTTERANCE_BYTES = 60 * 8000
"""One minute of mu-law."""

SEND_BYTES = 800
"""100 ms of mu-law at a time: a system call per 20 ms frame would cost more than everything else here."""

FINAL_TIMEOUT_SECONDS = 5.0
"""For the final transcript, which takes milliseconds. A worker that has done nothing meanwhile hangs and is replaced;
one that is slow only loses the utterance. This timeout runs even if the recognition was closed meanwhile, since calls
do not wait that long."""


class LocalRecognizer:
    """Recognizes in ``workers`` worker processes."""

    def __init__(self, workers: int = DEFAULT_WORKERS) -> None:
        self._pool = WorkerPool("recognition", workers, RecognitionProcess)
        self._crashes = CrashLedger("recognition")
        self._stream_ids = itertools.count(1)

    async def start(self) -> None:
        """Start the workers. Raises SpeechError if one of them does not start; ``open`` tries again."""
        await self._pool.start()

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return self._pool.pids

    async def wait_started(self) -> None:
        """Wait until every worker that died has been replaced, or its start has failed or been put off."""
        await self._pool.wait_started()

    def open(
        self,
        hints: RecognitionHints,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> "LocalRecognition":
        """Open a recognition. Its texts are lower-case words, as ``grammar.normalize_phrase`` returns them.

        Raises RequestNotSupported if there are too many or too long phrases, or if workers have died on such phrases,
        or too often on this tenant's calls.
        """
        request = _open_request(next(self._stream_ids), hints)
        self._crashes.check(hints.tenant, _digest(request))
        self._pool.ensure_started()
        return LocalRecognition(self, request, hints.tenant, on_transcript, on_error)

    async def aclose(self) -> None:
        """End every recognition and every worker."""
        await self._pool.aclose()

    def least_busy(self) -> RecognitionProcess:
        """Return the least busy worker. Raises SpeechError if there is none, RequestNotSupported if all are full."""
        workers = [worker for worker in self._pool.workers if not worker.is_late] or self._pool.workers
        worker = min(workers, key=lambda worker: worker.stream_count, default=None)
        if worker is None:
            raise SpeechError("no recognition worker is running")
        if worker.stream_count >= MAX_STREAMS_PER_WORKER:
            raise RequestNotSupported(f"local recognition is full: {MAX_STREAMS_PER_WORKER} utterances per worker")
        return worker

    def on_crash(self, tenant: str, request: ipc.OpenStream, role: StreamRole) -> None:
        """Charge the death of a worker to the tenant, and to the phrases if it was opening the stream."""
        self._crashes.record(tenant, _digest(request) if role.was_opening else None)


class LocalRecognition:
    """Open until its final transcript, its failure or ``close``. It is assigned to a worker at its first audio."""

    def __init__(
        self,
        recognizer: LocalRecognizer,
        request: ipc.OpenStream,
        tenant: str,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[SpeechError], None],
    ) -> None:
        self.stream_id = request.stream_id
        self._recognizer, self._request, self._tenant = recognizer, request, tenant
        self._on_transcript, self._on_error = on_transcript, on_error
        self._worker: RecognitionProcess | None = None
        self._audio = bytearray()  # for another worker; under MAX_UTTERANCE_BYTES
        self._sent_bytes = 0  # to the worker
        self._finished = self._ended = self._failing = False
        self._deadline: asyncio.TimerHandle | None = None

    def feed(self, mulaw: bytes) -> None:
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        if len(self._audio) + len(mulaw) > MAX_UTTERANCE_BYTES:
            self._fail_soon(RequestNotSupported(f"the utterance is longer than {MAX_UTTERANCE_BYTES // 8000} s"))
            return
        self._audio += mulaw
        if len(self._audio) - self._sent_bytes >= SEND_BYTES:
            self._flush(worker)

    def finish(self) -> None:
        if self._ended or self._finished or not (worker := self._ensure_worker()):
            return
        self._finished = True
        self._request_result(worker)

    def close(self) -> None:
        """Discard the recognition. The worker drops an unfinished utterance at once.

        A finished one stays with the worker until it has responded: otherwise a hanging worker would always be the
        least busy one, get every new utterance, and never be detected.
        """
        self._ended = True
        if self._worker is not None and not self._finished:
            self._worker.close_stream(self.stream_id)

    def _ensure_worker(self) -> RecognitionProcess | None:
        """Return the worker; None if the recognition has failed or is about to."""
        if self._worker is None and not self._failing:
            try:
                worker = self._recognizer.least_busy()
            except SpeechError as error:
                self._fail_soon(error)
                return None
            worker.open_stream(self._request, self)
            self._worker = worker
        return self._worker

    def _flush(self, worker: RecognitionProcess) -> None:
        if len(self._audio) > self._sent_bytes:
            worker.send_audio(self.stream_id, bytes(self._audio[self._sent_bytes :]))
            self._sent_bytes = len(self._audio)

    def _request_result(self, worker: RecognitionProcess) -> None:
        self._flush(worker)
        worker.finish_stream(self.stream_id)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(FINAL_TIMEOUT_SECONDS, self._on_deadline, worker, worker.work_count)

    def _on_deadline(self, worker: RecognitionProcess, work_count: int) -> None:
        if not worker.is_running:
            return
        if worker.work_count == work_count:
            worker.kill("does not respond")
        else:
            worker.close_stream(self.stream_id)
            self.fail(RequestNotSupported("local recognition is overloaded"))

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

    def on_worker_death(self, error: SpeechError, role: StreamRole) -> None:
        """Let another worker hear the utterance, unless it was this one's audio or phrases that the worker died on."""
        self._cancel_deadline()
        if role.was_current:
            self._recognizer.on_crash(self._tenant, self._request, role)
            self.fail(error)
        elif not self._ended:
            self._move(error)

    def _move(self, error: SpeechError) -> None:
        try:
            worker = self._worker = self._recognizer.least_busy()
        except SpeechError:
            self.fail(error)
            return
        self._sent_bytes = 0
        worker.open_stream(self._request, self)
        if self._finished:
            self._request_result(worker)
        else:
            self._flush(worker)

    def fail(self, error: SpeechError) -> None:
        """End with an error, from the worker or from ``_fail_soon``."""
        self._cancel_deadline()
        if not self._ended:
            self._ended = True
            self._on_error(error)


def _digest(request: ipc.OpenStream) -> bytes:
    return input_digest(request.language, str(request.repeat), *request.phrases)


def _open_request(stream_id: int, hints: RecognitionHints) -> ipc.OpenStream:
    if len(hints.phrases) > MAX_PHRASES:
        raise RequestNotSupported(f"{len(hints.phrases)} phrases; local recognition takes at most {MAX_PHRASES}")
    if any(len(phrase) > MAX_PHRASE_LENGTH for phrase in hints.phrases):
        raise RequestNotSupported(f"a phrase is longer than {MAX_PHRASE_LENGTH} characters")
    return ipc.OpenStream(stream_id, hints.phrases, hints.language, hints.repeat)
