"""Static prompts: everything predictable that a call says is included, sensitive input never is."""

import json
import re
from pathlib import Path
from time import process_time

import msgspec
import pytest

from tests.support.session_driver import SessionDriver, flow_document
from vocelio.engine import actions
from vocelio.engine.call_info import TenantInfo
from vocelio.engine.flow import EMPTY_CONTEXT
from vocelio.engine.nodes import NODE_TYPES
from vocelio.engine.nodes.collect import KEYS_ONLY_SENTENCE, NO_MATCH_PREFIX
from vocelio.engine.prompts.dataflow import FlowAnalysis
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.prompts.static_prompts import MAX_STATIC_PROMPTS, StaticPrompt, static_prompts
from vocelio.engine.scenario import loader as scenario
from vocelio.engine.scenario.runner import build_call_info, run_scenario, with_variables
from vocelio.engine.session import DEFAULT_ERROR_MESSAGE, GOODBYE_MESSAGE, MAX_DURATION_MESSAGE, RESUME_MESSAGE
from vocelio.engine.templating.template import Template
from vocelio.engine.validation.loader import ValidationContext, load_flow, validate_all, validate_flow
from vocelio.engine.validation.names import iter_templates
from vocelio.engine.voice import Voice

ROOT = Path(__file__).parents[4]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.json"))}
CHECKED = validate_all({name: path.read_bytes() for name, path in EXAMPLES.items()})
DATA = {
    path.stem: validate_flow(path.read_bytes())[0]
    for path in sorted((ROOT / "tests" / "data" / "flows").glob("*.json"))
}
TENANT = TenantInfo("acme", "Acme", {"city": "Cody"})
ENGINE = [
    *split_sentences(RESUME_MESSAGE),
    *split_sentences(MAX_DURATION_MESSAGE),
    *split_sentences(DEFAULT_ERROR_MESSAGE),
]
PLAIN = Voice()

# Sentences of the examples' scenarios that depend on the call.
DYNAMIC_SENTENCES = {
    "collect-pharmacy": {
        *(f"{days} days." for days in (10, 30, 60, 90)),
        "Prescription 1 2 3 4 5 6 7 for 10 days.",
        "Prescription 1 2 3 4 5 6 for 30 days.",
        "Prescription 1 2 3 4 5 6 for 60 days.",
    },
    "decide-hotel": {"For 12 rooms we have a group rate."},
    "hangup-locksmith": {"Somebody will call you at 1 3 1 0 5 5 5 0 1 0 0 in a minute."},
    "queue-airline": {"We will call 1 3 1 0 5 5 5 0 1 0 0."},
    "request-parcels": {
        "Your parcel is at your door.",
        "Your parcel is here.",
        "Your parcel is lost.",
        "Your parcel is on its way and will come on Thursday the fifth of March.",
    },
    "set-taxi": {
        "1 car will come.",
        "2 cars will come.",
        "We call 1 3 1 0 5 5 5 0 1 0 0.",
        "We call 1 3 1 0 5 5 5 0 1 2 3.",
    },
    "subflow-energy": {"Hello, Harbour Dental."},
}


def prompt_texts(version, tenant=TENANT, **options):
    return [prompt.sentence for prompt in static_prompts(version, tenant, **options)]


def prompts_of_nodes(nodes, known=EMPTY_CONTEXT, **parts):
    """The sentences of a flow without engine messages and key-only prompts."""
    texts = prompt_texts(load_flow(flow_document(nodes, **parts), known))
    return [
        item
        for item in texts
        if item not in {*ENGINE, *split_sentences(GOODBYE_MESSAGE), *split_sentences(KEYS_ONLY_SENTENCE)}
        and " press " not in item
    ]


def test_key_only_prompts_are_included_for_questions_with_speech():
    ask = {**ASK, "choices": CHOICES, "confirm": "Is it {{ answer }}?", "sensitive": False}
    texts = prompt_texts(load_flow(flow_document({"ask": ask})))
    assert [item for item in texts if "press" in item] == [
        "For the first press 1.",
        "For second press 2.",
        "For yes press 1.",
        "For no press 2.",
    ]
    assert {*split_sentences(KEYS_ONLY_SENTENCE)} < {*texts}
    assert not {*split_sentences(KEYS_ONLY_SENTENCE)} & {
        *prompt_texts(load_flow(flow_document({"ask": {**ask, "input": ["keys"]}})))
    }


def spoken_sentences(exchanges):
    """Yield the sentences spoken in a call, with their voices."""
    for exchange in exchanges:
        for action in exchange.actions:
            if isinstance(action, actions.Speak) and not action.sensitive:
                yield from (StaticPrompt(sentence, action.voice) for sentence in split_sentences(action.text))


@pytest.mark.parametrize(
    "name", [name for name, path in EXAMPLES.items() if Path(scenario.scenario_path(path)).exists()]
)
def test_examples_say_only_static_prompts_and_known_exceptions(name):
    version, _ = CHECKED[name]
    missed = set()
    for item in scenario.load_scenarios(Path(scenario.scenario_path(EXAMPLES[name])).read_text("utf-8")):
        version = with_variables(CHECKED[name][0], item.setup)
        known = set(static_prompts(version, build_call_info(item.setup).tenant))
        missed |= {
            said.sentence for said in spoken_sentences(run_scenario(version, item).exchanges) if said not in known
        }
    assert missed == DYNAMIC_SENTENCES.get(name, set())


@pytest.mark.parametrize("name", [name for name, version in DATA.items() if version])
def test_first_prompts_of_any_flow_are_static(name):
    version = DATA[name]
    known = set(static_prompts(version, TENANT))
    first = [a for a in SessionDriver(version).all_actions if isinstance(a, actions.Speak) and not a.audio]
    assert {StaticPrompt(s, a.voice) for a in first for s in split_sentences(a.text)} <= known


def test_front_desk_has_one_text_for_each_department():
    sentences = prompt_texts(CHECKED["front-desk"][0])
    assert sentences[0] == "Thank you for calling Acme."
    assert [s for s in sentences if "connecting" in s] == [
        f"One moment, I am connecting you to {name}." for name in ("billing", "sales", "support")
    ]
    assert not set(split_sentences(GOODBYE_MESSAGE)) <= set(sentences)  # every exit has a target


def test_every_template_field_of_every_node_is_classified():
    """A new template field must be added here, and to the analysis if it is spoken."""
    quiet = {("transfer", "whisper"), ("request", "url")}  # not to the caller; not said
    spoken = {("say", "text"), ("collect", "prompt"), ("collect", "confirm"), ("record", "prompt"), ("hangup", "text")}
    many = {("collect", "reprompts"), ("request", "headers")}
    fields = {
        (name, field.name)
        for name, kind in NODE_TYPES.items()
        for field in msgspec.structs.fields(kind)
        if re.search(r"\bTemplate\b", str(field.type))
    }
    assert fields == quiet | spoken | many
    assert list(iter_templates(Template("a"), "x"))


def test_engine_messages_are_included_in_every_voice():
    version, _ = CHECKED["voice-clinic"]
    result = static_prompts(version, TENANT, ["Hold on."])
    voices = {prompt.voice for prompt in result}
    assert {(voice.name, voice.speed) for voice in voices} == {("en-us", 1.0), ("en-us", 0.8), ("es-419", 1.0)}
    for sentence in ENGINE:
        assert {prompt.voice for prompt in result if prompt.sentence == sentence} == voices
    assert [prompt.voice for prompt in result if prompt.sentence == "Hold on."] == [version.flow.voice]


def test_tenant_error_message_replaces_the_default():
    tenant = TenantInfo("acme", "Acme", error_message="Oh dear.")
    sentences = prompt_texts(CHECKED["front-desk"][0], tenant)
    assert "Oh dear." in sentences
    assert "Sorry, something went wrong." not in sentences


ASK = {"type": "collect", "prompt": "Which?", "expect": "choice", "save_as": "what"}
CHOICES = {"the_first": {"key": "1"}, "second": {"key": "2"}}
BYE = {"type": "hangup", "text": "You chose {{ what }}. Bye."}


def test_confirmation_is_expanded_for_each_choice():
    ask = {**ASK, "choices": CHOICES, "confirm": "Is {{ answer }} right?", "retries": 0}
    assert prompts_of_nodes({"ask": ask}) == ["Which?", "Is second right?", "Is the first right?"]


def test_yes_no_answer_is_expanded():
    ask = {"type": "collect", "prompt": "Well?", "expect": "yes_no", "retries": 0, "exits": {"yes": "b", "no": "b"}}
    bye = {"type": "hangup", "text": "So it is {{ ask.value }}."}
    assert prompts_of_nodes({"ask": ask, "b": bye}) == ["Well?", "So it is no.", "So it is yes."]


def test_no_match_prefix_is_included_without_reprompts_only():
    assert prompts_of_nodes({"ask": {**ASK, "choices": CHOICES}}) == ["Which?", *split_sentences(NO_MATCH_PREFIX)]
    assert prompts_of_nodes({"ask": {**ASK, "choices": CHOICES, "reprompts": ["Again."]}}) == ["Which?", "Again."]


def test_sensitive_answer_is_unknown():
    ask = {**ASK, "choices": CHOICES, "confirm": "Is {{ answer }} right?", "sensitive": True, "retries": 0}
    exits = {"the_first": "bye", "second": "bye"}
    assert prompts_of_nodes({"ask": {**ask, "exits": exits}, "bye": BYE}) == ["Which?", "Bye."]


def test_variable_with_an_unknown_write_is_unknown():
    read = {"type": "request", "method": "GET", "url": "https://a.example", "save": {"what": "a"}}
    ask = {**ASK, "choices": CHOICES, "exits": {"the_first": "bye", "second": "read"}, "retries": 0}
    nodes = {"ask": ask, "read": {**read, "exits": {"ok": "bye"}}, "bye": BYE}
    assert prompts_of_nodes(nodes) == ["Which?", "Bye."]


def test_set_values_are_known_if_constant():
    set_a = {"type": "set", "values": {"what": "{{ tenant.city }}"}, "exits": {"next": "bye"}}
    assert prompts_of_nodes({"a": set_a, "bye": BYE}) == ["You chose Cody.", "Bye."]
    set_b = {"type": "set", "values": {"what": "{{ caller.number }}"}, "exits": {"next": "bye"}}
    assert prompts_of_nodes({"a": set_b, "bye": BYE}, variables={"what": "x"}) == ["Bye."]
    assert prompts_of_nodes({"bye": BYE}, variables={"what": 3}) == ["You chose 3.", "Bye."]


def test_analysis_of_an_unbounded_counter_terminates():
    count = {"type": "set", "values": {"what": "{{ what | plus: 1 }}"}, "exits": {"next": "say"}}
    say = {"type": "say", "text": "Round {{ what }}. On.", "exits": {"next": "wait"}}
    wait = {"type": "wait", "seconds": 1, "exits": {"next": "count"}}
    assert prompts_of_nodes({"count": count, "say": say, "wait": wait}, variables={"what": 0}) == ["On."]


def test_subflow_inherits_the_voice_and_its_caller_keeps_it():
    inner = load_flow(
        flow_document(
            {
                "v": {"type": "voice", "name": "fr", "exits": {"next": "s"}},
                "s": {"type": "say", "text": "In {{ word }}.", "exits": {"next": "set"}},
                "set": {"type": "set", "values": {"word": "out"}, "exits": {"next": "end"}},
                "end": {"type": "end", "name": "done"},
            },
            variables={"word": ""},
            voice={"name": "never-heard"},
        )
    )
    outer = load_flow(
        flow_document(
            {
                "v": {"type": "voice", "speed": 1.5, "exits": {"next": "sub"}},
                "sub": {
                    "type": "subflow",
                    "flow": "inner",
                    "inputs": {"word": "{{ tenant.name }}"},
                    "outputs": {"what": "word"},
                    "exits": {"done": "bye"},
                },
                "bye": {"type": "hangup", "text": "{{ sub.value }} {{ what }}"},
            },
            variables={"what": ""},
        ),
        ValidationContext(flows={"inner": inner}),
    )
    result = {(prompt.sentence, prompt.voice.name, prompt.voice.speed) for prompt in static_prompts(outer, TENANT)}
    assert ("In Acme.", "fr", 1.5) in result
    assert ("done out", "en-us", 1.5) in result
    assert {name for _, name, _ in result} == {"fr", "en-us"}


def test_global_command_leaves_a_subflow_with_the_callers_voice():
    ask = {**ASK, "choices": CHOICES, "retries": 0}
    inner = load_flow(flow_document({"v": {"type": "voice", "name": "fr", "exits": {"next": "ask"}}, "ask": ask}))
    outer = load_flow(
        flow_document(
            {"call": {"type": "subflow", "flow": "inner"}, "desk": {"type": "hangup", "text": "The desk."}},
            anywhere={"desk": {"key": "0", "go": "desk"}},
        ),
        ValidationContext(flows={"inner": inner}),
    )
    assert StaticPrompt("The desk.", PLAIN) in static_prompts(outer, TENANT)


def test_say_node_with_its_own_voice():
    say = {"type": "say", "text": "Hi.", "voice": {"name": "de", "language": "de-DE"}}
    (hi,) = [
        prompt for prompt in static_prompts(load_flow(flow_document({"s": say})), TENANT) if prompt.sentence == "Hi."
    ]
    assert hi.voice.name == "de"


def test_sentences_without_words_or_with_unknown_parts_are_left_out():
    say = {
        "type": "say",
        "text": "... {{ caller.number }}! " + "word " * 60 + "{{ caller.number }}. Two \0 three. End.",
    }
    assert prompts_of_nodes({"s": say}) == ["End."]


def test_number_of_static_prompts_is_bounded():
    nodes = {f"n{n}": {"type": "say", "text": f"Number {n}.", "exits": {"next": f"n{n + 1}"}} for n in range(1_900)}
    nodes["n1900"] = {"type": "say", "text": " ".join(f"And {n}." for n in range(400))}
    result = prompt_texts(load_flow(json.dumps({"name": "long", "start": "n0", "nodes": nodes}).encode()))
    assert len(result) == MAX_STATIC_PROMPTS
    assert result[:2] == ["Number 0.", "Number 1."]


def test_analysis_of_a_hostile_flow_is_bounded():
    count, ways = 1_900, ("yes", "no", "no_input", "no_match")
    nodes = {
        f"n{place}": {
            "type": "collect",
            "prompt": "P.",
            "expect": "yes_no",
            "save_as": f"v{place % 90}",
            "exits": {way: f"n{(place * 7 + n * 13 + 1) % count}" for n, way in enumerate(ways)},
        }
        for place in range(count)
    }
    version, problems = validate_flow(
        json.dumps({"name": "wide", "start": "n0", "nodes": nodes}).encode(), ValidationContext()
    )
    assert version, problems
    began = process_time()
    assert len(FlowAnalysis(version, {}).root_result.node_states) > count * 0.9
    assert process_time() - began < 5
