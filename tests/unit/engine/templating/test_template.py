"""Liquid as a phone flow may use it: what it gives, what it refuses, and that nothing makes it slow."""

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
def test_texts(source: str, text: str) -> None:
    assert Template(source).render(SCOPE) == text


def test_an_instant_is_told_in_the_time_zone_of_now() -> None:
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
def test_a_value_keeps_its_type(source: object, value: object) -> None:
    assert TemplateValue(source).render_value(SCOPE) == value


@pytest.mark.parametrize(
    ("source", "holds"),
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
def test_conditions(source: str, holds: bool) -> None:
    assert Condition(source).evaluate(SCOPE) is holds


def test_what_is_undefined_is_told_when_it_is_printed_and_only_then() -> None:
    missing: list[str] = []
    Template("{% if lost %}{% endif %}{{ lost | default: 'x' }}{{ other.a }}{{ deep.q }}").render(SCOPE, missing)
    assert missing == ["other.a", "deep.q"]
    assert TemplateValue("{{ third }}").render_value(SCOPE, missing) is None
    assert missing[-1] == "third"


def test_the_names_that_it_reads() -> None:
    template = Template(
        "{{ a.b[0].c }}{% for x in list %}{{ x.y }}{% endfor %}{% assign z = q %}{{ z }}{{ a.b['c d'] }}"
    )
    assert template.variable_paths == (("a", "b"), ("a", "b", "c d"), ("list",), ("q",))


@pytest.mark.parametrize(
    ("source", "why"),
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
def test_what_is_refused_when_it_is_written(source: str, why: str) -> None:
    with pytest.raises(ValueError, match="(?i)" + why.replace("(", r"\(").replace("|", r"\|").replace("?", r"\?")):
        Template(source)


@pytest.mark.parametrize("source", ["", " ", "a >", "a %}{% if b", "a | plus: 1", "(a)"])
def test_what_is_no_condition(source: str) -> None:
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
def test_what_fails_when_it_is_rendered_is_an_error_of_the_template(source: str) -> None:
    with pytest.raises(RenderError):
        Template(source).render(SCOPE)


BIG = "x" * 9_000
SLOW = [
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


@pytest.mark.parametrize("source", SLOW, ids=range(len(SLOW)))
def test_nothing_is_slow(source: str) -> None:
    """The worst we could think of: compiled and rendered each takes less than 0.1 s alone on its machine."""
    began = time.process_time()
    with suppress(ValueError, RenderError):
        Template(source).render({**SCOPE, "big": BIG})
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("path", "found"),
    [("a", {"b": [1, 2]}), ("a.b[1]", 2), ("$.a.b[-1]", 2), ("$['a'][\"b\"][0]", 1), ("$", {"a": {"b": [1, 2]}})],
)
def test_json_paths(path: str, found: object) -> None:
    assert JsonPath(path).find({"a": {"b": [1, 2]}}) == found


@pytest.mark.parametrize("path", ["b", "a.c", "a.b[2]", "a.b.c", "a[0]", "a.b[0].c", "a['0']"])
def test_json_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(LookupError):
        JsonPath(path).find({"a": {"b": [1, 2]}})


@pytest.mark.parametrize(
    "path", ["", "a..b", "a.", "a[*]", "a[?(@.x)]", "..a", ".a", "$a", "a b", "a[", "a[1", "x" * 201, "a[99999999]"]
)
def test_what_is_no_json_path(path: str) -> None:
    with pytest.raises(ValueError):
        JsonPath(path)
