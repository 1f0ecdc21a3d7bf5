"""Template expansion: texts that are known before a call."""

import json

import pytest

from vocelio.engine.prompts.expansion import MAX_EXPANDED_TEXTS, UNKNOWN, expand_template
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
        ("{{ ask.value }}, {{ ask.said }}", [f"no, {UNKNOWN}", f"yes, {UNKNOWN}"]),
        ("Hi {{ caller.number }}. Bye {{ tenant.name }}.", [f"Hi {UNKNOWN}. Bye Acme."]),
        ("{% if x %}A.{% elsif y %}B.{% else %}C.{% endif %} D.", ["A. D.", "B. D.", "C. D."]),
        ("{% unless x %}A.{% endunless %} D.", ["A. D.", " D."]),
        ("{% case x %}{% when 1, 2 %}A.{% when 3 %}B.{% endcase %}", ["A.", "B.", ""]),
        ("{% case x %}{% when 1 %}A.{% else %}B.{% endcase %}", ["A.", "B."]),
        ("{% if department == 'sales' %}A.{% else %}B.{% endif %}", ["B.", "A."]),
        ("{% for a in x %}One {{ a }}. Or. {% endfor %}End.", [f"One {UNKNOWN}. Or. End.", "End."]),
        ("{% assign a = x %}{{ a }} b {% comment %}c{% endcomment %}", [f"{UNKNOWN} b "]),
        ("{% capture a %}d{% endcapture %}{% echo x %}", [UNKNOWN]),
        ("Today is {{ 'now' | date }}.", [f"Today is {UNKNOWN}."]),
        ("{% if tenant.name %}{{ 'today' | date: '%d' }}{% endif %}.", [f"{UNKNOWN}.", "."]),
        ("{{ tenant.name | money }}", []),
        ("{{ tenant.name | money }} {{ x }}", [f"{UNKNOWN} {UNKNOWN}"]),
        ("{{ x[tenant.name] }} {{ tenant[x] }}", [f"{UNKNOWN} {UNKNOWN}"]),
    ],
)
def test_expanded_texts(source, expected):
    assert expand_template(Template(source), KNOWN) == expected


def test_too_many_combinations_leave_the_variable_with_most_values_unknown():
    known = {("a",): [str(n) for n in range(40)], ("b",): ["1", "2"]}
    assert expand_template(Template("{{ a }} {{ b }}"), known) == [f"{UNKNOWN} 1", f"{UNKNOWN} 2"]


def test_number_of_texts_is_bounded():
    assert len(expand_template(Template("{% if x %}a{% else %}b{% endif %}" * 12), {})) == MAX_EXPANDED_TEXTS
