"""Whatever the flow and whatever happens: a sentence without variables that a call says was known beforehand."""

from hypothesis import given

from tests.fuzz.flow_strategies import HAPPENING_LISTS, Happening, flow_versions, fuzz
from tests.fuzz.test_sessions import CALL_INFO, run_session
from vocelio.engine import actions
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.sentences import split_sentences
from vocelio.engine.prompts.static_prompts import StaticPrompt, static_prompts

BY_OPERATORS = ("say", "jump")  # what they say or where they lead nobody knows
PLAIN = {"Hello.", "many", "Sorry, I did not understand.", "Sorry, let's go on.", "Thank you for calling."}


@fuzz
@given(flow_versions(), HAPPENING_LISTS)
def test_what_is_said_was_known(version: FlowVersion, happenings: list[Happening]) -> None:
    known = set(static_prompts(version, CALL_INFO.tenant))
    _, done = run_session(version, [one for one in happenings if one[0] not in BY_OPERATORS])
    for action in (action for acted in done for action in acted):
        if isinstance(action, actions.Speak):
            said = {
                StaticPrompt(sentence, action.voice) for sentence in split_sentences(action.text) if sentence in PLAIN
            }
            assert said <= known
