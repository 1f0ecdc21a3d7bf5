"""What can be foreseen of the calls of a flow: which nodes they reach, in which voices and with which known values.

An abstract run: from the start along every exit, each node with all that can be the case there, until nothing is new
(the textbook's forward data-flow analysis; sets only grow, so it ends). A variable is known where each of its writers
writes one of a few values: a choice, a literal, something about the tenant. What was entered in confidence never is.
An operator's jump is not foreseen.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from vocelio.engine.flow import REPEAT, FlowVersion
from vocelio.engine.node import Node
from vocelio.engine.nodes.collect import Collect
from vocelio.engine.nodes.end import End
from vocelio.engine.nodes.record import Record
from vocelio.engine.nodes.request import Request
from vocelio.engine.nodes.set import Set
from vocelio.engine.nodes.subflow import Subflow
from vocelio.engine.nodes.voice import ChangeVoice
from vocelio.engine.prompts.expansion import MAX_VARIANTS, Name
from vocelio.engine.templating.template import RenderError, Value
from vocelio.engine.voice import Voice

MAX_VOICES = 20  # at one node: more languages than any phone line has
MAX_STEPS = (
    20_000  # exits followed: a second's work, of a flow that was made to take it; what is beyond is not foreseen
)

NEXT = "next"
TENANT: Name = ("tenant",)


class Facts(NamedTuple):
    """What can be the case at a node: the voices, and the values (as JSON) of the names that have but a few."""

    voices: frozenset[Voice]
    values: Mapping[Name, frozenset[str]]

    def joined(self, other: "Facts") -> "Facts":
        """Either is the case."""
        if other == self:
            return self
        both = {name: self.values[name] | other.values[name] for name in self.values if name in other.values}
        few = {name: values for name, values in both.items() if len(values) <= MAX_VARIANTS}
        voices = self.voices | other.voices
        return Facts(voices if len(voices) <= MAX_VOICES else self.voices, few)

    def knowing(self, name: Name, values: frozenset[str] | None) -> "Facts":
        """The same, but for one name; None is not known."""
        if self.values.get(name) == values:
            return self
        rest = {other: held for other, held in self.values.items() if other != name}
        return Facts(self.voices, rest if values is None else {**rest, name: values})

    @property
    def key(self) -> tuple[frozenset[Voice], frozenset[Any]]:
        """What a dictionary can find it by."""
        return self.voices, frozenset(self.values.items())


class Seen(NamedTuple):
    """What was foreseen of one flow: the facts at each node, first the first ones, and at each of its ends.

    ``unled``: a way out leads nowhere.
    """

    at: dict[str, Facts]
    ends: dict[str, Facts]
    unled: bool


class Foresight:
    """The foresight of one version, by the ``tenant`` as its templates see it."""

    def __init__(self, version: FlowVersion, tenant: Mapping[str, Any]) -> None:
        self._tenant = dict(tenant)
        self._steps = MAX_STEPS
        self._seen: dict[Any, Seen] = {}
        self.root = self.explored(version, self._entry(version, frozenset([version.flow.voice])))

    def explored(self, version: FlowVersion, entry: Facts) -> Seen:
        """What is foreseen of a version that is entered so."""
        key = (version.id, entry.key)
        if key not in self._seen:
            self._seen[key] = self._explore(version, entry)
        return self._seen[key]

    def within(self, version: FlowVersion, node: Subflow, facts: Facts) -> tuple[FlowVersion, Facts] | None:
        """The flow that a node calls, and how it is entered."""
        called = version.subflows.get(node.reference)
        if called is None:
            return None
        entry = self._entry(called, facts.voices)
        for name, value in node.inputs.items():
            entry = entry.knowing((name,), self._known(value))
        return called, entry

    def _entry(self, version: FlowVersion, voices: frozenset[Voice]) -> Facts:
        initial: dict[Name, frozenset[str]] = {
            (name,): frozenset([_json(value)]) for name, value in version.flow.variables.items()
        }
        return Facts(voices, {**initial, TENANT: frozenset([_json(self._tenant)])})

    def _explore(self, version: FlowVersion, entry: Facts) -> Seen:
        at, ends, unled = {version.flow.start: entry}, dict[str, Facts](), False
        ahead = dict.fromkeys([version.flow.start])  # a queue that holds each once
        while ahead:
            name = next(iter(ahead))
            del ahead[name]
            for target, facts in self._leads(version, name, at[name], ends):
                self._steps -= 1
                if target is None:
                    unled = True
                    _join(ends, NEXT, facts)
                elif self._steps > 0 and _join(at, target, facts):
                    ahead[target] = None
        return Seen(at, ends, unled)

    def _leads(
        self, version: FlowVersion, name: str, facts: Facts, ends: dict[str, Facts]
    ) -> Iterator[tuple[str | None, Facts]]:
        """Where a node leads, and with what."""
        node = version.flow.nodes[name]
        if isinstance(node, End):
            _join(ends, node.name, facts)
            return
        if isinstance(node, Collect | Subflow):  # a question, or a flow that has some
            wishes = (wish.go for wish in version.flow.anywhere.values() if wish.go != REPEAT)
            yield from ((target, facts) for target in wishes)
        for exit_name, after in self._exits(version, node, facts):
            if exit_name == "answered" and exit_name not in node.exits:
                continue  # the caller has been put through, and nobody says goodbye
            yield node.exit_taken(exit_name), after.knowing((name, "value"), _result(node, exit_name))

    def _exits(self, version: FlowVersion, node: Node, facts: Facts) -> Iterator[tuple[str, Facts]]:
        match node:
            case Collect():
                for exit_name in node.ways_out():
                    yield exit_name, _collected(node, exit_name, facts)
            case ChangeVoice():
                yield NEXT, Facts(frozenset(map(node.changed, facts.voices)), facts.values)
            case Set():
                for name, value in node.values.items():
                    facts = facts.knowing((name,), self._known(value))
                yield NEXT, facts
            case Subflow():
                yield from self._through(version, node, facts)
            case Request() | Record():
                unknown = facts
                for name in node.variables():
                    unknown = unknown.knowing((name,), None)
                yield from ((exit_name, unknown) for exit_name in node.ways_out())
            case _:
                yield from ((exit_name, facts) for exit_name in node.ways_out())

    def _through(self, version: FlowVersion, node: Subflow, facts: Facts) -> Iterator[tuple[str, Facts]]:
        """Out of a called flow by each of its ends: with its outputs, in the voice of before."""
        entered = self.within(version, node, facts)
        ends = self.explored(*entered).ends if entered else {NEXT: Facts(facts.voices, {})}
        for exit_name, inner in ends.items():
            after = facts
            for outer, name in node.outputs.items():
                after = after.knowing((outer,), inner.values.get((name,)))
            yield exit_name, after

    def _known(self, value: Value) -> frozenset[str] | None:
        """A literal's value, or that of a template that reads only what the tenant is."""
        if any(path[0] != "tenant" for path in value.paths):
            return None
        try:
            return frozenset([_json(value.value({"tenant": self._tenant}))])
        except RenderError:
            return None


def _collected(node: Collect, exit_name: str, facts: Facts) -> Facts:
    if not node.save_as or exit_name in ("no_input", "no_match"):
        return facts
    few = node.expect in ("choice", "yes_no") and not node.sensitive
    return facts.knowing((node.save_as,), frozenset([_json(exit_name)]) if few else None)


def _result(node: Node, exit_name: str) -> frozenset[str] | None:
    """What later templates read as ``{{ node.value }}``: the exit's name, where the node's type has such a value."""
    if "value" not in node.results or node.confidential:
        return None
    if isinstance(node, Collect) and (node.expect not in ("choice", "yes_no") or exit_name not in node.ways_out()[:-2]):
        return None
    return frozenset([_json(exit_name)])


def _join(held: dict[str, Facts], name: str, facts: Facts) -> bool:
    """Whether that is new."""
    before = held.get(name)
    held[name] = facts if before is None else before.joined(facts)
    return held[name] != before


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
