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
from vocelio.gateway.calls.control.commands import Command, Reaction
from vocelio.gateway.calls.control.listen_in import Sink
from vocelio.gateway.calls.interfaces import Transport
from vocelio.gateway.calls.media.call_media import HIDDEN, Conversation
from vocelio.gateway.calls.registry import LIVE_SECONDS, TRANSFER_MARGIN, Calls
from vocelio.gateway.calls.session.commit_gate import STORE_SECONDS, Held, Outward
from vocelio.gateway.calls.session.http_requests import Requests
from vocelio.gateway.dialing.authorization import Clearing, Decision
from vocelio.gateway.dialing.plan import Refusal
from vocelio.gateway.http_client.client import Reply, shown
from vocelio.gateway.media.stream import CLOSE_NORMAL, CLOSE_TROUBLE
from vocelio.gateway.store.calls.interface import nothing

LOG = logging.getLogger(__name__)

AGE = 55 * 60.0  # seconds of one stream, after which it is handed over at its next prompt
OLD_AGE = 58 * 60.0  # and after which it is handed over wherever it is: Cloud Run ends a connection after 60 minutes
NOT_DONE_SECONDS = 1.0
OF_BEFORE_SECONDS = (
    1.5  # after a break: keys pressed then are the rest of an answer that was lost, as it is asked again
)
HOLD = "hold"  # and a number: the names of prompts that ask to wait

Failed = events.QueueEnded | events.ReplyArrived | events.TransferEnded


class Call:
    """A call while its stream is open. All methods are plain; only ``wait_closed`` waits."""

    def __init__(self, calls: Calls, record: CallRecord, stream_sid: str, transport: Transport) -> None:
        services = calls.services
        self._calls, self._record, self._transport = calls, record, transport
        self._loop = asyncio.get_running_loop()
        self._origin = record.elapsed(services.wall()) - self._loop.time()
        self._session = record.session()
        self._mailbox: deque[events.AnyEvent] = deque()  # filled by the call's own doing: a handful at a time
        self._stepping = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self._conversation = Conversation(self, services, record, stream_sid, transport)
        self._requests = Requests(services.fetcher, services.site, record.assignment.tenant.id, self._replied)
        self._clearing = Clearing(calls.clearance, self._decided)
        self._held = Held(self._hold, self._without_the_store)
        self._adrift = False  # the store was waited for in vain, and has not answered since
        self._handing_over = False
        self._keys_from = 0.0  # by the loop's clock
        self._transfer_seconds = 0.0  # within which one that began must be over
        self._holds = 0
        self._ages = [self._loop.call_later(AGE, self.hand_over), self._loop.call_later(OLD_AGE, self._too_old)]

    # The stream's side

    def begin(self, started: float) -> None:
        """The stream has started, at that time of the loop's clock: the flow begins, or goes on."""
        record = self._record
        if isinstance(record.intent, actions.HangUp) or self._session.ended:
            self._was_over()
            return
        self._calls.live[record.call] = self
        record.meter.begin(self._now())
        pending, record.pending, record.intent = record.pending, None, None
        handed_over, record.handed_over = record.handed_over, ""
        if record.assignment.tenant.record_calls:
            self._conversation.recorder.begin(started)
        if pending is not None:
            self.publish("transfer.ended", how=pending.how, seconds=pending.seconds)
            self.step(pending)
        elif record.checkpoint is not None:
            if not handed_over:
                record.resumed.append(self.at())
            self._keys_from = self._loop.time() + OF_BEFORE_SECONDS
            self.publish("call.resumed", planned=bool(handed_over))
            self.step(events.CallResumed(self.at(), between=handed_over == "between"))
        else:
            number, flow = record.assignment.number, record.assignment.flow
            self.publish("call.started", caller=record.caller, number=number, flow=flow)
            self.step(events.CallStarted(self.at()))
        if self._may_act():
            self._save()

    def _was_over(self) -> None:
        """All that was left of it when its last stream ended was to hang up."""
        record = self._record
        outcome = record.intent.outcome if isinstance(record.intent, actions.HangUp) else self._session.outcome
        record.disposition = self._session.disposition
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call has ended")
        self._calls.end(record, outcome or "completed")

    def hear(self, sound: bytes) -> None:
        """The caller's next sound: mu-law, usually 20 ms."""
        if not self._closed:
            self._conversation.hear(sound)

    def key(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._closed:
            return
        if self._loop.time() < self._keys_from:
            self.publish("key.ignored", node=self.node)
            return
        self._conversation.key()
        self.step(events.KeyPressed(self.at(), digit))

    def marked(self, name: str) -> None:
        """Twilio gave a mark back."""
        self._conversation.marked(name)

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._record.assignment.tenant.id

    @property
    def generation(self) -> int:
        """See Commanded."""
        return self._record.generation

    @property
    def account(self) -> str:
        """By which it came."""
        return self._record.account

    def beat(self) -> None:
        """A sign of life: the call, and what it has cost, is kept as it is now."""
        if self._record.intent is None and not self._held.transfer:
            self._save()

    def caller_left(self) -> None:
        """Twilio says that the caller hung up: by the stream's stop, or by the call's status."""
        if self._may_act():
            self.step(events.CallEnded(self.at()))
            self._conversation.recorder.close()
            self._conversation.deafen()
            self._keep()
            self._record.disposition = self._session.disposition
            self._calls.end(self._record, self._session.outcome or "abandoned")
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call has ended")

    def lost(self) -> None:
        """The socket broke off without a word. Harmless after any other end."""
        if self._may_act():
            self._conversation.deafen()
            self._keep()
            self.publish("stream.lost")
            if isinstance(self._record.intent, actions.Transfer):
                self._tell_transfer(self._record.intent)  # Twilio goes on with it, as soon as it is in the store
            self._calls.lost(self._record)
        self.close()

    def could(self, command: Command, value: str) -> Reaction:
        """What it would make of an operator's command: one that is ending can only be cut off."""
        if not self._may_act() or (command != "hang_up" and self._session.closing):
            return Reaction("ending", self.node)
        if command == "jump" and not self._session.has_node(value):
            return Reaction("unknown_node", self.node)
        return Reaction("accepted", self.node)

    def commanded(self, command: Command, value: str) -> Reaction:
        """An operator wants something of the call."""
        reaction = self.could(command, value)
        if reaction.verdict == "accepted":
            self.publish("operator.commanded", command=command, value=value)
            self.step(events.Commanded(self.at(), command, value))
        return Reaction(reaction.verdict, self.node)

    def listen_in(self, sink: Sink) -> Callable[[], None]:
        """Somebody listens in, until the stream ends or what is returned is called."""
        return self._conversation.recorder.listen_in(sink)

    def hand_over(self, *, now: bool = False) -> None:
        """Another process shall go on with it: from its next prompt on, or from wherever it is ``now``."""
        self._handing_over = True
        if now and self._may_act() and self._record.intent is None and not self._held.transfer:
            self._hand_over("amid")

    def close(self) -> None:
        """Everything of this stream ends."""
        self._closed = True
        self._held.stop()
        self._clearing.close()
        self._conversation.close()
        for timer in self._ages:
            timer.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._requests.close()
        self._timers.clear()
        if self._calls.live.get(self._record.call) is self:
            del self._calls.live[self._record.call]

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        await self._conversation.wait_closed()
        await self._requests.wait_closed()
        await self._clearing.wait_closed()

    def supersede(self) -> None:
        """Another stream has the call."""
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call goes on with another stream")

    def _may_act(self) -> bool:
        return not self._closed

    def _keep(self) -> None:
        """What another stream needs to go on from here."""
        self._record.checkpoint = self._session.checkpoint()
        self._record.meter.run(self._now())

    def _save(self, committed: Callable[[], None] = nothing) -> None:
        """Keep the call as it is now."""
        if self._closed:
            return
        self._keep()
        is_transfer = isinstance(self._record.intent, actions.Transfer)
        self._record.patience = self._transfer_seconds if is_transfer else LIVE_SECONDS
        self._calls.save(self._record, committed, self.supersede)

    def _hand_over(self, how: Literal["between", "amid"]) -> None:
        self._record.handed_over = how
        self._held.stop()
        self._conversation.deafen()
        self._save(self._handed_over)

    def _handed_over(self) -> None:
        if self._may_act():
            self.publish("call.handed_over", between=self._record.handed_over == "between")
            self.close()
            self._transport.close(CLOSE_NORMAL, "the call goes on with another stream")

    def _too_old(self) -> None:
        self.hand_over(now=True)

    def _now(self) -> int:
        """Microseconds UTC as the loop's clock has them: the wall's may be set while the call is billed."""
        return self._record.started + round(self.at() * 1e6)

    def at(self) -> float:
        """See Shell."""
        return self._origin + self._loop.time()

    @property
    def node(self) -> str:
        """See Shell."""
        return self._session.node

    def publish(self, kind: str, **data: object) -> None:
        """See Shell."""
        self._calls.publish(self._record, kind, **data)

    def glimpse(self, kind: str, **data: object) -> None:
        """See Shell."""
        self._calls.glimpse(self._record, kind, **data)

    # The engine

    def step(self, event: events.AnyEvent) -> None:
        """Feed the session; what the actions cause meanwhile waits its turn."""
        self._mailbox.append(event)
        if self._stepping:
            return
        self._stepping = True
        self._guarded(self._work_off)
        self._stepping = False

    def _work_off(self) -> None:
        while self._mailbox and self._may_act():
            happened = self._record.step(self._session, self._mailbox.popleft())
            # Confidence begins before anything is done about it.
            self._conversation.recorder.confide(self._session.confidential)
            self._carry_out_all(happened)

    def _carry_out_all(self, happened: Sequence[actions.AnyAction]) -> None:
        """At once what only this process notices; the rest when the store has what led to it."""
        outward = [action for action in happened if isinstance(action, Outward)]
        for action in happened:
            if not isinstance(action, Outward) and self._may_act():
                self._carry_out(action)
        if not self._may_act():
            return
        for action in outward:
            if isinstance(action, actions.HangUp):
                self._intend(action)
        if self._adrift:
            self._save(self._ashore)
            self._go_without(outward)
        elif self._handing_over and self._is_between(outward):
            self._hand_over("between")
        elif outward:
            ticket = self._held.wait(outward)
            transfer = next((action for action in outward if isinstance(action, actions.Transfer)), None)
            if transfer:
                self._clearing.begin(self._record.assignment, transfer, self._record.caller)
            else:
                self._save(lambda: self._committed(ticket))
        elif any(isinstance(action, actions.Note) and action.type == "node.entered" for action in happened):
            self._save()

    def _is_between(self, outward: Sequence[Outward]) -> bool:
        """Whether the next thing that the caller would notice is a prompt: a good moment for another stream."""
        speaks = any(isinstance(action, actions.Speak) for action in outward)
        return speaks and not self._session.closing and self._record.intent is None and not self._held.transfer

    def _committed(self, ticket: int) -> None:
        self._guarded(lambda: self._release(ticket))

    def _release(self, ticket: int) -> None:
        for action in self._held.take(ticket):
            if self._may_act():
                self._carry_out(action)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Our own defect is this call's trouble only: it is resumed, at most a few times, and no other call notices."""
        try:
            work()
        except Exception:
            LOG.exception("call %s failed", self._record.call)
            self.lost()
            self._transport.close(CLOSE_TROUBLE, "trouble in the gateway")

    def _carry_out(self, action: actions.AnyAction) -> None:
        match action:
            case actions.Speak():
                self._conversation.speak(action)
            case actions.StopSpeaking():
                self._stop_speaking(action.id)
            case actions.Listen():
                self._conversation.listen(action)
            case actions.StopListening():
                self._conversation.stop_listening()
            case actions.StartTimer():
                self._timers[action.id] = self._loop.call_later(action.seconds, self._timer_fired, action.id)
            case actions.CancelTimer():
                if timer := self._timers.pop(action.id, None):
                    timer.cancel()
            case actions.Echo():
                self._conversation.echo(action.on)
            case actions.Note():
                self.publish(action.type, **action.data)
            case actions.Transfer() | actions.HangUp():
                self._left(action)
            case actions.Request():
                self._requests.send(action)
            case actions.Record():
                self._conversation.recorder.record(action)
            case actions.StopRecording():
                self._stop_recording(action.id)
            case actions.Queue():
                self._fail_later(events.QueueEnded(0.0, action.id, "failed"))
            case _:
                assert_never(action)

    def _stop_speaking(self, prompt: str) -> None:
        """One that has not begun, since its state is not certain yet, never begins."""
        if self._held.withdraw(prompt):
            self.step(events.PromptInterrupted(self.at(), prompt))
        else:
            self._conversation.stop_speaking(prompt)

    def _stop_recording(self, recording: str) -> None:
        if self._held.withdraw(recording):
            self.step(events.RecordingEnded(self.at(), recording, 0.0))
        else:
            self._conversation.recorder.stop()

    def _fail_later(self, event: Failed) -> None:
        """What cannot be done ends after a while: never at once, or a flow could go in circles for ever."""
        self._timers[event.id] = self._loop.call_later(NOT_DONE_SECONDS, self._not_done, event)

    def _not_done(self, event: Failed) -> None:
        del self._timers[event.id]
        self.step(msgspec.structs.replace(event, at=self.at()))

    # Leaving, with and without the store

    def _decided(self, transfer: actions.Transfer, decision: Decision) -> None:
        """Whether a transfer may begin. Nothing was saved before: refused, its caller is still here and goes on."""
        if self._held.transfer is not transfer or not self._may_act():
            return
        whom = {"department": transfer.department, "number": transfer.number}
        if isinstance(decision, Refusal):
            self._held.withdraw(transfer.id)
            self.publish("transfer.refused", **whom, reason=decision.reason)
            self.step(events.TransferEnded(self.at(), transfer.id, decision.exit))
            return
        for change in decision.changes:
            self.publish("transfer.changed", **whom, **msgspec.structs.asdict(change))
        self._transfer_seconds = len(decision.rounds) * decision.ringing + decision.time_limit + TRANSFER_MARGIN
        cleared = msgspec.structs.replace(transfer, caller_id=decision.caller_id)
        ticket = self._held.exchange(transfer, cleared)
        self._intend(cleared)
        self._save(lambda: self._committed(ticket))

    def _intend(self, intent: actions.Transfer | actions.HangUp) -> None:
        """Twilio is to do something else with the call. What, is certain in the store before the socket is closed."""
        record = self._record
        record.intent = intent
        if isinstance(intent, actions.HangUp):
            record.outcome, record.disposition = intent.outcome, intent.disposition
        else:
            record.meter.run(self._now())
            record.meter.leave()
            record.department = intent.department

    def _left(self, intent: actions.Transfer | actions.HangUp) -> None:
        record = self._record
        if intent is not record.intent:
            return  # an operator has decided otherwise
        if isinstance(intent, actions.Transfer):
            self._tell_transfer(intent)
        self.close()
        self._transport.close(CLOSE_NORMAL, "the call goes on elsewhere")
        if isinstance(intent, actions.HangUp):
            self._calls.end(record, intent.outcome)

    def _tell_transfer(self, intent: actions.Transfer) -> None:
        self.publish("transfer.started", department=intent.department, number=intent.number)

    def _hold(self) -> None:
        """One at a time: on a caller who is being told to wait nothing is heaped."""
        if self._conversation.is_saying(HOLD):
            return
        self._holds += 1
        assignment = self._record.assignment
        voice = assignment.version.flow.voice
        self._conversation.speak(actions.Speak(f"{HOLD}{self._holds}", assignment.tenant.hold, voice))

    def _without_the_store(self) -> None:
        """The caller has waited long enough: until the store answers again, the call goes on without it."""
        outward = self._held.take_all()
        self._clearing.close()
        self._adrift = True
        if not any(isinstance(action, actions.HangUp) for action in outward):
            self.publish("store.unavailable", seconds=STORE_SECONDS)
        self._guarded(lambda: self._go_without(outward))
        self._save(self._ashore)

    def _ashore(self) -> None:
        self._adrift = False

    def _go_without(self, outward: Sequence[actions.AnyAction]) -> None:
        """What may be done twice is done; what may not, leaves by its failure. To hang up needs nobody."""
        for action in outward:
            match action:
                case actions.Request():
                    self._fail_later(events.ReplyArrived(0.0, action.id, "error"))
                case actions.Transfer():
                    if action is self._record.intent:
                        self._record.intent = None
                        self._record.meter.stay()
                    self._fail_later(events.TransferEnded(0.0, action.id, "failed"))
                case _ if self._may_act():
                    self._carry_out(action)
                case _:
                    pass

    def _replied(self, request: actions.Request, reply: Reply) -> None:
        url = HIDDEN if request.sensitive else shown(request.url)
        self.publish(
            "request.ended", node=self.node, url=url, how=reply.how, status=reply.status, problem=reply.problem
        )
        self.step(events.ReplyArrived(self.at(), request.id, reply.how, reply.status, reply.body))

    def _timer_fired(self, timer: str) -> None:
        del self._timers[timer]
        self.step(events.TimerFired(self.at(), timer))
