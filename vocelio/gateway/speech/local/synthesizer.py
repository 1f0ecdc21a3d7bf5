"""Speech synthesis with espeak-ng in worker processes, which render one segment (a sentence or two) at a time.

espeak-ng is never loaded into the gateway: texts are untrusted, and some corrupt its memory. A segment is
rendered at once (hundreds of times faster than real time); the next one is queued when its audio has been consumed. So
the buffer is bounded by the length of a segment, no worker waits for a slow consumer, and no text waits behind a long
one.

A segment whose worker dies is tried once more, while another worker serves all others; if that dies, too, the segment
fails, and is refused from then on (``crash_ledger``).
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable

from vocelio.engine.voice import Voice
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.crash_ledger import CrashLedger
from vocelio.gateway.speech.local.segment import Segment
from vocelio.gateway.speech.local.speakable_text import SENTENCE_ENDS, clean_text, split_segments
from vocelio.gateway.speech.local.synthesis_process import SynthesisProcess
from vocelio.gateway.speech.local.worker_pool import WorkerPool

DEFAULT_WORKERS = 2
"""One is there while the other is replaced."""

MAX_TEXT_LENGTH = 4096
"""Characters of a text: about five minutes of speech, and what Twilio's own ``<Say>`` takes."""

MAX_QUEUED_SEGMENTS = 256
"""Segments queued for the workers: 3 s of work. Beyond that the machine is overloaded, and requests are rejected."""

DEFAULT_WORDS_PER_MINUTE = 175
"""espeak-ng's normal speed."""

MIN_WORDS_PER_MINUTE, MAX_WORDS_PER_MINUTE = 80, 450
"""Limits of the speed, as espeak-ng accepts it."""


class LocalSynthesizer:
    """Synthesizes with espeak-ng, in ``workers`` worker processes. A voice's ``name`` is espeak-ng's, as ``en-us+f3``.

    An unknown name is replaced by the nearest voice. ``clean`` is applied to every text.
    """

    def __init__(self, workers: int = DEFAULT_WORKERS, clean: Callable[[str], str] = clean_text) -> None:
        self._clean = clean
        self._pool = WorkerPool("synthesis", workers, self._create_worker, self._on_pool_change)
        self._crashes = CrashLedger("synthesis")
        self._queue: deque[Segment] = deque()  # bounded by _submit
        self._suspects: deque[Segment] = deque()  # those only given to a worker while another is left; bounded, too
        self._open: set[Segment] = set()  # of texts that are being spoken, one each
        self._closed = False

    async def start(self) -> None:
        """Start the workers, which ``speak`` otherwise does. Raises SpeechError if one of them does not start."""
        await self._pool.start()

    @property
    def pids(self) -> list[int]:
        """The running workers' process ids."""
        return self._pool.pids

    async def wait_started(self) -> None:
        """Wait until every worker that died has been replaced, or its start has failed or been put off."""
        await self._pool.wait_started()

    async def speak(self, text: str, voice: Voice, tenant: str = "") -> AsyncGenerator[bytes, None]:
        """Yield the audio.

        Raises RequestNotSupported for a text over MAX_TEXT_LENGTH, one that workers have died on, a tenant on whose
        texts they die too often, and when the queue is full.
        """
        if len(text) > MAX_TEXT_LENGTH:
            raise RequestNotSupported(f"the text has {len(text)} characters; at most {MAX_TEXT_LENGTH} can be spoken")
        texts = list(split_segments(self._clean(text)))
        for number, part in enumerate(texts, start=1):
            pause = number < len(texts) and part[-1] in SENTENCE_ENDS
            request = ipc.RenderSegment(part, espeak_voice_name(voice), words_per_minute(voice), pause)
            segment = Segment(request, tenant)
            self._submit(segment)
            try:
                while chunk := await segment.next_chunk():
                    yield chunk
            finally:
                segment.cancel()
                self._open.discard(segment)

    async def aclose(self) -> None:
        """End every synthesis with an error, and stop the workers."""
        self._closed = True
        self._queue.clear()
        self._suspects.clear()
        for segment in self._open:
            segment.fail(SpeechError("local speech was stopped"))
        await self._pool.aclose()

    def _submit(self, segment: Segment) -> None:
        if self._closed:
            raise SpeechError("local speech has been closed")
        self._crashes.check(segment.tenant, segment.digest)
        if self._queue_length >= MAX_QUEUED_SEGMENTS:
            self._queue = deque(queued for queued in self._queue if not queued.canceled)
        if self._queue_length >= MAX_QUEUED_SEGMENTS:
            raise RequestNotSupported(f"local speech is overloaded: {MAX_QUEUED_SEGMENTS} texts are queued")
        self._open.add(segment)
        self._queue.append(segment)
        self._pool.ensure_started()
        self._dispatch()

    @property
    def _queue_length(self) -> int:
        return len(self._queue) + len(self._suspects)

    def _dispatch(self) -> None:
        """Give segments to idle workers.

        A segment on which a worker died, or of a tenant on whose texts one died lately, is a suspect: it is only given
        to a worker while another is left for everybody else.
        """
        for worker in self._pool.workers:
            if worker.segment is None and (segment := self._next_segment(self._can_lose_worker())):
                worker.render(segment)

    def _can_lose_worker(self) -> bool:
        """Whether another worker is left if one dies in addition to those that may die on suspects now."""
        safe = [worker for worker in self._pool.workers if not worker.segment or not self._is_suspect(worker.segment)]
        return len(safe) > 1 or self._pool.size == 1

    def _next_segment(self, may_be_suspect: bool) -> Segment | None:
        for segments in (self._suspects, self._queue):
            for _ in range(len(segments)):
                segment = segments.popleft()
                if not self._may_be_rendered(segment):
                    continue
                if may_be_suspect or not self._is_suspect(segment):
                    return segment
                self._suspects.append(segment)
        return None

    def _may_be_rendered(self, segment: Segment) -> bool:
        """Whether it is still wanted, and there were not too many crashes since it was queued."""
        if segment.canceled:
            return False
        try:
            self._crashes.check(segment.tenant, segment.digest)
        except RequestNotSupported as error:
            segment.fail(error)
            return False
        return True

    def _is_suspect(self, segment: Segment) -> bool:
        return self._crashes.is_suspect(segment.tenant, segment.digest)

    def _create_worker(self) -> SynthesisProcess:
        return SynthesisProcess(self._dispatch, self._on_worker_death)

    def _on_worker_death(self, segment: Segment) -> None:
        self._crashes.record(segment.tenant, segment.digest)
        if self._crashes.is_refused(segment.digest):
            segment.fail(RequestNotSupported("local speech has died on this text"))
        elif not self._closed:
            segment.restart()
            self._suspects.append(segment)
        self._dispatch()

    def _on_pool_change(self, failure: SpeechError | None) -> None:
        if failure:
            self._fail_all(self._suspects, failure)
            if not self._pool.workers:
                self._fail_all(self._queue, failure)
        self._dispatch()

    def _fail_all(self, segments: deque[Segment], error: SpeechError) -> None:
        for segment in segments:
            segment.fail(error)
        segments.clear()


def espeak_voice_name(voice: Voice) -> str:
    """Return espeak-ng's name for a voice; one of another tier is replaced by the default voice of its language."""
    name = voice.name if voice.tier == "local" else voice.language.lower()
    return name.encode(errors="replace").decode()


def words_per_minute(voice: Voice) -> int:
    """Return espeak-ng's rate for a voice's speed."""
    return round(min(MAX_WORDS_PER_MINUTE, max(MIN_WORDS_PER_MINUTE, DEFAULT_WORDS_PER_MINUTE * voice.speed)))
