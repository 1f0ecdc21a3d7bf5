"""collect: every way an answer is given, understood, confirmed or not."""

from typing import Any

import pytest

from tests.unit.engine.phone import Phone
from vocelio.engine import actions, events

BYE: dict[str, Any] = {"type": "hangup"}
MENU = {"sales": {"phrases": ["sales", "buy something"], "key": "1"}, "billing": {"phrases": ["billing"], "key": "2"}}


def ask(**fields: Any) -> Phone:
    anywhere = fields.pop("anywhere", {})
    node = {"type": "collect", "prompt": "Sales or billing?", "expect": "choice", **fields}
    if node["expect"] == "choice":
        node.setdefault("choices", MENU)
    exits = {"choice": [*node.get("choices", {})], "yes_no": ["yes", "no"]}.get(node["expect"], ["done"])
    node["exits"] = dict.fromkeys([*exits, "no_input", "no_match"], "bye")
    nodes = {"ask": node, "bye": {"type": "wait", "seconds": 5, "exits": {"next": "desk"}}, "desk": BYE}
    return Phone(nodes, anywhere=anywhere, max_seconds=600)


def left(phone: Phone) -> str:
    ((node, exit_name),) = phone.exits
    assert node == "ask"
    return exit_name


def test_it_listens_while_it_asks_and_waits_when_it_has_asked() -> None:
    phone = ask()
    assert [type(action).__name__ for action in phone.last][-2:] == ["Listen", "Speak"]
    assert phone.one(actions.Listen).phrases == ("sales", "buy something", "billing")
    assert "silence" not in phone.timers
    phone.played()
    assert "silence" in phone.timers


@pytest.mark.parametrize(
    ("said", "way"), [("sales", "sales"), ("I want to buy something", "sales"), ("billing please", "billing")]
)
def test_a_choice_by_voice(said: str, way: str) -> None:
    phone = ask()
    phone.played()
    phone.say(said)
    assert left(phone) == way
    assert phone.state.results["ask"] == {"value": way, "said": said}


def test_a_choice_by_key_interrupts_the_question() -> None:
    phone = ask()
    actions_ = phone.press("2")
    assert any(isinstance(action, actions.StopSpeaking) for action in actions_)
    assert left(phone) == "billing"


def test_keys_pressed_before_the_question_answer_it_and_nothing_is_asked() -> None:
    nodes = {
        "hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}},
        "ask": {"type": "collect", "prompt": "?", "expect": "choice", "choices": MENU, "exits": {"sales": "bye"}},
        "bye": {"type": "wait", "seconds": 1},
    }
    phone = Phone(nodes)
    phone.press("1")
    phone.fire("wait")
    assert phone.spoken == []
    assert phone.exits[-1] == ("ask", "sales")


def test_keys_typed_past_a_wrong_one_mean_nothing() -> None:
    nodes = {
        "hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}},
        "ask": {
            "type": "collect",
            "prompt": "?",
            "expect": "choice",
            "choices": MENU,
            "exits": {"sales": "hold", "billing": "hold"},
        },
    }
    phone = Phone(nodes)
    phone.press("71")
    phone.fire("wait")
    assert phone.spoken == ["Sorry, I did not understand. ?"]
    phone.press("2")
    assert phone.exits[-1] == ("ask", "billing")


def test_an_answer_and_its_confirmation_can_be_typed_ahead() -> None:
    ask_ = {"type": "collect", "prompt": "?", "expect": "digits", "confirm": "{{ answer }}?", "exits": {"done": "hold"}}
    phone = Phone({"hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}}, "ask": ask_})
    phone.press("12#1")
    phone.fire("wait")
    assert phone.spoken == []
    assert phone.exits[-1] == ("ask", "done")


def test_silence_is_asked_about_again_and_then_leaves_by_no_input() -> None:
    phone = ask(retries=2, reprompts=["Once more?", "Last chance."])
    for _ in range(3):
        phone.played()
        phone.fire("silence")
    assert phone.spoken == ["Sales or billing?", "Once more?", "Last chance."]
    assert left(phone) == "no_input"
    assert phone.state.results["ask"] == {"value": None, "said": ""}


def test_what_is_not_understood_is_said_so_and_then_leaves_by_no_match() -> None:
    phone = ask()
    phone.say("bananas")
    assert phone.spoken[-1] == "Sorry, I did not understand. Sales or billing?"
    phone.say("sales and billing")
    assert left(phone) == "no_match"


def test_a_wrong_key_is_no_match() -> None:
    phone = ask(retries=0)
    phone.press("7")
    assert left(phone) == "no_match"


def test_a_caller_who_interrupts_is_not_timed_out() -> None:
    phone = ask()
    phone.begin()
    assert "silence" not in phone.timers
    assert "utterance" in phone.timers
    phone.fire("utterance")
    assert "understand" in phone.spoken[-1]
    assert phone.one(actions.Listen).fresh, "what went on too long is not heard again"


def test_a_question_that_cannot_be_interrupted_is_asked_to_its_end() -> None:
    phone = ask(barge_in=False)
    assert not phone.has(actions.Listen)
    phone.press("1")
    assert not phone.exits
    phone.played()
    assert left(phone) == "sales"


def test_speech_that_cannot_be_heard_leaves_the_keys_and_the_caller_is_told_which() -> None:
    phone = ask()
    phone.played()
    phone.step(events.ListeningFailed, phone.state.listening)
    assert phone.spoken[-1] == (
        "Sorry, I cannot hear you at the moment. Please use the keys of your telephone. "
        "For sales press 1. For billing press 2."
    )
    assert "silence" not in phone.timers, "not before it has been said"
    assert not phone.one(actions.Speak).barge_in, "nobody hears the caller, so their voice does not stop it"
    assert any(isinstance(action, actions.StopSpeaking) for action in phone.press("1")), "a key does"
    assert left(phone) == "sales"


def test_the_keys_are_offered_behind_a_question_that_is_still_being_asked() -> None:
    phone = ask()
    phone.step(events.ListeningFailed, phone.state.listening)
    assert len(phone.spoken) == 1
    phone.played()
    assert "keys of your telephone" in phone.spoken[-1]
    phone.played()
    assert len(phone.spoken) == 2, "once an attempt"
    phone.fire("silence")
    assert phone.spoken[-1] == "Sales or billing?"
    assert phone.one(actions.Listen), "the next attempt listens again"


def test_a_question_that_cannot_be_interrupted_offers_the_keys_once() -> None:
    phone = ask(barge_in=False, expect="digits")
    phone.played()
    phone.step(events.ListeningFailed, phone.state.listening)
    assert phone.spoken[-1].endswith("Please use the keys of your telephone.")
    phone.played()
    assert not phone.state.listening
    assert "silence" in phone.timers


def test_where_only_speech_answers_a_question_that_nobody_can_hear_is_left() -> None:
    phone = ask(input=["speech"], retries=1)
    phone.played()
    phone.step(events.ListeningFailed, phone.state.listening)
    phone.played()
    phone.step(events.ListeningFailed, phone.state.listening)
    assert left(phone) == "no_match"


def test_who_is_already_typing_is_not_told_about_keys() -> None:
    phone = ask(expect="digits", max_digits=4)
    phone.played()
    listening = phone.state.listening
    phone.press("1")
    phone.step(events.ListeningFailed, listening)
    phone.press("234")
    assert left(phone) == "done"


def test_keys_only_hears_nothing_and_speech_does_not_stop_the_clock() -> None:
    phone = ask(input=["keys"])
    assert not phone.has(actions.Listen)
    phone.begin()
    assert "silence" in phone.timers
    phone.press("1")
    assert left(phone) == "sales"


def test_speech_only_ignores_keys() -> None:
    phone = ask(input=["speech"])
    phone.press("1")
    assert not phone.exits
    phone.stopped()
    phone.say("sales")
    assert left(phone) == "sales"


# Early acceptance


def test_a_partial_that_stands_is_taken() -> None:
    phone = ask()
    phone.played()
    phone.begin()
    phone.partly("sales")
    assert not phone.exits
    phone.fire("early")
    assert left(phone) == "sales"
    assert phone.state.answered, "the rest of the utterance means nothing"


def test_a_partial_that_flickers_is_not() -> None:
    phone = ask()
    phone.played()
    phone.begin()
    phone.partly("sales")
    phone.partly("failed")
    assert "early" not in phone.timers
    phone.partly("billing")
    phone.partly("billing please")
    phone.fire("early")
    assert left(phone) == "billing"


def test_a_partial_that_could_become_another_waits_for_the_end() -> None:
    phone = ask(choices={"sales": {"phrases": ["sales"]}, "support": {"phrases": ["sales support"]}})
    phone.played()
    phone.begin()
    phone.partly("sales")
    assert "early" not in phone.timers
    phone.step(events.Heard, phone.state.listening, "sales support", True)
    assert left(phone) == "support"


@pytest.mark.parametrize("partial", ["not sales", "sales no", "sales or", "actually sales"])
def test_a_caller_in_doubt_is_heard_out(partial: str) -> None:
    phone = ask()
    phone.begin()
    phone.partly(partial)
    assert "early" not in phone.timers


# Digits, numbers, yes and no, text


def test_digits_end_with_the_terminator() -> None:
    phone = ask(expect="digits", max_digits=8, save_as="account")
    phone.press("1234#")
    assert left(phone) == "done"
    assert phone.state.variables["account"] == "1234"


def test_digits_end_when_they_are_complete() -> None:
    phone = ask(expect="digits", min_digits=4, max_digits=4)
    phone.press("1234")
    assert left(phone) == "done"


def test_digits_end_when_no_more_come() -> None:
    phone = ask(expect="digits")
    phone.press("12")
    phone.stopped()
    phone.fire("keys")
    assert phone.state.results["ask"]["value"] == "12"


def test_too_few_digits_are_no_match() -> None:
    phone = ask(expect="digits", min_digits=4, retries=0)
    phone.press("12#")
    assert left(phone) == "no_match"


def test_digits_by_voice() -> None:
    phone = ask(expect="digits", save_as="account")
    assert phone.one(actions.Listen).repeat
    phone.say("one two double three")
    assert phone.state.variables["account"] == "1233"


@pytest.mark.parametrize(
    ("said", "value"), [("two hundred and five", 205), ("minus three point five", -3.5), ("17", 17)]
)
def test_numbers_by_voice(said: str, value: float) -> None:
    phone = ask(expect="number")
    phone.say(said)
    assert phone.state.results["ask"]["value"] == value


def test_numbers_by_keys() -> None:
    phone = ask(expect="number")
    phone.press("042#")
    assert phone.state.results["ask"]["value"] == 42


@pytest.mark.parametrize(("said", "way"), [("yes please", "yes"), ("no thanks", "no"), ("that's right", "yes")])
def test_yes_and_no(said: str, way: str) -> None:
    phone = ask(expect="yes_no")
    phone.say(said)
    assert left(phone) == way


def test_yes_and_no_by_key() -> None:
    phone = ask(expect="yes_no")
    phone.press("2")
    assert left(phone) == "no"


def test_text_takes_what_is_said_and_no_keys() -> None:
    phone = ask(expect="text")
    phone.press("5")
    phone.stopped()
    phone.say("my printer is on fire")
    assert phone.state.results["ask"]["value"] == "my printer is on fire"


# Confirmation


def test_an_answer_is_confirmed() -> None:
    phone = ask(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    assert phone.spoken[-1] == "Did you say sales?"
    assert "yes" in phone.one(actions.Listen).phrases if phone.has(actions.Listen) else True
    phone.played()
    phone.say("yes")
    assert left(phone) == "sales"
    assert phone.state.results["ask"]["said"] == "sales"


def test_a_denied_answer_is_asked_for_again() -> None:
    phone = ask(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    phone.played()
    phone.say("no")
    assert phone.spoken[-1] == "Sales or billing?"
    phone.say("billing")
    phone.press("1")
    assert left(phone) == "billing"


def test_a_corrected_answer_is_confirmed_in_its_turn() -> None:
    phone = ask(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    phone.say("no, billing")
    assert phone.spoken[-1] == "Did you say billing?"
    phone.say("yes")
    assert left(phone) == "billing"


def test_denying_too_often_is_no_match() -> None:
    phone = ask(confirm="{{ answer }}?", retries=1)
    for said in ("sales", "no", "sales", "no"):
        phone.say(said)
    assert left(phone) == "no_match"


def test_silence_after_did_you_say_asks_it_again() -> None:
    phone = ask(confirm="{{ answer | digits }}?", expect="digits", save_as="account")
    phone.press("12#")
    phone.played()
    phone.fire("silence")
    assert phone.spoken[-2:] == ["1 2?", "1 2?"]
    phone.played()
    phone.press("1")
    assert phone.state.variables["account"] == "12"


# Anywhere

ANYWHERE = {
    "operator": {"phrases": ["operator"], "key": "0", "go": "desk"},
    "again": {"phrases": ["say that again"], "key": "9", "go": "@repeat"},
}


@pytest.mark.parametrize("said", ["operator", "give me the operator"])
def test_a_phrase_heard_anywhere(said: str) -> None:
    phone = ask(anywhere=ANYWHERE)
    assert phone.one(actions.Listen).phrases[-2:] == ("operator", "say that again")
    phone.say(said)
    assert phone.session.ended


def test_a_key_heard_anywhere() -> None:
    phone = ask(anywhere=ANYWHERE)
    phone.press("0")
    assert phone.session.ended


def test_repeat_costs_no_attempt() -> None:
    phone = ask(anywhere=ANYWHERE, retries=0)
    for _ in range(5):
        phone.say("say that again")
    phone.press("9")
    assert phone.spoken == ["Sales or billing?"] * 7
    phone.say("sales")
    assert left(phone) == "sales"


def test_a_digit_is_a_digit_and_no_wish() -> None:
    phone = ask(expect="digits", anywhere=ANYWHERE)
    phone.press("00#")
    assert phone.state.results["ask"]["value"] == "00"


def test_a_wish_among_digits_is_said_alone() -> None:
    phone = ask(expect="digits", anywhere=ANYWHERE)
    phone.say("operator")
    assert phone.session.ended


def test_a_question_s_own_phrase_comes_first() -> None:
    phone = ask(anywhere={"sale": {"phrases": ["sales"], "key": "1", "go": "desk"}})
    phone.say("sales")
    assert left(phone) == "sales"


def test_a_wish_is_taken_early() -> None:
    phone = ask(anywhere=ANYWHERE)
    phone.begin()
    phone.partly("operator")
    phone.fire("early")
    assert phone.session.ended


# Sensitive answers


def test_a_sensitive_answer_is_nowhere_but_in_the_private_part() -> None:
    phone = ask(expect="digits", sensitive=True, save_as="pin", confirm="{{ answer | digits }}?")
    assert phone.session.confidential
    assert phone.one(actions.Listen).sensitive
    phone.press("98765#")
    asked = phone.one(actions.Speak)
    assert asked.text == "9 8 7 6 5?"
    assert asked.sensitive
    phone.press("1")
    held = phone.session.checkpoint()
    assert held.pop("private")["variables"] == [{"pin": "98765"}]
    assert "98765" not in str(held)
    assert "98765" not in str([action for action in phone.every if not isinstance(action, actions.Speak)])
    assert phone.state.results["ask"] == {"value": "*****", "said": "*****"}


# On a new stream


def test_after_a_break_the_question_is_asked_again() -> None:
    phone = ask(retries=1)
    phone.played()
    phone.fire("silence")
    phone.step(events.CallResumed)
    assert phone.spoken[-1] == "Sorry, let's go on. Sales or billing?"
    phone.played()
    phone.fire("silence")
    assert left(phone) == "no_input", "the attempt before the break counts"
