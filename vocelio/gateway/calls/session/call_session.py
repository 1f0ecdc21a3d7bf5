"""One live call on one media stream: the shell around the engine's flow session.

Audio, keys, marks, timers, synthesis and recognition become events of the flow session, one after the other; its
actions are executed in order. Externally visible ones wait in the commit gate; what happens to the call next is its
phase (see calls/phase.py). Per frame of audio there is no await, no task and no queue. When the stream ends, everything
here ends: what must survive is in the call record.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from vocelio.engine import actions, events
from vocelio.gateway.calls import phase as phases
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.control.commands import Command, CommandResult
from vocelio.gateway.calls.control.listen_in import AudioSink
from vocelio.gateway.calls.event_publisher import CallEventPublisher
from vocelio.gateway.calls.interfaces import CallServices, Transport
from vocelio.gateway.calls.lifecycle import STREAM_EXPIRY_SECONDS, CallLifecycle
from vocelio.gateway.calls.media.call_media import CallMedia
from vocelio.gateway.calls.phase import (
    Authorizing,
    Closed,
    HandingOff,
    HandoffMode,
    HangingUp,
    Phase,
    PhaseEvent,
    StoreDown,
    Talking,
    TransferCompleted,
    Transferring,
)
from vocelio.gateway.calls.repository import CallRepository
from vocelio.gateway.calls.session.action_executor import ActionExecutor
from vocelio.gateway.calls.session.commit_gate import COMMIT_TIMEOUT_SECONDS, CommitGate, SideEffect
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.dialing.authorization import DialDecision, PendingAuthorization, TransferAuthorizer
from vocelio.gateway.dialing.plan import DialRejection
from vocelio.gateway.store.calls.interface import noop

LOG = logging.getLogger(__name__)

HANDOFF_AGE_SECONDS = 55 * 60.0  # age of a stream at which it is handed off at its next prompt
FORCED_HANDOFF_AGE_SECONDS = 58 * 60.0  # and at which it is handed off anywhere: Cloud Run ends a connection at 60 min
TRANSFER_MARGIN_SECONDS = 300.0  # after a transfer's longest duration: its end will not be reported any more
STALE_DTMF_SECONDS = 1.5  # after a resume: keys pressed then belong to a lost answer, since the question is repeated
HOLD_PROMPT_PREFIX = "hold"  # of the ids of hold prompts; a number follows

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class SessionDependencies:
    """What all sessions of a process share."""

    services: CallServices
    lifecycle: CallLifecycle
    repository: CallRepository
    publisher: CallEventPublisher
    transfer_authorizer: TransferAuthorizer


class CallSession:
    """A call while its stream is open. No method waits but ``wait_closed``."""

    def __init__(
        self,
        dependencies: SessionDependencies,
        record: CallRecord,
        stream_sid: str,
        transport: Transport,
        on_closed: Callable[["CallSession"], None],
    ) -> None:
        services = dependencies.services
        self._lifecycle, self._repository = dependencies.lifecycle, dependencies.repository
        self._publisher, self._on_closed = dependencies.publisher, on_closed
        self._record, self._transport = record, transport
        self._loop = asyncio.get_running_loop()
        self._clock_offset = record.elapsed(services.wall_clock()) - self._loop.time()
        self._flow_session = record.create_session()
        self._phase: Phase = record.resume.phase
        self._handoff_requested: HandoffMode | None = None  # outlives the phases in which it cannot be met
        self._mailbox: deque[events.AnyEvent] = deque()  # filled by the session's own actions: a handful at a time
        self._processing = False
        self._media = CallMedia(self, services, record, stream_sid, transport)
        self._authorization = PendingAuthorization(dependencies.transfer_authorizer, self._on_authorization)
        self._commit_gate = CommitGate(self._play_hold_prompt, self._on_commit_timeout)
        self._executor = ActionExecutor(
            self, self._media, self._commit_gate, services, record.config.tenant.id, self._leave
        )
        self._dtmf_accepted_from = 0.0  # loop time
        self._transfer_timeout_seconds = 0.0  # within which a transfer must have ended
        self._hold_count = 0
        self._age_timers = [
            self._loop.call_later(HANDOFF_AGE_SECONDS, self.hand_off),
            self._loop.call_later(FORCED_HANDOFF_AGE_SECONDS, self._on_max_age),
        ]

    # The stream

    def start(self, started_at: float) -> None:
        """Start or resume the flow on a stream that started at that loop time."""
        record, previous = self._record, self._phase
        if isinstance(previous, HangingUp) or self._flow_session.ended:
            self._finish_ended_call()
            return
        record.meter.start_stream(self._now_microseconds())
        self._advance(phases.StreamStarted())
        if record.config.tenant.record_calls:
            self._media.recorder.start(started_at)
        if isinstance(previous, TransferCompleted):
            result = previous.result
            self.publish("transfer.ended", result=result.result, duration_seconds=result.duration_seconds)
            self.feed_event(result)
        elif record.resume.checkpoint is not None:
            self._resume(previous.mode if isinstance(previous, HandingOff) else None)
        else:
            number, flow = record.config.number, record.config.flow
            self.publish("call.started", caller=record.stored.caller, number=number, flow=flow)
            self.feed_event(events.CallStarted(self.elapsed()))
        self._save()

    def _resume(self, handoff: HandoffMode | None) -> None:
        if handoff is None:
            self._record.resume.resume_times.append(self.elapsed())
        self._dtmf_accepted_from = self._loop.time() + STALE_DTMF_SECONDS
        self.publish("call.resumed", planned=handoff is not None)
        self.feed_event(events.CallResumed(self.elapsed(), between_prompts=handoff == "between_prompts"))

    def _finish_ended_call(self) -> None:
        """End a call whose last stream was lost when only the hang-up was left."""
        record = self._record
        hang_up = self._phase.hang_up if isinstance(self._phase, HangingUp) else None
        record.stored.disposition = self._flow_session.disposition
        self.close()
        self._transport.close(CloseCode.NORMAL, "the call has ended")
        self._lifecycle.end_call(record, (hang_up.outcome if hang_up else self._flow_session.outcome) or "completed")

    def on_audio(self, audio: bytes) -> None:
        """Process the caller's next audio: mu-law, usually 20 ms."""
        if type(self._phase) is not Closed:
            self._media.on_audio(audio)

    def on_dtmf(self, digit: str) -> None:
        """Process a key that the caller pressed."""
        if self._is_closed:
            return
        if self._loop.time() < self._dtmf_accepted_from:
            self.publish("dtmf.ignored", node=self.node)
            return
        self._media.on_dtmf()
        self.feed_event(events.KeyPressed(self.elapsed(), digit))

    def on_mark(self, name: str) -> None:
        """Process a mark that Twilio returned."""
        self._media.on_mark(name)

    def on_hangup(self) -> None:
        """End the call: the caller hung up, by the stream's stop message or by the call's status."""
        if not self._is_closed:
            self.feed_event(events.CallEnded(self.elapsed()))
            self._media.recorder.close()
            self._media.stop_recognition()
            self._update_record()
            self._record.stored.disposition = self._flow_session.disposition
            self._lifecycle.end_call(self._record, self._flow_session.outcome or "abandoned")
        self.close()
        self._transport.close(CloseCode.NORMAL, "the call has ended")

    def on_disconnect(self) -> None:
        """Save the call for another stream: the socket was closed without a stop message. No-op after another end."""
        if not self._is_closed:
            self._media.stop_recognition()
            self._update_record()
            self.publish("stream.lost")
            if isinstance(self._phase, Transferring):  # Twilio dials as soon as the transfer is committed
                self._publish_transfer_started(self._phase.transfer)
            self._lifecycle.on_stream_lost(self._record)
        self.close()

    def end_as_lost(self) -> None:
        """End the call: this process exits, and no other serves. If Twilio returns after all, the call is resumed."""
        if not self._is_closed:
            self._media.stop_recognition()
            self._update_record()
            self.publish("stream.lost")
            self._lifecycle.end_call(self._record, "lost")
        self.close()
        self._transport.close(CloseCode.SERVICE_RESTART, "the gateway is shutting down")

    def on_superseded(self) -> None:
        """Close: a newer stream owns the call."""
        self.close()
        self._transport.close(CloseCode.NORMAL, "the call goes on with another stream")

    def close(self) -> None:
        """End everything of this stream."""
        self._advance(phases.StreamClosed())
        self._commit_gate.clear()
        self._authorization.close()
        self._media.close()
        for timer in self._age_timers:
            timer.cancel()
        self._executor.close()
        self._on_closed(self)

    async def wait_closed(self) -> None:
        """Wait until all tasks have ended."""
        await self._media.wait_closed()
        await self._executor.wait_closed()
        await self._authorization.wait_closed()

    # Operators

    @property
    def call(self) -> str:
        """The call's SID."""
        return self._record.stored.id

    @property
    def tenant(self) -> str:
        """The call's tenant."""
        return self._record.stored.tenant

    @property
    def generation(self) -> int:
        """The generation of this stream."""
        return self._record.stored.generation

    @property
    def account(self) -> str:
        """The Twilio account of the call."""
        return self._record.stored.account_sid

    def check_command(self, command: Command, value: str) -> CommandResult:
        """Return what a command would result in: a call that is ending accepts only hang_up."""
        if self._is_closed or (command != "hang_up" and self._flow_session.is_closing):
            return CommandResult("ending", self.node)
        if command == "jump" and not self._flow_session.has_node(value):
            return CommandResult("unknown_node", self.node)
        return CommandResult("accepted", self.node)

    def execute_command(self, command: Command, value: str) -> CommandResult:
        """Execute an operator's command, if it is accepted."""
        result = self.check_command(command, value)
        if result.verdict == "accepted":
            self.publish("operator.command", command=command, value=value)
            self.feed_event(events.OperatorCommand(self.elapsed(), command, value))
        return CommandResult(result.verdict, self.node)

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Give the call's audio to the sink until the stream ends or the returned function is called."""
        return self._media.recorder.listen_in(sink)

    # Phases and saving

    @property
    def _is_closed(self) -> bool:
        return isinstance(self._phase, Closed)

    def _advance(self, event: PhaseEvent) -> None:
        left = self._phase
        self._phase = phases.advance(left, event)
        self._record.resume.phase = phases.durable(self._phase) or self._record.resume.phase
        if isinstance(left, Transferring) and not isinstance(self._phase, Transferring | Closed):
            self._record.meter.resume()

    def heartbeat(self) -> None:
        """Save the call with its cost so far, as a sign of life."""
        if phases.may_save_heartbeat(self._phase):
            self._save()

    def _update_record(self) -> None:
        self._record.resume.checkpoint = self._flow_session.checkpoint()
        self._record.meter.advance(self._now_microseconds())

    def _save(self, on_committed: Callable[[], None] = noop) -> None:
        if self._is_closed:
            return
        self._update_record()
        is_transfer = isinstance(self._phase, Transferring)
        self._record.expires_after_seconds = self._transfer_timeout_seconds if is_transfer else STREAM_EXPIRY_SECONDS
        self._repository.save(self._record, on_committed, self.on_superseded)

    def hand_off(self, *, immediately: bool = False) -> None:
        """Let another process resume the call: at its next prompt, or now if the phase allows it."""
        self._handoff_requested = "immediate" if immediately else self._handoff_requested or "between_prompts"
        if immediately and isinstance(self._phase, Talking):
            self._start_handoff("immediate")

    def _on_max_age(self) -> None:
        self.hand_off(immediately=True)

    def _start_handoff(self, mode: HandoffMode) -> None:
        """Side effects that are pending are repeated by the next stream, or released if the store does not answer."""
        self._advance(phases.HandoffStarted(mode))
        self._media.stop_recognition()
        self._save(self._on_handoff_committed)

    def _on_handoff_committed(self) -> None:
        if isinstance(self._phase, HandingOff):
            self.publish("call.handed_off", between_prompts=self._phase.mode == "between_prompts")
            self.close()
            self._transport.close(CloseCode.NORMAL, "the call goes on with another stream")

    def _now_microseconds(self) -> int:
        """Return the time (microseconds UTC) by the loop's clock: the wall clock may be set during the call."""
        return self._record.stored.started_at + round(self.elapsed() * 1e6)

    def elapsed(self) -> float:
        return self._clock_offset + self._loop.time()

    @property
    def node(self) -> str:
        return self._flow_session.node

    def publish(self, event_type: str, **data: object) -> None:
        self._publisher.publish(self._record.stored, event_type, **data)

    def publish_transient(self, event_type: str, **data: object) -> None:
        self._publisher.publish_transient(self._record.stored, event_type, **data)

    # The flow

    def feed_event(self, event: events.AnyEvent) -> None:
        """Feed the flow session. An event that its actions cause meanwhile waits in the mailbox."""
        self._mailbox.append(event)
        if self._processing:
            return
        self._processing = True
        self._run_guarded(self._process_mailbox)
        self._processing = False

    def _process_mailbox(self) -> None:
        while self._mailbox and not self._is_closed:
            new_actions = self._record.feed_event(self._flow_session, self._mailbox.popleft())
            # Before any of the actions: the recording is masked from the start of a confidential question on.
            self._media.recorder.set_confidential(self._flow_session.input_is_sensitive)
            self._execute_all(new_actions)

    def _execute_all(self, new_actions: Sequence[actions.AnyAction]) -> None:
        """Execute actions at once that only this process notices; side effects once the state is committed."""
        side_effects = [action for action in new_actions if isinstance(action, SideEffect)]
        for action in new_actions:
            if not isinstance(action, SideEffect) and not self._is_closed:
                self._executor.execute(action)
        if self._is_closed:
            return
        store_down = isinstance(self._phase, StoreDown)
        if hang_up := _first(side_effects, actions.HangUp):
            self._advance(phases.HangUpRequested(hang_up))
            self._record.stored.outcome, self._record.stored.disposition = hang_up.outcome, hang_up.disposition
        if store_down:
            self._save(self._on_store_recovered)
            self._executor.execute_without_store(side_effects)
        elif self._is_handoff_point(side_effects):
            self._commit_gate.add(side_effects)
            self._start_handoff("between_prompts")
        elif side_effects:
            self._gate(side_effects)
        elif any(isinstance(action, actions.EmitEvent) and action.type == "node.entered" for action in new_actions):
            self._save()

    def _gate(self, side_effects: Sequence[SideEffect]) -> None:
        ticket = self._commit_gate.add(side_effects)
        if transfer := _first(side_effects, actions.Transfer):
            self._advance(phases.TransferRequested(transfer))
            if isinstance(self._phase, Authorizing):
                self._authorization.start(self._record.config, transfer, self._record.stored.caller)
        else:
            self._save(lambda: self._on_committed(ticket))

    def _is_handoff_point(self, side_effects: Sequence[SideEffect]) -> bool:
        """Whether a requested handoff can start here: the caller would hear a prompt next, and not the last one."""
        return bool(
            self._handoff_requested
            and isinstance(self._phase, Talking)
            and _first(side_effects, actions.Speak)
            and not self._flow_session.is_closing
        )

    def _on_committed(self, ticket: int) -> None:
        if not isinstance(self._phase, HandingOff):
            self._run_guarded(lambda: self._release(ticket))

    def _release(self, ticket: int) -> None:
        for action in self._commit_gate.release(ticket):
            if not self._is_closed:
                self._executor.execute(action)

    def _run_guarded(self, work: Callable[[], None]) -> None:
        """Contain a defect of ours: this call is resumed by another stream, a few times at most; no other is hit."""
        try:
            work()
        except Exception:
            LOG.exception("call %s: internal error; closing its stream", self._record.stored.id)
            self.on_disconnect()
            self._transport.close(CloseCode.INTERNAL_ERROR, "internal error")

    def _leave(self, action: actions.Transfer | actions.HangUp) -> None:
        if isinstance(action, actions.Transfer):
            self._leave_for_transfer(action)
        else:
            self._leave_for_hang_up(action)

    # Leaving the stream

    def _on_authorization(self, transfer: actions.Transfer, decision: DialDecision) -> None:
        """Save the authorized transfer, or let the flow continue: its caller is still on this stream."""
        if self._phase != Authorizing(transfer):
            return  # an operator decided otherwise
        target = {"department": transfer.department, "number": transfer.number}
        if isinstance(decision, DialRejection):
            self._advance(phases.TransferRejected())
            self._commit_gate.cancel(transfer.id)
            self.publish("transfer.rejected", **target, reason=decision.reason)
            self.feed_event(events.TransferEnded(self.elapsed(), transfer.id, decision.exit))
            return
        for adjustment in decision.adjustments:
            self.publish("transfer.adjusted", **target, **msgspec.structs.asdict(adjustment))
        self._transfer_timeout_seconds = (
            len(decision.attempts) * decision.ring_seconds + decision.time_limit_seconds + TRANSFER_MARGIN_SECONDS
        )
        authorized = msgspec.structs.replace(transfer, caller_id=decision.caller_id)
        self._advance(phases.TransferAuthorized(authorized))
        self._record.meter.advance(self._now_microseconds())
        self._record.meter.pause()
        self._record.stored.department = transfer.department
        ticket = self._commit_gate.authorize(transfer, authorized)
        self._save(lambda: self._on_committed(ticket))

    def _leave_for_transfer(self, transfer: actions.Transfer) -> None:
        if self._phase != Transferring(transfer):
            return  # an operator decided otherwise
        self._publish_transfer_started(transfer)
        self.close()
        self._transport.close(CloseCode.NORMAL, "the call goes on elsewhere")

    def _leave_for_hang_up(self, hang_up: actions.HangUp) -> None:
        self.close()
        self._transport.close(CloseCode.NORMAL, "the call goes on elsewhere")
        self._lifecycle.end_call(self._record, hang_up.outcome)

    def _publish_transfer_started(self, transfer: actions.Transfer) -> None:
        self.publish("transfer.started", department=transfer.department, number=transfer.number)

    # A slow or unavailable store

    def _play_hold_prompt(self) -> None:
        """Ask the caller to hold, unless such a prompt is still playing."""
        if self._media.is_playing(HOLD_PROMPT_PREFIX):
            return
        self._hold_count += 1
        config = self._record.config
        voice = config.version.flow.voice
        self._media.speak(actions.Speak(f"{HOLD_PROMPT_PREFIX}{self._hold_count}", config.tenant.hold_message, voice))

    def _on_commit_timeout(self) -> None:
        """Continue without the store until it answers again."""
        side_effects = self._commit_gate.release_all()
        self._authorization.close()
        self._advance(phases.CommitTimedOut())
        if isinstance(self._phase, StoreDown):
            self.publish("database.unavailable", timeout_seconds=COMMIT_TIMEOUT_SECONDS)
        self._run_guarded(lambda: self._executor.execute_without_store(side_effects))
        self._save(self._on_store_recovered)

    def _on_store_recovered(self) -> None:
        if isinstance(self._phase, StoreDown):
            self._advance(phases.StoreRecovered())
            if self._handoff_requested == "immediate":
                self._start_handoff("immediate")


def _first(side_effects: Sequence[SideEffect], kind: type[A]) -> A | None:
    return next((action for action in side_effects if isinstance(action, kind)), None)
