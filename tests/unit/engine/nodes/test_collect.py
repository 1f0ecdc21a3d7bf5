"""The collect node: input by speech and keys, partial transcripts, confirmation, global commands, resuming."""

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


def exit_taken(driver: SessionDriver) -> str:
    ((node, exit_name),) = driver.exits_taken
    assert node == "ask"
    return exit_name


def test_prompt_starts_recognition_and_its_end_starts_the_silence_timer() -> None:
    driver = collect_node()
    assert [type(action).__name__ for action in driver.last_actions][-2:] == ["Listen", "Speak"]
    assert driver.only_action(actions.Listen).phrases == ("sales", "buy something", "billing")
    assert "silence" not in driver.timers
    driver.finish_prompts()
    assert "silence" in driver.timers


@pytest.mark.parametrize(
    ("text", "exit_name"), [("sales", "sales"), ("I want to buy something", "sales"), ("billing please", "billing")]
)
def test_spoken_phrase_selects_choice(text: str, exit_name: str) -> None:
    driver = collect_node()
    driver.finish_prompts()
    driver.say(text)
    assert exit_taken(driver) == exit_name
    assert driver.state.results["ask"] == {"value": exit_name, "said": text}


def test_key_stops_prompt_and_selects_choice() -> None:
    driver = collect_node()
    result = driver.press_keys("2")
    assert any(isinstance(action, actions.StopSpeaking) for action in result)
    assert exit_taken(driver) == "billing"


def test_key_typed_ahead_answers_without_prompt() -> None:
    nodes = {
        "hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}},
        "ask": {"type": "collect", "prompt": "?", "expect": "choice", "choices": MENU, "exits": {"sales": "bye"}},
        "bye": {"type": "wait", "seconds": 1},
    }
    driver = SessionDriver(nodes)
    driver.press_keys("1")
    driver.fire_timer("wait")
    assert driver.spoken_texts == []
    assert driver.exits_taken[-1] == ("ask", "sales")


def test_keys_typed_ahead_after_a_wrong_key_are_discarded() -> None:
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
    driver = SessionDriver(nodes)
    driver.press_keys("71")
    driver.fire_timer("wait")
    assert driver.spoken_texts == ["Sorry, I did not understand. ?"]
    driver.press_keys("2")
    assert driver.exits_taken[-1] == ("ask", "billing")


def test_answer_and_confirmation_can_be_typed_ahead() -> None:
    ask_ = {"type": "collect", "prompt": "?", "expect": "digits", "confirm": "{{ answer }}?", "exits": {"done": "hold"}}
    driver = SessionDriver({"hold": {"type": "wait", "seconds": 1, "exits": {"next": "ask"}}, "ask": ask_})
    driver.press_keys("12#1")
    driver.fire_timer("wait")
    assert driver.spoken_texts == []
    assert driver.exits_taken[-1] == ("ask", "done")


def test_silence_leads_to_reprompts_and_then_to_no_input() -> None:
    driver = collect_node(retries=2, reprompts=["Once more?", "Last chance."])
    for _ in range(3):
        driver.finish_prompts()
        driver.fire_timer("silence")
    assert driver.spoken_texts == ["Sales or billing?", "Once more?", "Last chance."]
    assert exit_taken(driver) == "no_input"
    assert driver.state.results["ask"] == {"value": None, "said": ""}


def test_unmatched_speech_leads_to_apology_and_then_to_no_match() -> None:
    driver = collect_node()
    driver.say("bananas")
    assert driver.spoken_texts[-1] == "Sorry, I did not understand. Sales or billing?"
    driver.say("sales and billing")
    assert exit_taken(driver) == "no_match"


def test_unknown_key_leads_to_no_match() -> None:
    driver = collect_node(retries=0)
    driver.press_keys("7")
    assert exit_taken(driver) == "no_match"


def test_barge_in_cancels_the_silence_timer() -> None:
    driver = collect_node()
    driver.start_speech()
    assert "silence" not in driver.timers
    assert "utterance" in driver.timers
    driver.fire_timer("utterance")
    assert "understand" in driver.spoken_texts[-1]
    assert driver.only_action(actions.Listen).ignore_current_utterance, (
        "the utterance that timed out is not recognized again"
    )


def test_without_barge_in_keys_count_after_the_prompt() -> None:
    driver = collect_node(barge_in=False)
    assert not driver.has_action(actions.Listen)
    driver.press_keys("1")
    assert not driver.exits_taken
    driver.finish_prompts()
    assert exit_taken(driver) == "sales"


def test_recognition_failure_announces_the_keys() -> None:
    driver = collect_node()
    driver.finish_prompts()
    driver.step(events.ListeningFailed, driver.state.recognition_id)
    assert driver.spoken_texts[-1] == (
        "Sorry, I cannot hear you at the moment. Please use the keys of your telephone. "
        "For sales press 1. For billing press 2."
    )
    assert "silence" not in driver.timers, "the silence timer starts after the announcement"
    assert not driver.only_action(actions.Speak).barge_in, (
        "speech is not recognized, so it does not stop the announcement"
    )
    assert any(isinstance(action, actions.StopSpeaking) for action in driver.press_keys("1")), "a key stops it"
    assert exit_taken(driver) == "sales"


def test_keys_are_announced_after_the_current_prompt_once_per_attempt() -> None:
    driver = collect_node()
    driver.step(events.ListeningFailed, driver.state.recognition_id)
    assert len(driver.spoken_texts) == 1
    driver.finish_prompts()
    assert "keys of your telephone" in driver.spoken_texts[-1]
    driver.finish_prompts()
    assert len(driver.spoken_texts) == 2, "announced once per attempt"
    driver.fire_timer("silence")
    assert driver.spoken_texts[-1] == "Sales or billing?"
    assert driver.only_action(actions.Listen), "the next attempt starts recognition again"


def test_without_barge_in_keys_are_announced_once() -> None:
    driver = collect_node(barge_in=False, expect="digits")
    driver.finish_prompts()
    driver.step(events.ListeningFailed, driver.state.recognition_id)
    assert driver.spoken_texts[-1].endswith("Please use the keys of your telephone.")
    driver.finish_prompts()
    assert not driver.state.recognition_id
    assert "silence" in driver.timers


def test_recognition_failure_without_keys_leads_to_no_match() -> None:
    driver = collect_node(input=["speech"], retries=1)
    driver.finish_prompts()
    driver.step(events.ListeningFailed, driver.state.recognition_id)
    driver.finish_prompts()
    driver.step(events.ListeningFailed, driver.state.recognition_id)
    assert exit_taken(driver) == "no_match"


def test_recognition_failure_while_typing_is_not_announced() -> None:
    driver = collect_node(expect="digits", max_digits=4)
    driver.finish_prompts()
    listening = driver.state.recognition_id
    driver.press_keys("1")
    driver.step(events.ListeningFailed, listening)
    driver.press_keys("234")
    assert exit_taken(driver) == "done"


def test_keys_only_question_ignores_speech() -> None:
    driver = collect_node(input=["keys"])
    assert not driver.has_action(actions.Listen)
    driver.start_speech()
    assert "silence" in driver.timers
    driver.press_keys("1")
    assert exit_taken(driver) == "sales"


def test_speech_only_question_ignores_keys() -> None:
    driver = collect_node(input=["speech"])
    driver.press_keys("1")
    assert not driver.exits_taken
    driver.interrupt_prompts()
    driver.say("sales")
    assert exit_taken(driver) == "sales"


# Partial transcripts


def test_stable_partial_is_accepted() -> None:
    driver = collect_node()
    driver.finish_prompts()
    driver.start_speech()
    driver.say_partial("sales")
    assert not driver.exits_taken
    driver.fire_timer("partial_stable")
    assert exit_taken(driver) == "sales"
    assert driver.state.utterance_consumed, "the rest of the utterance is ignored"


def test_changing_partial_is_not_accepted() -> None:
    driver = collect_node()
    driver.finish_prompts()
    driver.start_speech()
    driver.say_partial("sales")
    driver.say_partial("failed")
    assert "partial_stable" not in driver.timers
    driver.say_partial("billing")
    driver.say_partial("billing please")
    driver.fire_timer("partial_stable")
    assert exit_taken(driver) == "billing"


def test_ambiguous_partial_waits_for_the_final_transcript() -> None:
    driver = collect_node(choices={"sales": {"phrases": ["sales"]}, "support": {"phrases": ["sales support"]}})
    driver.finish_prompts()
    driver.start_speech()
    driver.say_partial("sales")
    assert "partial_stable" not in driver.timers
    driver.step(events.TranscriptReceived, driver.state.recognition_id, "sales support", True)
    assert exit_taken(driver) == "support"


@pytest.mark.parametrize("partial", ["not sales", "sales no", "sales or", "actually sales"])
def test_hesitating_partial_is_not_accepted(partial: str) -> None:
    driver = collect_node()
    driver.start_speech()
    driver.say_partial(partial)
    assert "partial_stable" not in driver.timers


# Digits, numbers, yes and no, text


def test_terminator_completes_digits() -> None:
    driver = collect_node(expect="digits", max_digits=8, save_as="account")
    driver.press_keys("1234#")
    assert exit_taken(driver) == "done"
    assert driver.state.variables["account"] == "1234"


def test_max_digits_completes_digits() -> None:
    driver = collect_node(expect="digits", min_digits=4, max_digits=4)
    driver.press_keys("1234")
    assert exit_taken(driver) == "done"


def test_inter_digit_timeout_completes_digits() -> None:
    driver = collect_node(expect="digits")
    driver.press_keys("12")
    driver.interrupt_prompts()
    driver.fire_timer("keys")
    assert driver.state.results["ask"]["value"] == "12"


def test_too_few_digits_lead_to_no_match() -> None:
    driver = collect_node(expect="digits", min_digits=4, retries=0)
    driver.press_keys("12#")
    assert exit_taken(driver) == "no_match"


def test_spoken_digits() -> None:
    driver = collect_node(expect="digits", save_as="account")
    assert driver.only_action(actions.Listen).phrases_repeat
    driver.say("one two double three")
    assert driver.state.variables["account"] == "1233"


@pytest.mark.parametrize(
    ("text", "value"), [("two hundred and five", 205), ("minus three point five", -3.5), ("17", 17)]
)
def test_spoken_numbers(text: str, value: float) -> None:
    driver = collect_node(expect="number")
    driver.say(text)
    assert driver.state.results["ask"]["value"] == value


def test_keyed_number() -> None:
    driver = collect_node(expect="number")
    driver.press_keys("042#")
    assert driver.state.results["ask"]["value"] == 42


@pytest.mark.parametrize(("text", "exit_name"), [("yes please", "yes"), ("no thanks", "no"), ("that's right", "yes")])
def test_spoken_yes_and_no(text: str, exit_name: str) -> None:
    driver = collect_node(expect="yes_no")
    driver.say(text)
    assert exit_taken(driver) == exit_name


def test_keyed_no() -> None:
    driver = collect_node(expect="yes_no")
    driver.press_keys("2")
    assert exit_taken(driver) == "no"


def test_text_accepts_speech_and_ignores_keys() -> None:
    driver = collect_node(expect="text")
    driver.press_keys("5")
    driver.interrupt_prompts()
    driver.say("my printer is on fire")
    assert driver.state.results["ask"]["value"] == "my printer is on fire"


# Confirmation


def test_confirmed_answer_is_accepted() -> None:
    driver = collect_node(confirm="Did you say {{ answer }}?")
    driver.say("sales")
    assert driver.spoken_texts[-1] == "Did you say sales?"
    assert "yes" in driver.only_action(actions.Listen).phrases if driver.has_action(actions.Listen) else True
    driver.finish_prompts()
    driver.say("yes")
    assert exit_taken(driver) == "sales"
    assert driver.state.results["ask"]["said"] == "sales"


def test_denied_answer_repeats_the_question() -> None:
    driver = collect_node(confirm="Did you say {{ answer }}?")
    driver.say("sales")
    driver.finish_prompts()
    driver.say("no")
    assert driver.spoken_texts[-1] == "Sales or billing?"
    driver.say("billing")
    driver.press_keys("1")
    assert exit_taken(driver) == "billing"


def test_denial_with_a_correction_confirms_the_correction() -> None:
    driver = collect_node(confirm="Did you say {{ answer }}?")
    driver.say("sales")
    driver.say("no, billing")
    assert driver.spoken_texts[-1] == "Did you say billing?"
    driver.say("yes")
    assert exit_taken(driver) == "billing"


def test_denials_use_up_attempts() -> None:
    driver = collect_node(confirm="{{ answer }}?", retries=1)
    for text in ("sales", "no", "sales", "no"):
        driver.say(text)
    assert exit_taken(driver) == "no_match"


def test_silence_repeats_the_confirmation() -> None:
    driver = collect_node(confirm="{{ answer | digits }}?", expect="digits", save_as="account")
    driver.press_keys("12#")
    driver.finish_prompts()
    driver.fire_timer("silence")
    assert driver.spoken_texts[-2:] == ["1 2?", "1 2?"]
    driver.finish_prompts()
    driver.press_keys("1")
    assert driver.state.variables["account"] == "12"


# Global commands

GLOBAL_COMMANDS = {
    "operator": {"phrases": ["operator"], "key": "0", "go": "desk"},
    "again": {"phrases": ["say that again"], "key": "9", "go": "@repeat"},
}


@pytest.mark.parametrize("text", ["operator", "give me the operator"])
def test_global_command_by_phrase(text: str) -> None:
    driver = collect_node(anywhere=GLOBAL_COMMANDS)
    assert driver.only_action(actions.Listen).phrases[-2:] == ("operator", "say that again")
    driver.say(text)
    assert driver.session.ended


def test_global_command_by_key() -> None:
    driver = collect_node(anywhere=GLOBAL_COMMANDS)
    driver.press_keys("0")
    assert driver.session.ended


def test_repeat_command_uses_no_attempt() -> None:
    driver = collect_node(anywhere=GLOBAL_COMMANDS, retries=0)
    for _ in range(5):
        driver.say("say that again")
    driver.press_keys("9")
    assert driver.spoken_texts == ["Sales or billing?"] * 7
    driver.say("sales")
    assert exit_taken(driver) == "sales"


def test_digit_is_not_a_global_command() -> None:
    driver = collect_node(expect="digits", anywhere=GLOBAL_COMMANDS)
    driver.press_keys("00#")
    assert driver.state.results["ask"]["value"] == "00"


def test_global_command_phrase_at_a_digits_question() -> None:
    driver = collect_node(expect="digits", anywhere=GLOBAL_COMMANDS)
    driver.say("operator")
    assert driver.session.ended


def test_choice_takes_precedence_over_global_command() -> None:
    driver = collect_node(anywhere={"sale": {"phrases": ["sales"], "key": "1", "go": "desk"}})
    driver.say("sales")
    assert exit_taken(driver) == "sales"


def test_stable_partial_of_a_global_command_is_accepted() -> None:
    driver = collect_node(anywhere=GLOBAL_COMMANDS)
    driver.start_speech()
    driver.say_partial("operator")
    driver.fire_timer("partial_stable")
    assert driver.session.ended


# Sensitive answers


def test_sensitive_answer_is_only_in_the_private_state() -> None:
    driver = collect_node(expect="digits", sensitive=True, save_as="pin", confirm="{{ answer | digits }}?")
    assert driver.session.input_is_sensitive
    assert driver.only_action(actions.Listen).sensitive
    driver.press_keys("98765#")
    confirmation = driver.only_action(actions.Speak)
    assert confirmation.text == "9 8 7 6 5?"
    assert confirmation.sensitive
    driver.press_keys("1")
    checkpoint = driver.session.checkpoint()
    assert checkpoint.pop("private")["variables"] == [{"pin": "98765"}]
    assert "98765" not in str(checkpoint)
    assert "98765" not in str([action for action in driver.all_actions if not isinstance(action, actions.Speak)])
    assert driver.state.results["ask"] == {"value": "*****", "said": "*****"}


# Resuming


def test_resumed_call_repeats_the_question_and_keeps_the_attempts() -> None:
    driver = collect_node(retries=1)
    driver.finish_prompts()
    driver.fire_timer("silence")
    driver.step(events.CallResumed)
    assert driver.spoken_texts[-1] == "Sorry, let's go on. Sales or billing?"
    driver.finish_prompts()
    driver.fire_timer("silence")
    assert exit_taken(driver) == "no_input", "the attempt before the interruption counts"
