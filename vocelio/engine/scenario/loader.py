"""Loader of scenario files: YAML beside a flow document, decoded strictly so that a typo cannot disable an assertion.

Every mistake is reported with its line; ``validate_scenarios`` also checks the names against the flow.
"""

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.errors import EngineError
from vocelio.engine.flow import FlowVersion
from vocelio.engine.scenario.steps import (
    EXTERNAL_STEP_TYPES,
    NESTED_STRUCTS,
    STEP_TYPES,
    Expect,
    LocatedStep,
    OperatorCommand,
    Scenario,
    Setup,
)
from vocelio.engine.scenario.yaml_reader import LineNumbers, YamlError, load_yaml

SCENARIO_SUFFIX = ".scenarios.yaml"
MAX_SCENARIOS = 1_000
MAX_STEPS = 200  # enough for a call of an hour

T = TypeVar("T")


class ScenarioDiagnostic(msgspec.Struct, frozen=True, order=True):
    """One mistake in a scenario file."""

    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}{f' ({self.hint})' if self.hint else ''}"


class ScenarioError(EngineError):
    """The scenario file cannot be used; ``diagnostics`` lists every mistake."""

    def __init__(self, diagnostics: list[ScenarioDiagnostic]) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(map(str, diagnostics)))


def scenario_path(flow_path: PurePath) -> PurePath:
    """Return the path of a flow's scenarios: ``front-desk.scenarios.yaml`` for ``front-desk.json``."""
    return flow_path.with_suffix(SCENARIO_SUFFIX)


def load_scenarios(text: str) -> list[Scenario]:
    """Decode a scenario file. Raises ScenarioError with every mistake."""
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
    """Decodes the values of one file and collects the mistakes."""

    def __init__(self, line_numbers: LineNumbers) -> None:
        self.diagnostics: list[ScenarioDiagnostic] = []
        self._line_numbers = line_numbers

    def decode_file(self, raw: Any) -> list[Scenario]:
        raw_scenarios = raw.get("scenarios") if isinstance(raw, dict) else None
        if not isinstance(raw_scenarios, list) or not 0 < len(raw_scenarios) <= MAX_SCENARIOS:
            self._add_diagnostic("$", f"a scenario file has `scenarios`, a list of 1 to {MAX_SCENARIOS:,}")
            return []
        self._check_keys(raw, ("scenarios", "given"), "$")
        common = self._as_mapping(raw.get("given") or {}, "$.given")
        setup = self._decode_setup(common, "$.given")
        common = {} if self.diagnostics else common  # so that its mistakes are reported once, at their own lines
        scenarios = [
            self._decode_scenario(raw_scenario, f"$.scenarios[{index}]", common, setup)
            for index, raw_scenario in enumerate(raw_scenarios)
        ]
        names = [scenario.name for scenario in scenarios]
        for index, name in enumerate(names):
            if name in names[:index]:
                self._add_diagnostic(f"$.scenarios[{index}].name", f"there are two scenarios `{name[:80]}`")
        return scenarios

    def _decode_scenario(self, raw: Any, path: str, common: dict[str, Any], setup: Setup) -> Scenario:
        fields = self._as_mapping(raw, path)
        if not fields:
            return Scenario("", self._line_of(path), setup, ())
        self._check_keys(fields, ("name", "given", "steps"), path)
        name, steps = fields.get("name"), fields.get("steps")
        if not isinstance(name, str) or not name:
            self._add_diagnostic(path, "a scenario has a `name`")
        if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
            self._add_diagnostic(path, f"a scenario has `steps`, a list of 1 to {MAX_STEPS}")
            steps = []
        own = self._as_mapping(fields.get("given") or {}, f"{path}.given")
        setup = self._decode_setup(_merge_setup(common, own), f"{path}.given") if own else setup
        located = [self._decode_step(step, f"{path}.steps[{index}]") for index, step in enumerate(steps)]
        return Scenario(str(name), self._line_of(path), setup, tuple(step for step in located if step))

    def _decode_setup(self, raw: dict[str, Any], path: str) -> Setup:
        setup = self._convert(raw, Setup, path) or Setup()
        nodes = {name: self._decode_external_step(step, f"{path}.nodes.{name}") for name, step in setup.nodes.items()}
        return msgspec.structs.replace(setup, nodes=nodes)

    def _decode_external_step(self, raw: Any, path: str) -> Any:
        key = next((key for key in self._as_mapping(raw, path) if key in EXTERNAL_STEP_TYPES), "")
        if not key:
            self._add_diagnostic(path, f"an external result is one of {', '.join(EXTERNAL_STEP_TYPES)}")
            return None
        return self._convert(raw, EXTERNAL_STEP_TYPES[key], path)

    def _decode_step(self, raw: Any, path: str) -> LocatedStep | None:
        fields = {raw: True} if isinstance(raw, str) else self._as_mapping(raw, path)
        keys = [key for key in fields if key in STEP_TYPES]
        if len(keys) == 1:
            step = self._convert(fields, STEP_TYPES[keys[0]], path)
            if getattr(step, keys[0], None) is False:
                self._add_diagnostic(path, f"`{keys[0]}: false` has no effect: leave the step out")
            return LocatedStep(self._line_of(path), step) if step else None
        if keys:
            self._add_diagnostic(path, f"a step has one of {' and '.join(f'`{key}`' for key in keys)}, not both")
        else:
            first = str(next(iter(fields), ""))[:40]
            self._add_diagnostic(path, f"there is no step `{first}`", did_you_mean(first, STEP_TYPES))
        return None

    # Conversion, and lines of mistakes

    def _convert(self, raw: Any, kind: type[T], path: str) -> T | None:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            message, _, inner_path = str(error).partition(" - at `$")
            full_path, hint = path + inner_path.rstrip("`"), ""
            if "unknown field `" in message:
                name = message.split("`")[1]
                full_path, message = f"{full_path}.{name}", f"there is no `{name}` here"
                struct = NESTED_STRUCTS.get(full_path.split(".")[-2], kind)
                hint = did_you_mean(name, getattr(struct, "__struct_fields__", ()))
            self._add_diagnostic(full_path, message[:1].lower() + message[1:], hint)
            return None

    def _check_keys(self, mapping: dict[str, Any], allowed: tuple[str, ...], path: str) -> None:
        for name in mapping:
            if name not in allowed:
                self._add_diagnostic(f"{path}.{name}", f"there is no `{name[:40]}` here", did_you_mean(name, allowed))

    def _as_mapping(self, raw: Any, path: str) -> dict[str, Any]:
        if isinstance(raw, dict):
            return raw
        self._add_diagnostic(path, "a mapping is expected here")
        return {}

    def _add_diagnostic(self, path: str, message: str, hint: str = "") -> None:
        self.diagnostics.append(ScenarioDiagnostic(self._line_of(path), message, hint))

    def _line_of(self, path: str) -> int:
        while path not in self._line_numbers and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["), 1)]
        return self._line_numbers.get(path, 1)


def _merge_setup(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge a scenario's setup over the file's; mappings such as ``nodes`` are merged key by key."""
    merged = {
        key: common[key] | own[key] for key in own if isinstance(own[key], dict) and isinstance(common.get(key), dict)
    }
    return common | own | merged


# Names, checked against the flow: a mistyped node or variable would be a test that can never pass


def validate_scenarios(version: FlowVersion, scenarios: Iterable[Scenario]) -> list[ScenarioDiagnostic]:
    """List the nodes and variables that the flow does not have, by line."""
    nodes = all_node_names(version)
    return sorted({diagnostic for scenario in scenarios for diagnostic in _validate_scenario(version, nodes, scenario)})


def all_node_names(version: FlowVersion) -> set[str]:
    """Return the names of the nodes of the flow and of its subflows."""
    return set(version.flow.nodes).union(*map(all_node_names, version.subflows.values()))


def _validate_scenario(version: FlowVersion, node_names: set[str], scenario: Scenario) -> Iterator[ScenarioDiagnostic]:
    yield from _unknown_names("variable", scenario.setup.variables, version.flow.variables, scenario.line)
    yield from _unknown_names("node", scenario.setup.nodes, node_names, scenario.line)
    for located in scenario.steps:
        match located.step:
            case Expect(expect=expectation) if expectation.node is not None:
                yield from _unknown_names("node", [expectation.node], node_names, located.line)
            case OperatorCommand(operator="jump", value=node):
                yield from _unknown_names("node", [node], node_names, located.line)
            case _:
                pass


def _unknown_names(kind: str, names: Iterable[str], existing: Iterable[str], line: int) -> Iterator[ScenarioDiagnostic]:
    existing = sorted(existing)
    for name in names:
        if name not in existing:
            yield ScenarioDiagnostic(line, f"the flow has no {kind} `{name[:80]}`", did_you_mean(name[:80], existing))
