"""A call as one of its owners has it: a stream, or a webhook between two streams. Saved, it can go on anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.actions import HangUp, Transfer
from vocelio.engine.call_info import CallFacts, TenantFacts
from vocelio.engine.call_log import exchange, log
from vocelio.engine.session import Session
from vocelio.engine.voice import Tier
from vocelio.gateway.calls.billing import Meter
from vocelio.gateway.calls.provider_usage import Vendors
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.store.calls.interface import SavedCall, Tally

RESUMES = 3  # within RESUME_WINDOW: a call that is lost more often is in worse trouble than a goodbye
RESUME_WINDOW = 60.0  # seconds
MAX_LOG = 4_000_000  # bytes: a thousand turns; what comes after is not kept
CONNECT_SECONDS = 75.0  # from our TwiML to a stream: the token's time, and some for the messages before

HandedOver = Literal["", "between", "amid"]
"""A stream that was given up on purpose: between two prompts, or wherever it was."""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What another owner needs to go on.

    ``logged`` is how many bytes of log were saved, ``begun`` the generation that saved: a later one came to nothing.
    """

    checkpoint: dict[str, Any] | None = None
    intent: Transfer | HangUp | None = None
    pending: events.TransferEnded | None = None
    resumed: list[float] = []
    meter: dict[str, Any] | None = None
    rates: dict[Tier, int] | None = None
    handed_over: HandedOver = ""
    logged: int = 0
    begun: int = 0
    vendors: dict[Tier, Tally] = {}


def state(kept: SavedCall) -> State:
    """What was kept of a call's state."""
    return msgspec.convert(kept.state or {}, State)


def may_resume(resumed: Sequence[float], elapsed: float) -> bool:
    """Whether one more lost stream is followed by another, so many seconds into the call."""
    return len([at for at in resumed if at > elapsed - RESUME_WINDOW]) < RESUMES


@dataclass(slots=True)
class CallRecord:
    """One caller's visit. Instants are whole microseconds UTC.

    ``generation`` counts its streams: only the newest may act. ``intent`` is what Twilio shall do when the
    stream is closed; ``pending`` the event with which the flow goes on when the next stream begins. ``sequence``
    is that of the newest event of this generation, ``revision`` that of what was saved last. When nothing is heard of
    it for ``patience`` seconds from when it was saved, it is over.
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
    handed_over: HandedOver = ""
    log: bytearray = field(default_factory=bytearray)
    logged: int = 0
    sequence: int = 0
    revision: int = 0
    patience: float = CONNECT_SECONDS
    asked_in_confidence: bool = False
    vendors: Vendors = field(default_factory=Vendors)
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.assignment.rates, self.assignment.version.flow.voice.tier)

    @classmethod
    def found(cls, kept: SavedCall, assignment: Assignment) -> "CallRecord":
        """A call as it was kept. It keeps the rates of its beginning."""
        held = state(kept)
        record = cls(
            kept.id,
            kept.account,
            kept.caller,
            msgspec.structs.replace(assignment, rates=held.rates or assignment.rates),
            kept.started,
            generation=kept.generation,
            checkpoint=held.checkpoint,
            intent=held.intent,
            pending=held.pending,
            department=kept.department,
            resumed=list(held.resumed),
            handed_over=held.handed_over,
            logged=held.logged,
            sequence=kept.sequence,
            revision=kept.revision,
            vendors=Vendors(held.vendors),
        )
        record.meter = Meter(record.assignment.rates, assignment.version.flow.voice.tier, held.meter)
        return record

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
        if not self.log and not self.logged:
            self.log += log.line(log.header(self.assignment.version, self.facts()))
        if self.logged + len(self.log) < MAX_LOG:
            self.log += log.line(exchange.kept(happened, confidential))
        return happened.actions

    def sounded(self, at: float, asked: Tier, provider: Tier) -> None:
        """A prompt is spoken by that provider, so many seconds into the call.

        Another than the one that was ``asked`` for is billed at its own tier, if that is not the dearer.
        """
        rates = self.assignment.rates
        tier = provider if rates[provider] < rates[asked] else asked
        self.meter.sound(self.started + round(at * 1e6), tier)

    def elapsed(self, now: int) -> float:
        """Seconds since the call began."""
        return (now - self.started) / 1e6

    @property
    def over(self) -> bool:
        """Whether nothing of it can go on: a call that was lost still can."""
        return bool(self.ended) and self.outcome != "lost"

    def saved(self, now: int) -> SavedCall:
        """What is kept of it, as it is now; its log is given once."""
        self.revision += 1
        added, self.log = bytes(self.log), bytearray()
        self.logged += len(added)
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
            speech=self.vendors.copy(),
            state=None if self.over else msgspec.to_builtins(self._state()),
            log=added,
            due=now + round(self.patience * 1e6),
        )

    def restore(self, saved: SavedCall, kept: SavedCall) -> None:
        """What was ``saved`` was not kept, since another has ``kept`` something later: the next will be later still."""
        self.log[:0] = saved.log
        self.logged -= len(saved.log)
        self.revision, self.sequence = max(self.revision, kept.revision), max(self.sequence, kept.sequence)

    def _state(self) -> State:
        return State(
            self.checkpoint,
            self.intent,
            self.pending,
            self.resumed,
            self.meter.state(),
            self.assignment.rates,
            self.handed_over,
            self.logged,
            self.generation,
            self.vendors.copy(),
        )
