"""Fuzz static prompts: every sentence without variables that a call says is a static prompt."""

from hypothesis import given

from tests.fuzz.flow_strategies import RANDOM_EVENT_LISTS, RandomEvent, flow_versions, fuzz
from tests.fuzz.test_sessions import CALL_INFO, run_session
from vocelio.engine import actions
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.prompts.static_prompts import StaticPrompt, static_prompts

OPERATOR_EVENTS = ("say", "jump")  # their effect is not predictable
CONSTANT_SENTENCES = {"Hello.", "many", "Sorry, I did not understand.", "Sorry, let's go on.", "Thank you for calling."}


@fuzz
@given(flow_versions(), RANDOM_EVENT_LISTS)
def test_constant_sentences_of_a_call_are_static_prompts(
    version: FlowVersion, random_events: list[RandomEvent]
) -> None:
    prompts = set(static_prompts(version, CALL_INFO.tenant))
    _, actions_by_event = run_session(version, [item for item in random_events if item[0] not in OPERATOR_EVENTS])
    for action in (action for new_actions in actions_by_event for action in new_actions):
        if isinstance(action, actions.Speak):
            spoken = {
                StaticPrompt(sentence, action.voice)
                for sentence in split_sentences(action.text)
                if sentence in CONSTANT_SENTENCES
            }
            assert spoken <= prompts
