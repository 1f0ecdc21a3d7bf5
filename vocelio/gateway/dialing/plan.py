"""From a transfer to a plan of whom to ring: a pure function, so that whoever asks again gets the same plan.

A plan says everything that ``<Dial>`` needs, or why nobody is rung. What takes the store (how many transfers there
are, whose a caller id is) is asked by clearance, before; what is decided there, this carries out.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from vocelio.engine.actions import Transfer
from vocelio.engine.hours import zone
from vocelio.gateway.dialing import rules
from vocelio.gateway.dialing import whisper as whisper_text
from vocelio.gateway.dialing.rules import Refused
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import RINGING, Department, Tenant

Reason = Literal["unknown", "impossible", "costly", "country", "sip", "closed", "limit"]
Exit = Literal["busy", "no_answer", "failed"]

EXITS: dict[Reason, Exit] = {
    "unknown": "failed",
    "impossible": "failed",
    "costly": "failed",
    "country": "failed",
    "sip": "failed",
    "closed": "no_answer",
    "limit": "busy",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Change(msgspec.Struct, frozen=True):
    """Something that is not done as it was asked for: which ``part``, its ``value``, and why."""

    part: Literal["number", "caller_id"]
    value: str
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ring: one round after the other for ``ringing`` seconds each, all targets of a round together.

    Targets are numbers (E.164) or SIP addresses. Whoever answers first has the call: they hear ``whisper``, then the
    caller, for at most ``time_limit`` seconds; they are shown ``caller_id``.
    """

    rounds: tuple[tuple[str, ...], ...]
    ringing: int
    caller_id: str
    time_limit: int
    whisper: str = ""
    changes: tuple[Change, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """Why nobody is rung."""

    reason: Reason

    @property
    def exit(self) -> Exit:
        """By which the flow goes on."""
        return EXITS[self.reason]


def plan(
    assignment: Assignment, transfer: Transfer, caller: str, *, at: int | None = None, own: bool = True
) -> Plan | Refusal:
    """The plan of a transfer. ``caller`` is E.164, empty when it is withheld.

    ``at`` is the instant (microseconds UTC) at which a department must be open; none once the transfer was begun:
    who is rung at two minutes to five is still put through. ``own`` says whether the transfer's caller id is one of
    the tenant's numbers.
    """
    department = assignment.departments.get(transfer.department)
    if transfer.department and department is None:
        return Refusal("unknown")
    if department and at is not None and not is_open(department, assignment.tenant, at):
        return Refusal("closed")
    allowed, refused = _allowed(assignment, _wanted(transfer, department))
    if not allowed:
        return next((Refusal(refusal.reason) for refusal in refused.values()), Refusal("unknown"))
    together = department is not None and (transfer.ring or department.ring) == "together"
    shown = shown_number(assignment, transfer, caller, own)
    changes = [Change("number", target, refusal.reason) for target, refusal in refused.items()]
    if transfer.caller_id and shown != transfer.caller_id:
        changes.append(Change("caller_id", transfer.caller_id, "foreign"))
    return Plan(
        rounds=(allowed,) if together else tuple((target,) for target in allowed),
        ringing=max(1, round(transfer.timeout or (department.timeout if department else RINGING))),
        caller_id=shown,
        time_limit=assignment.tenant.max_transfer_seconds,
        whisper=_whisper(assignment, transfer, department, caller),
        changes=tuple(changes),
    )


def shown_number(assignment: Assignment, transfer: Transfer, caller: str, own: bool) -> str:
    """The caller id: Twilio refuses an empty or a foreign one (13214), and the call would be lost."""
    if transfer.caller_id and (own or not must_be_owned(assignment, transfer, caller)):
        return transfer.caller_id
    return caller or assignment.number


def must_be_owned(assignment: Assignment, transfer: Transfer, caller: str) -> bool:
    """Whether the transfer would show a number of which it is not known whose it is."""
    return bool(transfer.caller_id) and transfer.caller_id not in (caller, assignment.number)


def is_open(department: Department, tenant: Tenant, at: int) -> bool:
    """Whether the department can be rung at that instant (microseconds UTC). One without hours always can."""
    hours = department.hours
    if hours is None:
        return True
    local = (EPOCH + timedelta(microseconds=at)).astimezone(zone(hours.time_zone or tenant.time_zone) or UTC)
    return hours.state(local) == "open"


def _wanted(transfer: Transfer, department: Department | None) -> tuple[str, ...]:
    return department.numbers if department else tuple(filter(None, (transfer.sip or transfer.number,)))


def _allowed(assignment: Assignment, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, Refused]]:
    """The targets that may be rung, and those that may not."""
    home = frozenset({rules.region(assignment.number)}) - {""}
    found = {target: rules.refused(assignment.tenant, target, home) for target in wanted}
    refused = {target: refusal for target, refusal in found.items() if refusal is not None}
    return tuple(target for target in wanted if target not in refused), refused


def _whisper(assignment: Assignment, transfer: Transfer, department: Department | None, caller: str) -> str:
    """The transfer's own, with what the flow knows; else the department's."""
    if transfer.whisper or department is None:
        return whisper_text.speakable(transfer.whisper)
    return whisper_text.text(
        department.whisper,
        caller=caller,
        number=assignment.number,
        department=transfer.department,
        tenant=assignment.tenant.name,
    )
