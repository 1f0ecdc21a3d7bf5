"""A scenario as a caller's script, for whoever places it as a real call.

Plain steps in order: what the caller does, what the world outside is to do, and what is to be checked then. How long
a silence must be is known from running the scenario in virtual time first.
"""

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.runner import run
from vocelio.engine.scenario.steps import (
    OVER_A_PROMPT,
    AnyStep,
    Expect,
    HangsUp,
    Hears,
    Mumbles,
    OutsideStep,
    Presses,
    Says,
    Scenario,
    Silent,
)

MARGIN = 0.5  # seconds that a silence is longer than it need be, for what audio adds to virtual time
MUMBLE = 1.5  # seconds


class Say(msgspec.Struct, frozen=True):
    """Say a text; ``interrupt`` is seconds after the prompt began, None is politely after it."""

    text: str
    interrupt: float | None = None


class Press(msgspec.Struct, frozen=True):
    """Press keys."""

    keys: str
    interrupt: float | None = None


class Mumble(msgspec.Struct, frozen=True):
    """Make a noise that has the length of a sentence and no words."""

    seconds: float = MUMBLE
    interrupt: float | None = None


class StaySilent(msgspec.Struct, frozen=True):
    """Say nothing for so long."""

    seconds: float


class PutDown(msgspec.Struct, frozen=True):
    """Hang up."""


class Elsewhere(msgspec.Struct, frozen=True):
    """Not the caller's: how a transfer, queue, request or recording ends, an operator's command, a lost line."""

    step: AnyStep


class Check(msgspec.Struct, frozen=True):
    """What is to have been heard, or to be so, before the caller's next step."""

    line: int
    step: Hears | Expect


class Script(msgspec.Struct, frozen=True):
    """The steps, and how the world answers at a node whenever the call comes there."""

    steps: tuple[Say | Press | Mumble | StaySilent | PutDown | Elsewhere | Check, ...]
    outside: dict[str, OutsideStep]


def script(version: FlowVersion, scenario: Scenario) -> Script:
    """The scenario for a caller with a voice."""
    lasted = [end - begin for begin, end in run(version, scenario).spans]
    made = tuple(
        _step(placed.line, placed.step, lasted[place] if place < len(lasted) else 0.0)
        for place, placed in enumerate(scenario.steps)
    )
    return Script(made, scenario.given.nodes)


def _step(line: int, step: AnyStep, lasted: float) -> Say | Press | Mumble | StaySilent | PutDown | Elsewhere | Check:
    match step:
        case Says(says=text):
            return Say(text, _interrupt(step.interrupts))
        case Mumbles():
            return Mumble(MUMBLE, _interrupt(step.interrupts))
        case Presses(presses=keys):
            return Press(keys, _interrupt(step.interrupts))
        case Silent(silent=long):
            return StaySilent(round(lasted + MARGIN, 2) if long is True else long)
        case HangsUp():
            return PutDown()
        case Hears() | Expect():
            return Check(line, step)
        case _:
            return Elsewhere(step)


def _interrupt(interrupts: bool | float) -> float | None:
    return None if interrupts is False else OVER_A_PROMPT if interrupts is True else interrupts
