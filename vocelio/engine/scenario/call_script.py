"""Call script: a scenario as plain steps for a caller with audio.

The steps are the caller's actions, the external results and the checks in between. The length of each silence is taken
from a run in virtual time.
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

SILENCE_MARGIN_SECONDS = 0.5  # added to each silence: with audio a call takes longer than in virtual time
NOISE_SECONDS = 1.5  # about a sentence


class Say(msgspec.Struct, frozen=True):
    """Say a text, that many seconds after the prompt began; None is after its end."""

    text: str
    interrupt_after_seconds: float | None = None


class Press(msgspec.Struct, frozen=True):
    """Press keys."""

    keys: str
    interrupt_after_seconds: float | None = None


class Noise(msgspec.Struct, frozen=True):
    """Make a noise without words."""

    seconds: float = NOISE_SECONDS
    interrupt_after_seconds: float | None = None


class StaySilent(msgspec.Struct, frozen=True):
    """Stay silent."""

    seconds: float


class HangUp(msgspec.Struct, frozen=True):
    """Hang up."""


class ExternalEvent(msgspec.Struct, frozen=True):
    """An event from outside: an external result, an operator's command or a lost stream."""

    step: AnyStep


class Check(msgspec.Struct, frozen=True):
    """A check before the caller's next step."""

    line: int
    step: Hears | Expect


class CallScript(msgspec.Struct, frozen=True):
    """The steps, and the external results by node."""

    steps: tuple[Say | Press | Noise | StaySilent | HangUp | ExternalEvent | Check, ...]
    external_steps: dict[str, ExternalStep]


def build_call_script(version: FlowVersion, scenario: Scenario) -> CallScript:
    """Convert a scenario."""
    durations = [end - start for start, end in run_scenario(version, scenario).step_spans]
    steps = tuple(
        _convert_step(located.line, located.step, durations[index] if index < len(durations) else 0.0)
        for index, located in enumerate(scenario.steps)
    )
    return CallScript(steps, scenario.setup.nodes)


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
        case Silent(silent=duration):
            return StaySilent(round(elapsed_seconds + SILENCE_MARGIN_SECONDS, 2) if duration is True else duration)
        case HangsUp():
            return HangUp()
        case Hears() | Expect():
            return Check(line, step)
        case _:
            return ExternalEvent(step)


def _interrupt_seconds(interrupts: bool | float) -> float | None:
    return None if interrupts is False else DEFAULT_INTERRUPT_SECONDS if interrupts is True else interrupts
