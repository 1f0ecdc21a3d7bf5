"""Loader of scenario files: accepted syntax, and diagnostics with lines."""

from datetime import UTC, datetime

import pytest

from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.steps import Expect, Hears, HttpReply, Presses, ReplyStep, Says, Scenario, Silent


def load_errors(text: str) -> list[str]:
    with pytest.raises(scenario.ScenarioError) as raised:
        scenario.load_scenarios(text)
    return [str(mistake) for mistake in raised.value.diagnostics]


def only_scenario(text: str) -> Scenario:
    (results,) = scenario.load_scenarios(text)
    return results


def load_steps(text: str) -> list[object]:
    listed = "\n".join(f"      {line}" for line in text.strip().splitlines())
    return [placed.step for placed in only_scenario(f"scenarios:\n  - name: one\n    steps:\n{listed}\n").steps]


def test_words_stay_text() -> None:
    assert load_steps("- says: yes\n- says: no\n- hears: on\n- says: true\n- says: 2026-03-03") == [
        Says(says="yes"),
        Says(says="no"),
        Hears(hears="on"),
        Says(says="true"),
        Says(says="2026-03-03"),
    ]


def test_keys_are_text_without_quotes() -> None:
    assert load_steps("- presses: 1\n- presses: 0412\n- presses: 12#") == [
        Presses(presses="1"),
        Presses(presses="0412"),
        Presses(presses="12#"),
    ]


def test_free_form_values_keep_their_types() -> None:
    step = load_steps("- expect: {variables: {name: 5, ok: true, text: '5', rate: 0.5, none: null, number: 7}}")[0]
    assert isinstance(step, Expect)
    assert step.expect.variables == {"name": 5, "ok": True, "text": "5", "rate": 0.5, "none": None, "number": 7}


def test_bare_words_and_options() -> None:
    assert load_steps(
        "- silent\n- silent: 3\n- says: a b\n  partial: a\n  interrupts: 1.5\n- reply: {body: {a: [1]}}"
    ) == [
        Silent(silent=True),
        Silent(silent=3),
        Says(says="a b", partial="a", interrupts=1.5),
        ReplyStep(reply=HttpReply(body={"a": [1]})),
    ]


def test_steps_have_line_numbers() -> None:
    results = only_scenario("# a comment\nscenarios:\n  - name: one\n    steps:\n\n      - silent\n      - says: a\n")
    assert (results.line, [placed.line for placed in results.steps]) == (3, [6, 7])


def test_setup_of_the_scenario_overrides_that_of_the_file() -> None:
    results = only_scenario(
        """
        given: {caller: "+13105550111", variables: {a: 1, b: 2}, at: 2026-03-03T10:00:00-08:00}
        scenarios:
          - name: one
            given: {variables: {b: 3}, seed: x}
            steps: [silent]
        """
    )
    assert results.setup.variables == {"a": 1, "b": 3}
    assert (results.setup.caller, results.setup.seed) == ("+13105550111", "x")
    assert results.setup.at == datetime(2026, 3, 3, 18, tzinfo=UTC)


def test_every_mistake_is_reported_with_its_line() -> None:
    text = """
given: {callr: 1}
scenarios:
  - name: a
    gven: 3
    steps:
      - heers: sales
      - says: yes
        partal: no
      - presses: 1x
      - silent: false
      - expect: {nod: x}
      - says: a
        presses: 2
      - hello
  - name: a
    steps: [silent]
    given: {at: 2026-01-01}
"""
    assert load_errors(text) == [
        "line 2: there is no `callr` here (did you mean `caller`?)",
        "line 5: there is no `gven` here (did you mean `given`?)",
        "line 7: there is no step `heers` (did you mean `hears`?)",
        "line 9: there is no `partal` here (did you mean `partial`?)",
        "line 10: expected `str` matching regex '^[0-9*#A-D]+$'",
        "line 11: `silent: false` has no effect: leave the step out",
        "line 12: there is no `nod` here (did you mean `node`?)",
        "line 13: a step has one of `says` and `presses`, not both",
        "line 15: there is no step `hello`",
        "line 16: there are two scenarios `a`",
        "line 18: invalid RFC3339 encoded datetime",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: the file is empty"),
        ("a: [1", "line 1: not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\na: 2", "line 2: duplicate key `a`"),
        ("? [a]\n: 1", "line 1: a key must be a scalar"),
        ("a: !!python/name:os.system", "line 1: tags are not allowed: tag:yaml.org,2002:python/name:os.system"),
        ("a: !mine 1", "line 1: tags are not allowed: !mine"),
        ("[]", "line 1: a scenario file has `scenarios`, a list of 1 to 1,000"),
        ("scenarios: 5", "line 1: a scenario file has `scenarios`, a list of 1 to 1,000"),
        ("scenarios: [7]", "line 1: a mapping is expected here"),
        ("scenarios: [{name: a, steps: [[]]}]", "line 1: a mapping is expected here"),
        ("scenarios: [{name: a, steps: [silent], given: {nodes: {a: {says: x}}}}]", "line 1: an external result"),
        ("scenarios: [{name: a, steps: [silent], given: {nodes: 3}}]", "line 1: expected `object`, got `int`"),
        ("\x00", "line 1: not YAML"),
    ],
)
def test_invalid_file_is_rejected(text: str, expected: str) -> None:
    assert load_errors(text)[0].startswith(expected)


def test_size_depth_and_values_are_bounded() -> None:
    assert "at most 300,000 characters" in load_errors("#" * 300_001)[0]
    assert load_errors("[" * 5_000)[0].startswith("line 1: ")
    assert "nested deeper" in load_errors("[" * 40 + "]" * 40)[0]
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than 50,000 values" in load_errors(bomb)[0]
    assert "nested deeper" in load_errors("a: &a [*a]")[0]


def test_scenario_path() -> None:
    assert (
        str(scenario.scenario_path(scenario.PurePath("examples/front-desk.json")))
        == "examples/front-desk.scenarios.yaml"
    )
