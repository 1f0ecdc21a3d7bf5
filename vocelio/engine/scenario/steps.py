"""What a scenario file says, as structs: one per kind of step, and what is given.

The first field of a step is its key in the file. A step that is nothing but a key (``silent``, ``hangs_up``) may be
written as a bare word, which the reader takes for ``{silent: true}``.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.hours import OpeningHours

DEFAULT_INTERRUPT_SECONDS = 0.5  # seconds into a prompt at which `interrupts: true` cuts in

Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
Keys = Annotated[str, Meta(pattern=r"^[0-9*#A-D]+$", max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=14_400)]
TransferResult = Literal["answered", "busy", "no_answer", "failed"]
QueueResult = Literal["answered", "timeout", "callback", "failed"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The common part."""


class Hears(Step, frozen=True):
    """The caller hears this, in what is said since the caller's last step; case and spacing do not matter."""

    hears: Text


class Says(Step, frozen=True):
    """The caller says this. ``partial`` are what the recogniser makes of it before it is complete."""

    says: Text
    partial: tuple[Text, ...] | Text = ()
    confidence: Annotated[float, Meta(ge=0, le=1)] = 1.0
    interrupts: bool | Seconds = False


class Mumbles(Step, frozen=True):
    """The caller says something that nobody can understand."""

    mumbles: bool
    interrupts: bool | Seconds = False


class Presses(Step, frozen=True):
    """The caller presses these keys, one after another."""

    presses: Keys
    interrupts: bool | Seconds = False


class Silent(Step, frozen=True):
    """The caller does nothing: until the flow does something, or for so many seconds."""

    silent: bool | Annotated[float, Meta(gt=0, le=14_400)]


class HangsUp(Step, frozen=True):
    """The caller puts the phone down."""

    hangs_up: bool


class Reconnects(Step, frozen=True):
    """The line is lost for a moment; the call goes on with a new stream."""

    reconnects: bool


class OperatorCommand(Step, frozen=True):
    """An operator's command: say a text, jump to a node, transfer to a department, hang up."""

    operator: Literal["say", "jump", "transfer", "hang_up"]
    value: str = ""


class TransferStep(Step, frozen=True):
    """How ringing somebody ends, after so many seconds (of ringing, or of talking)."""

    transfer: TransferResult
    seconds: Seconds = 10.0


class QueueStep(Step, frozen=True):
    """How waiting in a queue ends."""

    queue: QueueResult
    seconds: Seconds = 30.0


class HttpReply(Step, frozen=True):
    """An HTTP reply; a ``body`` that is left out was not JSON."""

    status: Annotated[int, Meta(ge=100, le=599)] = 200
    body: Any = None


class ReplyStep(Step, frozen=True):
    """How a request ends."""

    reply: HttpReply | Literal["timeout", "error"]
    seconds: Seconds = 0.2


class RecordedMessage(Step, frozen=True):
    """How long the caller spoke; 0 is a recording with nothing in it."""

    seconds: Seconds
    url: str = ""


class RecordingStep(Step, frozen=True):
    """How a recording ends."""

    recording: RecordedMessage


class RequestExpectation(Step, frozen=True):
    """The newest request; of ``json`` and ``headers`` only what is named is compared."""

    method: str | None = None
    url: str | None = None
    json: Any = None
    headers: dict[str, str] = {}


class Expectation(Step, frozen=True):
    """What must come true before the flow waits for the caller again. What is left out does not matter.

    ``department``, ``number`` and ``sip`` are whom the caller was last connected to, or queued for.
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
    """What must come true."""

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
    """Whose flow it is."""

    id: str = "example"
    name: str = "Example Company"
    variables: dict[str, str] = {}
    time_zone: str = "America/Los_Angeles"


class Setup(Step, frozen=True):
    """What is so when the call begins. ``variables`` replace the flow's own first values.

    ``nodes`` say how the world outside answers at a node, whenever the call comes there.
    """

    caller: Annotated[str, Meta(pattern=r"^(\+[1-9][0-9]{4,14})?$")] = "+13105550100"
    number: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{4,14}$")] = "+13105550199"
    at: Annotated[datetime, Meta(tz=True)] = datetime.fromisoformat("2026-03-03T10:00:00-08:00")
    seed: str = "scenario"
    tenant: SetupTenant = SetupTenant()
    departments: dict[str, str] = {}
    hours: dict[str, OpeningHours] = {}
    variables: dict[str, Any] = {}
    nodes: dict[str, Any] = {}  # OutsideStep, which the reader makes of it


NESTED_STRUCTS: dict[str, type[Step]] = {
    "expect": Expectation,
    "request": RequestExpectation,
    "reply": HttpReply,
    "recording": RecordedMessage,
    "tenant": SetupTenant,
}
"""The structs within structs, by the key that they stand under."""


class LocatedStep(msgspec.Struct, frozen=True):
    """A step and the line of the file where it stands."""

    line: int
    step: AnyStep


class Scenario(msgspec.Struct, frozen=True):
    """One call to try."""

    name: str
    line: int
    setup: Setup
    steps: tuple[LocatedStep, ...]


def format_step(step: AnyStep) -> str:
    """The step as it could stand in the file."""
    return ", ".join(f"{key}: {_format_value(value)}" for key, value in msgspec.to_builtins(step).items())


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
