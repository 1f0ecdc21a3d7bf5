"""What happened in a call, as it happens: every part of the simulator writes here, the report is made of it."""

import asyncio
from collections.abc import Callable

from vocelio.gateway.simulator.error_codes import CarrierError, Fault
from vocelio.gateway.simulator.media.client import Stream
from vocelio.gateway.simulator.report.events import Event
from vocelio.gateway.simulator.report.report import (
    CallReport,
    Clear,
    Dialed,
    Ending,
    Mark,
    Queued,
    StreamReport,
    Taped,
    Turn,
    Webhook,
)


class Record:
    """One call's; its clock starts when the call is placed."""

    def __init__(self, call_sid: str, on_event: Callable[[Event], None]) -> None:
        self.call_sid = call_sid
        self.tell = on_event
        self.spoken: list[str] = []
        self.dialed: list[Dialed] = []
        self.taped: list[Taped] = []
        self.queued: list[Queued] = []
        self.webhooks: list[Webhook] = []
        self.streams: list[StreamReport] = []
        self.placed = asyncio.get_running_loop().time()
        self._clears: list[Clear] = []
        self._marks: list[Mark] = []
        self._errors: list[Fault] = []
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Seconds since the call was placed."""
        return self._loop.time() - self.placed

    def fault(self, error: CarrierError) -> None:
        """Something went wrong now."""
        self._errors.append(Fault(error.code, error.text, self.now()))

    def stream(self, stream: Stream, stream_sid: str) -> None:
        """A stream has ended."""
        self.streams.append(stream.report(len(self.streams) + 1, stream_sid))
        self._clears += stream.line.clears
        self._marks += stream.line.marks
        self._errors += stream.line.faults

    def report(
        self,
        ended: Ending,
        seconds: float,
        turns: tuple[Turn, ...],
        steps_done: int,
        heard: bytes,
        answered: float | None = None,
    ) -> CallReport:
        return CallReport(
            call_sid=self.call_sid,
            ended=ended,
            seconds=seconds,
            turns=turns,
            spoken=tuple(self.spoken),
            dialed=tuple(self.dialed),
            streams=tuple(self.streams),
            clears=tuple(self._clears),
            marks=tuple(self._marks),
            errors=tuple(self._errors),
            webhooks=tuple(self.webhooks),
            heard=heard,
            steps_done=steps_done,
            answered=answered,
            taped=tuple(self.taped),
            queued=tuple(self.queued),
        )
