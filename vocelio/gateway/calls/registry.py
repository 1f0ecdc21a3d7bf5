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

from vocelio.engine.actions import HangUp, Transfer
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.task_set import Tasks
from vocelio.gateway.calls.admission import Load
from vocelio.gateway.calls.call_record import CallRecord, state
from vocelio.gateway.calls.control.commands import Commanded, Dispatch
from vocelio.gateway.calls.control.listen_in import Audience, Overheard
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.stream_tokens import Ticket, Tickets
from vocelio.gateway.config import CAPACITY
from vocelio.gateway.dialing.authorization import Clearance
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.events import Event
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import SavedCall, Segment, Told, nothing

LOG = logging.getLogger(__name__)

KEEP_SECONDS = 2.0  # for the store to take a new call; a caller hears nothing before
LIVE_SECONDS = 90.0  # from one sign of life of a stream to its end: four of its heartbeats
TRANSFER_MARGIN = 300.0  # seconds after its longest talk: past them nobody will tell us how a transfer ended
GIVEN_UP_SECONDS = 6 * 3_600.0  # of a call that was put through to its number's fallback
STATUS_SECONDS = 5.0  # from a call's end by its status to the end of its transfer, which may be told later
LOST_AFTER = 3.0  # seconds without a new stream after one broke off: Twilio's next request comes in under one
BEHIND = 0.05  # seconds after an instant from which on it has passed on any clock
MAX_NEWS = 10_000  # of calls that ended while the store was away; what is dropped is found by the sweep, hours later


@dataclass(frozen=True, slots=True)
class Visit:
    """Who calls whom: Twilio's names of call and account, and two numbers, E.164 (``caller`` empty: withheld)."""

    call: str
    account: str
    number: str
    caller: str


@dataclass(frozen=True, slots=True)
class _News:
    """What Twilio told of a call's end; see Journal."""

    account: str
    call: str
    told: Told
    generation: int | None


class LiveCall(Commanded, Overheard, Protocol):
    """A call while its stream is open here."""

    @property
    def account(self) -> str:
        """By which it came, of Twilio's."""
        ...

    def beat(self) -> None:
        """Say that it is alive: it is kept as it is now."""

    def supersede(self) -> None:
        """Another stream has the call: this one ends."""

    def caller_left(self) -> None:
        """The call is over."""

    def hand_over(self, *, now: bool = False) -> None:
        """Another process shall go on with it: from its next prompt on, or from wherever it is ``now``."""


class Calls:
    """The registry. ``keys`` are the secret texts that processes share, newest first; ``capacity``: see Load."""

    def __init__(self, services: Services, keys: Sequence[str] = (), capacity: int = CAPACITY) -> None:
        self.services = services
        self.clearance = Clearance(services.site, services.wall)
        self.live: dict[str, LiveCall] = {}
        self.dispatch = Dispatch(self.live, services.bus.line)
        self.audience = Audience(self.live, services.bus.line)
        self.load = Load(capacity)
        self.begun = 0  # calls, since the start
        self._beginning: Counter[str] = Counter()  # calls that are not in the store yet, by tenant
        self.draining = False
        self._tickets = Tickets(keys)
        self._news: deque[tuple[_News, float]] = deque(maxlen=MAX_NEWS)
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}  # of calls, by account and name
        self._tasks = Tasks()  # what a timer or a refused save has set off; each is short

    # Calls

    async def begin(self, visit: Visit, assignment: Assignment) -> CallRecord | None:
        """A new call, for certain in the store; None when its tenant has as many as it may have, in all processes.

        It has its place here before anything is waited for: others come meanwhile. Raises StoreUnavailable: the store
        hears of its end when it is back.
        """
        tenant, record = assignment.tenant, None
        self.load.begins(visit.call)
        before = self._beginning[tenant.id]
        self._beginning[tenant.id] += 1
        try:
            if not await self._has_enough(tenant, before):
                record = await self._begun(visit, assignment)
        finally:
            self._beginning[tenant.id] -= 1
            self._beginning += Counter()  # forgets those at zero
            if record is None:
                self.load.arrived(visit.call)
        return record

    async def _has_enough(self, tenant: Tenant, beginning: int) -> bool:
        """Raises StoreUnavailable."""
        if tenant.max_calls is None:
            return False
        return await self.services.journal.count(tenant.id) + beginning >= tenant.max_calls

    async def _begun(self, visit: Visit, assignment: Assignment) -> CallRecord:
        record = CallRecord(visit.call, visit.account, visit.caller, assignment, self.services.wall())
        self._prepare(assignment)
        try:
            await self.keep(record)
        except StoreUnavailable:
            self.end(record, "unavailable")
            raise
        self.begun += 1
        self.services.metrics.begun()
        return record

    def _prepare(self, assignment: Assignment) -> None:
        """Its prompts are fetched while Twilio opens the stream."""
        work = self.services.prompts.prepare(assignment.tenant, assignment.version)
        self._tasks.begin(_in_peace(work), "a call's prompts")

    @property
    def full_up(self) -> bool:
        """Whether this process takes no new calls; those in progress are always welcome."""
        return self.load.full(len(self.live))

    async def find(self, call: str, account: str) -> SavedCall | None:
        """The account's call, as anybody saved it last. Raises StoreUnavailable."""
        return await self.services.journal.find(call, account)

    async def record(self, kept: SavedCall) -> CallRecord | None:
        """All of a call that goes on; None when its flow cannot be run any more. Raises StoreUnavailable."""
        found = await self.services.site.pinned(kept.tenant, kept.number, kept.flow, kept.version, kept.started)
        return CallRecord.found(kept, found) if found else None

    async def claim(self, kept: SavedCall) -> bool:
        """Make the next change of a call without a stream ours; False when it is not as it was found any more."""
        return await self.services.journal.claim(kept)

    def turn_away(self, visit: Visit, tenant: str, flow: str, outcome: str, rung: str = "") -> None:
        """The call comes to no flow: why, is all that is kept of it, and the number that is rung instead, if any.

        The same again changes nothing.
        """
        now = self.services.wall()
        saved = SavedCall(
            tenant=tenant,
            id=visit.call,
            account=visit.account,
            number=visit.number,
            caller=visit.caller,
            flow=flow,
            version=0,
            revision=1,
            generation=0,
            started=now,
            ended=now,
            outcome=outcome,
        )
        data = {"caller": visit.caller, "number": visit.number, "flow": flow, "outcome": outcome}
        happened: list[tuple[str, dict[str, Any]]] = [("call.refused", data)]
        if rung:
            happened.append(("transfer.started", {"department": "", "number": rung}))
        events = [
            Event(tenant=tenant, call=visit.call, generation=0, seq=seq, type=kind, at=now, data=facts)
            for seq, (kind, facts) in enumerate(happened, 1)
        ]

        def told() -> None:
            for event in events:
                self._tell(event, flow)

        self.services.metrics.refused(outcome)
        self.services.journal.save(saved, told)

    def save(
        self, record: CallRecord, committed: Callable[[], None] = nothing, superseded: Callable[[], None] = nothing
    ) -> None:
        """Keep the record as it is now. ``superseded``: another owns the call, and it is not kept.

        Should another have ended it, for want of news, it is kept again.
        """
        saved = record.saved(self.services.wall())

        def overtaken() -> None:
            self._start(self._overtaken(record, saved, committed, superseded))

        self.services.journal.save(saved, committed, overtaken)

    async def _overtaken(
        self,
        record: CallRecord,
        saved: SavedCall,
        committed: Callable[[], None],
        superseded: Callable[[], None],
    ) -> None:
        kept = await self.find(record.call, record.account)
        if kept is None or kept.generation != record.generation or kept.over:
            superseded()
            return
        record.restore(saved, kept)
        self.save(record, committed, superseded)

    async def keep(self, record: CallRecord) -> None:
        """Save, and wait until that, or a later state of the call, is certain. Raises StoreUnavailable."""
        certain: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def known() -> None:
            if not certain.done():
                certain.set_result(None)

        self.save(record, known, known)
        try:
            await asyncio.wait_for(certain, KEEP_SECONDS)
        except TimeoutError as error:
            raise StoreUnavailable from error

    def end(self, record: CallRecord, outcome: str) -> None:
        """The call is over; only the first end counts."""
        self._stop_waiting(record.account, record.call)
        if record.ended:
            return
        record.ended = max(record.started, self.services.wall())  # the wall clock may be set back
        record.outcome = record.outcome or outcome
        self.save(record, lambda: self._tell_end(record))

    def _tell_end(self, record: CallRecord) -> None:
        """The end is certain. Should the call come back, there will be another, of a higher generation."""
        bill = record.meter.segments
        segments = [{"tier": segment.tier, **_sum([segment])} for segment in bill]
        self.publish(record, "cost.updated", **_sum(bill), segments=segments)
        self.publish(record, "call.ended", **_ending(record, bill))

    # Streams

    def token(self, tenant: str, account: str, call: str, generation: int) -> str:
        """What admits the call's next stream, for a minute."""
        return self._tickets.issue(Ticket(tenant, generation), account, call, self.services.wall())

    async def redeem(self, token: str, account: str, call: str) -> CallRecord | None:
        """The call that the token admits to, now owned by the stream that brought it. None when it admits to nothing.

        Raises StoreUnavailable.
        """
        now = self.services.wall()
        ticket = self._tickets.check(token, account, call, now)
        earlier = self.live.get(call)
        if ticket is None or (earlier and earlier.account != account):  # Twilio's names are unique: somebody made it up
            return None
        due = now + round(LIVE_SECONDS * 1e6)
        kept = await self.services.journal.take_over(ticket.tenant, call, account, ticket.generation, due)
        if kept is None:
            return None
        self.load.arrived(call)
        self._stop_waiting(account, call)
        if earlier := self.live.pop(call, None):
            earlier.supersede()
        record = await self.record(kept)
        if record:
            self._prepare(record.assignment)
        return record

    def lost(self, record: CallRecord) -> None:
        """The call's stream broke off: Twilio may come back for it, or rings whom it was to be transferred to."""
        if not isinstance(record.intent, Transfer):
            record.patience = LOST_AFTER
        self.save(record)
        self._look_after(record.call, record.account, record.patience)

    # Their ends

    async def over(self, account: str, call: str) -> None:
        """Twilio says that the call is over. How a transfer ended may still be told."""
        live = self.live.get(call)
        if live and live.account == account:
            live.caller_left()
        await self._heard(_News(account, call, "hung_up", None), STATUS_SECONDS)

    async def broken(self, account: str, call: str, generation: int) -> None:
        """Twilio says that the stream of that generation broke off."""
        await self._heard(_News(account, call, "broken", generation), LOST_AFTER)

    async def given_up(self, kept: SavedCall) -> None:
        """Twilio was told to go elsewhere with the call: it does not come back."""
        await self._heard(_News(kept.account, kept.id, "given_up", kept.generation), GIVEN_UP_SECONDS)

    async def _heard(self, news: _News, seconds: float) -> bool:
        """Twilio says things once: while the store is away they wait, the newest of them."""
        due = self.services.wall() + round(seconds * 1e6)
        try:
            await self.services.journal.hear(news.account, news.call, news.told, due, news.generation)
        except StoreUnavailable:
            self._news.append((news, seconds))
            return False
        self._look_after(news.call, news.account, seconds)
        return True

    async def tell_news(self) -> None:
        """What could not be written before, as far as it can be now."""
        for _ in range(len(self._news)):
            if not await self._heard(*self._news.popleft()):
                break

    async def settle(self, kept: SavedCall) -> None:
        """End a call that is due, unless somebody has heard of it meanwhile. Raises StoreUnavailable."""
        if kept.ended or kept.due > self.services.wall() or kept.id in self.live:
            return
        try:
            record = await self.record(kept) if kept.state else None
        except (msgspec.ValidationError, KeyError, TypeError, ValueError):  # of a release that kept it otherwise
            LOG.exception("call %s: what was kept of it cannot be read", kept.id)
            record = None
        if record is None:
            await self._finish(kept)
        elif await self.claim(kept):
            record.revision = kept.revision + 1
            if isinstance(record.intent, HangUp):
                record.disposition = record.intent.disposition
            self.end(record, _outcome(kept))

    async def _finish(self, kept: SavedCall) -> None:
        """End a call of which nothing can be made any more but an end, with the bill that it has."""
        ended = max(kept.started, self.services.wall())
        outcome = "abandoned" if kept.told == "hung_up" or not kept.generation else "failed"
        finished = await self.services.journal.finish(kept, ended, outcome)
        if finished is not None:
            event = Event(
                tenant=kept.tenant,
                call=kept.id,
                generation=kept.generation,
                seq=kept.sequence + 1,
                type="call.ended",
                at=ended,
                data=_ending(finished, finished.segments),
            )
            self._tell(event, kept.flow)

    def _look_after(self, call: str, account: str, seconds: float) -> None:
        """After so long the call may be over."""
        self._stop_waiting(account, call)
        loop = asyncio.get_running_loop()
        self._timers[account, call] = loop.call_later(seconds + BEHIND, self._due, call, account)

    def _due(self, call: str, account: str) -> None:
        self._timers.pop((account, call), None)
        self._start(self._settle(call, account))

    async def _settle(self, call: str, account: str) -> None:
        kept = await self.find(call, account)
        if kept is not None:
            await self.settle(kept)

    def _stop_waiting(self, account: str, call: str) -> None:
        if handle := self._timers.pop((account, call), None):
            handle.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.begin(_in_peace(work), "a call is looked after")

    async def aclose(self) -> None:
        """The process ends: what still waits is left to the store, where any other finds it."""
        for account, call in list(self._timers):
            self._stop_waiting(account, call)
        self._tasks.close()
        await self._tasks.wait_closed()

    # Events

    def publish(self, record: CallRecord, kind: str, **data: Any) -> None:
        """Tell whoever watches. Never waits."""
        record.sequence += 1
        self._tell(self._event(record, kind, data), record.assignment.flow)

    def glimpse(self, record: CallRecord, kind: str, **data: Any) -> None:
        """Tell whoever watches just now: no timeline has it. Never waits."""
        self.services.bus.publish(self._event(record, kind, data))

    def _event(self, record: CallRecord, kind: str, data: dict[str, Any]) -> Event:
        return Event(
            tenant=record.assignment.tenant.id,
            call=record.call,
            generation=record.generation,
            seq=record.sequence,
            type=kind,
            at=self.services.wall(),
            data=data,
        )

    def _tell(self, event: Event, flow: str) -> None:
        self.services.journal.tell(event, flow)
        self.services.bus.publish(event)


def _ending(call: CallRecord | SavedCall, bill: Sequence[Segment]) -> dict[str, Any]:
    """What is told of the call's end."""
    tier = bill[-1].tier if bill else Voice().tier
    facts = {"outcome": call.outcome, "department": call.department, "disposition": call.disposition}
    return {**facts, **_sum(bill), "tier": tier}


def _sum(bill: Sequence[Segment]) -> dict[str, Any]:
    """Seconds, and what they cost."""
    return {
        "seconds": sum(segment.billed for segment in bill) / 1e6,
        "micro_usd": sum(segment.micro_usd for segment in bill),
    }


def _outcome(kept: SavedCall) -> str:
    """Why a call is over of which nothing was heard any more."""
    intent = state(kept).intent
    if isinstance(intent, HangUp):
        return intent.outcome  # its process died when all that was left was to say so
    if kept.told == "given_up":
        return "failed"
    return "abandoned" if kept.told == "hung_up" or not kept.generation else "lost"


async def _in_peace(work: Coroutine[Any, Any, None]) -> None:
    """Without the store nothing is known: whoever sweeps later finds what was left."""
    try:
        await work
    except StoreUnavailable:
        LOG.warning("the store is away: what became of a call is found out later")
