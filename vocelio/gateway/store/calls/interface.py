"""The call store: the ``CallStore`` protocol and the structs that it stores.

Saving never waits: a session says what to store and goes on; a callback reports the commit, before which nothing
externally visible may happen. The stored call is the authority: any process finds it there and can continue the call,
and ``take_over`` alone makes a stream the call's owner.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.events import Event


def noop() -> None:
    """Default callback."""


class Segment(msgspec.Struct, frozen=True):
    """Part of a call that was billed at one voice tier."""

    tier: Tier
    billed_microseconds: int
    micro_usd_per_minute: int
    cost_micro_usd: int


class ProviderUsageTotals(msgspec.Struct):
    """What one speech provider did for a call.

    ``characters`` were requested, ``recognized_ms`` of audio were sent. ``first_byte_total_ms`` is the sum over the
    ``first_byte_count`` syntheses that produced audio, ``first_byte_max_ms`` the slowest of them;
    ``transcript_latency_total_ms`` is the sum over the final ``transcripts``, from the end of speech to the text.
    """

    syntheses: int = 0
    characters: int = 0
    first_byte_count: int = 0
    first_byte_total_ms: int = 0
    first_byte_max_ms: int = 0
    recognitions: int = 0
    recognized_ms: int = 0
    transcripts: int = 0
    transcript_latency_total_ms: int = 0
    failures: int = 0


StatusReport = Literal["", "completed", "disconnected", "redirected"]
"""What is known of a call's end other than from its stream: Twilio reported it completed, or its stream disconnected;
or Twilio was redirected to the number's fallback.
"""


class StoredCall(msgspec.Struct, kw_only=True):
    """A call as it is stored. Instants are whole microseconds UTC; ``ended_at`` is 0 while the call goes on.

    ``generation`` counts the call's streams: only the newest may act. ``revision`` counts the saves; of two states, the
    one of the later generation, then revision, replaces the other. ``version`` is 0 when the call was rejected before a
    flow started. After ``due_at``, without a sign of life, the call is over. ``resume_state`` is the JSON of what
    another stream needs to continue (``ResumeState`` of calls/call_record.py), opaque here. ``log`` is the part of the
    call log that was added since the last save.

    As loaded from the store, a call has neither segments nor log, but the ``status_report``, and ``last_event_seq``:
    the sequence number of the newest event of its generation. ``is_readable`` is false if it has a resume state that
    no key of this process decrypts.
    """

    tenant: str
    id: str
    account_sid: str
    number: str
    caller: str
    flow: str
    version: int
    revision: int
    generation: int
    started_at: int
    ended_at: int = 0
    outcome: str = ""
    disposition: str = ""
    department: str = ""
    segments: tuple[Segment, ...] = ()
    provider_usage: dict[Tier, ProviderUsageTotals] = {}
    resume_state: bytes | None = None
    is_readable: bool = True
    log: bytes = b""
    due_at: int = 0
    status_report: StatusReport = ""
    last_event_seq: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the call cannot be resumed: one whose stream was lost can be, even after its end."""
        return bool(self.ended_at) and self.outcome != "lost"

    @property
    def is_rejected(self) -> bool:
        """Whether the call never reached a flow."""
        return bool(self.ended_at) and not self.version and not self.generation

    @property
    def billed_microseconds(self) -> int:
        """Billed time of all segments."""
        return sum(segment.billed_microseconds for segment in self.segments)

    @property
    def cost_micro_usd(self) -> int:
        """Cost of all segments."""
        return sum(segment.cost_micro_usd for segment in self.segments)


class CallStore(Protocol):
    """Port to the stored calls. Every coroutine raises DatabaseUnavailable, in bounded time."""

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """Store the call in the background, as it is now.

        ``on_committed`` is called after the commit, ``on_superseded`` when the store already has a later state of the
        call; neither is called when the result stays unknown.
        """

    def append_event(self, event: Event, flow: str) -> None:
        """Store an event of a call of that flow in the background. The call was saved before."""

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        """Return the account's call as it was saved last, by any process."""
        ...

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        """Raise the generation by one if it is ``generation`` and the call is not over: the caller then owns the call.

        Returns None when the condition does not hold.
        """
        ...

    async def claim(self, stored: StoredCall) -> bool:
        """Raise the revision by one if the call is unchanged and not over: of several claims, one succeeds."""
        ...

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        """End the call if it is unchanged, and return it with its segments; None if it has changed since."""
        ...

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        """Store what was reported of a call's end (only for ``generation``, if given); it is due by ``due_at``."""

    async def find_expired(self, now: int, limit: int, unreadable_before: int) -> Sequence[StoredCall]:
        """Return calls that are due and have not ended; unreadable ones if they were due before a second instant."""
        ...

    async def purge_state(self, before: int) -> None:
        """Delete the resume states of calls that ended before that instant: Twilio does not return to them."""

    async def count_live(self, tenant: str, due_after: int) -> int:
        """Count the tenant's calls that have not ended and, without a sign of life, live until ``due_after``."""
        ...

    async def start(self) -> None:
        """Start writing."""

    async def aclose(self) -> None:
        """Write what is pending, within a bounded time."""
