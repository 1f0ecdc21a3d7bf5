"""A call as it is known while no stream of it is open: between streams, during a transfer, after its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.actions import HangUp, Transfer
from vocelio.engine.facts import CallFacts, TenantFacts
from vocelio.engine.replay import exchange, log
from vocelio.engine.session import Session
from vocelio.gateway.calls.meter import Meter
from vocelio.gateway.store.journal import SavedCall
from vocelio.gateway.store.site import Assignment

RESUMES = 3  # within RESUME_WINDOW: a call that is lost more often is in worse trouble than a goodbye
RESUME_WINDOW = 60.0  # seconds
MAX_LOG = 4_000_000  # bytes: a thousand turns; what comes after is not kept


@dataclass(slots=True)
class CallRecord:
    """One caller's visit. Instants are whole microseconds UTC.

    ``generation`` counts its streams: only the newest may act. ``intent`` is what Twilio shall do when the
    stream is closed; ``pending`` the event with which the flow goes on when the next stream begins. ``sequence``
    is that of the newest event of this generation, ``revision`` that of what was saved last.
    """

    call: str
    account: str
    caller: str
    assignment: Assignment
    started: int
    generation: int = 0
    checkpoint: dict[str, Any] | None = None
    intent: Transfer | HangUp | None = None
    pending: events.TransferEnded | None = None
    department: str = ""
    outcome: str = ""
    disposition: str = ""
    ended: int = 0
    resumed: list[float] = field(default_factory=list)
    log: bytearray = field(default_factory=bytearray)
    sequence: int = 0
    revision: int = 0
    asked_in_confidence: bool = False
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.assignment.rates, self.assignment.version.flow.voice.tier)

    def facts(self) -> CallFacts:
        """What the flow may know."""
        tenant = self.assignment.tenant
        return CallFacts(
            self.call,
            self.caller,
            self.assignment.number,
            TenantFacts(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.apology),
            self.started,
            seed=self.call,
            departments={name: name for name in self.assignment.departments},
            hours={name: one.hours for name, one in self.assignment.departments.items() if one.hours},
        )

    def session(self) -> Session:
        """The session, new or as it was left."""
        if self.checkpoint is None:
            return Session(self.assignment.version, self.facts())
        return Session.resume(self.assignment.version, self.checkpoint)

    def step(self, session: Session, event: events.AnyEvent) -> Sequence[actions.AnyAction]:
        """Feed the event to the session and keep what came of it, for replay. Answers in confidence are not kept."""
        if event.at < session.at:  # the wall clock, by which a call goes on after a stream, was set back
            event = msgspec.structs.replace(event, at=session.at)
        confidential = session.confidential or (isinstance(event, events.ReplyArrived) and self.asked_in_confidence)
        happened = exchange.step(session, event)
        for action in happened.actions:
            if isinstance(action, actions.Request):
                self.asked_in_confidence = action.sensitive
            elif isinstance(action, actions.Speak) and not action.audio:
                self.meter.change(self.started + round(event.at * 1e6), action.voice.tier)
        if not self.log:
            self.log += log.line(log.header(self.assignment.version, self.facts()))
        if len(self.log) < MAX_LOG:
            self.log += log.line(exchange.kept(happened, confidential))
        return happened.actions

    def elapsed(self, now: int) -> float:
        """Seconds since the call began."""
        return (now - self.started) / 1e6

    def may_resume(self, now: int) -> bool:
        """Whether one more lost stream is followed by another."""
        since = self.elapsed(now) - RESUME_WINDOW
        return len([at for at in self.resumed if at > since]) < RESUMES

    @property
    def over(self) -> bool:
        """Whether nothing of it can go on: a call that was lost still can."""
        return bool(self.ended) and self.outcome != "lost"

    def saved(self) -> SavedCall:
        """What is kept of it, as it is now."""
        self.revision += 1
        return SavedCall(
            tenant=self.assignment.tenant.id,
            id=self.call,
            account=self.account,
            number=self.assignment.number,
            caller=self.caller,
            flow=self.assignment.flow,
            version=self.assignment.promoted,
            revision=self.revision,
            generation=self.generation,
            started=self.started,
            ended=self.ended,
            outcome=self.outcome,
            disposition=self.disposition,
            department=self.department,
            segments=self.meter.segments,
            state=None if self.ended else self._state(),
            log=bytes(self.log) if self.ended else b"",
        )

    def _state(self) -> dict[str, Any]:
        """What another stream needs to go on."""
        return {
            "checkpoint": self.checkpoint,
            "intent": self.intent,
            "pending": self.pending,
            "resumed": self.resumed,
            "meter": self.meter.state(),
        }
