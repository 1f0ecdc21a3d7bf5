"""A call in the hands of its owner: the session of its stream, or a webhook between two streams.

The owner changes ``stored`` and ``resume`` in place and saves snapshots of them: what is in neither is lost with the
process. Only the owner of the call's newest generation may save it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from vocelio.engine import actions, call_log, events
from vocelio.engine.call_info import CallInfo, TenantInfo
from vocelio.engine.session import FlowSession
from vocelio.engine.voice import Tier
from vocelio.gateway.calls import phase as phases
from vocelio.gateway.calls.billing import BillingMeter, MeterState, ProviderUsage
from vocelio.gateway.calls.phase import DurablePhase, Talking
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.store.calls.interface import StoredCall

MAX_RESUMES = 3  # within RESUME_WINDOW_SECONDS: a call that is lost more often is better ended with a message
RESUME_WINDOW_SECONDS = 60.0
MAX_LOG_BYTES = 4_000_000  # a thousand turns; what follows is not logged
CONNECT_TIMEOUT_SECONDS = 75.0  # from our TwiML to a stream: the token's lifetime, and some for the messages before


class ResumeState(msgspec.Struct, omit_defaults=True):
    """What the call's next owner needs to continue, beside the stored call.

    ``phase`` says what Twilio is to do with the call once its stream is closed. ``resume_times`` are seconds into the
    call. ``rates`` are those of the call's start. ``logged_bytes`` is the length of the saved call log.
    ``saved_generation`` is the generation that saved this state: a later one never got as far.
    """

    checkpoint: dict[str, Any] | None = None
    phase: DurablePhase = Talking()
    resume_times: list[float] = []
    meter: MeterState | None = None
    rates: dict[Tier, int] | None = None
    logged_bytes: int = 0
    saved_generation: int = 0


def read_resume_state(stored: StoredCall) -> ResumeState:
    """Decode the call's resume state. Raises msgspec.ValidationError for one that another release saved."""
    return msgspec.json.decode(stored.resume_state or b"{}", type=ResumeState)


def may_resume(resume_times: Sequence[float], elapsed: float) -> bool:
    """Whether a call that is lost now, ``elapsed`` seconds after its start, gets another stream."""
    return len([at for at in resume_times if at > elapsed - RESUME_WINDOW_SECONDS]) < MAX_RESUMES


class CallRecord:
    """One call: ``stored`` and ``resume``, which survive the process, with what acts on them.

    ``expires_after_seconds`` is how long the call lives after a save without another sign of life.
    """

    def __init__(self, stored: StoredCall, config: CallConfig, resume: ResumeState) -> None:
        self.stored, self.resume = stored, resume
        self.config = msgspec.structs.replace(config, rates=resume.rates or config.rates)
        resume.rates = self.config.rates
        resume.meter = resume.meter or MeterState([(config.version.flow.voice.tier, 0)])
        self.meter = BillingMeter(self.config.rates, resume.meter)
        self.provider_usage = ProviderUsage(stored.provider_usage)
        self.expires_after_seconds = CONNECT_TIMEOUT_SECONDS
        self._log = bytearray()  # not saved yet
        self._request_is_sensitive = False

    @classmethod
    def create(
        cls, call: str, account_sid: str, caller: str, config: CallConfig, started_at: int, generation: int = 0
    ) -> "CallRecord":
        """Make the record of a new call."""
        stored = StoredCall(
            tenant=config.tenant.id,
            id=call,
            account_sid=account_sid,
            number=config.number,
            caller=caller,
            flow=config.flow,
            version=config.version_number,
            revision=0,
            generation=generation,
            started_at=started_at,
        )
        return cls(stored, config, ResumeState())

    @classmethod
    def from_stored(cls, stored: StoredCall, config: CallConfig) -> "CallRecord":
        """Continue a stored call, also a lost one. Its rates stay those of its start."""
        continued = msgspec.structs.replace(stored, ended_at=0, outcome="", disposition="")
        return cls(continued, config, read_resume_state(stored))

    def call_info(self) -> CallInfo:
        """Return what the flow may know of the call."""
        tenant = self.config.tenant
        return CallInfo(
            self.stored.id,
            self.stored.caller,
            self.config.number,
            TenantInfo(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.error_message),
            self.stored.started_at,
            seed=self.stored.id,
            departments={name: name for name in self.config.departments},
            hours={name: department.hours for name, department in self.config.departments.items() if department.hours},
        )

    def create_session(self) -> FlowSession:
        """Create the flow session, new or from the checkpoint."""
        if self.resume.checkpoint is None:
            return FlowSession(self.config.version, self.call_info())
        return FlowSession.resume(self.config.version, self.resume.checkpoint)

    def feed_event(self, session: FlowSession, event: events.AnyEvent) -> Sequence[actions.AnyAction]:
        """Feed the event to the session and append the exchange to the call log, without confidential input."""
        if event.at < session.at:  # the wall clock, by which a call is timed between streams, was set back
            event = msgspec.structs.replace(event, at=session.at)
        confidential = session.input_is_sensitive or (
            isinstance(event, events.RequestEnded) and self._request_is_sensitive
        )
        exchange = call_log.step(session, event)
        for action in exchange.actions:
            if isinstance(action, actions.Request):
                self._request_is_sensitive = action.sensitive
        if not self._log and not self.resume.logged_bytes:
            self._log += call_log.encode_line(call_log.build_header(self.config.version, self.call_info()))
        if self.resume.logged_bytes + len(self._log) < MAX_LOG_BYTES:
            self._log += call_log.encode_line(call_log.redact_exchange(exchange, confidential))
        return exchange.actions

    def on_voice_tier(self, at: float, requested: Tier, provider: Tier) -> None:
        """Bill at the provider that speaks from ``at`` (seconds into the call), or the requested one if cheaper."""
        rates = self.config.rates
        tier = provider if rates[provider] < rates[requested] else requested
        self.meter.set_tier(self.stored.started_at + round(at * 1e6), tier)

    def elapsed(self, now: int) -> float:
        """Return the seconds since the start of the call."""
        return (now - self.stored.started_at) / 1e6

    def complete_transfer(self, result: events.TransferEnded) -> None:
        """Let the next stream continue the flow with the transfer's result."""
        phase = phases.advance(self.resume.phase, phases.TransferEnded(result))
        self.resume.phase = phases.durable(phase) or self.resume.phase

    def snapshot(self, now: int) -> StoredCall:
        """Make the next revision: the call as it is to be saved now. Each part of the log is in one snapshot."""
        stored, resume = self.stored, self.resume
        stored.revision += 1
        resume.logged_bytes += len(self._log)
        resume.saved_generation = stored.generation
        added, self._log = bytes(self._log), bytearray()
        return msgspec.structs.replace(
            stored,
            segments=self.meter.segments,
            provider_usage=self.provider_usage.snapshot(),
            resume_state=None if stored.is_over else msgspec.json.encode(resume),
            log=added,
            due_at=now + round(self.expires_after_seconds * 1e6),
        )

    def undo_snapshot(self, refused: StoredCall, current: StoredCall) -> None:
        """Take back a snapshot that the store refused for a later state; the next one is later than that."""
        self._log[:0] = refused.log
        self.resume.logged_bytes -= len(refused.log)
        self.stored.revision = max(self.stored.revision, current.revision)
        self.stored.last_event_seq = max(self.stored.last_event_seq, current.last_event_seq)
