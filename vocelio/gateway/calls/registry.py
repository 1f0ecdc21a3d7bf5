"""All calls of this process: their records, the tokens that admit a stream, and which are live.

A token is random, kept only as a hash, good once, for a minute, and for one account and call. Redeeming it
raises the call's generation: the stream before it can do nothing any more. A stream that is lost without a
word leaves its call waiting for Twilio to come back; when it does not, the call has ended.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vocelio.gateway.calls.ports import Services
from vocelio.gateway.calls.record import CallRecord
from vocelio.gateway.events import Event
from vocelio.gateway.store.site import Assignment

TOKEN_SECONDS = 60  # Twilio connects within a second; a late one is not Twilio's
LOST_AFTER = 1.5  # seconds without a word from Twilio after a stream broke off: the next request comes in under one
KEPT = 10_000  # records of ended calls, the newest: some hours of a busy process


@dataclass(frozen=True, slots=True)
class _Token:
    record: CallRecord
    expires: int


class Calls:
    """The registry."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.live: dict[str, Callable[[], None]] = {}
        """The live calls, each with what ends its stream at once."""
        self._records: OrderedDict[str, CallRecord] = OrderedDict()
        self._tokens: dict[str, _Token] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._sequence: dict[str, int] = {}

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
        self._sequence.pop(record.call, None)
        self.services.logs.keep(record.call, bytes(record.log))

    def _forget_oldest(self) -> None:
        while len(self._records) > KEPT:
            oldest = next(iter(self._records.values()))
            if not oldest.ended:
                return
            del self._records[oldest.call]

    # Streams

    def issue_token(self, record: CallRecord) -> str:
        """A token for the call's next stream."""
        self._stop_waiting(record.call)
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
        if (record.account, record.call) != (account, call):
            return None
        self._stop_waiting(call)
        if take_over := self.live.pop(call, None):
            take_over()
        record.generation += 1
        record.intent = None
        record.ended, record.outcome = 0, ""
        self._sequence[call] = 0
        return record

    def lost(self, record: CallRecord) -> None:
        """The call's stream broke off: Twilio may come back for it."""
        loop = asyncio.get_running_loop()
        self._waiting[record.call] = loop.call_later(LOST_AFTER, self._give_up, record)

    def _give_up(self, record: CallRecord) -> None:
        self._waiting.pop(record.call, None)
        self.end(record, "lost")

    def _stop_waiting(self, call: str) -> None:
        if handle := self._waiting.pop(call, None):
            handle.cancel()

    def close(self) -> None:
        """The process ends: what still waits has been lost."""
        for call in list(self._waiting):
            self._give_up(self._records[call])

    # Events

    def publish(self, record: CallRecord, kind: str, **data: Any) -> None:
        """Tell whoever watches. Never waits."""
        sequence = self._sequence[record.call] = self._sequence.get(record.call, 0) + 1
        self.services.bus.publish(
            Event(
                tenant=record.assignment.tenant.id,
                call=record.call,
                generation=record.generation,
                seq=sequence,
                type=kind,
                at=self.services.wall(),
                data=data,
            )
        )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
