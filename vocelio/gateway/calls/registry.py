"""All calls of this process: their records, the tokens that admit a stream, and which are live.

A token is random, kept only as a hash, good once, for a minute, and for one account and call. Redeeming it
raises the call's generation: the stream before it can do nothing any more. A stream that is lost without a
word leaves its call waiting for Twilio to come back; when it does not, the call has ended. Should Twilio come
after all, the call goes on; its later ``call.ended``, of a higher generation, replaces the earlier one.
"""

import asyncio
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vocelio.engine.actions import Transfer
from vocelio.gateway.calls.clearance import Clearance
from vocelio.gateway.calls.ports import Services
from vocelio.gateway.calls.record import CallRecord
from vocelio.gateway.events import Event
from vocelio.gateway.store.journal import SavedCall, nothing
from vocelio.gateway.store.site import Assignment, Tenant

TOKEN_SECONDS = 60  # Twilio connects within a second; a late one is not Twilio's
CONNECT_SECONDS = 75.0  # from our TwiML to a stream: the token's time, and some for the messages before
TRANSFER_SECONDS = 6 * 3_600.0  # of ringing and talking: past it nobody will tell us how it ended
STATUS_SECONDS = 5.0  # from a call's end by its status to the end of its transfer, which may be told later
LOST_AFTER = 1.5  # seconds without a word from Twilio after a stream broke off: the next request comes in under one
Command = Literal["hang_up", "transfer", "say", "jump"]

KEPT = 10_000  # records of ended calls, the newest: some hours of a busy process


@dataclass(frozen=True, slots=True)
class _Token:
    record: CallRecord
    expires: int


@dataclass(frozen=True, slots=True)
class Visit:
    """Who calls whom: Twilio's names of call and account, and two numbers, E.164 (``caller`` empty: withheld)."""

    call: str
    account: str
    number: str
    caller: str


class LiveCall(Protocol):
    """A call while its stream is open."""

    def supersede(self) -> None:
        """A newer stream takes over: this one ends, and its state is on record."""

    def caller_left(self) -> None:
        """The call is over."""

    def commanded(self, command: Command, value: str) -> None:
        """An operator wants something of it."""


class Calls:
    """The registry."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.clearance = Clearance(services.site, services.wall)
        self.live: dict[str, LiveCall] = {}
        self._records: OrderedDict[str, CallRecord] = OrderedDict()
        self._tokens: dict[str, _Token] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._open: Counter[str] = Counter()  # calls that have not ended, by tenant

    # Records

    def begin(self, visit: Visit, assignment: Assignment) -> CallRecord:
        """The record of a call; the one that is there already when Twilio asks twice."""
        record = self._records.get(visit.call)
        if record is None:
            record = CallRecord(visit.call, visit.account, visit.caller, assignment, self.services.wall())
            self._records[visit.call] = record
            self._open[assignment.tenant.id] += 1
            self._forget_oldest()
            self.save(record)
        return record

    def turn_away(self, visit: Visit, tenant: str, flow: str, outcome: str) -> None:
        """The call comes to no flow: why, is all that is kept of it. The same again changes nothing."""
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
        event = Event(tenant=tenant, call=visit.call, generation=0, seq=1, type="call.refused", at=now, data=data)
        self.services.journal.save(saved, lambda: self._tell(event, flow))

    def full(self, tenant: Tenant) -> bool:
        """Whether the tenant has as many calls as it may have."""
        return tenant.max_calls is not None and self._open[tenant.id] >= tenant.max_calls

    def save(self, record: CallRecord, committed: Callable[[], None] = nothing) -> None:
        """Keep the record as it is now; ``committed`` is called when that is certain."""
        self.services.journal.save(record.saved(), committed)

    def find(self, call: str, account: str) -> CallRecord | None:
        """The record, if that account has such a call."""
        record = self._records.get(call)
        return record if record and record.account == account else None

    def is_anothers(self, call: str, account: str) -> bool:
        """Whether another account has that call: Twilio's names are unique, so somebody has made this one up."""
        record = self._records.get(call)
        return record is not None and record.account != account

    def end(self, record: CallRecord, outcome: str) -> None:
        """The call is over; only the first end counts."""
        self._stop_waiting(record.call)
        if record.ended:
            return
        record.ended = max(record.started, self.services.wall())  # the wall clock may be set back
        record.outcome = record.outcome or outcome
        self._closed(record)
        generation = record.generation
        self.save(record, lambda: self._tell_end(record, generation))
        if record.over:
            record.log, record.checkpoint = bytearray(), None

    def _tell_end(self, record: CallRecord, generation: int) -> None:
        """The end is certain. Should the call have come back meanwhile, there will be another."""
        if not record.ended or record.generation != generation:
            return
        bill = {"seconds": record.meter.billed / 1e6, "micro_usd": record.meter.micro_usd}
        segments = [
            {"tier": segment.tier, "seconds": segment.billed / 1e6, "micro_usd": segment.micro_usd}
            for segment in record.meter.segments
        ]
        self.publish(record, "cost.updated", **bill, segments=segments)
        self.publish(
            record,
            "call.ended",
            outcome=record.outcome,
            department=record.department,
            disposition=record.disposition,
            **bill,
            tier=segments[-1]["tier"],
        )

    def _closed(self, record: CallRecord) -> None:
        tenant = record.assignment.tenant.id
        self._open[tenant] -= 1
        if not self._open[tenant]:
            del self._open[tenant]

    def _forget_oldest(self) -> None:
        """Calls that have not ended are kept: each of them ends, by a stream, a webhook or a timer."""
        if len(self._records) > KEPT:
            ended = next((record.call for record in self._records.values() if record.ended), None)
            if ended is not None:
                del self._records[ended]

    # Streams

    def issue_token(self, record: CallRecord) -> str:
        """A token for the call's next stream; when none comes with it in time, the call has ended."""
        self._wait(record, CONNECT_SECONDS, "lost" if record.generation else "abandoned")
        now = self.services.wall()
        self._tokens = {digest: token for digest, token in self._tokens.items() if token.expires > now}
        text = secrets.token_urlsafe(32)
        self._tokens[_digest(text)] = _Token(record, now + TOKEN_SECONDS * 1_000_000)
        return text

    def redeem(self, text: str, account: str, call: str) -> CallRecord | None:
        """The record that the token admits to, with its generation raised; None when it admits to nothing."""
        token = self._tokens.pop(_digest(text), None)
        if token is None or token.expires <= self.services.wall():
            return None
        record = token.record
        if record.over or (record.account, record.call) != (account, call):
            return None
        self._stop_waiting(call)
        if earlier := self.live.pop(call, None):
            earlier.supersede()
        record.generation += 1
        record.sequence = 0
        record.intent = None
        if record.ended:
            self._open[record.assignment.tenant.id] += 1
        record.ended, record.outcome = 0, ""
        return record

    def lost(self, record: CallRecord) -> None:
        """The call's stream broke off: Twilio may come back for it."""
        self._wait(record, LOST_AFTER, "lost")

    def transferring(self, record: CallRecord) -> None:
        """The call has left its stream for a transfer: Twilio will tell how that ended."""
        record.meter.leave()
        self.save(record)
        self._wait(record, TRANSFER_SECONDS, "lost")

    def over(self, record: CallRecord) -> None:
        """Twilio says that the call is over. How a transfer ended may still be told."""
        if live := self.live.get(record.call):
            live.caller_left()
        elif isinstance(record.intent, Transfer) and record.pending is None and not record.ended:
            self._wait(record, STATUS_SECONDS, "abandoned")
        else:
            self.end(record, "abandoned")

    def command(self, tenant: str, call: str, command: Command, value: str = "") -> bool:
        """Pass an operator's command on; False when the tenant has no such call on a stream of this process."""
        record, live = self._records.get(call), self.live.get(call)
        if record is None or live is None or record.assignment.tenant.id != tenant:
            return False
        live.commanded(command, value)
        return True

    def _wait(self, record: CallRecord, seconds: float, outcome: str) -> None:
        self._stop_waiting(record.call)
        loop = asyncio.get_running_loop()
        self._waiting[record.call] = loop.call_later(seconds, self._give_up, record, outcome)

    def _give_up(self, record: CallRecord, outcome: str) -> None:
        self._waiting.pop(record.call, None)
        if record.call not in self.live:  # a token that was given out for nothing ends no call
            self.end(record, outcome)

    def _stop_waiting(self, call: str) -> None:
        if handle := self._waiting.pop(call, None):
            handle.cancel()

    def close(self) -> None:
        """The process ends: what still waits has been lost."""
        for call in list(self._waiting):
            self._give_up(self._records[call], "lost")

    # Events

    def publish(self, record: CallRecord, kind: str, **data: Any) -> None:
        """Tell whoever watches. Never waits."""
        record.sequence += 1
        event = Event(
            tenant=record.assignment.tenant.id,
            call=record.call,
            generation=record.generation,
            seq=record.sequence,
            type=kind,
            at=self.services.wall(),
            data=data,
        )
        self._tell(event, record.assignment.flow)

    def _tell(self, event: Event, flow: str) -> None:
        self.services.journal.tell(event, flow)
        self.services.bus.publish(event)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
