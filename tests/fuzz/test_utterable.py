"""Whatever the flow and whatever happens: a sentence without variables that a call says was known beforehand."""

from hypothesis import given

from tests.fuzz.flows import HAPPENINGS, Happening, fuzz, versions
from tests.fuzz.test_sessions import FACTS, follow
from vocelio.engine import actions
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.sentences import split
from vocelio.engine.prompts.static_prompts import Utterance, utterable

BY_OPERATORS = ("say", "jump")  # what they say or where they lead nobody knows
PLAIN = {"Hello.", "many", "Sorry, I did not understand.", "Sorry, let's go on.", "Thank you for calling."}


@fuzz
@given(versions(), HAPPENINGS)
def test_what_is_said_was_known(version: FlowVersion, happenings: list[Happening]) -> None:
    known = set(utterable(version, FACTS.tenant))
    _, done = follow(version, [one for one in happenings if one[0] not in BY_OPERATORS])
    for action in (action for acted in done for action in acted):
        if isinstance(action, actions.Speak):
            said = {Utterance(sentence, action.voice) for sentence in split(action.text) if sentence in PLAIN}
            assert said <= known
