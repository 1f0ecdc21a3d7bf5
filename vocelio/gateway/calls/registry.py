"""All calls of this process: their records, the tokens that admit a stream, and which are live.

A token is random, kept only as a hash, good once, for a minute, and for one account and call. Redeeming it
raises the call's generation: the stream before it can do nothing any more. A stream that is lost without a
word leaves its call waiting for Twilio to come back; when it does not, the call has ended. Should Twilio come
after all, the call goes on; its later ``call.ended``, of a higher generation, replaces the earlier one.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from vocelio.engine.actions import Transfer
from vocelio.gateway.calls.ports import Services
from vocelio.gateway.calls.record import CallRecord
from vocelio.gateway.events import Event
from vocelio.gateway.store.site import Assignment

TOKEN_SECONDS = 60  # Twilio connects within a second; a late one is not Twilio's
CONNECT_SECONDS = 75.0  # from our TwiML to a stream: the token's time, and some for the messages before
TRANSFER_SECONDS = 6 * 3_600.0  # of ringing and talking: past it nobody will tell us how it ended
STATUS_SECONDS = 5.0  # from a call's end by its status to the end of its transfer, which may be told later
LOST_AFTER = 1.5  # seconds without a word from Twilio after a stream broke off: the next request comes in under one
KEPT = 10_000  # records of ended calls, the newest: some hours of a busy process


@dataclass(frozen=True, slots=True)
class _Token:
    record: CallRecord
    expires: int


class LiveCall(Protocol):
    """A call while its stream is open."""

    def supersede(self) -> None:
        """A newer stream takes over: this one ends, and its state is on record."""

    def caller_left(self) -> None:
        """The call is over."""


class Calls:
    """The registry."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.live: dict[str, LiveCall] = {}
        self._records: OrderedDict[str, CallRecord] = OrderedDict()
        self._tokens: dict[str, _Token] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    # Records

    def begin(self, call: str, account: str, caller: str, assignment: Assignment) -> CallRecord:
        """The record of a call; the one that is there already when Twilio asks twice."""
        record = self._records.get(call)
        if record is None:
            departments = self.services.site.departments(assignment.tenant.id)
            record = CallRecord(call, account, caller, assignment, departments, self.services.wall())
            self._records[call] = record
            self._forget_oldest()
        return record

    def find(self, call: str, account: str) -> CallRecord | None:
        """The record, if that account has such a call."""
        record = self._records.get(call)
        return record if record and record.account == account else None

    def end(self, record: CallRecord, outcome: str) -> None:
        """The call is over; only the first end counts."""
        self._stop_waiting(record.call)
        if record.ended:
            return
        record.ended = self.services.wall()
        record.outcome = record.outcome or outcome
        self.publish(record, "cost.updated", seconds=record.billed / 1e6, micro_usd=record.cost)
        self.publish(
            record,
            "call.ended",
            outcome=record.outcome,
            department=record.department,
            disposition=record.disposition,
            seconds=record.billed / 1e6,
            micro_usd=record.cost,
            tier=record.assignment.version.flow.voice.tier,
        )
        self.services.logs.keep(record.call, bytes(record.log))
        if record.over:
            record.log, record.checkpoint = bytearray(), None

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
        record.ended, record.outcome = 0, ""
        return record

    def lost(self, record: CallRecord) -> None:
        """The call's stream broke off: Twilio may come back for it."""
        self._wait(record, LOST_AFTER, "lost")

    def transferring(self, record: CallRecord) -> None:
        """The call has left its stream for a transfer: Twilio will tell how that ended."""
        record.left = record.last_stream
        self._wait(record, TRANSFER_SECONDS, "lost")

    def over(self, record: CallRecord) -> None:
        """Twilio says that the call is over. How a transfer ended may still be told."""
        if live := self.live.get(record.call):
            live.caller_left()
        elif isinstance(record.intent, Transfer) and record.pending is None and not record.ended:
            self._wait(record, STATUS_SECONDS, "abandoned")
        else:
            self.end(record, "abandoned")

    def _wait(self, record: CallRecord, seconds: float, outcome: str) -> None:
        self._stop_waiting(record.call)
        loop = asyncio.get_running_loop()
        self._waiting[record.call] = loop.call_later(seconds, self._give_up, record, outcome)

    def _give_up(self, record: CallRecord, outcome: str) -> None:
        self._waiting.pop(record.call, None)
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
        self.services.bus.publish(
            Event(
                tenant=record.assignment.tenant.id,
                call=record.call,
                generation=record.generation,
                seq=record.sequence,
                type=kind,
                at=self.services.wall(),
                data=data,
            )
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
