"""What a template can come to before anything is known of a call."""

import json

import pytest

from vocelio.engine.prompts.expansion import MARK, MAX_VARIANTS, variants
from vocelio.engine.templating.template import Template

KNOWN = {
    ("tenant",): [json.dumps({"name": "Acme", "city": "Cody"})],
    ("department",): ['"sales"', '"billing"'],
    ("ask", "value"): ['"yes"', '"no"'],
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("Hi.", ["Hi."]),
        ("{{ tenant.name }} in {{ tenant.city | upcase }}", ["Acme in CODY"]),
        ("To {{ department }}.", ["To billing.", "To sales."]),
        ("{{ ask.value }}, {{ ask.said }}", [f"no, {MARK}", f"yes, {MARK}"]),
        ("Hi {{ caller.number }}. Bye {{ tenant.name }}.", [f"Hi {MARK}. Bye Acme."]),
        ("{% if x %}A.{% elsif y %}B.{% else %}C.{% endif %} D.", ["A. D.", "B. D.", "C. D."]),
        ("{% unless x %}A.{% endunless %} D.", ["A. D.", " D."]),
        ("{% case x %}{% when 1, 2 %}A.{% when 3 %}B.{% endcase %}", ["A.", "B.", ""]),
        ("{% case x %}{% when 1 %}A.{% else %}B.{% endcase %}", ["A.", "B."]),
        ("{% if department == 'sales' %}A.{% else %}B.{% endif %}", ["B.", "A."]),
        ("{% for a in x %}One {{ a }}. Or. {% endfor %}End.", [f"One {MARK}. Or. End.", "End."]),
        ("{% assign a = x %}{{ a }} b {% comment %}c{% endcomment %}", [f"{MARK} b "]),
        ("{% capture a %}d{% endcapture %}{% echo x %}", [MARK]),
        ("Today is {{ 'now' | date }}.", [f"Today is {MARK}."]),
        ("{% if tenant.name %}{{ 'today' | date: '%d' }}{% endif %}.", [f"{MARK}.", "."]),
        ("{{ tenant.name | money }}", []),
        ("{{ tenant.name | money }} {{ x }}", [f"{MARK} {MARK}"]),
        ("{{ x[tenant.name] }} {{ tenant[x] }}", [f"{MARK} {MARK}"]),
    ],
)
def test_the_texts(source, expected):
    assert variants(Template(source), KNOWN) == expected


def test_too_many_combinations_leave_the_largest_unknown():
    known = {("a",): [str(n) for n in range(40)], ("b",): ["1", "2"]}
    assert variants(Template("{{ a }} {{ b }}"), known) == [f"{MARK} 1", f"{MARK} 2"]


def test_too_many_ways_are_cut_off():
    assert len(variants(Template("{% if x %}a{% else %}b{% endif %}" * 12), {})) == MAX_VARIANTS
