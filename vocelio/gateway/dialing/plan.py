"""The dial plan of a transfer: whom to ring, or why nobody is rung. Pure functions: asking again gives the same plan.

A plan has everything that ``<Dial>`` needs. What only the database knows (transfer limits, ownership of a caller id) is
checked before, by the TransferAuthorizer.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from vocelio.engine.actions import Transfer
from vocelio.engine.hours import get_time_zone
from vocelio.gateway.dialing import rules
from vocelio.gateway.dialing import whisper as whisper_text
from vocelio.gateway.dialing.rules import Rejection
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import DEFAULT_RING_SECONDS, Department, Tenant

RejectionReason = Literal[
    "unknown_department",
    "invalid_number",
    "premium_rate",
    "country_not_allowed",
    "sip_not_allowed",
    "closed",
    "limit_reached",
]
TransferExit = Literal["busy", "no_answer", "failed"]

EXIT_BY_REASON: dict[RejectionReason, TransferExit] = {
    "unknown_department": "failed",
    "invalid_number": "failed",
    "premium_rate": "failed",
    "country_not_allowed": "failed",
    "sip_not_allowed": "failed",
    "closed": "no_answer",
    "limit_reached": "busy",
}
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DialAdjustment(msgspec.Struct, frozen=True):
    """A deviation from the flow: the ``field`` of the transfer, its rejected ``value``, and the reason."""

    field: Literal["number", "caller_id"]
    value: str
    reason: str


class DialPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ring: ``attempts`` one after the other, ``ring_seconds`` each; the targets of an attempt simultaneously.

    Targets are numbers (E.164) or SIP addresses. The first to answer sees ``caller_id``, hears ``whisper`` and is then
    connected for at most ``time_limit_seconds``.
    """

    attempts: tuple[tuple[str, ...], ...]
    ring_seconds: int
    caller_id: str
    time_limit_seconds: int
    whisper: str = ""
    adjustments: tuple[DialAdjustment, ...] = ()


class DialRejection(msgspec.Struct, frozen=True):
    """A transfer that is not allowed."""

    reason: RejectionReason

    @property
    def exit(self) -> TransferExit:
        """The node's exit that the flow takes."""
        return EXIT_BY_REASON[self.reason]


def build_plan(
    config: CallConfig, transfer: Transfer, caller: str, *, now: int | None = None, is_own_number: bool = True
) -> DialPlan | DialRejection:
    """Build the dial plan of a transfer.

    Args:
        config: The configuration of the call.
        transfer: The engine's action.
        caller: The caller's number (E.164), empty when withheld.
        now: The instant (microseconds UTC) at which the department must be open. None after the transfer has started:
            a call that rings at two minutes to five is still connected.
        is_own_number: Whether the transfer's caller id is one of the tenant's numbers.
    """
    department = config.departments.get(transfer.department)
    if transfer.department and department is None:
        return DialRejection("unknown_department")
    if department and now is not None and not is_open(department, config.tenant, now):
        return DialRejection("closed")
    allowed, rejected = _partition_targets(config, _requested_targets(transfer, department))
    if not allowed:
        return next(
            (DialRejection(rejection.reason) for rejection in rejected.values()), DialRejection("unknown_department")
        )
    simultaneous = department is not None and (transfer.ring or department.ring) == "simultaneous"
    caller_id = effective_caller_id(config, transfer, caller, is_own_number)
    adjustments = [DialAdjustment("number", target, rejection.reason) for target, rejection in rejected.items()]
    if transfer.caller_id and caller_id != transfer.caller_id:
        adjustments.append(DialAdjustment("caller_id", transfer.caller_id, "not_owned"))
    return DialPlan(
        attempts=(allowed,) if simultaneous else tuple((target,) for target in allowed),
        ring_seconds=max(
            1, round(transfer.ring_seconds or (department.ring_timeout_seconds if department else DEFAULT_RING_SECONDS))
        ),
        caller_id=caller_id,
        time_limit_seconds=config.tenant.max_transfer_seconds,
        whisper=_whisper_text(config, transfer, department, caller),
        adjustments=tuple(adjustments),
    )


def effective_caller_id(config: CallConfig, transfer: Transfer, caller: str, is_own_number: bool) -> str:
    """Return the caller id to show: Twilio rejects an empty or foreign one (error 13214), and the call would fail."""
    if transfer.caller_id and (is_own_number or not needs_ownership_check(config, transfer, caller)):
        return transfer.caller_id
    return caller or config.number


def needs_ownership_check(config: CallConfig, transfer: Transfer, caller: str) -> bool:
    """Return whether the transfer's caller id is neither the caller's number nor the called one."""
    return bool(transfer.caller_id) and transfer.caller_id not in (caller, config.number)


def is_open(department: Department, tenant: Tenant, now: int) -> bool:
    """Return whether the department is open at an instant (microseconds UTC); without hours it always is."""
    hours = department.hours
    if hours is None:
        return True
    local = (UNIX_EPOCH + timedelta(microseconds=now)).astimezone(
        get_time_zone(hours.time_zone or tenant.time_zone) or UTC
    )
    return hours.state_at(local) == "open"


def _requested_targets(transfer: Transfer, department: Department | None) -> tuple[str, ...]:
    return department.numbers if department else tuple(filter(None, (transfer.sip or transfer.number,)))


def _partition_targets(config: CallConfig, targets: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, Rejection]]:
    """Split the targets into allowed ones and rejected ones."""
    home = frozenset({rules.country_of(config.number)}) - {""}
    checks = {target: rules.check_destination(config.tenant, target, home) for target in targets}
    rejected = {target: rejection for target, rejection in checks.items() if rejection is not None}
    return tuple(target for target in targets if target not in rejected), rejected


def _whisper_text(config: CallConfig, transfer: Transfer, department: Department | None, caller: str) -> str:
    """Return the transfer's whisper, rendered by the flow, or else the department's."""
    if transfer.whisper or department is None:
        return whisper_text.clean_text(transfer.whisper)
    return whisper_text.render_whisper(
        department.whisper,
        caller=caller,
        number=config.number,
        department=transfer.department,
        tenant=config.tenant.name,
    )
