"""The life of a call outside its stream: start, rejection, take-over by a stream, loss and end.

The store is the authority. A stream with a valid token raises its call's generation there, in one conditional update,
and owns the call from then on. A call without a sign of life for as long as it was given is over; whichever process
notices ends it, and only one does. If Twilio still returns to a call that was lost, it continues, and its later
``call.ended`` replaces the earlier one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Container, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from vocelio.gateway.aio.tasks import TaskSet
from vocelio.gateway.calls.admission import AdmissionControl
from vocelio.gateway.calls.call_record import CallRecord, read_resume_state
from vocelio.gateway.calls.event_publisher import CallEventPublisher
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.phase import HangingUp, TransferCompleted, Transferring
from vocelio.gateway.calls.repository import CallRepository, defer_to_reaper
from vocelio.gateway.calls.stream_tokens import StreamToken, StreamTokens
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.calls.interface import StatusReport, StoredCall

LOG = logging.getLogger(__name__)

STREAM_EXPIRY_SECONDS = 90.0  # from one sign of life of a stream to its end: four of its heartbeats
SILENT_SECONDS = 45.0  # without a sign of life, a call no longer counts against its tenant's limit: two heartbeats
FALLBACK_EXPIRY_SECONDS = 6 * 3_600.0  # of a call that was put through to its number's fallback
HANGUP_EXPIRY_SECONDS = 5.0  # after Twilio reported a call's end: the end of its transfer may be reported later
RECONNECT_TIMEOUT_SECONDS = 3.0  # after a stream was lost: Twilio's next request comes in under one
EXPIRY_MARGIN_SECONDS = 0.05  # after an instant, so that it has passed by any clock
MAX_STATUS_UPDATES = 10_000  # reports while the database is unavailable: past it the oldest is dropped, for the reaper


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call as Twilio announces it: its SID and account, and two numbers, E.164 (``caller`` empty: withheld)."""

    call: str
    account: str
    number: str
    caller: str


@dataclass(frozen=True, slots=True)
class _StatusUpdate:
    """A report of Twilio's about a call's end; see CallStore.record_status."""

    account: str
    call: str
    report: StatusReport
    generation: int | None


class CallLifecycle:
    """Lifecycle of one process's calls. ``live_calls`` are the SIDs of those whose stream is open here."""

    def __init__(
        self,
        services: CallServices,
        repository: CallRepository,
        publisher: CallEventPublisher,
        admission: AdmissionControl,
        signing_keys: Sequence[str],
        live_calls: Container[str],
    ) -> None:
        self._services, self._repository, self._publisher = services, repository, publisher
        self._call_store, self._wall_clock = services.call_store, services.wall_clock
        self._admission, self._live_calls = admission, live_calls
        self.calls_started = 0  # since the process started
        self._starting: Counter[str] = Counter()  # calls by tenant that are not in the store yet
        self._stream_tokens = StreamTokens(signing_keys)
        self._status_updates: deque[tuple[_StatusUpdate, float]] = deque(maxlen=MAX_STATUS_UPDATES)
        self._expiry_timers: dict[tuple[str, str], asyncio.TimerHandle] = {}  # by account and call
        self._tasks = TaskSet()  # started by timers; each is short

    # The start

    async def start_call(self, incoming: IncomingCall, config: CallConfig) -> CallRecord | None:
        """Save a new call and return its record; None when its tenant has as many calls as it may have.

        The call occupies its place before anything is awaited, since others come meanwhile. Raises DatabaseUnavailable;
        the call's end is then saved as soon as the database answers.
        """
        tenant, record = config.tenant, None
        self._admission.reserve(incoming.call)
        starting_before = self._starting[tenant.id]
        self._starting[tenant.id] += 1
        try:
            if not await self._is_at_limit(tenant, starting_before):
                record = await self._create_record(incoming, config)
        finally:
            self._starting[tenant.id] -= 1
            self._starting += Counter()  # drops the tenants at zero
            if record is None:
                self._admission.release(incoming.call)
        return record

    async def _is_at_limit(self, tenant: Tenant, starting: int) -> bool:
        if tenant.max_concurrent_calls is None:
            return False
        due_after = self._wall_clock() + round((STREAM_EXPIRY_SECONDS - SILENT_SECONDS) * 1e6)
        return await self._call_store.count_live(tenant.id, due_after) + starting >= tenant.max_concurrent_calls

    async def _create_record(self, incoming: IncomingCall, config: CallConfig) -> CallRecord:
        record = CallRecord.create(incoming.call, incoming.account, incoming.caller, config, self._wall_clock())
        self._preload_prompts(config)
        try:
            await self._repository.save_and_wait(record)
        except DatabaseUnavailable:
            self.end_call(record, "unavailable")
            raise
        self.calls_started += 1
        self._services.metrics.count_started()
        return record

    def _preload_prompts(self, config: CallConfig) -> None:
        """Fetch the flow's prompts while Twilio opens the stream."""
        preload = self._services.prompt_preloader.preload(config.tenant, config.version)
        self._tasks.start(defer_to_reaper(preload), "prompt preload")

    def reject(self, incoming: IncomingCall, tenant: str, flow: str, outcome: str, forwarded_to: str = "") -> None:
        """Save a call that reaches no flow, and why; ``forwarded_to`` is the number that is rung instead, if any.

        Repeating it changes nothing.
        """
        now = self._wall_clock()
        stored = StoredCall(
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
        events = [self._publisher.build(stored, "call.rejected", data)]
        if forwarded_to:
            forward = {"department": "", "number": forwarded_to}
            events.append(self._publisher.build(stored, "transfer.started", forward))

        def on_committed() -> None:
            for event in events:
                self._publisher.send(event, flow)

        self._services.metrics.count_rejected(outcome)
        self._call_store.save(stored, on_committed)

    # Streams

    def issue_stream_token(self, tenant: str, account: str, call: str, generation: int) -> str:
        """Return the token that admits the call's next stream, for a minute."""
        return self._stream_tokens.issue(StreamToken(tenant, generation), account, call, self._wall_clock())

    async def take_over(self, token: str, account: str, call: str) -> StoredCall | None:
        """Make the stream with that token the owner of its call; None when it admits to none.

        Raises DatabaseUnavailable.
        """
        now = self._wall_clock()
        claims = self._stream_tokens.verify(token, account, call, now)
        if claims is None:
            return None
        due_at = now + round(STREAM_EXPIRY_SECONDS * 1e6)
        stored = await self._call_store.take_over(claims.tenant, call, account, claims.generation, due_at)
        if stored is not None:
            self._admission.release(call)
            self._cancel_expiry(account, call)
        return stored

    async def load_for_stream(self, stored: StoredCall) -> CallRecord | None:
        """Load the record of a call that was taken over. Raises DatabaseUnavailable."""
        record = await self._repository.load(stored)
        if record:
            self._preload_prompts(record.config)
        return record

    def on_stream_lost(self, record: CallRecord) -> None:
        """Save a call whose stream disconnected: Twilio returns for it, or dials its transfer."""
        if not isinstance(record.resume.phase, Transferring | TransferCompleted):
            record.expires_after_seconds = RECONNECT_TIMEOUT_SECONDS
        self._repository.save(record)
        self._schedule_expiry(record.stored.id, record.stored.account_sid, record.expires_after_seconds)

    # The end

    def end_call(self, record: CallRecord, outcome: str) -> None:
        """End the call; only its first end counts. It is published once it is committed."""
        call = record.stored
        self._cancel_expiry(call.account_sid, call.id)
        if call.ended_at:
            return
        call.ended_at = max(call.started_at, self._wall_clock())  # the wall clock may be set back
        call.outcome = call.outcome or outcome
        self._repository.save(record, lambda: self._publish_end(record))

    def _publish_end(self, record: CallRecord) -> None:
        segments = record.meter.segments
        self._publisher.publish_cost(record.stored, segments)
        self._publisher.publish_end(record.stored, segments)
        self._on_ended(record.stored)

    def _on_ended(self, stored: StoredCall) -> None:
        self._services.metrics.count_ended(stored.outcome)
        if stored.outcome == "lost":
            reason = (
                "its stream was lost, and Twilio did not return"
                if stored.is_readable
                else "no key of VOCELIO_SECRET_KEYS decrypts its state"
            )
            LOG.warning("call %s of tenant %s is lost: %s", stored.id, stored.tenant, reason)

    async def on_call_completed(self, account: str, call: str) -> None:
        """Twilio reports that the call is over; the end of its transfer may be reported later."""
        await self._record_status(_StatusUpdate(account, call, "completed", None), HANGUP_EXPIRY_SECONDS)

    async def on_stream_error(self, account: str, call: str, generation: int) -> None:
        """Twilio reports that the stream of that generation disconnected."""
        await self._record_status(_StatusUpdate(account, call, "disconnected", generation), RECONNECT_TIMEOUT_SECONDS)

    async def on_fallback(self, stored: StoredCall) -> None:
        """Twilio is redirected to the number's fallback and does not return to the call."""
        update = _StatusUpdate(stored.account_sid, stored.id, "redirected", stored.generation)
        await self._record_status(update, FALLBACK_EXPIRY_SECONDS)

    async def _record_status(self, update: _StatusUpdate, expiry_seconds: float) -> bool:
        """Save a report; while the database is unavailable it is buffered, since Twilio does not repeat it."""
        due_at = self._wall_clock() + round(expiry_seconds * 1e6)
        try:
            await self._call_store.record_status(update.account, update.call, update.report, due_at, update.generation)
        except DatabaseUnavailable:
            self._status_updates.append((update, expiry_seconds))
            return False
        self._schedule_expiry(update.call, update.account, expiry_seconds)
        return True

    async def flush_status_updates(self) -> None:
        """Save the buffered reports, until the database fails again."""
        for _ in range(len(self._status_updates)):
            if not await self._record_status(*self._status_updates.popleft()):
                break

    async def end_if_expired(self, stored: StoredCall) -> None:
        """End a call that is due, unless it has changed meanwhile. Raises DatabaseUnavailable.

        A state that another release has saved, or a defect that one call meets, must not keep others from being ended.
        """
        if stored.ended_at or stored.due_at > self._wall_clock() or stored.id in self._live_calls:
            return
        try:
            await self._end_expired(stored)
        except DatabaseUnavailable:
            raise
        except Exception:
            LOG.exception("call %s: its resume state cannot be read or used; ending the call without it", stored.id)
            await self._end_without_state(stored)

    async def _end_expired(self, stored: StoredCall) -> None:
        record = await self._repository.load(stored) if stored.resume_state else None
        if record is None:
            await self._end_without_state(stored)
        elif await self._repository.claim(stored):
            record.stored.revision = stored.revision + 1
            if isinstance(record.resume.phase, HangingUp):
                record.stored.disposition = record.resume.phase.hang_up.disposition
            self.end_call(record, _expiry_outcome(stored))

    async def _end_without_state(self, stored: StoredCall) -> None:
        """End an expired call that cannot be continued here, with the bill that was saved. Raises DatabaseUnavailable.

        One whose state cannot be decrypted is lost, since a process that has the key could continue it.
        """
        ended_at = max(stored.started_at, self._wall_clock())
        hung_up = stored.status_report == "completed" or not stored.generation
        outcome = "abandoned" if hung_up else "failed" if stored.is_readable else "lost"
        ended = await self._call_store.close(stored, ended_at, outcome)
        if ended is not None:
            self._publisher.publish_end(ended, ended.segments)
            self._on_ended(ended)

    def _schedule_expiry(self, call: str, account: str, seconds: float) -> None:
        self._cancel_expiry(account, call)
        timer = asyncio.get_running_loop().call_later(seconds + EXPIRY_MARGIN_SECONDS, self._on_expiry, call, account)
        self._expiry_timers[account, call] = timer

    def _on_expiry(self, call: str, account: str) -> None:
        self._expiry_timers.pop((account, call), None)
        self._start_task(self._find_and_end_if_expired(call, account))

    async def _find_and_end_if_expired(self, call: str, account: str) -> None:
        stored = await self._repository.find(call, account)
        if stored is not None:
            await self.end_if_expired(stored)

    def _cancel_expiry(self, account: str, call: str) -> None:
        if timer := self._expiry_timers.pop((account, call), None):
            timer.cancel()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.start(defer_to_reaper(work), "call expiry")

    async def aclose(self) -> None:
        """Cancel everything: what is left is in the store, where the reaper of any other process finds it."""
        for account, call in list(self._expiry_timers):
            self._cancel_expiry(account, call)
        self._tasks.close()
        await self._tasks.wait_closed()
        await self._repository.aclose()


def _expiry_outcome(stored: StoredCall) -> str:
    """Return the outcome of a call that ended without a sign of life."""
    phase = read_resume_state(stored).phase
    if isinstance(phase, HangingUp):
        return phase.hang_up.outcome  # its process died when only the hang-up was left
    if stored.status_report == "redirected":
        return "failed"
    return "abandoned" if stored.status_report == "completed" or not stored.generation else "lost"
