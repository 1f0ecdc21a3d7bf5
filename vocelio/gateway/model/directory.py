"""The ``Directory`` interface: from a number to everything that its calls need."""

from typing import Literal, Protocol

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.voice import Tier
from vocelio.gateway.model.tenant import MAX_TRANSFER_SECONDS, Department, Tenant

DEFAULT_RATES: dict[Tier, int] = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
"""Micro-USD a minute, where nobody has set others."""


class CallConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a number leads to, all that a call of it needs: it does not change while the call lives.

    ``promoted`` is the number of the flow's version, 0 where versions are not counted. ``sounds`` are the stored
    sounds (mu-law) that the version plays; ``rates`` are micro-USD a minute. ``account`` is the tenant's own of
    Twilio, if it has one: nobody else's may call the number then, but the platform's. ``fallback`` is the number that
    callers are put through to when all else has failed.
    """

    number: str
    tenant: Tenant
    flow: str
    version: FlowVersion
    version_number: int = 0
    departments: dict[str, Department] = {}
    sounds: dict[str, bytes] = {}
    rates: dict[Tier, int] = msgspec.field(default_factory=DEFAULT_RATES.copy)
    account_sid: str = ""
    fallback_number: str = ""


class NumberClosed(msgspec.Struct, frozen=True, kw_only=True):
    """A number that leads to no flow at present: the caller hears ``text``, or is forwarded to another number.

    ``longest`` is how many seconds a forwarded call may take.
    """

    number: str
    tenant: str
    flow: str = ""
    outcome: Literal["paused", "unassigned", "suspended", "unavailable"]
    message: str = ""
    forward_to: str = ""
    account_sid: str = ""
    max_transfer_seconds: int = MAX_TRANSFER_SECONDS


class TransferCounts(msgspec.Struct, frozen=True):
    """A tenant's transfers, in all processes: ``begun`` since an instant, and ``under_way`` now."""

    started: int = 0
    active: int = 0


class Directory(Protocol):
    """What a call needs to know."""

    async def get_call_config(self, number: str) -> CallConfig | NumberClosed | None:
        """What is behind a number (E.164); None when it is nobody's. Raises StoreUnavailable."""
        ...

    def get_last_known(self, number: str) -> NumberClosed | None:
        """What this process knows of a number without asking: what its callers get when the store is away."""
        ...

    async def get_resume_config(
        self, tenant: str, number: str, flow: str, version: int, started_at: int
    ) -> CallConfig | None:
        """What a call that ``started`` then goes on with: its version, and the tenant's things as they are now.

        None when the version cannot be run any more. Raises StoreUnavailable.
        """
        ...

    async def get_secret(self, tenant: str, name: str) -> str:
        """A secret of the tenant's, for a request's header. Raises NotFound, StoreUnavailable."""
        ...

    async def count_transfers(self, tenant: str, since: int) -> TransferCounts:
        """How many transfers there are, since an instant (microseconds UTC). Raises StoreUnavailable."""
        ...

    async def is_tenant_number(self, tenant: str, number: str) -> bool:
        """Whether the number is one of the tenant's. Raises StoreUnavailable."""
        ...
