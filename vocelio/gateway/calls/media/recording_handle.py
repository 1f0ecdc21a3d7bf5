"""A recording of a call as those who watch the call are told of it: it starts, it may lose a part, it ends."""

from typing import Protocol

from vocelio.gateway.recordings.service import Recordings
from vocelio.gateway.recordings.writer import Tape
from vocelio.gateway.store.recordings import Kind


class Publish(Protocol):
    """How a call tells those who watch."""

    def __call__(self, kind: str, **data: object) -> None:
        """An event of the call."""


class Reels:
    """Makes the recordings of one call."""

    def __init__(self, recordings: Recordings, tenant: str, call: str, publish: Publish) -> None:
        self._recordings, self._tenant, self._call, self._publish = recordings, tenant, call, publish

    def begin(self, kind: Kind) -> "Reel":
        """A recording begins."""
        tape = self._recordings.begin(self._tenant, self._call, kind, lambda problem: self._failed(tape, problem))
        self._publish("recording.started", recording=tape.recording.id, what=kind)
        return Reel(tape, self._recordings.url(tape.recording.id), self._publish)

    def _failed(self, tape: Tape, problem: str) -> None:
        self._publish("recording.failed", recording=tape.recording.id, what=tape.recording.kind, problem=problem)


class Reel:
    """One of them, under way; ``url`` is where it can be heard."""

    def __init__(self, tape: Tape, url: str, publish: Publish) -> None:
        self.url = url
        self.add = tape.add
        self._tape, self._publish = tape, publish

    def end(self) -> None:
        """There is no more of it."""
        self._tape.end()
        kept = self._tape.recording
        self._publish("recording.ended", recording=kept.id, what=kept.kind, seconds=self._tape.seconds)
