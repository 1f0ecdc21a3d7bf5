"""Log of one call: every part of the simulator appends to it, and the report is made from it."""

import asyncio
from collections.abc import Callable

from vocelio.gateway.simulator.error_codes import DebuggerEntry, TwilioSimError
from vocelio.gateway.simulator.events import CallEvent
from vocelio.gateway.simulator.media.client import StreamClient
from vocelio.gateway.simulator.report import (
    CallReport,
    ClearReport,
    DialResult,
    Ending,
    MarkReport,
    QueueStay,
    RecordedMessage,
    StreamReport,
    Turn,
    WebhookReport,
)


class CallLog:
    """Results and errors of one call; its clock starts when the call is placed."""

    def __init__(self, call_sid: str, on_event: Callable[[CallEvent], None]) -> None:
        self.call_sid = call_sid
        self.emit = on_event
        self.say_texts: list[str] = []
        self.dial_results: list[DialResult] = []
        self.recorded_messages: list[RecordedMessage] = []
        self.queue_stays: list[QueueStay] = []
        self.webhooks: list[WebhookReport] = []
        self.streams: list[StreamReport] = []
        self.placed_at = asyncio.get_running_loop().time()
        self._clears: list[ClearReport] = []
        self._marks: list[MarkReport] = []
        self._errors: list[DebuggerEntry] = []
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Return seconds since the call was placed."""
        return self._loop.time() - self.placed_at

    def add_error(self, error: TwilioSimError) -> None:
        """Append an error with the current time."""
        self._errors.append(DebuggerEntry(error.code, error.message, self.now()))

    def add_stream(self, stream: StreamClient, stream_sid: str) -> None:
        """Append the results of a stream that has ended."""
        self.streams.append(stream.make_report(len(self.streams) + 1, stream_sid))
        self._clears += stream.buffer.clears
        self._marks += stream.buffer.returned_marks
        self._errors += stream.buffer.errors

    def make_report(
        self,
        ending: Ending,
        seconds: float,
        turns: tuple[Turn, ...],
        steps_done: int,
        heard_audio: bytes,
        answered_at: float | None = None,
    ) -> CallReport:
        return CallReport(
            call_sid=self.call_sid,
            ending=ending,
            seconds=seconds,
            turns=turns,
            say_texts=tuple(self.say_texts),
            dial_results=tuple(self.dial_results),
            streams=tuple(self.streams),
            clears=tuple(self._clears),
            marks=tuple(self._marks),
            errors=tuple(self._errors),
            webhooks=tuple(self.webhooks),
            heard_audio=heard_audio,
            steps_done=steps_done,
            answered_at=answered_at,
            recorded_messages=tuple(self.recorded_messages),
            queue_stays=tuple(self.queue_stays),
        )
