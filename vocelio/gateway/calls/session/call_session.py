"""One live call on one media stream: the shell around the engine's session.

What the caller does (sound, keys, marks) and what time does (timers, synthesis, recognition) become the
session's events, one after the other; its actions are carried out in order. What the caller or the world would notice
waits until the store has the state from which another process could go on. A frame of sound costs no await, no task
and no queue. When the stream ends, everything of it ends; what must go on is in the record.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, assert_never

import msgspec

from vocelio.engine import actions, events
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.control.commands import Command, CommandResult
from vocelio.gateway.calls.control.listen_in import AudioSink
from vocelio.gateway.calls.interfaces import Transport
from vocelio.gateway.calls.media.call_media import MASK, CallMedia
from vocelio.gateway.calls.registry import STREAM_EXPIRY_SECONDS, TRANSFER_MARGIN_SECONDS, CallRegistry
from vocelio.gateway.calls.session.commit_gate import COMMIT_TIMEOUT_SECONDS, CommitGate, SideEffect
from vocelio.gateway.calls.session.http_requests import FlowHttpRequests
from vocelio.gateway.dialing.authorization import DialDecision, PendingAuthorization
from vocelio.gateway.dialing.plan import DialRejection
from vocelio.gateway.http_client.client import HttpResult, masked_url
from vocelio.gateway.media.stream import CLOSE_INTERNAL_ERROR, CLOSE_NORMAL
from vocelio.gateway.store.calls.interface import noop

LOG = logging.getLogger(__name__)

HANDOFF_AGE_SECONDS = 55 * 60.0  # seconds of one stream, after which it is handed over at its next prompt
FORCED_HANDOFF_AGE_SECONDS = (
    58 * 60.0
)  # and after which it is handed over wherever it is: Cloud Run ends a connection after 60 minutes
FAILURE_DELAY_SECONDS = 1.0
STALE_DTMF_SECONDS = (
    1.5  # after a break: keys pressed then are the rest of an answer that was lost, as it is asked again
)
HOLD_PROMPT_PREFIX = "hold"  # and a number: the names of prompts that ask to wait

FailureEvent = events.QueueEnded | events.RequestEnded | events.TransferEnded


class CallSession:
    """A call while its stream is open. All methods are plain; only ``wait_closed`` waits."""

    def __init__(self, registry: CallRegistry, record: CallRecord, stream_sid: str, transport: Transport) -> None:
        services = registry.services
        self._registry, self._record, self._transport = registry, record, transport
        self._loop = asyncio.get_running_loop()
        self._clock_offset = record.elapsed(services.wall_clock()) - self._loop.time()
        self._flow_session = record.create_session()
        self._mailbox: deque[events.AnyEvent] = deque()  # filled by the call's own doing: a handful at a time
        self._processing = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self._media = CallMedia(self, services, record, stream_sid, transport)
        self._http_requests = FlowHttpRequests(
            services.http_client, services.directory, record.config.tenant.id, self._on_http_result
        )
        self._authorization = PendingAuthorization(registry.transfer_authorizer, self._on_authorization)
        self._commit_gate = CommitGate(self._play_hold_prompt, self._on_store_timeout)
        self._store_unavailable = False  # the store was waited for in vain, and has not answered since
        self._handoff_requested = False
        self._dtmf_accepted_from = 0.0  # by the loop's clock
        self._transfer_timeout_seconds = 0.0  # within which one that began must be over
        self._hold_count = 0
        self._age_timers = [
            self._loop.call_later(HANDOFF_AGE_SECONDS, self.hand_off),
            self._loop.call_later(FORCED_HANDOFF_AGE_SECONDS, self._on_max_age),
        ]

    # The stream's side

    def start(self, started_at: float) -> None:
        """The stream has started, at that time of the loop's clock: the flow begins, or goes on."""
        record = self._record
        if isinstance(record.resume.next_action, actions.HangUp) or self._flow_session.ended:
            self._finish_ended_call()
            return
        self._registry.live_calls[record.stored.id] = self
        record.meter.start_stream(self._now_microseconds())
        pending, record.resume.resume_event, record.resume.next_action = record.resume.resume_event, None, None
        handed_over, record.resume.handoff_mode = record.resume.handoff_mode, ""
        if record.config.tenant.record_calls:
            self._media.recorder.start(started_at)
        if pending is not None:
            self.publish("transfer.ended", how=pending.result, seconds=pending.duration_seconds)
            self.feed_event(pending)
        elif record.resume.checkpoint is not None:
            if not handed_over:
                record.resume.resume_times.append(self.elapsed())
            self._dtmf_accepted_from = self._loop.time() + STALE_DTMF_SECONDS
            self.publish("call.resumed", planned=bool(handed_over))
            self.feed_event(events.CallResumed(self.elapsed(), between_prompts=handed_over == "between_prompts"))
        else:
            number, flow = record.config.number, record.config.flow
            self.publish("call.started", caller=record.stored.caller, number=number, flow=flow)
            self.feed_event(events.CallStarted(self.elapsed()))
        if self._may_act():
            self._save()

    def _finish_ended_call(self) -> None:
        """All that was left of it when its last stream ended was to hang up."""
        record = self._record
        outcome = (
            record.resume.next_action.outcome
            if isinstance(record.resume.next_action, actions.HangUp)
            else self._flow_session.outcome
        )
        record.stored.disposition = self._flow_session.disposition
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call has ended")
        self._registry.end_call(record, outcome or "completed")

    def on_audio(self, audio: bytes) -> None:
        """The caller's next sound: mu-law, usually 20 ms."""
        if not self._closed:
            self._media.on_audio(audio)

    def on_dtmf(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._closed:
            return
        if self._loop.time() < self._dtmf_accepted_from:
            self.publish("key.ignored", node=self.node)
            return
        self._media.on_dtmf()
        self.feed_event(events.KeyPressed(self.elapsed(), digit))

    def on_mark(self, name: str) -> None:
        """Twilio gave a mark back."""
        self._media.on_mark(name)

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._record.config.tenant.id

    @property
    def generation(self) -> int:
        """See Commanded."""
        return self._record.stored.generation

    @property
    def account(self) -> str:
        """By which it came."""
        return self._record.stored.account_sid

    def heartbeat(self) -> None:
        """A sign of life: the call, and what it has cost, is kept as it is now."""
        if self._record.resume.next_action is None and not self._commit_gate.unauthorized_transfer:
            self._save()

    def on_hangup(self) -> None:
        """Twilio says that the caller hung up: by the stream's stop, or by the call's status."""
        if self._may_act():
            self.feed_event(events.CallEnded(self.elapsed()))
            self._media.recorder.close()
            self._media.stop_recognition()
            self._update_record()
            self._record.stored.disposition = self._flow_session.disposition
            self._registry.end_call(self._record, self._flow_session.outcome or "abandoned")
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call has ended")

    def on_disconnect(self) -> None:
        """The socket broke off without a word. Harmless after any other end."""
        if self._may_act():
            self._media.stop_recognition()
            self._update_record()
            self.publish("stream.lost")
            if isinstance(self._record.resume.next_action, actions.Transfer):
                self._publish_transfer_started(
                    self._record.resume.next_action
                )  # Twilio goes on with it, as soon as it is in the store
            self._registry.on_stream_lost(self._record)
        self.close()

    def check_command(self, command: Command, value: str) -> CommandResult:
        """What it would make of an operator's command: one that is ending can only be cut off."""
        if not self._may_act() or (command != "hang_up" and self._flow_session.is_closing):
            return CommandResult("ending", self.node)
        if command == "jump" and not self._flow_session.has_node(value):
            return CommandResult("unknown_node", self.node)
        return CommandResult("accepted", self.node)

    def execute_command(self, command: Command, value: str) -> CommandResult:
        """An operator wants something of the call."""
        reaction = self.check_command(command, value)
        if reaction.verdict == "accepted":
            self.publish("operator.commanded", command=command, value=value)
            self.feed_event(events.OperatorCommand(self.elapsed(), command, value))
        return CommandResult(reaction.verdict, self.node)

    def listen_in(self, sink: AudioSink) -> Callable[[], None]:
        """Somebody listens in, until the stream ends or what is returned is called."""
        return self._media.recorder.listen_in(sink)

    def hand_off(self, *, immediately: bool = False) -> None:
        """Another process shall go on with it: from its next prompt on, or from wherever it is ``now``."""
        self._handoff_requested = True
        if (
            immediately
            and self._may_act()
            and self._record.resume.next_action is None
            and not self._commit_gate.unauthorized_transfer
        ):
            self._start_handoff("immediate")

    def close(self) -> None:
        """Everything of this stream ends."""
        self._closed = True
        self._commit_gate.clear()
        self._authorization.close()
        self._media.close()
        for timer in self._age_timers:
            timer.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._http_requests.close()
        self._timers.clear()
        if self._registry.live_calls.get(self._record.stored.id) is self:
            del self._registry.live_calls[self._record.stored.id]

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        await self._media.wait_closed()
        await self._http_requests.wait_closed()
        await self._authorization.wait_closed()

    def on_superseded(self) -> None:
        """Another stream has the call."""
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call goes on with another stream")

    def _may_act(self) -> bool:
        return not self._closed

    def _update_record(self) -> None:
        """What another stream needs to go on from here."""
        self._record.resume.checkpoint = self._flow_session.checkpoint()
        self._record.meter.advance(self._now_microseconds())

    def _save(self, on_committed: Callable[[], None] = noop) -> None:
        """Keep the call as it is now."""
        if self._closed:
            return
        self._update_record()
        is_transfer = isinstance(self._record.resume.next_action, actions.Transfer)
        self._record.expires_after_seconds = self._transfer_timeout_seconds if is_transfer else STREAM_EXPIRY_SECONDS
        self._registry.save(self._record, on_committed, self.on_superseded)

    def _start_handoff(self, mode: Literal["between_prompts", "immediate"]) -> None:
        self._record.resume.handoff_mode = mode
        self._commit_gate.clear()
        self._media.stop_recognition()
        self._save(self._on_handoff_saved)

    def _on_handoff_saved(self) -> None:
        if self._may_act():
            self.publish("call.handed_over", between=self._record.resume.handoff_mode == "between_prompts")
            self.close()
            self._transport.close(CLOSE_NORMAL, "the call goes on with another stream")

    def _on_max_age(self) -> None:
        self.hand_off(immediately=True)

    def _now_microseconds(self) -> int:
        """Microseconds UTC as the loop's clock has them: the wall's may be set while the call is billed."""
        return self._record.stored.started_at + round(self.elapsed() * 1e6)

    def elapsed(self) -> float:
        """See Shell."""
        return self._clock_offset + self._loop.time()

    @property
    def node(self) -> str:
        """See Shell."""
        return self._flow_session.node

    def publish(self, event_type: str, **data: object) -> None:
        """See Shell."""
        self._registry.publish(self._record, event_type, **data)

    def publish_transient(self, event_type: str, **data: object) -> None:
        """See Shell."""
        self._registry.publish_transient(self._record, event_type, **data)

    # The engine

    def feed_event(self, event: events.AnyEvent) -> None:
        """Feed the session; what the actions cause meanwhile waits its turn."""
        self._mailbox.append(event)
        if self._processing:
            return
        self._processing = True
        self._run_guarded(self._process_mailbox)
        self._processing = False

    def _process_mailbox(self) -> None:
        while self._mailbox and self._may_act():
            happened = self._record.feed_event(self._flow_session, self._mailbox.popleft())
            # Confidence begins before anything is done about it.
            self._media.recorder.set_confidential(self._flow_session.input_is_sensitive)
            self._execute_all(happened)

    def _execute_all(self, new_actions: Sequence[actions.AnyAction]) -> None:
        """At once what only this process notices; the rest when the store has what led to it."""
        outward = [action for action in new_actions if isinstance(action, SideEffect)]
        for action in new_actions:
            if not isinstance(action, SideEffect) and self._may_act():
                self._execute(action)
        if not self._may_act():
            return
        for action in outward:
            if isinstance(action, actions.HangUp):
                self._set_next_action(action)
        if self._store_unavailable:
            self._save(self._on_store_recovered)
            self._execute_without_store(outward)
        elif self._handoff_requested and self._is_handoff_point(outward):
            self._start_handoff("between_prompts")
        elif outward:
            ticket = self._commit_gate.add(outward)
            transfer = next((action for action in outward if isinstance(action, actions.Transfer)), None)
            if transfer:
                self._authorization.start(self._record.config, transfer, self._record.stored.caller)
            else:
                self._save(lambda: self._on_committed(ticket))
        elif any(isinstance(action, actions.EmitEvent) and action.type == "node.entered" for action in new_actions):
            self._save()

    def _is_handoff_point(self, side_effects: Sequence[SideEffect]) -> bool:
        """Whether the next thing that the caller would notice is a prompt: a good moment for another stream."""
        speaks = any(isinstance(action, actions.Speak) for action in side_effects)
        return (
            speaks
            and not self._flow_session.is_closing
            and self._record.resume.next_action is None
            and not self._commit_gate.unauthorized_transfer
        )

    def _on_committed(self, sequence: int) -> None:
        self._run_guarded(lambda: self._release(sequence))

    def _release(self, sequence: int) -> None:
        for action in self._commit_gate.release(sequence):
            if self._may_act():
                self._execute(action)

    def _run_guarded(self, work: Callable[[], None]) -> None:
        """Our own defect is this call's trouble only: it is resumed, at most a few times, and no other call notices."""
        try:
            work()
        except Exception:
            LOG.exception("call %s failed", self._record.stored.id)
            self.on_disconnect()
            self._transport.close(CLOSE_INTERNAL_ERROR, "trouble in the gateway")

    def _execute(self, action: actions.AnyAction) -> None:
        match action:
            case actions.Speak():
                self._media.speak(action)
            case actions.StopSpeaking():
                self._stop_speaking(action.id)
            case actions.Listen():
                self._media.listen(action)
            case actions.StopListening():
                self._media.stop_listening()
            case actions.StartTimer():
                self._timers[action.id] = self._loop.call_later(action.seconds, self._on_timer, action.id)
            case actions.CancelTimer():
                if timer := self._timers.pop(action.id, None):
                    timer.cancel()
            case actions.Echo():
                self._media.set_echo(action.enabled)
            case actions.EmitEvent():
                self.publish(action.type, **action.data)
            case actions.Transfer() | actions.HangUp():
                self._leave_stream(action)
            case actions.Request():
                self._http_requests.send(action)
            case actions.Record():
                self._media.recorder.record_message(action)
            case actions.StopRecording():
                self._stop_recording(action.id)
            case actions.Queue():
                self._fail_later(events.QueueEnded(0.0, action.id, "failed"))
            case _:
                assert_never(action)

    def _stop_speaking(self, prompt: str) -> None:
        """One that has not begun, since its state is not certain yet, never begins."""
        if self._commit_gate.cancel(prompt):
            self.feed_event(events.PromptInterrupted(self.elapsed(), prompt))
        else:
            self._media.stop_speaking(prompt)

    def _stop_recording(self, recording: str) -> None:
        if self._commit_gate.cancel(recording):
            self.feed_event(events.RecordingEnded(self.elapsed(), recording, 0.0))
        else:
            self._media.recorder.stop_message()

    def _fail_later(self, event: FailureEvent) -> None:
        """What cannot be done ends after a while: never at once, or a flow could go in circles for ever."""
        self._timers[event.id] = self._loop.call_later(FAILURE_DELAY_SECONDS, self._deliver_failure, event)

    def _deliver_failure(self, event: FailureEvent) -> None:
        del self._timers[event.id]
        self.feed_event(msgspec.structs.replace(event, at=self.elapsed()))

    # Leaving, with and without the store

    def _on_authorization(self, transfer: actions.Transfer, decision: DialDecision) -> None:
        """Whether a transfer may begin. Nothing was saved before: refused, its caller is still here and goes on."""
        if self._commit_gate.unauthorized_transfer is not transfer or not self._may_act():
            return
        whom = {"department": transfer.department, "number": transfer.number}
        if isinstance(decision, DialRejection):
            self._commit_gate.cancel(transfer.id)
            self.publish("transfer.refused", **whom, reason=decision.reason)
            self.feed_event(events.TransferEnded(self.elapsed(), transfer.id, decision.exit))
            return
        for change in decision.adjustments:
            self.publish("transfer.changed", **whom, **msgspec.structs.asdict(change))
        self._transfer_timeout_seconds = (
            len(decision.attempts) * decision.ring_seconds + decision.time_limit_seconds + TRANSFER_MARGIN_SECONDS
        )
        cleared = msgspec.structs.replace(transfer, caller_id=decision.caller_id)
        ticket = self._commit_gate.replace(transfer, cleared)
        self._set_next_action(cleared)
        self._save(lambda: self._on_committed(ticket))

    def _set_next_action(self, action: actions.Transfer | actions.HangUp) -> None:
        """Twilio is to do something else with the call. What, is certain in the store before the socket is closed."""
        record = self._record
        record.resume.next_action = action
        if isinstance(action, actions.HangUp):
            record.stored.outcome, record.stored.disposition = action.outcome, action.disposition
        else:
            record.meter.advance(self._now_microseconds())
            record.meter.pause()
            record.stored.department = action.department

    def _leave_stream(self, action: actions.Transfer | actions.HangUp) -> None:
        record = self._record
        if action is not record.resume.next_action:
            return  # an operator has decided otherwise
        if isinstance(action, actions.Transfer):
            self._publish_transfer_started(action)
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call goes on elsewhere")
        if isinstance(action, actions.HangUp):
            self._registry.end_call(record, action.outcome)

    def _publish_transfer_started(self, transfer: actions.Transfer) -> None:
        self.publish("transfer.started", department=transfer.department, number=transfer.number)

    def _play_hold_prompt(self) -> None:
        """One at a time: on a caller who is being told to wait nothing is heaped."""
        if self._media.is_playing(HOLD_PROMPT_PREFIX):
            return
        self._hold_count += 1
        assignment = self._record.config
        voice = assignment.version.flow.voice
        self._media.speak(actions.Speak(f"{HOLD_PROMPT_PREFIX}{self._hold_count}", assignment.tenant.hold, voice))

    def _on_store_timeout(self) -> None:
        """The caller has waited long enough: until the store answers again, the call goes on without it."""
        outward = self._commit_gate.release_all()
        self._authorization.close()
        self._store_unavailable = True
        if not any(isinstance(action, actions.HangUp) for action in outward):
            self.publish("store.unavailable", seconds=COMMIT_TIMEOUT_SECONDS)
        self._run_guarded(lambda: self._execute_without_store(outward))
        self._save(self._on_store_recovered)

    def _on_store_recovered(self) -> None:
        self._store_unavailable = False

    def _execute_without_store(self, side_effects: Sequence[actions.AnyAction]) -> None:
        """What may be done twice is done; what may not, leaves by its failure. To hang up needs nobody."""
        for action in side_effects:
            match action:
                case actions.Request():
                    self._fail_later(events.RequestEnded(0.0, action.id, "error"))
                case actions.Transfer():
                    if action is self._record.resume.next_action:
                        self._record.resume.next_action = None
                        self._record.meter.resume()
                    self._fail_later(events.TransferEnded(0.0, action.id, "failed"))
                case _ if self._may_act():
                    self._execute(action)
                case _:
                    pass

    def _on_http_result(self, request: actions.Request, result: HttpResult) -> None:
        url = MASK if request.sensitive else masked_url(request.url)
        self.publish(
            "request.ended", node=self.node, url=url, how=result.outcome, status=result.status, problem=result.error
        )
        self.feed_event(events.RequestEnded(self.elapsed(), request.id, result.outcome, result.status, result.body))

    def _on_timer(self, timer: str) -> None:
        del self._timers[timer]
        self.feed_event(events.TimerFired(self.elapsed(), timer))
