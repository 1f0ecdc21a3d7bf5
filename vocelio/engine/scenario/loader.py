"""The scenario file: YAML beside a flow, read strictly, so that a mistyped key is never a test that tests nothing.

Converted step by step: every mistake is told, with its line.
"""

from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from vocelio.engine.diagnostics import did_you_mean
from vocelio.engine.errors import EngineError
from vocelio.engine.scenario.steps import NESTED, OUTSIDE, STEPS, Given, Placed, Scenario
from vocelio.engine.scenario.yaml_reader import Lines, YamlError, read

SUFFIX = ".scenarios.yaml"
MAX_SCENARIOS = 1_000
MAX_STEPS = 200  # a call of an hour

T = TypeVar("T")


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One finding in a scenario file."""

    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}{f' ({self.hint})' if self.hint else ''}"


class ScenarioError(EngineError):
    """A scenario file that cannot be used; ``mistakes`` lists everything found."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(str(mistake) for mistake in mistakes))


def beside(flow: PurePath) -> PurePath:
    """Where a flow's scenarios are: ``front-desk.json`` has ``front-desk.scenarios.yaml``."""
    return flow.with_suffix(SUFFIX)


def load(text: str) -> list[Scenario]:
    """The scenarios of a file. Raises ScenarioError with everything that is wrong with it."""
    try:
        raw, lines = read(text)
    except YamlError as error:
        raise ScenarioError([Mistake(error.line, str(error))]) from error
    reader = _Reader(lines)
    scenarios = reader.file(raw)
    if reader.mistakes:
        raise ScenarioError(sorted(reader.mistakes))
    return scenarios


class _Reader:
    """Goes through the values and gathers mistakes."""

    def __init__(self, lines: Lines) -> None:
        self.mistakes: list[Mistake] = []
        self._lines = lines

    def file(self, raw: Any) -> list[Scenario]:
        listed = raw.get("scenarios") if isinstance(raw, dict) else None
        if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SCENARIOS:
            self._mistake("$", f"a scenario file has `scenarios`, a list of 1 to {MAX_SCENARIOS:,}")
            return []
        self._known(raw, ("scenarios", "given"), "$")
        common = self._mapping(raw.get("given") or {}, "$.given")
        given = self._given(common, "$.given")
        common = {} if self.mistakes else common  # so that they are told once, where they stand
        found = [self._scenario(each, f"$.scenarios[{place}]", common, given) for place, each in enumerate(listed)]
        names = [one.name for one in found]
        for place, name in enumerate(names):
            if name in names[:place]:
                self._mistake(f"$.scenarios[{place}].name", f"there are two scenarios `{name[:80]}`")
        return found

    def _scenario(self, raw: Any, path: str, common: dict[str, Any], given: Given) -> Scenario:
        fields = self._mapping(raw, path)
        if not fields:
            return Scenario("", self._line(path), given, ())
        self._known(fields, ("name", "given", "steps"), path)
        name, steps = fields.get("name"), fields.get("steps")
        if not isinstance(name, str) or not name:
            self._mistake(path, "a scenario has a `name`")
        if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
            self._mistake(path, f"a scenario has `steps`, a list of 1 to {MAX_STEPS}")
            steps = []
        own = self._mapping(fields.get("given") or {}, f"{path}.given")
        given = self._given(_merged(common, own), f"{path}.given") if own else given
        placed = [self._step(step, f"{path}.steps[{place}]") for place, step in enumerate(steps)]
        return Scenario(str(name), self._line(path), given, tuple(step for step in placed if step))

    def _given(self, raw: dict[str, Any], path: str) -> Given:
        given = self._convert(raw, Given, path) or Given()
        nodes = {name: self._outside(step, f"{path}.nodes.{name}") for name, step in given.nodes.items()}
        return msgspec.structs.replace(given, nodes=nodes)

    def _outside(self, raw: Any, path: str) -> Any:
        key = next((key for key in self._mapping(raw, path) if key in OUTSIDE), "")
        if not key:
            self._mistake(path, f"how the outside answers is one of {', '.join(OUTSIDE)}")
            return None
        return self._convert(raw, OUTSIDE[key], path)

    def _step(self, raw: Any, path: str) -> Placed | None:
        fields = {raw: True} if isinstance(raw, str) else self._mapping(raw, path)
        keys = [key for key in fields if key in STEPS]
        if len(keys) == 1:
            step = self._convert(fields, STEPS[keys[0]], path)
            if getattr(step, keys[0], None) is False:
                self._mistake(path, f"`{keys[0]}: false` says nothing: leave the step out")
            return Placed(self._line(path), step) if step else None
        if keys:
            self._mistake(path, f"one step, one thing: {' and '.join(f'`{key}`' for key in keys)}")
        else:
            first = str(next(iter(fields), ""))[:40]
            self._mistake(path, f"there is no step `{first}`", did_you_mean(first, STEPS))
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
                inner = NESTED.get(where.split(".")[-2], kind)
                hint = did_you_mean(name, getattr(inner, "__struct_fields__", ()))
            self._mistake(where, message[:1].lower() + message[1:], hint)
            return None

    def _known(self, fields: dict[str, Any], known: tuple[str, ...], path: str) -> None:
        for name in fields:
            if name not in known:
                self._mistake(f"{path}.{name}", f"there is no `{name[:40]}` here", did_you_mean(name, known))

    def _mapping(self, raw: Any, path: str) -> dict[str, Any]:
        if isinstance(raw, dict):
            return raw
        self._mistake(path, "keys and values are expected here")
        return {}

    def _mistake(self, path: str, message: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(self._line(path), message, hint))

    def _line(self, path: str) -> int:
        while path not in self._lines and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["), 1)]
        return self._lines.get(path, 1)


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a scenario gives goes before what the file gives, key by key also within ``nodes`` and its like."""
    both = {
        key: common[key] | own[key] for key in own if isinstance(own[key], dict) and isinstance(common.get(key), dict)
    }
    return common | own | both
