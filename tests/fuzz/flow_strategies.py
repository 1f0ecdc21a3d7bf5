"""Strategies: random valid flows, and random events of a call."""

import json
import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from vocelio.engine.flow import EMPTY_CONTEXT, FlowVersion, ValidationContext
from vocelio.engine.validation.loader import validate_flow

EXAMPLES = int(os.environ.get("FUZZ", "150"))  # FUZZ=20000 for a long run: about four minutes
fuzz = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

TEXTS = st.sampled_from(
    [
        "Hello.",
        "",
        "{{ caller.number | digits }}",
        "{{ v0 }} and {{ v1 }}",
        "{{ v0 | plus: v1 | money }}",
        "{{ v1 | date }}",
        "{{ now | time }} {{ today | date }}",
        "{% if v0 > 2 %}many{% else %}{{ v0 }}{% endif %}",
        "{% for x in v1 %}{{ x }}, {% endfor %}",  # with a comma, so that no letters form a text of another prompt
        "{{ pin | digits }}",
        "{{ v0 | append: v0 | append: v0 }}",
    ]
)
VALUES = (
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(TEXTS, max_size=3)
    | st.dictionaries(TEXTS, TEXTS, max_size=2)
)
VARIABLES = st.sampled_from(["v0", "v1", "pin"])
CONDITIONS = st.sampled_from(["v0 > 2", "v0 == v1", "v1 contains 'a'", "pin", "call.seconds > 10", "v0 > v1 and pin"])
WORDS = [
    "sales",
    "billing",
    "operator",
    "yes",
    "no",
    "not sales",
    "one two three",
    "five hundred",
    "sales billing",
    "",
    "stop",
    "ten point five",
]
SECONDS = st.floats(0.1, 30).map(lambda s: round(s, 2))


def _optional_fields(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _node(
    kind: str, fields: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields}, optional=optional)


_MENU = {"sales": {"phrases": ["sales"], "key": "1"}, "billing": {"phrases": ["billing", "bill"], "key": "2"}}
_COLLECT_FIELDS = {
    "retries": st.integers(0, 3),
    "reprompts": st.lists(TEXTS, max_size=2),
    "barge_in": st.booleans(),
    "sensitive": st.booleans(),
    "save_as": VARIABLES,
    "confirm": st.just("Did you say {{ answer }}?"),
    "input": st.sampled_from([["speech"], ["keys"], ["speech", "keys"]]),
    "terminator": st.sampled_from(["", "#", "*"]),
}

WAITING_NODES = st.one_of(
    _node("collect", {"prompt": TEXTS, "expect": st.just("choice"), "choices": st.just(_MENU)}, **_COLLECT_FIELDS),
    _node("collect", {"prompt": TEXTS, "expect": st.sampled_from(["yes_no", "digits", "number"])}, **_COLLECT_FIELDS),
    _node("collect", {"prompt": TEXTS, "expect": st.just("text")}, **{**_COLLECT_FIELDS, "input": st.just(["speech"])}),
    _node("wait", {"seconds": SECONDS}),
    _node("echo", {"seconds": SECONDS}),
    _node("transfer", {"department": st.sampled_from(["sales", "sales", "sales", "gone"])}, whisper=TEXTS),
    _node("transfer", {"number": st.just("+13075550111")}),
    _node(
        "queue", {"department": st.sampled_from(["sales", "sales", "sales", "gone"]), "offer_callback": st.just(True)}
    ),
    _node("record", {}, prompt=TEXTS, save_as=VARIABLES, terminator=st.sampled_from(["", "#"])),
)
PASSING_NODES = st.one_of(
    _node("say", {"text": TEXTS}, barge_in=st.booleans()),
    _node("say", {"audio": st.just("welcome")}),
    _node(
        "decide",
        {
            "rules": st.lists(
                st.fixed_dictionaries({"when": CONDITIONS, "exit": st.sampled_from("ab")}), min_size=1, max_size=3
            )
        },
    ),
    _node("set", {"values": st.dictionaries(VARIABLES, VALUES, min_size=1)}),
    _node(
        "request",
        {
            "method": st.sampled_from(["GET", "POST"]),
            "url": st.sampled_from(["https://a.example.com/{{ v0 | url_encode }}", "{{ v0 }}"]),
        },
        headers=st.just({"X": "{{ secret.a }} {{ v0 }}"}),
        json=VALUES,
        save=st.just({"v0": "a.b", "v1": "$"}),
        retries=st.integers(0, 2),
    ),
    _node(
        "hours",
        {
            "time_zone": st.just("Europe/London"),
            "weekly": st.just({"tue": [["09:00", "17:00"]], "wed": [["22:00", "03:00"]]}),
        },
    ),
    _node("hours", {"department": st.just("sales")}),
    _node("split", {"weights": st.just({"a": 1, "b": 2.5})}),
    _node("voice", {"speed": st.just(1.5)}),
    _node(
        "subflow",
        {"flow": st.sampled_from(["inner", "gone"])},
        inputs=st.dictionaries(VARIABLES, VALUES),
        outputs=st.just({"v0": "v1", "pin": "pin"}),
    ),
    _node("end", {"name": st.sampled_from(["good", "bad"])}),
    _node("hangup", {}, text=TEXTS),
)

EXITS = {
    "say": ["next"],
    "decide": ["a", "b", "else"],
    "set": ["next"],
    "request": ["ok", "error", "timeout"],
    "hours": ["open", "closed", "holiday"],
    "split": ["a", "b"],
    "voice": ["next"],
    "subflow": ["next", "good", "bad"],
    "end": [],
    "hangup": [],
    "wait": ["next"],
    "echo": ["next"],
    "transfer": ["answered", "busy", "no_answer", "failed"],
    "queue": ["answered", "timeout", "callback", "failed"],
    "record": ["done", "empty"],
}


def _exits(node: dict[str, Any]) -> list[str]:
    if node["type"] == "collect":
        return [*{"choice": _MENU, "yes_no": ("yes", "no")}.get(node["expect"], ("done",)), "no_input", "no_match"]
    if node["type"] == "decide":
        return [*{rule["exit"] for rule in node["rules"]}, "else"]
    return EXITS[node["type"]]


@st.composite
def flow_documents(draw: st.DrawFn, ends: tuple[str, ...] = ()) -> bytes:
    """A valid flow without endless loops: nodes that do not wait lead to later nodes only."""
    waiting = draw(st.lists(WAITING_NODES, min_size=2, max_size=6))
    nodes = [*draw(st.lists(PASSING_NODES, min_size=1, max_size=6)), *waiting]
    first_waiting = len(nodes) - len(waiting)
    for place, node in enumerate(nodes):
        first_target = place + 1 if place < first_waiting else 0
        node = nodes[place] = {**node}
        if node["type"] == "subflow":
            names = ["next", *ends] if node["flow"] == "inner" else ["next"]
        else:
            names = _exits(node)
        names_ahead = [f"n{n}" for n in range(first_target, len(nodes))]
        targets = st.sampled_from([*names_ahead, *names_ahead, None])  # most exits have a target
        node["exits"] = {name: target for name in sorted(names) if (target := draw(targets)) is not None}
    commands = {
        "operator": {"phrases": ["operator"], "key": "0", "go": draw(st.sampled_from(["n0", f"n{len(nodes) - 1}"]))},
        "again": {"phrases": ["stop"], "key": "*", "go": "@repeat"},
    }
    document = {
        "name": "random",
        "start": "n0",
        "nodes": {f"n{n}": node for n, node in enumerate(nodes)},
        "variables": {"v0": 1, "v1": "abc", "pin": None},
        "anywhere": draw(st.just({}) | st.just(commands)),
        "max_seconds": draw(st.sampled_from([60, 3600])),
    }
    return json.dumps(document).encode()


def _validated(document: bytes, known: ValidationContext = EMPTY_CONTEXT) -> FlowVersion:
    version, problems = validate_flow(document, known)
    assert version, problems
    return version


@st.composite
def flow_versions(draw: st.DrawFn) -> FlowVersion:
    """A flow with up to two levels of subflows."""
    version = _validated(draw(flow_documents()))
    for _ in range(draw(st.integers(0, 2))):
        ends = {getattr(node, "name", "") for node in version.flow.nodes.values() if node.type == "end"}
        document = draw(flow_documents(tuple(sorted(ends))))
        if b'"gone"' in document.replace(b'"department": "gone"', b""):
            version = _validated(document)
            continue
        version = _validated(document, ValidationContext(flows={"inner": version}))
    return version


# A random event: kind, number that selects an id, word, and seconds since the last event

RandomEvent = tuple[str, int, str, float]
EVENT_KINDS = [
    *["likely"] * 45,
    "played",
    "interrupted",
    "speech",
    "quiet",
    "partly",
    "heard",
    "deaf",
    "key",
    "key",
    "timer",
    "reply",
    "transfer",
    "recording",
    "queue",
    "say",
    "jump",
    "divert",
    "resumed",
    "resumed",
]


def _random_events(seed: int, count: int) -> list[RandomEvent]:
    """Generate from a seed, so that long calls are as likely as short ones; hypothesis shrinks the count."""
    random = Random(seed)  # noqa: S311
    made = [
        (random.choice(EVENT_KINDS), random.randrange(10), random.choice(WORDS), random.choice([0.0, 0.1, 2.5]))
        for _ in range(count)
    ]
    last = random.choice(["hang_up", "gone", "timer", "likely"])
    return [*made, (last, 0, "", 100.0), ("likely", 0, "", 0.0)]


RANDOM_EVENT_LISTS = st.builds(_random_events, st.integers(0, 2**32), st.integers(0, 80))
