"""A scenario as a caller's script, for whoever places it as a real call.

Plain steps in order: what the caller does, what the world outside is to do, and what is to be checked then. How long
a silence must be is known from running the scenario in virtual time first.
"""

import msgspec

from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.runner import run_scenario
from vocelio.engine.scenario.steps import (
    DEFAULT_INTERRUPT_SECONDS,
    AnyStep,
    Expect,
    ExternalStep,
    HangsUp,
    Hears,
    Mumbles,
    Presses,
    Says,
    Scenario,
    Silent,
)

SILENCE_MARGIN_SECONDS = 0.5  # seconds that a silence is longer than it need be, for what audio adds to virtual time
NOISE_SECONDS = 1.5  # seconds


class Say(msgspec.Struct, frozen=True):
    """Say a text; ``interrupt`` is seconds after the prompt began, None is politely after it."""

    text: str
    interrupt_after_seconds: float | None = None


class Press(msgspec.Struct, frozen=True):
    """Press keys."""

    keys: str
    interrupt_after_seconds: float | None = None


class Noise(msgspec.Struct, frozen=True):
    """Make a noise that has the length of a sentence and no words."""

    seconds: float = NOISE_SECONDS
    interrupt_after_seconds: float | None = None


class StaySilent(msgspec.Struct, frozen=True):
    """Say nothing for so long."""

    seconds: float


class HangUp(msgspec.Struct, frozen=True):
    """Hang up."""


class ExternalEvent(msgspec.Struct, frozen=True):
    """Not the caller's: how a transfer, queue, request or recording ends, an operator's command, a lost line."""

    step: AnyStep


class Check(msgspec.Struct, frozen=True):
    """What is to have been heard, or to be so, before the caller's next step."""

    line: int
    step: Hears | Expect


class CallScript(msgspec.Struct, frozen=True):
    """The steps, and how the world answers at a node whenever the call comes there."""

    steps: tuple[Say | Press | Noise | StaySilent | HangUp | ExternalEvent | Check, ...]
    external_steps: dict[str, ExternalStep]


def build_call_script(version: FlowVersion, scenario: Scenario) -> CallScript:
    """The scenario for a caller with a voice."""
    lasted = [end - begin for begin, end in run_scenario(version, scenario).step_spans]
    made = tuple(
        _convert_step(placed.line, placed.step, lasted[place] if place < len(lasted) else 0.0)
        for place, placed in enumerate(scenario.steps)
    )
    return CallScript(made, scenario.setup.nodes)


def _convert_step(
    line: int, step: AnyStep, elapsed_seconds: float
) -> Say | Press | Noise | StaySilent | HangUp | ExternalEvent | Check:
    match step:
        case Says(says=text):
            return Say(text, _interrupt_seconds(step.interrupts))
        case Mumbles():
            return Noise(NOISE_SECONDS, _interrupt_seconds(step.interrupts))
        case Presses(presses=keys):
            return Press(keys, _interrupt_seconds(step.interrupts))
        case Silent(silent=long):
            return StaySilent(round(elapsed_seconds + SILENCE_MARGIN_SECONDS, 2) if long is True else long)
        case HangsUp():
            return HangUp()
        case Hears() | Expect():
            return Check(line, step)
        case _:
            return ExternalEvent(step)


def _interrupt_seconds(interrupts: bool | float) -> float | None:
    return None if interrupts is False else DEFAULT_INTERRUPT_SECONDS if interrupts is True else interrupts
