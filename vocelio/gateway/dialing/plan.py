"""From a transfer to a plan of whom to ring: a pure function, so that whoever asks again gets the same plan.

A plan says everything that ``<Dial>`` needs, or why nobody is rung. What takes the store (how many transfers there
are, whose a caller id is) is asked by clearance, before; what is decided there, this carries out.
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
    """Something that is not done as it was asked for: which ``part``, its ``value``, and why."""

    field: Literal["number", "caller_id"]
    value: str
    reason: str


class DialPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ring: one round after the other for ``ringing`` seconds each, all targets of a round together.

    Targets are numbers (E.164) or SIP addresses. Whoever answers first has the call: they hear ``whisper``, then the
    caller, for at most ``time_limit`` seconds; they are shown ``caller_id``.
    """

    attempts: tuple[tuple[str, ...], ...]
    ring_seconds: int
    caller_id: str
    time_limit_seconds: int
    whisper: str = ""
    adjustments: tuple[DialAdjustment, ...] = ()


class DialRejection(msgspec.Struct, frozen=True):
    """Why nobody is rung."""

    reason: RejectionReason

    @property
    def exit(self) -> TransferExit:
        """By which the flow goes on."""
        return EXIT_BY_REASON[self.reason]


def build_plan(
    config: CallConfig, transfer: Transfer, caller: str, *, now: int | None = None, is_own_number: bool = True
) -> DialPlan | DialRejection:
    """The plan of a transfer. ``caller`` is E.164, empty when it is withheld.

    ``at`` is the instant (microseconds UTC) at which a department must be open; none once the transfer was begun:
    who is rung at two minutes to five is still put through. ``own`` says whether the transfer's caller id is one of
    the tenant's numbers.
    """
    department = config.departments.get(transfer.department)
    if transfer.department and department is None:
        return DialRejection("unknown_department")
    if department and now is not None and not is_open(department, config.tenant, now):
        return DialRejection("closed")
    allowed, refused = _partition_targets(config, _requested_targets(transfer, department))
    if not allowed:
        return next(
            (DialRejection(refusal.reason) for refusal in refused.values()), DialRejection("unknown_department")
        )
    simultaneous = department is not None and (transfer.ring or department.ring) == "simultaneous"
    shown = effective_caller_id(config, transfer, caller, is_own_number)
    changes = [DialAdjustment("number", target, refusal.reason) for target, refusal in refused.items()]
    if transfer.caller_id and shown != transfer.caller_id:
        changes.append(DialAdjustment("caller_id", transfer.caller_id, "not_owned"))
    return DialPlan(
        attempts=(allowed,) if simultaneous else tuple((target,) for target in allowed),
        ring_seconds=max(
            1, round(transfer.ring_seconds or (department.ring_timeout_seconds if department else DEFAULT_RING_SECONDS))
        ),
        caller_id=shown,
        time_limit_seconds=config.tenant.max_transfer_seconds,
        whisper=_whisper_text(config, transfer, department, caller),
        adjustments=tuple(changes),
    )


def effective_caller_id(config: CallConfig, transfer: Transfer, caller: str, is_own_number: bool) -> str:
    """The caller id: Twilio refuses an empty or a foreign one (13214), and the call would be lost."""
    if transfer.caller_id and (is_own_number or not needs_ownership_check(config, transfer, caller)):
        return transfer.caller_id
    return caller or config.number


def needs_ownership_check(config: CallConfig, transfer: Transfer, caller: str) -> bool:
    """Whether the transfer would show a number of which it is not known whose it is."""
    return bool(transfer.caller_id) and transfer.caller_id not in (caller, config.number)


def is_open(department: Department, tenant: Tenant, now: int) -> bool:
    """Whether the department can be rung at that instant (microseconds UTC). One without hours always can."""
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
    """The targets that may be rung, and those that may not."""
    home = frozenset({rules.country_of(config.number)}) - {""}
    found = {target: rules.check_destination(config.tenant, target, home) for target in targets}
    refused = {target: refusal for target, refusal in found.items() if refusal is not None}
    return tuple(target for target in targets if target not in refused), refused


def _whisper_text(config: CallConfig, transfer: Transfer, department: Department | None, caller: str) -> str:
    """The transfer's own, with what the flow knows; else the department's."""
    if transfer.whisper or department is None:
        return whisper_text.clean_text(transfer.whisper)
    return whisper_text.render_whisper(
        department.whisper,
        caller=caller,
        number=config.number,
        department=transfer.department,
        tenant=config.tenant.name,
    )
