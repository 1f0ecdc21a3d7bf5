"""Liquid templates: results, rejected constructs, and bounded rendering time."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from vocelio.engine.templating.jsonpath import JsonPath
from vocelio.engine.templating.template import Condition, RenderError, Template, TemplateValue

NOW = datetime(2026, 3, 3, 14, 30, tzinfo=UTC)
SCOPE: dict[str, Any] = {
    "now": NOW,
    "today": NOW.date(),
    "tries": 1,
    "name": "Acme",
    "items": [1, 2, 3],
    "deep": {"a": {"b": 1}},
    "void": "",
    "nothing": None,
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("Hi {{ name }}!", "Hi Acme!"),
        ("{% if tries > 0 %}again{% endif %}", "again"),
        ("{% for i in items %}{{ i }},{% endfor %}", "1,2,3,"),
        ("{% for i in (1..3) reversed %}{{ i }}{% endfor %}", "321"),
        ("{% assign a = 'x' %}{{ a }}{{ a }}", "xx"),
        ("{{ deep.a.b }}{{ deep.z.b }}{{ nothing }}", "1"),
        ("{{ 1234 | digits }} {{ '+1 (307) 555' | digits }}", "1 2 3 4 1 3 0 7 5 5 5"),
        ("{{ 12.5 | money }}", "12 dollars and 50 cents"),
        ("{{ 1.01 | money }}", "1 dollar and 1 cent"),
        ("{{ '-1,250.005' | money: 'eur' }}", "minus 1250 euros and 1 cent"),
        ("{{ 0 | money: 'GBP' }} {{ 0.01 | money: 'GBP' }}", "0 pounds 1 penny"),
        ("{{ now | date }}", "Tuesday the third of March"),
        ("{{ '2026-12-25' | date }}", "Friday the twenty-fifth of December"),
        ("{{ 'now' | date: '%Y-%m-%d %H:%M' }} {{ 'today' | date }}", "2026-03-03 14:30 Tuesday the third of March"),
        ("{{ 0 | date: '%Y' }}", "1970"),
        ("{{ '' | date }}{{ nothing | time }}", ""),
        ("{{ now | time }}", "half past two in the afternoon"),
        ("{{ '09:05' | time }}", "nine oh five in the morning"),
        ("{{ '2026-03-03T23:45:00Z' | time }}", "quarter to twelve at night"),
        ("{{ '12:00' | time }} {{ '00:00' | time }}", "noon midnight"),
        (
            "{{ '18:00' | time }}, {{ '07:15' | time }}, {{ '21:41' | time }}",
            "six o'clock in the evening, quarter past seven in the morning, nine forty-one in the evening",
        ),
        ("{{ items | join: ' and ' }} {{ 'a-b' | replace: '-', ' to ' }}", "1 and 2 and 3 a to b"),
    ],
)
def test_render(source: str, text: str) -> None:
    assert Template(source).render(SCOPE) == text


def test_instant_is_converted_to_the_time_zone_of_now() -> None:
    scope = {"now": NOW.astimezone(timezone(timedelta(hours=-7)))}
    assert Template("{{ '2026-03-03T14:30:00Z' | time }}").render(scope) == "half past seven in the morning"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ tries }}", 1),
        ("{{ tries | plus: 1 }}", 2),
        ("{{ items }}", [1, 2, 3]),
        ("{{ name }}!", "Acme!"),
        ("{{ lost }}", None),
        ("{{ now }}", "2026-03-03T14:30:00+00:00"),
        ("{{ 7 | divided_by: 2.0 }}", 3.5),
        (" {{ tries }}", " 1"),
        (5, 5),
        (None, None),
        ({"a": ["{{ tries }}", True]}, {"a": [1, True]}),
    ],
)
def test_value_keeps_its_type(source: object, value: object) -> None:
    assert TemplateValue(source).render_value(SCOPE) == value


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("tries > 0", True),
        ("tries == '1'", False),
        ("lost", False),
        ("name contains 'c' and tries == 1", True),
        ("deep.a.b == 1", True),
        ("items.size == 3", True),
        ("void == blank", True),
    ],
)
def test_evaluate_condition(source: str, result: bool) -> None:
    assert Condition(source).evaluate(SCOPE) is result


def test_undefined_name_is_reported_only_when_rendered() -> None:
    missing: list[str] = []
    Template("{% if lost %}{% endif %}{{ lost | default: 'x' }}{{ other.a }}{{ deep.q }}").render(SCOPE, missing)
    assert missing == ["other.a", "deep.q"]
    assert TemplateValue("{{ third }}").render_value(SCOPE, missing) is None
    assert missing[-1] == "third"


def test_variable_paths() -> None:
    template = Template(
        "{{ a.b[0].c }}{% for x in list %}{{ x.y }}{% endfor %}{% assign z = q %}{{ z }}{{ a.b['c d'] }}"
    )
    assert template.variable_paths == (("a", "b"), ("a", "b", "c d"), ("list",), ("q",))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ name", "expected '}}'"),
        ("{{ name | shout }}", "there is no filter `shout`"),
        ("{{ name | digit }}", "did you mean `digits`?"),
        ("{% include 'x' %}", "unexpected tag"),
        ("{% render 'x' %}", "unexpected tag"),
        ("{% cycle 'a', 'b' %}", "unexpected tag"),
        ("{% if name %}", "endif"),
        ("{{ (1..5) }}", "a range is only allowed in `for`"),
        ("{% if (1..1000000000) contains 'x' %}{% endif %}", "a range is only allowed in `for`"),
        ("{% assign x = (1..1000000000) %}", "a range is only allowed in `for`"),
        ("{% for i in items offset: 100 %}{% endfor %}", "not support `offset`"),
        ("{{ [name] }}", "computed at run time"),
        ("{% if a %}" * 11 + "{% endif %}" * 11, "nest"),
        ("x{{ a }}" * 301, "at most 300 tags"),
        ("x" * 5_001, "at most 5,000 characters"),
        ("{{ " + "a[" * 900 + "0" + "]" * 900 + " }}", "at most 50 brackets"),
        ("{{ " + "9" * 4_900 + " }}", "not a Liquid template"),
    ],
)
def test_compile_rejects_unsupported_template(source: str, message: str) -> None:
    with pytest.raises(ValueError, match="(?i)" + message.replace("(", r"\(").replace("|", r"\|").replace("?", r"\?")):
        Template(source)


@pytest.mark.parametrize("source", ["", " ", "a >", "a %}{% if b", "a | plus: 1", "(a)"])
def test_invalid_condition_is_rejected(source: str) -> None:
    with pytest.raises(ValueError):
        Condition(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 5 | divided_by: 0 }}",
        "{{ 5 | modulo: 0 }}",
        "{{ '1e999' | ceil }}",
        "{{ 'nan' | floor }}",
        "{{ 'x' | money }}",
        "{{ 'inf' | money }}",
        "{{ 1 | money: 'XXX' }}",
        "{{ 'yesterday' | date }}",
        "{{ 99999999999999999999 | date }}",
        "{{ now | date: '%1000000d' }}",
        "{{ 1000000000000000000000000000000 | times: 1000000000000000000000000000000 | times: 2 }}",
        "{{ name | append }}",
        "{{ name | slice: 'x' }}",
        "{{ items | join: name, name, name }}",
        "{% for i in (1..201) %}{% endfor %}",
        "{% for i in (1..99999999999) reversed %}{% endfor %}",
        "{% for i in (1..20) %}{% for j in (1..20) %}{% endfor %}{% endfor %}",
        "{{ 'x' | replace: '', name }}{% if name > 3 %}{% endif %}",
    ],
)
def test_render_failure_is_a_render_error(source: str) -> None:
    with pytest.raises(RenderError):
        Template(source).render(SCOPE)


BIG = "x" * 9_000
EXPENSIVE_TEMPLATES = [
    "{% for i in (1..200) %}" + "{{ big | split: '' | join: '' | split: '' | join: '-' }}" * 40 + "{% endfor %}",
    "{% for i in (1..200) %}{% endfor %}" * 125,
    "{% for i in (1..200) %}" + "{{''}}" * 250 + "{% endfor %}",
    "{% for i in (1..200) %}" + "{{a}}" * 250 + "{% endfor %}",
    "{% for i in (1..200) %}" + "{% if big contains 'xxxxxxxxxxxxxxxxxy' %}{% endif %}" * 80 + "{% endfor %}",
    "{% capture c %}" + "{{ big }}" + "{% endcapture %}" + "{{ c | append: c | append: c | append: c }}",
    "{% for i in (1..200) %}{% assign b = b | append: big %}{% endfor %}",
    "{% for i in (1..200) %}{% capture b %}{{ b }}{{ b }}x{% endcapture %}{% endfor %}{{ b | size }}",
    "{{ big | replace: 'x', big }}",
    "{{ big | split: '' | reverse | join: big }}",
    "{{ " + "big | upcase | " * 300 + "size }}",
    "{{ 2 " + "| times: 99999999999999999999 " * 150 + "}}",
    "{% if " + " and ".join(["big == big"] * 300) + " %}{% endif %}",
    "{% comment %}" * 200 + "{{" * 100,
    "{{" + "[" * 2_000,
    "{{ '" + "a" * 4_000,
    "{%" + " " * 4_900,
    "{{ (" * 299 + "x",
]


@pytest.mark.parametrize("source", EXPENSIVE_TEMPLATES, ids=range(len(EXPENSIVE_TEMPLATES)))
def test_rendering_time_is_bounded(source: str) -> None:
    """The most expensive templates known: each compiles and renders in less than 0.1 s on an idle machine."""
    started_at = time.process_time()
    with suppress(ValueError, RenderError):
        Template(source).render({**SCOPE, "big": BIG})
    assert time.process_time() - started_at < 1.0


@pytest.mark.parametrize(
    ("path", "value"),
    [("a", {"b": [1, 2]}), ("a.b[1]", 2), ("$.a.b[-1]", 2), ("$['a'][\"b\"][0]", 1), ("$", {"a": {"b": [1, 2]}})],
)
def test_json_path_finds_value(path: str, value: object) -> None:
    assert JsonPath(path).find({"a": {"b": [1, 2]}}) == value


@pytest.mark.parametrize("path", ["b", "a.c", "a.b[2]", "a.b.c", "a[0]", "a.b[0].c", "a['0']"])
def test_json_path_without_value_raises(path: str) -> None:
    with pytest.raises(LookupError):
        JsonPath(path).find({"a": {"b": [1, 2]}})


@pytest.mark.parametrize(
    "path", ["", "a..b", "a.", "a[*]", "a[?(@.x)]", "..a", ".a", "$a", "a b", "a[", "a[1", "x" * 201, "a[99999999]"]
)
def test_invalid_json_path_is_rejected(path: str) -> None:
    with pytest.raises(ValueError):
        JsonPath(path)
