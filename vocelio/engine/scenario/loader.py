"""The scenario file: YAML beside a flow, read strictly, so that a mistyped key is never a test that tests nothing.

Converted step by step: every mistake is told, with its line.
"""

from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.errors import EngineError
from vocelio.engine.scenario.steps import EXTERNAL_STEP_TYPES, NESTED_STRUCTS, STEP_TYPES, LocatedStep, Scenario, Setup
from vocelio.engine.scenario.yaml_reader import LineNumbers, YamlError, load_yaml

SCENARIO_SUFFIX = ".scenarios.yaml"
MAX_SCENARIOS = 1_000
MAX_STEPS = 200  # a call of an hour

T = TypeVar("T")


class ScenarioDiagnostic(msgspec.Struct, frozen=True, order=True):
    """One finding in a scenario file."""

    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}{f' ({self.hint})' if self.hint else ''}"


class ScenarioError(EngineError):
    """A scenario file that cannot be used; ``mistakes`` lists everything found."""

    def __init__(self, diagnostics: list[ScenarioDiagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(str(mistake) for mistake in diagnostics))


def scenario_path(flow_path: PurePath) -> PurePath:
    """Where a flow's scenarios are: ``front-desk.json`` has ``front-desk.scenarios.yaml``."""
    return flow_path.with_suffix(SCENARIO_SUFFIX)


def load_scenarios(text: str) -> list[Scenario]:
    """The scenarios of a file. Raises ScenarioError with everything that is wrong with it."""
    try:
        raw, lines = load_yaml(text)
    except YamlError as error:
        raise ScenarioError([ScenarioDiagnostic(error.line, str(error))]) from error
    reader = _ScenarioDecoder(lines)
    scenarios = reader.decode_file(raw)
    if reader.diagnostics:
        raise ScenarioError(sorted(reader.diagnostics))
    return scenarios


class _ScenarioDecoder:
    """Goes through the values and gathers mistakes."""

    def __init__(self, line_numbers: LineNumbers) -> None:
        self.diagnostics: list[ScenarioDiagnostic] = []
        self._line_numbers = line_numbers

    def decode_file(self, raw: Any) -> list[Scenario]:
        listed = raw.get("scenarios") if isinstance(raw, dict) else None
        if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SCENARIOS:
            self._add_diagnostic("$", f"a scenario file has `scenarios`, a list of 1 to {MAX_SCENARIOS:,}")
            return []
        self._check_keys(raw, ("scenarios", "given"), "$")
        common = self._as_mapping(raw.get("given") or {}, "$.given")
        given = self._decode_setup(common, "$.given")
        common = {} if self.diagnostics else common  # so that they are told once, where they stand
        found = [
            self._decode_scenario(each, f"$.scenarios[{place}]", common, given) for place, each in enumerate(listed)
        ]
        names = [one.name for one in found]
        for place, name in enumerate(names):
            if name in names[:place]:
                self._add_diagnostic(f"$.scenarios[{place}].name", f"there are two scenarios `{name[:80]}`")
        return found

    def _decode_scenario(self, raw: Any, path: str, common: dict[str, Any], given: Setup) -> Scenario:
        fields = self._as_mapping(raw, path)
        if not fields:
            return Scenario("", self._line_of(path), given, ())
        self._check_keys(fields, ("name", "given", "steps"), path)
        name, steps = fields.get("name"), fields.get("steps")
        if not isinstance(name, str) or not name:
            self._add_diagnostic(path, "a scenario has a `name`")
        if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
            self._add_diagnostic(path, f"a scenario has `steps`, a list of 1 to {MAX_STEPS}")
            steps = []
        own = self._as_mapping(fields.get("given") or {}, f"{path}.given")
        given = self._decode_setup(_merge_setup(common, own), f"{path}.given") if own else given
        placed = [self._decode_step(step, f"{path}.steps[{place}]") for place, step in enumerate(steps)]
        return Scenario(str(name), self._line_of(path), given, tuple(step for step in placed if step))

    def _decode_setup(self, raw: dict[str, Any], path: str) -> Setup:
        given = self._convert(raw, Setup, path) or Setup()
        nodes = {name: self._decode_external_step(step, f"{path}.nodes.{name}") for name, step in given.nodes.items()}
        return msgspec.structs.replace(given, nodes=nodes)

    def _decode_external_step(self, raw: Any, path: str) -> Any:
        key = next((key for key in self._as_mapping(raw, path) if key in EXTERNAL_STEP_TYPES), "")
        if not key:
            self._add_diagnostic(path, f"how the outside answers is one of {', '.join(EXTERNAL_STEP_TYPES)}")
            return None
        return self._convert(raw, EXTERNAL_STEP_TYPES[key], path)

    def _decode_step(self, raw: Any, path: str) -> LocatedStep | None:
        fields = {raw: True} if isinstance(raw, str) else self._as_mapping(raw, path)
        keys = [key for key in fields if key in STEP_TYPES]
        if len(keys) == 1:
            step = self._convert(fields, STEP_TYPES[keys[0]], path)
            if getattr(step, keys[0], None) is False:
                self._add_diagnostic(path, f"`{keys[0]}: false` says nothing: leave the step out")
            return LocatedStep(self._line_of(path), step) if step else None
        if keys:
            self._add_diagnostic(path, f"one step, one thing: {' and '.join(f'`{key}`' for key in keys)}")
        else:
            first = str(next(iter(fields), ""))[:40]
            self._add_diagnostic(path, f"there is no step `{first}`", did_you_mean(first, STEP_TYPES))
        return None

    # Conversion, and where a mistake stands

    def _convert(self, raw: Any, kind: type[T], path: str) -> T | None:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            where, hint = path + place.rstrip("`"), ""
            if "unknown field `" in message:
                name = message.split("`")[1]
                where, message = f"{where}.{name}", f"there is no `{name}` here"
                inner = NESTED_STRUCTS.get(where.split(".")[-2], kind)
                hint = did_you_mean(name, getattr(inner, "__struct_fields__", ()))
            self._add_diagnostic(where, message[:1].lower() + message[1:], hint)
            return None

    def _check_keys(self, mapping: dict[str, Any], allowed: tuple[str, ...], path: str) -> None:
        for name in mapping:
            if name not in allowed:
                self._add_diagnostic(f"{path}.{name}", f"there is no `{name[:40]}` here", did_you_mean(name, allowed))

    def _as_mapping(self, raw: Any, path: str) -> dict[str, Any]:
        if isinstance(raw, dict):
            return raw
        self._add_diagnostic(path, "keys and values are expected here")
        return {}

    def _add_diagnostic(self, path: str, message: str, hint: str = "") -> None:
        self.diagnostics.append(ScenarioDiagnostic(self._line_of(path), message, hint))

    def _line_of(self, path: str) -> int:
        while path not in self._line_numbers and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["), 1)]
        return self._line_numbers.get(path, 1)


def _merge_setup(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a scenario gives goes before what the file gives, key by key also within ``nodes`` and its like."""
    both = {
        key: common[key] | own[key] for key in own if isinstance(own[key], dict) and isinstance(common.get(key), dict)
    }
    return common | own | both
