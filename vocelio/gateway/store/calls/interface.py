"""What is kept of calls while they live: the ``Journal`` port.

To save never waits: a call says what is to be kept and goes on. What must be certain before the next thing is done
says so by a callback, which comes when it is committed. What was saved is the authority on a call: any process finds
it there and can go on with it, and ``take_over`` alone makes a stream the call's own.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.events import Event


def noop() -> None:
    """For those who need not know when."""


class Segment(msgspec.Struct, frozen=True):
    """Part of a call at one voice tier: ``billed`` microseconds at ``rate`` micro-USD a minute."""

    tier: Tier
    billed_microseconds: int
    micro_usd_per_minute: int
    cost_micro_usd: int


class ProviderUsageTotals(msgspec.Struct):
    """What one provider of speech did for a call.

    ``characters`` were to be spoken, ``recognised_ms`` of sound were sent to be recognised. ``first_byte_ms`` is the
    sum over ``sounded`` syntheses, ``first_byte_max_ms`` the slowest; ``text_ms`` the sum over ``understood``
    utterances of what passed from their end to their text.
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
"""What is known of a call's end without its stream: Twilio says that it is over, or that its stream broke off; or
Twilio was told to go elsewhere with it.
"""


class StoredCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is kept. Instants are whole microseconds UTC, ``ended`` 0 while it goes on.

    ``generation`` and ``revision`` order what was saved of a call: a later one takes the place of an earlier.
    ``version`` is 0 when the call was turned away before a flow began. Past ``due``, with no word of it, the call is
    over. ``state`` is what another stream needs to go on; ``log`` is for replay: what came since it was last saved.
    As it is found, it has no segments and no log, but what Twilio ``told``, and the ``sequence`` of its last event.
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
    resume_state: dict[str, Any] | None = None
    log: bytes = b""
    due_at: int = 0
    status_report: StatusReport = ""
    last_event_seq: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can go on: a call that was lost still can."""
        return bool(self.ended_at) and self.outcome != "lost"

    @property
    def is_rejected(self) -> bool:
        """Whether it never came to a flow."""
        return bool(self.ended_at) and not self.version and not self.generation

    @property
    def billed_microseconds(self) -> int:
        """Microseconds."""
        return sum(segment.billed_microseconds for segment in self.segments)

    @property
    def cost_micro_usd(self) -> int:
        """What it costs the client so far."""
        return sum(segment.cost_micro_usd for segment in self.segments)


class CallStore(Protocol):
    """Where calls are kept. What waits raises StoreUnavailable, in bounded time."""

    def save(
        self, call: StoredCall, on_committed: Callable[[], None] = noop, on_superseded: Callable[[], None] = noop
    ) -> None:
        """Keep the call as it is now.

        ``committed`` is called once that is certain, ``overtaken`` when a later state of the call is there already;
        neither, if it is never known.
        """

    def append_event(self, event: Event, flow: str) -> None:
        """Keep an event of a call of that flow, which was saved before: its timeline."""

    async def find(self, call: str, account_sid: str) -> StoredCall | None:
        """The account's call, as it was saved last by anybody."""
        ...

    async def take_over(
        self, tenant: str, call: str, account_sid: str, generation: int, due_at: int
    ) -> StoredCall | None:
        """Raise the call's generation by one, if it is that and the call is not over: whoever gets it owns the call."""
        ...

    async def claim(self, stored: StoredCall) -> bool:
        """Raise a call's revision by one, if it is as it was ``kept`` and is not over: one of several gets it."""
        ...

    async def close(self, stored: StoredCall, ended_at: int, outcome: str) -> StoredCall | None:
        """End a call as it was ``kept``, and give it with its segments; None if somebody has changed it since."""
        ...

    async def record_status(
        self, account_sid: str, call: str, status: StatusReport, due_at: int, generation: int | None = None
    ) -> None:
        """Twilio tells of a call's end (of that ``generation`` only, if it is given): by ``due`` it is over."""

    async def find_expired(self, now: int, limit: int) -> Sequence[StoredCall]:
        """Calls of which nothing was heard in time."""
        ...

    async def purge_state(self, before: int) -> None:
        """Remove the states of calls that were lost ``before`` that instant: nobody comes back for them."""

    async def count_live(self, tenant: str) -> int:
        """How many of the tenant's calls have not ended."""
        ...

    async def start(self) -> None:
        """Begin."""

    async def aclose(self) -> None:
        """Until everything is kept, or cannot be."""
