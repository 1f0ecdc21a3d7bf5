"""Recognition with pocketsphinx in worker processes: the gateway's own process never waits for it.

An utterance goes to the process that has the fewest. A process that dies fails its utterances and is
replaced, but not again and again: then recognition is refused and calls go on by keys.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable

from vocelio.gateway.speech.local.messages import Drop, Feed, Finish, Open, Report, Text, Trouble
from vocelio.gateway.speech.local.process import Process
from vocelio.gateway.speech.ports import Expectation, Heard, SpeechError

LOG = logging.getLogger(__name__)

BATCH = 800  # bytes, 100 ms: what the decoder works on at a time, and a fifth of the messages of 20 ms
LONGEST = 480_000  # bytes of one utterance: a minute
RESTARTS = 5  # of all processes within RESTART_WINDOW
RESTART_WINDOW = 60.0  # seconds


class LocalRecognizer:
    """A Recognizer on so many processes."""

    def __init__(self, workers: int = 2) -> None:
        self._wanted = workers
        self._processes: list[Process] = []
        self._utterances: dict[int, LocalRecognition] = {}
        self._numbers = itertools.count(1)
        self._restarts: deque[float] = deque(maxlen=RESTARTS)
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """See Recognizer."""
        made = [Process(self._told, self._died) for _ in range(self._wanted)]
        results = await asyncio.gather(*(process.start() for process in made), return_exceptions=True)
        self._processes = made
        for result in results:
            if isinstance(result, BaseException):
                await self.aclose()
                raise result

    def open(
        self, expectation: Expectation, heard: Callable[[Heard], None], failed: Callable[[SpeechError], None]
    ) -> "LocalRecognition":
        """See Recognizer."""
        process = min((p for p in self._processes if p.alive), key=lambda p: len(p.utterances), default=None)
        if process is None:
            raise SpeechError("no process for local recognition is running")
        if process.overloaded:
            raise SpeechError("local recognition does not keep up")
        recognition = LocalRecognition(next(self._numbers), process, heard, failed, self._forget)
        self._utterances[recognition.number] = recognition
        process.utterances.add(recognition.number)
        process.send(Open(recognition.number, expectation.phrases, expectation.repeat))
        return recognition

    async def aclose(self) -> None:
        """See Recognizer."""
        self._closed = True
        for recognition in list(self._utterances.values()):
            recognition.close()
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(process.aclose() for process in self._processes))

    def _forget(self, recognition: "LocalRecognition") -> None:
        self._utterances.pop(recognition.number, None)
        recognition.process.utterances.discard(recognition.number)

    def _told(self, message: Report) -> None:
        match message:
            case Text():
                if recognition := self._utterances.get(message.id):
                    recognition.understood(Heard(message.text, message.confidence, message.final))
            case Trouble():
                if recognition := self._utterances.get(message.id):
                    recognition.fail(SpeechError(message.why))
            case _:
                pass

    def _died(self, process: Process) -> None:
        for number in list(process.utterances):
            self._utterances[number].fail(SpeechError("the recogniser process has died"))
        self._processes.remove(process)
        task = asyncio.create_task(self._replace(process), name="recogniser replaced")
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, dead: Process) -> None:
        await dead.aclose()
        now = asyncio.get_running_loop().time()
        if len(self._restarts) == RESTARTS and now - self._restarts[0] < RESTART_WINDOW:
            LOG.error("a recogniser process died again and is not replaced: %d are left", len(self._processes))
            return
        self._restarts.append(now)
        LOG.warning("a recogniser process died and is replaced")
        process = Process(self._told, self._died)
        try:
            await process.start()
        except SpeechError as error:
            LOG.error("no new recogniser process: %s", error)
            return
        self._processes.append(process)


class LocalRecognition:
    """One utterance."""

    def __init__(
        self,
        number: int,
        process: Process,
        heard: Callable[[Heard], None],
        failed: Callable[[SpeechError], None],
        forget: Callable[["LocalRecognition"], None],
    ) -> None:
        self.number, self.process = number, process
        self._heard, self._failed, self._forget = heard, failed, forget
        self._waiting = bytearray()
        self._fed = 0
        self._finished = self._over = False

    def feed(self, mulaw: bytes) -> None:
        """See Recognition."""
        if self._finished or self._over:
            return
        self._waiting += mulaw
        self._fed += len(mulaw)
        if self._fed > LONGEST or self.process.overloaded:
            self._over = True
            self.process.send(Drop(self.number))
            error = SpeechError("the utterance is too long" if self._fed > LONGEST else "recognition does not keep up")
            asyncio.get_running_loop().call_soon(self._give_up, error)
        elif len(self._waiting) >= BATCH:
            self._send()

    def finish(self) -> None:
        """See Recognition."""
        if not self._finished and not self._over:
            self._finished = True
            self._send()
            self.process.send(Finish(self.number))

    def close(self) -> None:
        """See Recognition."""
        self._heard, self._failed = _nobody, _nobody
        if not self._over:
            self._over = True
            self.process.send(Drop(self.number))
        self._forget(self)

    def understood(self, heard: Heard) -> None:
        """The process has a text."""
        if heard.final:
            self._over = True
            self._forget(self)
        self._heard(heard)

    def fail(self, error: SpeechError) -> None:
        """The process cannot go on with it."""
        self._over = True
        self._give_up(error)

    def _give_up(self, error: SpeechError) -> None:
        self._forget(self)
        self._failed(error)

    def _send(self) -> None:
        if self._waiting:
            self.process.send(Feed(self.number, bytes(self._waiting)))
            self._waiting.clear()


def _nobody(_: object) -> None:
    pass
