"""The gateway's side of one synthesis worker, which renders one segment at a time."""

import asyncio
from collections.abc import Callable
from typing import Any

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.segment import Segment
from vocelio.gateway.speech.local.worker_process import WorkerProcess, warn_once

MAX_RENDER_SECONDS = 3.0
"""For a segment, which takes 20 ms: a worker that needs longer hangs, and is killed."""

MAX_SEGMENT_AUDIO_BYTES = 8 << 20
"""Mu-law of a segment, 17 minutes; 250 digits at the slowest speed take 4."""


class SynthesisProcess(WorkerProcess):
    """A synthesis worker. ``on_idle`` is called when it can take the next segment, ``on_death`` with its segment."""

    service = "synthesis"
    module = "vocelio.gateway.speech.local.synthesis_main"
    report_decoder = ipc.SYNTHESIS_REPORTS

    def __init__(self, on_idle: Callable[[], None], on_death: Callable[[Segment], None]) -> None:
        super().__init__()
        self._on_idle, self._on_death = on_idle, on_death
        self.segment: Segment | None = None  # that it renders
        self._deadline: asyncio.TimerHandle | None = None

    def render(self, segment: Segment) -> None:
        """Render a segment; the worker is idle."""
        self.segment = segment
        self.send(segment.request)
        self._deadline = asyncio.get_running_loop().call_later(MAX_RENDER_SECONDS, self.kill, "hangs")

    def handle_report(self, report: Any) -> None:
        match report:
            case ipc.SegmentAudio(mulaw=mulaw) if self.segment:
                self.segment.feed(mulaw)
                if self.segment.audio_bytes > MAX_SEGMENT_AUDIO_BYTES:
                    self.kill("does not end a text")
            case ipc.SegmentRendered() if segment := self._take_segment():
                segment.finish()
                self._on_idle()
            case ipc.VoiceReplaced(voice=voice, used=used):
                warn_once("espeak-ng has no voice %r; using %r instead", voice, used)
            case _:
                raise ValueError("a report on no segment")

    def handle_death(self, error: SpeechError, current_input: int) -> None:
        if segment := self._take_segment():
            self._on_death(segment)

    def handle_closed(self, error: SpeechError) -> None:
        if segment := self._take_segment():
            segment.fail(error)

    def _take_segment(self) -> Segment | None:
        segment, self.segment = self.segment, None
        if self._deadline:
            self._deadline.cancel()
        return segment
