"""A call as one of its owners has it: a stream, or a webhook between two streams. Saved, it can go on anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.actions import HangUp, Transfer
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.call_log import exchange, log
from vocelio.engine.session import FlowSession
from vocelio.engine.voice import Tier
from vocelio.gateway.calls.billing import BillingMeter, ProviderUsage
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.store.calls.interface import ProviderUsageTotals, StoredCall

MAX_RESUMES = 3  # within RESUME_WINDOW: a call that is lost more often is in worse trouble than a goodbye
RESUME_WINDOW_SECONDS = 60.0  # seconds
MAX_LOG_BYTES = 4_000_000  # bytes: a thousand turns; what comes after is not kept
CONNECT_TIMEOUT_SECONDS = 75.0  # from our TwiML to a stream: the token's time, and some for the messages before

HandoffMode = Literal["", "between", "amid"]
"""A stream that was given up on purpose: between two prompts, or wherever it was."""


class ResumeState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What another owner needs to go on.

    ``logged`` is how many bytes of log were saved, ``begun`` the generation that saved: a later one came to nothing.
    """

    checkpoint: dict[str, Any] | None = None
    intent: Transfer | HangUp | None = None
    pending: events.TransferEnded | None = None
    resumed: list[float] = []
    meter: dict[str, Any] | None = None
    rates: dict[Tier, int] | None = None
    handed_over: HandoffMode = ""
    logged: int = 0
    begun: int = 0
    vendors: dict[Tier, ProviderUsageTotals] = {}


def read_resume_state(stored: StoredCall) -> ResumeState:
    """What was kept of a call's state."""
    return msgspec.convert(stored.resume_state or {}, ResumeState)


def may_resume(resume_times: Sequence[float], elapsed: float) -> bool:
    """Whether one more lost stream is followed by another, so many seconds into the call."""
    return len([at for at in resume_times if at > elapsed - RESUME_WINDOW_SECONDS]) < MAX_RESUMES


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
    config: CallConfig
    started_at: int
    generation: int = 0
    checkpoint: dict[str, Any] | None = None
    next_action: Transfer | HangUp | None = None
    resume_event: events.TransferEnded | None = None
    department: str = ""
    outcome: str = ""
    disposition: str = ""
    ended_at: int = 0
    resume_times: list[float] = field(default_factory=list)
    handoff_mode: HandoffMode = ""
    log: bytearray = field(default_factory=bytearray)
    logged_bytes: int = 0
    sequence: int = 0
    revision: int = 0
    expires_after_seconds: float = CONNECT_TIMEOUT_SECONDS
    request_is_sensitive: bool = False
    provider_usage: ProviderUsage = field(default_factory=ProviderUsage)
    meter: BillingMeter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = BillingMeter(self.config.rates, self.config.version.flow.voice.tier)

    @classmethod
    def from_stored(cls, stored: StoredCall, config: CallConfig) -> "CallRecord":
        """A call as it was kept. It keeps the rates of its beginning."""
        held = read_resume_state(stored)
        record = cls(
            stored.id,
            stored.account_sid,
            stored.caller,
            msgspec.structs.replace(config, rates=held.rates or config.rates),
            stored.started_at,
            generation=stored.generation,
            checkpoint=held.checkpoint,
            next_action=held.intent,
            resume_event=held.pending,
            department=stored.department,
            resume_times=list(held.resumed),
            handoff_mode=held.handed_over,
            logged_bytes=held.logged,
            sequence=stored.last_event_seq,
            revision=stored.revision,
            provider_usage=ProviderUsage(held.vendors),
        )
        record.meter = BillingMeter(record.config.rates, config.version.flow.voice.tier, held.meter)
        return record

    def call_info(self) -> CallInfo:
        """What the flow may know."""
        tenant = self.config.tenant
        return CallInfo(
            self.call,
            self.caller,
            self.config.number,
            TenantInfo(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.apology),
            self.started_at,
            seed=self.call,
            departments={name: name for name in self.config.departments},
            hours={name: one.hours for name, one in self.config.departments.items() if one.hours},
        )

    def create_session(self) -> FlowSession:
        """The session, new or as it was left."""
        if self.checkpoint is None:
            return FlowSession(self.config.version, self.call_info())
        return FlowSession.resume(self.config.version, self.checkpoint)

    def feed_event(self, session: FlowSession, event: events.AnyEvent) -> Sequence[actions.AnyAction]:
        """Feed the event to the session and keep what came of it, for replay. Answers in confidence are not kept."""
        if event.at < session.at:  # the wall clock, by which a call goes on after a stream, was set back
            event = msgspec.structs.replace(event, at=session.at)
        confidential = session.input_is_sensitive or (
            isinstance(event, events.RequestEnded) and self.request_is_sensitive
        )
        happened = exchange.step(session, event)
        for action in happened.actions:
            if isinstance(action, actions.Request):
                self.request_is_sensitive = action.sensitive
        if not self.log and not self.logged_bytes:
            self.log += log.encode_line(log.build_header(self.config.version, self.call_info()))
        if self.logged_bytes + len(self.log) < MAX_LOG_BYTES:
            self.log += log.encode_line(exchange.redact_exchange(happened, confidential))
        return happened.actions

    def on_voice_tier(self, at: float, requested: Tier, provider: Tier) -> None:
        """A prompt is spoken by that provider, so many seconds into the call.

        Another than the one that was ``asked`` for is billed at its own tier, if that is not the dearer.
        """
        rates = self.config.rates
        tier = provider if rates[provider] < rates[requested] else requested
        self.meter.set_tier(self.started_at + round(at * 1e6), tier)

    def elapsed(self, now: int) -> float:
        """Seconds since the call began."""
        return (now - self.started_at) / 1e6

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can go on: a call that was lost still can."""
        return bool(self.ended_at) and self.outcome != "lost"

    def to_stored(self, now: int) -> StoredCall:
        """What is kept of it, as it is now; its log is given once."""
        self.revision += 1
        added, self.log = bytes(self.log), bytearray()
        self.logged_bytes += len(added)
        return StoredCall(
            tenant=self.config.tenant.id,
            id=self.call,
            account_sid=self.account,
            number=self.config.number,
            caller=self.caller,
            flow=self.config.flow,
            version=self.config.version_number,
            revision=self.revision,
            generation=self.generation,
            started_at=self.started_at,
            ended_at=self.ended_at,
            outcome=self.outcome,
            disposition=self.disposition,
            department=self.department,
            segments=self.meter.segments,
            provider_usage=self.provider_usage.snapshot(),
            resume_state=None if self.is_over else msgspec.to_builtins(self._resume_state()),
            log=added,
            due_at=now + round(self.expires_after_seconds * 1e6),
        )

    def undo_save(self, saved: StoredCall, stored: StoredCall) -> None:
        """What was ``saved`` was not kept, since another has ``kept`` something later: the next will be later still."""
        self.log[:0] = saved.log
        self.logged_bytes -= len(saved.log)
        self.revision, self.sequence = max(self.revision, stored.revision), max(self.sequence, stored.last_event_seq)

    def _resume_state(self) -> ResumeState:
        return ResumeState(
            self.checkpoint,
            self.next_action,
            self.resume_event,
            self.resume_times,
            self.meter.state(),
            self.config.rates,
            self.handoff_mode,
            self.logged_bytes,
            self.generation,
            self.provider_usage.snapshot(),
        )
