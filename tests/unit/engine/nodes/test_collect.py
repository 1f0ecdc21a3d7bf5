"""collect: every way an answer is given, understood, confirmed or not."""

from typing import Any

import pytest

from tests.support.session_driver import SessionDriver
from vocelio.engine import actions, events

BYE: dict[str, Any] = {"type": "hangup"}
MENU = {"sales": {"phrases": ["sales", "buy something"], "key": "1"}, "billing": {"phrases": ["billing"], "key": "2"}}


def collect_node(**fields: Any) -> SessionDriver:
    anywhere = fields.pop("anywhere", {})
    node = {"type": "collect", "prompt": "Sales or billing?", "expect": "choice", **fields}
    if node["expect"] == "choice":
        node.setdefault("choices", MENU)
    exits = {"choice": [*node.get("choices", {})], "yes_no": ["yes", "no"]}.get(node["expect"], ["done"])
    node["exits"] = dict.fromkeys([*exits, "no_input", "no_match"], "bye")
    nodes = {"ask": node, "bye": {"type": "wait", "seconds": 5, "exits": {"next": "desk"}}, "desk": BYE}
    return SessionDriver(nodes, anywhere=anywhere, max_seconds=600)


def exit_taken(phone: SessionDriver) -> str:
    ((node, exit_name),) = phone.exits_taken
    assert node == "ask"
    return exit_name


def test_it_listens_while_it_asks_and_waits_when_it_has_asked() -> None:
    phone = collect_node()
    assert [type(action).__name__ for action in phone.last_actions][-2:] == ["Listen", "Speak"]
    assert phone.only_action(actions.Listen).phrases == ("sales", "buy something", "billing")
    assert "silence" not in phone.timers
    phone.finish_prompts()
    assert "silence" in phone.timers


@pytest.mark.parametrize(
    ("said", "way"), [("sales", "sales"), ("I want to buy something", "sales"), ("billing please", "billing")]
)
def test_a_choice_by_voice(said: str, way: str) -> None:
    phone = collect_node()
    phone.finish_prompts()
    phone.say(said)
    assert exit_taken(phone) == way
    assert phone.state.results["ask"] == {"value": way, "said": said}


def test_a_choice_by_key_interrupts_the_question() -> None:
    phone = collect_node()
    actions_ = phone.press_keys("2")
    assert any(isinstance(action, actions.StopSpeaking) for action in actions_)
    assert exit_taken(phone) == "billing"


def test_keys_pressed_before_the_question_answer_it_and_nothing_is_asked() -> None:
    nodes = {
        "hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}},
        "ask": {"type": "collect", "prompt": "?", "expect": "choice", "choices": MENU, "exits": {"sales": "bye"}},
        "bye": {"type": "wait", "seconds": 1},
    }
    phone = SessionDriver(nodes)
    phone.press_keys("1")
    phone.fire_timer("wait")
    assert phone.spoken_texts == []
    assert phone.exits_taken[-1] == ("ask", "sales")


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
    phone = SessionDriver(nodes)
    phone.press_keys("71")
    phone.fire_timer("wait")
    assert phone.spoken_texts == ["Sorry, I did not understand. ?"]
    phone.press_keys("2")
    assert phone.exits_taken[-1] == ("ask", "billing")


def test_an_answer_and_its_confirmation_can_be_typed_ahead() -> None:
    ask_ = {"type": "collect", "prompt": "?", "expect": "digits", "confirm": "{{ answer }}?", "exits": {"done": "hold"}}
    phone = SessionDriver({"hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}}, "ask": ask_})
    phone.press_keys("12#1")
    phone.fire_timer("wait")
    assert phone.spoken_texts == []
    assert phone.exits_taken[-1] == ("ask", "done")


def test_silence_is_asked_about_again_and_then_leaves_by_no_input() -> None:
    phone = collect_node(retries=2, reprompts=["Once more?", "Last chance."])
    for _ in range(3):
        phone.finish_prompts()
        phone.fire_timer("silence")
    assert phone.spoken_texts == ["Sales or billing?", "Once more?", "Last chance."]
    assert exit_taken(phone) == "no_input"
    assert phone.state.results["ask"] == {"value": None, "said": ""}


def test_what_is_not_understood_is_said_so_and_then_leaves_by_no_match() -> None:
    phone = collect_node()
    phone.say("bananas")
    assert phone.spoken_texts[-1] == "Sorry, I did not understand. Sales or billing?"
    phone.say("sales and billing")
    assert exit_taken(phone) == "no_match"


def test_a_wrong_key_is_no_match() -> None:
    phone = collect_node(retries=0)
    phone.press_keys("7")
    assert exit_taken(phone) == "no_match"


def test_a_caller_who_interrupts_is_not_timed_out() -> None:
    phone = collect_node()
    phone.start_speech()
    assert "silence" not in phone.timers
    assert "utterance" in phone.timers
    phone.fire_timer("utterance")
    assert "understand" in phone.spoken_texts[-1]
    assert phone.only_action(actions.Listen).ignore_current_utterance, "what went on too long is not heard again"


def test_a_question_that_cannot_be_interrupted_is_asked_to_its_end() -> None:
    phone = collect_node(barge_in=False)
    assert not phone.has_action(actions.Listen)
    phone.press_keys("1")
    assert not phone.exits_taken
    phone.finish_prompts()
    assert exit_taken(phone) == "sales"


def test_speech_that_cannot_be_heard_leaves_the_keys_and_the_caller_is_told_which() -> None:
    phone = collect_node()
    phone.finish_prompts()
    phone.step(events.ListeningFailed, phone.state.recognition_id)
    assert phone.spoken_texts[-1] == (
        "Sorry, I cannot hear you at the moment. Please use the keys of your telephone. "
        "For sales press 1. For billing press 2."
    )
    assert "silence" not in phone.timers, "not before it has been said"
    assert not phone.only_action(actions.Speak).barge_in, "nobody hears the caller, so their voice does not stop it"
    assert any(isinstance(action, actions.StopSpeaking) for action in phone.press_keys("1")), "a key does"
    assert exit_taken(phone) == "sales"


def test_the_keys_are_offered_behind_a_question_that_is_still_being_asked() -> None:
    phone = collect_node()
    phone.step(events.ListeningFailed, phone.state.recognition_id)
    assert len(phone.spoken_texts) == 1
    phone.finish_prompts()
    assert "keys of your telephone" in phone.spoken_texts[-1]
    phone.finish_prompts()
    assert len(phone.spoken_texts) == 2, "once an attempt"
    phone.fire_timer("silence")
    assert phone.spoken_texts[-1] == "Sales or billing?"
    assert phone.only_action(actions.Listen), "the next attempt listens again"


def test_a_question_that_cannot_be_interrupted_offers_the_keys_once() -> None:
    phone = collect_node(barge_in=False, expect="digits")
    phone.finish_prompts()
    phone.step(events.ListeningFailed, phone.state.recognition_id)
    assert phone.spoken_texts[-1].endswith("Please use the keys of your telephone.")
    phone.finish_prompts()
    assert not phone.state.recognition_id
    assert "silence" in phone.timers


def test_where_only_speech_answers_a_question_that_nobody_can_hear_is_left() -> None:
    phone = collect_node(input=["speech"], retries=1)
    phone.finish_prompts()
    phone.step(events.ListeningFailed, phone.state.recognition_id)
    phone.finish_prompts()
    phone.step(events.ListeningFailed, phone.state.recognition_id)
    assert exit_taken(phone) == "no_match"


def test_who_is_already_typing_is_not_told_about_keys() -> None:
    phone = collect_node(expect="digits", max_digits=4)
    phone.finish_prompts()
    listening = phone.state.recognition_id
    phone.press_keys("1")
    phone.step(events.ListeningFailed, listening)
    phone.press_keys("234")
    assert exit_taken(phone) == "done"


def test_keys_only_hears_nothing_and_speech_does_not_stop_the_clock() -> None:
    phone = collect_node(input=["keys"])
    assert not phone.has_action(actions.Listen)
    phone.start_speech()
    assert "silence" in phone.timers
    phone.press_keys("1")
    assert exit_taken(phone) == "sales"


def test_speech_only_ignores_keys() -> None:
    phone = collect_node(input=["speech"])
    phone.press_keys("1")
    assert not phone.exits_taken
    phone.interrupt_prompts()
    phone.say("sales")
    assert exit_taken(phone) == "sales"


# Early acceptance


def test_a_partial_that_stands_is_taken() -> None:
    phone = collect_node()
    phone.finish_prompts()
    phone.start_speech()
    phone.say_partial("sales")
    assert not phone.exits_taken
    phone.fire_timer("partial_stable")
    assert exit_taken(phone) == "sales"
    assert phone.state.utterance_consumed, "the rest of the utterance means nothing"


def test_a_partial_that_flickers_is_not() -> None:
    phone = collect_node()
    phone.finish_prompts()
    phone.start_speech()
    phone.say_partial("sales")
    phone.say_partial("failed")
    assert "partial_stable" not in phone.timers
    phone.say_partial("billing")
    phone.say_partial("billing please")
    phone.fire_timer("partial_stable")
    assert exit_taken(phone) == "billing"


def test_a_partial_that_could_become_another_waits_for_the_end() -> None:
    phone = collect_node(choices={"sales": {"phrases": ["sales"]}, "support": {"phrases": ["sales support"]}})
    phone.finish_prompts()
    phone.start_speech()
    phone.say_partial("sales")
    assert "partial_stable" not in phone.timers
    phone.step(events.TranscriptReceived, phone.state.recognition_id, "sales support", True)
    assert exit_taken(phone) == "support"


@pytest.mark.parametrize("partial", ["not sales", "sales no", "sales or", "actually sales"])
def test_a_caller_in_doubt_is_heard_out(partial: str) -> None:
    phone = collect_node()
    phone.start_speech()
    phone.say_partial(partial)
    assert "partial_stable" not in phone.timers


# Digits, numbers, yes and no, text


def test_digits_end_with_the_terminator() -> None:
    phone = collect_node(expect="digits", max_digits=8, save_as="account")
    phone.press_keys("1234#")
    assert exit_taken(phone) == "done"
    assert phone.state.variables["account"] == "1234"


def test_digits_end_when_they_are_complete() -> None:
    phone = collect_node(expect="digits", min_digits=4, max_digits=4)
    phone.press_keys("1234")
    assert exit_taken(phone) == "done"


def test_digits_end_when_no_more_come() -> None:
    phone = collect_node(expect="digits")
    phone.press_keys("12")
    phone.interrupt_prompts()
    phone.fire_timer("keys")
    assert phone.state.results["ask"]["value"] == "12"


def test_too_few_digits_are_no_match() -> None:
    phone = collect_node(expect="digits", min_digits=4, retries=0)
    phone.press_keys("12#")
    assert exit_taken(phone) == "no_match"


def test_digits_by_voice() -> None:
    phone = collect_node(expect="digits", save_as="account")
    assert phone.only_action(actions.Listen).phrases_repeat
    phone.say("one two double three")
    assert phone.state.variables["account"] == "1233"


@pytest.mark.parametrize(
    ("said", "value"), [("two hundred and five", 205), ("minus three point five", -3.5), ("17", 17)]
)
def test_numbers_by_voice(said: str, value: float) -> None:
    phone = collect_node(expect="number")
    phone.say(said)
    assert phone.state.results["ask"]["value"] == value


def test_numbers_by_keys() -> None:
    phone = collect_node(expect="number")
    phone.press_keys("042#")
    assert phone.state.results["ask"]["value"] == 42


@pytest.mark.parametrize(("said", "way"), [("yes please", "yes"), ("no thanks", "no"), ("that's right", "yes")])
def test_yes_and_no(said: str, way: str) -> None:
    phone = collect_node(expect="yes_no")
    phone.say(said)
    assert exit_taken(phone) == way


def test_yes_and_no_by_key() -> None:
    phone = collect_node(expect="yes_no")
    phone.press_keys("2")
    assert exit_taken(phone) == "no"


def test_text_takes_what_is_said_and_no_keys() -> None:
    phone = collect_node(expect="text")
    phone.press_keys("5")
    phone.interrupt_prompts()
    phone.say("my printer is on fire")
    assert phone.state.results["ask"]["value"] == "my printer is on fire"


# Confirmation


def test_an_answer_is_confirmed() -> None:
    phone = collect_node(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    assert phone.spoken_texts[-1] == "Did you say sales?"
    assert "yes" in phone.only_action(actions.Listen).phrases if phone.has_action(actions.Listen) else True
    phone.finish_prompts()
    phone.say("yes")
    assert exit_taken(phone) == "sales"
    assert phone.state.results["ask"]["said"] == "sales"


def test_a_denied_answer_is_asked_for_again() -> None:
    phone = collect_node(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    phone.finish_prompts()
    phone.say("no")
    assert phone.spoken_texts[-1] == "Sales or billing?"
    phone.say("billing")
    phone.press_keys("1")
    assert exit_taken(phone) == "billing"


def test_a_corrected_answer_is_confirmed_in_its_turn() -> None:
    phone = collect_node(confirm="Did you say {{ answer }}?")
    phone.say("sales")
    phone.say("no, billing")
    assert phone.spoken_texts[-1] == "Did you say billing?"
    phone.say("yes")
    assert exit_taken(phone) == "billing"


def test_denying_too_often_is_no_match() -> None:
    phone = collect_node(confirm="{{ answer }}?", retries=1)
    for said in ("sales", "no", "sales", "no"):
        phone.say(said)
    assert exit_taken(phone) == "no_match"


def test_silence_after_did_you_say_asks_it_again() -> None:
    phone = collect_node(confirm="{{ answer | digits }}?", expect="digits", save_as="account")
    phone.press_keys("12#")
    phone.finish_prompts()
    phone.fire_timer("silence")
    assert phone.spoken_texts[-2:] == ["1 2?", "1 2?"]
    phone.finish_prompts()
    phone.press_keys("1")
    assert phone.state.variables["account"] == "12"


# Anywhere

ANYWHERE = {
    "operator": {"phrases": ["operator"], "key": "0", "go": "desk"},
    "again": {"phrases": ["say that again"], "key": "9", "go": "@repeat"},
}


@pytest.mark.parametrize("said", ["operator", "give me the operator"])
def test_a_phrase_heard_anywhere(said: str) -> None:
    phone = collect_node(anywhere=ANYWHERE)
    assert phone.only_action(actions.Listen).phrases[-2:] == ("operator", "say that again")
    phone.say(said)
    assert phone.session.ended


def test_a_key_heard_anywhere() -> None:
    phone = collect_node(anywhere=ANYWHERE)
    phone.press_keys("0")
    assert phone.session.ended


def test_repeat_costs_no_attempt() -> None:
    phone = collect_node(anywhere=ANYWHERE, retries=0)
    for _ in range(5):
        phone.say("say that again")
    phone.press_keys("9")
    assert phone.spoken_texts == ["Sales or billing?"] * 7
    phone.say("sales")
    assert exit_taken(phone) == "sales"


def test_a_digit_is_a_digit_and_no_wish() -> None:
    phone = collect_node(expect="digits", anywhere=ANYWHERE)
    phone.press_keys("00#")
    assert phone.state.results["ask"]["value"] == "00"


def test_a_wish_among_digits_is_said_alone() -> None:
    phone = collect_node(expect="digits", anywhere=ANYWHERE)
    phone.say("operator")
    assert phone.session.ended


def test_a_question_s_own_phrase_comes_first() -> None:
    phone = collect_node(anywhere={"sale": {"phrases": ["sales"], "key": "1", "go": "desk"}})
    phone.say("sales")
    assert exit_taken(phone) == "sales"


def test_a_wish_is_taken_early() -> None:
    phone = collect_node(anywhere=ANYWHERE)
    phone.start_speech()
    phone.say_partial("operator")
    phone.fire_timer("partial_stable")
    assert phone.session.ended


# Sensitive answers


def test_a_sensitive_answer_is_nowhere_but_in_the_private_part() -> None:
    phone = collect_node(expect="digits", sensitive=True, save_as="pin", confirm="{{ answer | digits }}?")
    assert phone.session.input_is_sensitive
    assert phone.only_action(actions.Listen).sensitive
    phone.press_keys("98765#")
    asked = phone.only_action(actions.Speak)
    assert asked.text == "9 8 7 6 5?"
    assert asked.sensitive
    phone.press_keys("1")
    held = phone.session.checkpoint()
    assert held.pop("private")["variables"] == [{"pin": "98765"}]
    assert "98765" not in str(held)
    assert "98765" not in str([action for action in phone.all_actions if not isinstance(action, actions.Speak)])
    assert phone.state.results["ask"] == {"value": "*****", "said": "*****"}


# On a new stream


def test_after_a_break_the_question_is_asked_again() -> None:
    phone = collect_node(retries=1)
    phone.finish_prompts()
    phone.fire_timer("silence")
    phone.step(events.CallResumed)
    assert phone.spoken_texts[-1] == "Sorry, let's go on. Sales or billing?"
    phone.finish_prompts()
    phone.fire_timer("silence")
    assert exit_taken(phone) == "no_input", "the attempt before the break counts"
