"""The ``Directory`` port: from a called number to everything that its calls need."""

from typing import Literal, Protocol

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.voice import Tier
from vocelio.gateway.model.tenant import MAX_TRANSFER_SECONDS, Department, Tenant

DEFAULT_RATES: dict[Tier, int] = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
"""Micro-USD a minute, unless the tenant or the platform has set others."""


class CallConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a call of a number needs. It stays the same while the call lasts.

    ``version_number`` is 0 where versions are not counted. ``sounds`` are the stored sounds (mu-law) that the version
    plays; ``rates`` are micro-USD a minute. ``account_sid`` is the Twilio account under which the number is
    claimed, empty for the platform's: only calls of that account reach it. ``fallback_number`` is rung when the flow
    cannot be run.
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
    """A number without a running flow: the caller hears ``message`` or is forwarded to ``forward_to``.

    A forwarded call lasts at most ``max_transfer_seconds``.
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
    """A tenant's transfers in all processes: ``started`` since an instant, and ``active`` now."""

    started: int = 0
    active: int = 0


class Directory(Protocol):
    """Port to numbers, tenants and flow versions. Every coroutine raises DatabaseUnavailable."""

    async def get_call_config(self, number: str) -> CallConfig | NumberClosed | None:
        """Return what a number (E.164) leads to; None when it belongs to no tenant."""
        ...

    def get_last_known(self, number: str) -> NumberClosed | None:
        """Return what callers of the number get while the database is unavailable, from this process's memory."""
        ...

    async def get_resume_config(
        self, tenant: str, number: str, flow: str, version: int, started_at: int
    ) -> CallConfig | None:
        """Return the config with which a call continues: its version, and the tenant's present settings.

        None when the version cannot be run any more.
        """
        ...

    async def get_secret(self, tenant: str, name: str) -> str:
        """Return one of the tenant's secrets, for a request's header. Raises NotFound."""
        ...

    async def count_transfers(self, tenant: str, since: int) -> TransferCounts:
        """Count the tenant's transfers, those started since an instant (microseconds UTC) and those active."""
        ...

    async def is_tenant_number(self, tenant: str, number: str, account_sid: str) -> bool:
        """Whether the number is one of the tenant's, in that account (empty: the platform's)."""
        ...
