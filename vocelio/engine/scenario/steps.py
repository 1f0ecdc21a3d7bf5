"""Structs of a scenario file: one for each kind of step, and the setup of the call.

The first field of a step is its key in the file. A step that consists of its key only (``silent``, ``hangs_up``) may be
written as a bare word, which the loader reads as ``{silent: true}``.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.hours import OpeningHours

DEFAULT_INTERRUPT_SECONDS = 0.5  # into a prompt, at which `interrupts: true` barges in

Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
Keys = Annotated[str, Meta(pattern=r"^[0-9*#A-D]+$", max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=14_400)]
TransferResult = Literal["answered", "busy", "no_answer", "failed"]
QueueResult = Literal["answered", "timeout", "callback", "failed"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all steps and their parts."""


class Hears(Step, frozen=True):
    """The caller hears this text after the caller's last step; case and whitespace are ignored."""

    hears: Text


class Says(Step, frozen=True):
    """The caller says this. ``partial`` are the partial transcripts before the final one."""

    says: Text
    partial: tuple[Text, ...] | Text = ()
    confidence: Annotated[float, Meta(ge=0, le=1)] = 1.0
    interrupts: bool | Seconds = False


class Mumbles(Step, frozen=True):
    """The caller says something unintelligible."""

    mumbles: bool
    interrupts: bool | Seconds = False


class Presses(Step, frozen=True):
    """The caller presses these keys, one after another."""

    presses: Keys
    interrupts: bool | Seconds = False


class Silent(Step, frozen=True):
    """The caller is silent: until the flow reacts, or for that many seconds."""

    silent: bool | Annotated[float, Meta(gt=0, le=14_400)]


class HangsUp(Step, frozen=True):
    """The caller hangs up."""

    hangs_up: bool


class Reconnects(Step, frozen=True):
    """The media stream is lost; the call resumes on a new one."""

    reconnects: bool


class OperatorCommand(Step, frozen=True):
    """An operator's command: say a text, jump to a node, transfer to a department, hang up."""

    operator: Literal["say", "jump", "transfer", "hang_up"]
    value: str = ""


class TransferStep(Step, frozen=True):
    """The result of a transfer, after that many seconds of ringing or talking."""

    transfer: TransferResult
    seconds: Seconds = 10.0


class QueueStep(Step, frozen=True):
    """The result of waiting in a queue."""

    queue: QueueResult
    seconds: Seconds = 30.0


class HttpReply(Step, frozen=True):
    """An HTTP response. Without ``body`` it was not JSON."""

    status: Annotated[int, Meta(ge=100, le=599)] = 200
    body: Any = None


class ReplyStep(Step, frozen=True):
    """The result of an HTTP request."""

    reply: HttpReply | Literal["timeout", "error"]
    seconds: Seconds = 0.2


class RecordedMessage(Step, frozen=True):
    """A recorded message. ``seconds`` is 0 if the caller said nothing."""

    seconds: Seconds
    url: str = ""


class RecordingStep(Step, frozen=True):
    """The result of a recording."""

    recording: RecordedMessage


class RequestExpectation(Step, frozen=True):
    """The last request. Of ``json`` and ``headers`` only the given keys are compared."""

    method: str | None = None
    url: str | None = None
    json: Any = None
    headers: dict[str, str] = {}


class Expectation(Step, frozen=True):
    """What must hold before the flow waits for the caller again. Omitted fields are not compared.

    ``department``, ``number`` and ``sip`` are the target of the last transfer or queue.
    """

    node: str | None = None
    variables: dict[str, Any] = {}
    outcome: Literal["completed", "transferred", "failed", "abandoned"] | None = None
    disposition: str | None = None
    department: str | None = None
    number: str | None = None
    sip: str | None = None
    request: RequestExpectation | None = None


class Expect(Step, frozen=True):
    """An expectation."""

    expect: Expectation


CallerStep = Says | Mumbles | Presses | Silent | HangsUp
ExternalStep = TransferStep | QueueStep | ReplyStep | RecordingStep
AnyStep = CallerStep | ExternalStep | Hears | Expect | OperatorCommand | Reconnects

STEP_TYPES: dict[str, type[AnyStep]] = {
    kind.__struct_fields__[0]: kind
    for kind in (
        *(Hears, Says, Mumbles, Presses, Silent, HangsUp, Reconnects, OperatorCommand),
        *(TransferStep, QueueStep, ReplyStep, RecordingStep, Expect),
    )
}
EXTERNAL_STEP_TYPES: dict[str, type[ExternalStep]] = {
    "transfer": TransferStep,
    "queue": QueueStep,
    "reply": ReplyStep,
    "recording": RecordingStep,
}


class SetupTenant(Step, frozen=True):
    """The tenant of the call."""

    id: str = "example"
    name: str = "Example Company"
    variables: dict[str, str] = {}
    time_zone: str = "America/Los_Angeles"


class Setup(Step, frozen=True):
    """Conditions at the start of the call. ``variables`` replace the initial values of the flow.

    ``nodes`` are the external results at a node, each time the call gets there.
    """

    caller: Annotated[str, Meta(pattern=r"^(\+[1-9][0-9]{4,14})?$")] = "+13105550100"
    number: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{4,14}$")] = "+13105550199"
    at: Annotated[datetime, Meta(tz=True)] = datetime.fromisoformat("2026-03-03T10:00:00-08:00")
    seed: str = "scenario"
    tenant: SetupTenant = SetupTenant()
    departments: dict[str, str] = {}
    hours: dict[str, OpeningHours] = {}
    variables: dict[str, Any] = {}
    nodes: dict[str, Any] = {}  # decoded to ExternalStep by the loader


NESTED_STRUCTS: dict[str, type[Step]] = {
    "expect": Expectation,
    "request": RequestExpectation,
    "reply": HttpReply,
    "recording": RecordedMessage,
    "tenant": SetupTenant,
}
"""Nested structs by their key."""


class LocatedStep(msgspec.Struct, frozen=True):
    """A step and its line in the file."""

    line: int
    step: AnyStep


class Scenario(msgspec.Struct, frozen=True):
    """One simulated call and its expectations."""

    name: str
    line: int
    setup: Setup
    steps: tuple[LocatedStep, ...]


def format_step(step: AnyStep) -> str:
    """Format a step as it would be written in the file."""
    return ", ".join(f"{key}: {_format_value(value)}" for key, value in msgspec.to_builtins(step).items())


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
