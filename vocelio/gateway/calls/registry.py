"""The calls of this process, and the way to those of any: what admits a stream, who owns a call, when one is over.

The store is the authority. A stream that comes with a good token raises its call's generation there, in one
conditional update, and owns the call from then on: what an older stream saves is refused, wherever it is. A call of
which nothing is heard for as long as it was given is over; whichever process finds that out ends it, and only one does.
Should Twilio come back for one that was lost, it goes on; its later ``call.ended`` replaces the earlier one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from vocelio.engine.voice import Voice
from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.calls.admission import AdmissionControl
from vocelio.gateway.calls.call_record import CallRecord, read_resume_state
from vocelio.gateway.calls.control.commands import CommandRouter, CommandTarget
from vocelio.gateway.calls.control.listen_in import AudioSource, ListenInRelay
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.phase import HangingUp, TransferCompleted, Transferring
from vocelio.gateway.calls.stream_tokens import StreamToken, StreamTokens
from vocelio.gateway.config import DEFAULT_CAPACITY
from vocelio.gateway.dialing.authorization import TransferAuthorizer
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import Segment, StatusReport, StoredCall, noop

LOG = logging.getLogger(__name__)

SAVE_TIMEOUT_SECONDS = 2.0  # for the store to take a new call; a caller hears nothing before
STREAM_EXPIRY_SECONDS = 90.0  # from one sign of life of a stream to its end: four of its heartbeats
TRANSFER_MARGIN_SECONDS = 300.0  # seconds after its longest talk: past them nobody will tell us how a transfer ended
FALLBACK_EXPIRY_SECONDS = 6 * 3_600.0  # of a call that was put through to its number's fallback
HANGUP_EXPIRY_SECONDS = 5.0  # from a call's end by its status to the end of its transfer, which may be told later
RECONNECT_TIMEOUT_SECONDS = (
    3.0  # seconds without a new stream after one broke off: Twilio's next request comes in under one
)
EXPIRY_MARGIN_SECONDS = 0.05  # seconds after an instant from which on it has passed on any clock
MAX_STATUS_UPDATES = (
    10_000  # of calls that ended while the store was away; what is dropped is found by the sweep, hours later
)


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """Who calls whom: Twilio's names of call and account, and two numbers, E.164 (``caller`` empty: withheld)."""

    call: str
    account: str
    number: str
    caller: str


@dataclass(frozen=True, slots=True)
class _StatusUpdate:
    """What Twilio told of a call's end; see Journal."""

    account: str
    call: str
    report: StatusReport
    generation: int | None


class LiveCallSession(CommandTarget, AudioSource, Protocol):
    """A call while its stream is open here."""

    @property
    def account(self) -> str:
        """By which it came, of Twilio's."""
        ...

    def heartbeat(self) -> None:
        """Say that it is alive: it is kept as it is now."""

    def on_superseded(self) -> None:
        """Another stream has the call: this one ends."""

    def on_hangup(self) -> None:
        """The call is over."""

    def hand_off(self, *, immediately: bool = False) -> None:
        """Another process shall go on with it: from its next prompt on, or from wherever it is ``now``."""


class CallRegistry:
    """The registry. ``keys`` are the secret texts that processes share, newest first; ``capacity``: see Load."""

    def __init__(
        self, services: CallServices, signing_keys: Sequence[str] = (), max_calls: int = DEFAULT_CAPACITY
    ) -> None:
        self.services = services
        self.transfer_authorizer = TransferAuthorizer(services.directory, services.wall_clock)
        self.live_calls: dict[str, LiveCallSession] = {}
        self.command_router = CommandRouter(self.live_calls, services.bus.pubsub)
        self.listen_in_relay = ListenInRelay(self.live_calls, services.bus.pubsub)
        self.admission = AdmissionControl(max_calls)
        self.calls_started = 0  # calls, since the start
        self._starting: Counter[str] = Counter()  # calls that are not in the store yet, by tenant
        self.draining = False
        self._stream_tokens = StreamTokens(signing_keys)
        self._status_updates: deque[tuple[_StatusUpdate, float]] = deque(maxlen=MAX_STATUS_UPDATES)
        self._expiry_timers: dict[tuple[str, str], asyncio.TimerHandle] = {}  # of calls, by account and name
        self._tasks = TaskSet()  # what a timer or a refused save has set off; each is short

    # Calls

    async def start_call(self, incoming: IncomingCall, config: CallConfig) -> CallRecord | None:
        """A new call, for certain in the store; None when its tenant has as many as it may have, in all processes.

        It has its place here before anything is waited for: others come meanwhile. Raises StoreUnavailable: the store
        hears of its end when it is back.
        """
        tenant, record = config.tenant, None
        self.admission.reserve(incoming.call)
        before = self._starting[tenant.id]
        self._starting[tenant.id] += 1
        try:
            if not await self._is_at_limit(tenant, before):
                record = await self._create_record(incoming, config)
        finally:
            self._starting[tenant.id] -= 1
            self._starting += Counter()  # forgets those at zero
            if record is None:
                self.admission.release(incoming.call)
        return record

    async def _is_at_limit(self, tenant: Tenant, starting: int) -> bool:
        """Raises StoreUnavailable."""
        if tenant.max_concurrent_calls is None:
            return False
        return await self.services.call_store.count_live(tenant.id) + starting >= tenant.max_concurrent_calls

    async def _create_record(self, incoming: IncomingCall, config: CallConfig) -> CallRecord:
        record = CallRecord.create(incoming.call, incoming.account, incoming.caller, config, self.services.wall_clock())
        self._preload_prompts(config)
        try:
            await self.save_and_wait(record)
        except DatabaseUnavailable:
            self.end_call(record, "unavailable")
            raise
        self.calls_started += 1
        self.services.metrics.count_started()
        return record

    def _preload_prompts(self, config: CallConfig) -> None:
        """Its prompts are fetched while Twilio opens the stream."""
        work = self.services.prompt_preloader.preload(config.tenant, config.version)
        self._tasks.start(_ignore_unavailable(work), "a call's prompts")

    @property
    def is_full(self) -> bool:
        """Whether this process takes no new calls; those in progress are always welcome."""
        return self.admission.is_full(len(self.live_calls))

    async def get_call(self, call: str, account: str) -> StoredCall | None:
        """The account's call, as anybody saved it last. Raises StoreUnavailable."""
        return await self.services.call_store.find(call, account)

    async def load_record(self, stored: StoredCall) -> CallRecord | None:
        """All of a call that goes on; None when its flow cannot be run any more. Raises StoreUnavailable."""
        found = await self.services.directory.get_resume_config(
            stored.tenant, stored.number, stored.flow, stored.version, stored.started_at
        )
        return CallRecord.from_stored(stored, found) if found else None

    async def claim(self, stored: StoredCall) -> bool:
        """Make the next change of a call without a stream ours; False when it is not as it was found any more."""
        return await self.services.call_store.claim(stored)

    def reject(self, incoming: IncomingCall, tenant: str, flow: str, outcome: str, forwarded_to: str = "") -> None:
        """The call comes to no flow: why, is all that is kept of it, and the number that is rung instead, if any.

        The same again changes nothing.
        """
        now = self.services.wall_clock()
        saved = StoredCall(
            tenant=tenant,
            id=incoming.call,
            account_sid=incoming.account,
            number=incoming.number,
            caller=incoming.caller,
            flow=flow,
            version=0,
            revision=1,
            generation=0,
            started_at=now,
            ended_at=now,
            outcome=outcome,
        )
        data = {"caller": incoming.caller, "number": incoming.number, "flow": flow, "outcome": outcome}
        happened: list[tuple[str, dict[str, Any]]] = [("call.rejected", data)]
        if forwarded_to:
            happened.append(("transfer.started", {"department": "", "number": forwarded_to}))
        events = [
            Event(tenant=tenant, call=incoming.call, generation=0, sequence=seq, type=kind, occurred_at=now, data=facts)
            for seq, (kind, facts) in enumerate(happened, 1)
        ]

        def told() -> None:
            for event in events:
                self._publish(event, flow)

        self.services.metrics.count_rejected(outcome)
        self.services.call_store.save(saved, told)

    def save(
        self, record: CallRecord, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """Keep the record as it is now. ``superseded``: another owns the call, and it is not kept.

        Should another have ended it, for want of news, it is kept again.
        """
        saved = record.snapshot(self.services.wall_clock())

        def overtaken() -> None:
            self._start_task(self._resolve_conflict(record, saved, on_committed, on_superseded))

        self.services.call_store.save(saved, on_committed, overtaken)

    async def _resolve_conflict(
        self,
        record: CallRecord,
        saved: StoredCall,
        on_committed: Callable[[], None],
        on_superseded: Callable[[], None],
    ) -> None:
        kept = await self.get_call(record.stored.id, record.stored.account_sid)
        if kept is None or kept.generation != record.stored.generation or kept.is_over:
            on_superseded()
            return
        record.undo_snapshot(saved, kept)
        self.save(record, on_committed, on_superseded)

    async def save_and_wait(self, record: CallRecord) -> None:
        """Save, and wait until that, or a later state of the call, is certain. Raises StoreUnavailable."""
        certain: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def known() -> None:
            if not certain.done():
                certain.set_result(None)

        self.save(record, known, known)
        try:
            await asyncio.wait_for(certain, SAVE_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise DatabaseUnavailable from error

    def end_call(self, record: CallRecord, outcome: str) -> None:
        """The call is over; only the first end counts."""
        self._cancel_expiry(record.stored.account_sid, record.stored.id)
        if record.stored.ended_at:
            return
        record.stored.ended_at = max(
            record.stored.started_at, self.services.wall_clock()
        )  # the wall clock may be set back
        record.stored.outcome = record.stored.outcome or outcome
        self.save(record, lambda: self._publish_end(record))

    def _publish_end(self, record: CallRecord) -> None:
        """The end is certain. Should the call come back, there will be another, of a higher generation."""
        bill = record.meter.segments
        segments = [{"tier": segment.tier, **_totals([segment])} for segment in bill]
        self.publish(record, "cost.updated", **_totals(bill), segments=segments)
        self.publish(record, "call.ended", **_end_data(record.stored, bill))

    # Streams

    def issue_stream_token(self, tenant: str, account: str, call: str, generation: int) -> str:
        """What admits the call's next stream, for a minute."""
        return self._stream_tokens.issue(StreamToken(tenant, generation), account, call, self.services.wall_clock())

    async def accept_stream(self, token: str, account: str, call: str) -> CallRecord | None:
        """The call that the token admits to, now owned by the stream that brought it. None when it admits to nothing.

        Raises StoreUnavailable.
        """
        now = self.services.wall_clock()
        ticket = self._stream_tokens.verify(token, account, call, now)
        earlier = self.live_calls.get(call)
        if ticket is None or (earlier and earlier.account != account):  # Twilio's names are unique: somebody made it up
            return None
        due = now + round(STREAM_EXPIRY_SECONDS * 1e6)
        kept = await self.services.call_store.take_over(ticket.tenant, call, account, ticket.generation, due)
        if kept is None:
            return None
        self.admission.release(call)
        self._cancel_expiry(account, call)
        if earlier := self.live_calls.pop(call, None):
            earlier.on_superseded()
        record = await self.load_record(kept)
        if record:
            self._preload_prompts(record.config)
        return record

    def on_stream_lost(self, record: CallRecord) -> None:
        """The call's stream broke off: Twilio may come back for it, or rings whom it was to be transferred to."""
        if not isinstance(record.resume.phase, Transferring | TransferCompleted):
            record.expires_after_seconds = RECONNECT_TIMEOUT_SECONDS
        self.save(record)
        self._schedule_expiry(record.stored.id, record.stored.account_sid, record.expires_after_seconds)

    # Their ends

    async def on_call_completed(self, account: str, call: str) -> None:
        """Twilio says that the call is over. How a transfer ended may still be told."""
        live = self.live_calls.get(call)
        if live and live.account == account:
            live.on_hangup()
        await self._record_status(_StatusUpdate(account, call, "completed", None), HANGUP_EXPIRY_SECONDS)

    async def on_stream_error(self, account: str, call: str, generation: int) -> None:
        """Twilio says that the stream of that generation broke off."""
        await self._record_status(_StatusUpdate(account, call, "disconnected", generation), RECONNECT_TIMEOUT_SECONDS)

    async def on_fallback(self, stored: StoredCall) -> None:
        """Twilio was told to go elsewhere with the call: it does not come back."""
        await self._record_status(
            _StatusUpdate(stored.account_sid, stored.id, "redirected", stored.generation), FALLBACK_EXPIRY_SECONDS
        )

    async def _record_status(self, update: _StatusUpdate, seconds: float) -> bool:
        """Twilio says things once: while the store is away they wait, the newest of them."""
        due = self.services.wall_clock() + round(seconds * 1e6)
        try:
            await self.services.call_store.record_status(
                update.account, update.call, update.report, due, update.generation
            )
        except DatabaseUnavailable:
            self._status_updates.append((update, seconds))
            return False
        self._schedule_expiry(update.call, update.account, seconds)
        return True

    async def flush_status_updates(self) -> None:
        """What could not be written before, as far as it can be now."""
        for _ in range(len(self._status_updates)):
            if not await self._record_status(*self._status_updates.popleft()):
                break

    async def end_if_expired(self, stored: StoredCall) -> None:
        """End a call that is due, unless somebody has heard of it meanwhile. Raises StoreUnavailable."""
        if stored.ended_at or stored.due_at > self.services.wall_clock() or stored.id in self.live_calls:
            return
        try:
            record = await self.load_record(stored) if stored.resume_state else None
        except (msgspec.ValidationError, KeyError, TypeError, ValueError):  # of a release that kept it otherwise
            LOG.exception("call %s: what was kept of it cannot be read", stored.id)
            record = None
        if record is None:
            await self._close_unresumable(stored)
        elif await self.claim(stored):
            record.stored.revision = stored.revision + 1
            if isinstance(record.resume.phase, HangingUp):
                record.stored.disposition = record.resume.phase.hang_up.disposition
            self.end_call(record, _expiry_outcome(stored))

    async def _close_unresumable(self, stored: StoredCall) -> None:
        """End a call of which nothing can be made any more but an end, with the bill that it has."""
        ended = max(stored.started_at, self.services.wall_clock())
        outcome = "abandoned" if stored.status_report == "completed" or not stored.generation else "failed"
        finished = await self.services.call_store.close(stored, ended, outcome)
        if finished is not None:
            event = Event(
                tenant=stored.tenant,
                call=stored.id,
                generation=stored.generation,
                sequence=stored.last_event_seq + 1,
                type="call.ended",
                occurred_at=ended,
                data=_end_data(finished, finished.segments),
            )
            self._publish(event, stored.flow)

    def _schedule_expiry(self, call: str, account: str, seconds: float) -> None:
        """After so long the call may be over."""
        self._cancel_expiry(account, call)
        loop = asyncio.get_running_loop()
        self._expiry_timers[account, call] = loop.call_later(
            seconds + EXPIRY_MARGIN_SECONDS, self._on_expiry, call, account
        )

    def _on_expiry(self, call: str, account: str) -> None:
        self._expiry_timers.pop((account, call), None)
        self._start_task(self._load_and_end_if_expired(call, account))

    async def _load_and_end_if_expired(self, call: str, account: str) -> None:
        kept = await self.get_call(call, account)
        if kept is not None:
            await self.end_if_expired(kept)

    def _cancel_expiry(self, account: str, call: str) -> None:
        if handle := self._expiry_timers.pop((account, call), None):
            handle.cancel()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.start(_ignore_unavailable(work), "a call is looked after")

    async def aclose(self) -> None:
        """The process ends: what still waits is left to the store, where any other finds it."""
        for account, call in list(self._expiry_timers):
            self._cancel_expiry(account, call)
        self._tasks.close()
        await self._tasks.wait_closed()

    # Events

    def publish(self, record: CallRecord, event_type: str, **data: Any) -> None:
        """Tell whoever watches. Never waits."""
        record.stored.last_event_seq += 1
        self._publish(self._build_event(record, event_type, data), record.config.flow)

    def publish_transient(self, record: CallRecord, event_type: str, **data: Any) -> None:
        """Tell whoever watches just now: no timeline has it. Never waits."""
        self.services.bus.publish(self._build_event(record, event_type, data))

    def _build_event(self, record: CallRecord, event_type: str, data: dict[str, Any]) -> Event:
        return Event(
            tenant=record.config.tenant.id,
            call=record.stored.id,
            generation=record.stored.generation,
            sequence=record.stored.last_event_seq,
            type=event_type,
            occurred_at=self.services.wall_clock(),
            data=data,
        )

    def _publish(self, event: Event, flow: str) -> None:
        self.services.call_store.append_event(event, flow)
        self.services.bus.publish(event)


def _end_data(call: StoredCall, segments: Sequence[Segment]) -> dict[str, Any]:
    """What is told of the call's end."""
    tier = segments[-1].tier if segments else Voice().tier
    facts = {"outcome": call.outcome, "department": call.department, "disposition": call.disposition}
    return {**facts, **_totals(segments), "tier": tier}


def _totals(segments: Sequence[Segment]) -> dict[str, Any]:
    """Seconds, and what they cost."""
    return {
        "billed_seconds": sum(segment.billed_microseconds for segment in segments) / 1e6,
        "cost_micro_usd": sum(segment.cost_micro_usd for segment in segments),
    }


def _expiry_outcome(stored: StoredCall) -> str:
    """Why a call is over of which nothing was heard any more."""
    phase = read_resume_state(stored).phase
    if isinstance(phase, HangingUp):
        return phase.hang_up.outcome  # its process died when all that was left was to say so
    if stored.status_report == "redirected":
        return "failed"
    return "abandoned" if stored.status_report == "completed" or not stored.generation else "lost"


async def _ignore_unavailable(work: Coroutine[Any, Any, None]) -> None:
    """Without the store nothing is known: whoever sweeps later finds what was left."""
    try:
        await work
    except DatabaseUnavailable:
        LOG.warning("the store is away: what became of a call is found out later")
