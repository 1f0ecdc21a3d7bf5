"""Fuzz documents and templates: each is accepted or rejected with the documented errors only."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.flow_strategies import flow_documents, fuzz
from tests.support.session_driver import make_call_info
from vocelio.engine import events
from vocelio.engine.session import FlowSession
from vocelio.engine.templating.template import Condition, RenderError, Template
from vocelio.engine.validation.loader import validate_flow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        " if ",
        " for i in ",
        "endif",
        "endfor",
        "assign a = ",
        "(1..n)",
        "n",
        "a.b",
        "['x']",
        "[0]",
        "|",
        " plus: ",
        " split: ''",
        " join",
        " date",
        " time",
        " money",
        " digits",
        " append: s",
        " times: n",
        " slice: n",
        "1",
        "-1.5",
        "'",
        '"',
        ",",
        ":",
        " and ",
        " contains ",
        " > ",
        "==",
        "nil",
        "-",
        " ",
        "\n",
        "\0",
        "\u00e9",
        "s",
        "l",
        "now",
        "else",
        "case",
        "when",
        "capture c",
        "endcapture",
        "comment",
        "%",
        "#",
    ]
)
SCOPE = {
    "n": 3,
    "s": "text",
    "l": [1, "a", None, {"b": 1.5}],
    "a": {"b": "2026-03-03"},
    "now": make_call_info().started_at,
    "i": -1,
}


@st.composite
def mutated_documents(draw: st.DrawFn) -> bytes:
    """A valid flow with one to three values replaced."""
    document: Any = json.loads(draw(flow_documents()))
    for _ in range(draw(st.integers(1, 3))):
        place, parent = document, None
        while isinstance(place, dict | list) and place and (parent is None or draw(st.integers(0, 3))):
            key = (
                draw(st.sampled_from(sorted(place)))
                if isinstance(place, dict)
                else draw(st.integers(0, len(place) - 1))
            )
            parent, place = (place, key), place[key]
        if parent is not None:
            parent[0][parent[1]] = draw(JSON | PIECES)
    return json.dumps(document).encode()


@fuzz
@given(mutated_documents())
def test_document_is_accepted_or_rejected(document: bytes) -> None:
    version, diagnostics = validate_flow(document)
    assert (version is None) == any(diagnostic.severity == "error" for diagnostic in diagnostics)
    for diagnostic in diagnostics:
        assert str(diagnostic)
        assert len(str(diagnostic)) < 2_000
    if version is not None:
        session = FlowSession(version, make_call_info())
        session.receive(events.CallStarted(0.0))
        assert session.node or session.ended


@fuzz
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_rejected(document: bytes) -> None:
    version, diagnostics = validate_flow(document)
    assert version is None
    assert diagnostics


@fuzz
@given(st.lists(PIECES, max_size=25).map("".join))
def test_template_is_rejected_fails_or_renders(source: str) -> None:
    for shape in ("{}", "{{{{ {} }}}}", "{{% if {} %}}x{{% endif %}}"):
        with suppress(ValueError, RenderError):
            template = Template(shape.format(source))
            template.render(SCOPE)
            json.dumps(template.render_value(SCOPE))
    with suppress(ValueError, RenderError):
        Condition(source).evaluate(SCOPE)
