"""Calls to the front desk example: speech, keys, barge-in, silence, unintelligible speech, busy department."""

from vocelio.codecs import wav
from vocelio.gateway.simulator.caller.script import PressKeys, Speak

MENU_PROMPT = "Say sales, billing or support, or press 1, 2 or 3."


def transferred_department(served):
    """The departments of all transfers."""
    return [event["department"] for event in served.bus.data_of("transfer.started")]


def spoken_prompts(served):
    """The texts of all prompts, in order."""
    return [event["text"] for event in served.bus.data_of("prompt.started")]


def outcome(served):
    """The outcome of the call."""
    (ended,) = served.bus.data_of("call.ended")
    return ended["outcome"]


async def test_spoken_choice_is_transferred_with_whisper(front_desk, serve_gateway, make_caller, tmp_path):
    recording = tmp_path / "call.wav"
    async with serve_gateway(front_desk) as served:
        report = await served.call(make_caller(Speak("sales please")), recording_path=recording)
    assert transferred_department(served) == ["sales"]
    assert outcome(served) == "transferred"
    assert [dialed.target for dialed in report.dial_results] == ["+13105550111"]
    assert report.dial_results[0].whisper_text == "A sales call."
    assert report.errors == ()
    (turn,) = report.turns
    assert turn.latency_ms is not None
    both, rate = wav.read(recording)
    assert (rate, len(both) > 8000 * 2 * 5) == (8000, True)


async def test_spoken_synonym_is_transferred(front_desk, serve_gateway, make_caller):
    async with serve_gateway(front_desk) as served:
        report = await served.call(make_caller(Speak("my invoice")))
    assert transferred_department(served) == ["billing"]
    assert [dialed.target for dialed in report.dial_results] == ["+13105550112"]


async def test_pressed_key_is_transferred(front_desk, serve_gateway, make_caller):
    async with serve_gateway(front_desk) as served:
        report = await served.call(make_caller(PressKeys("3")))
    assert transferred_department(served) == ["support"]
    assert outcome(served) == "transferred"
    assert report.errors == ()


async def test_barge_in_stops_the_prompt_and_is_recognized_completely(front_desk, serve_gateway, make_caller):
    front_desk["nodes"]["greet"]["text"] = (
        "Thank you for calling Harbour Tools, the first address for tools of every kind, on land and at sea, "
        "in summer and in winter, for seventy years."
    )
    async with serve_gateway(front_desk) as served:
        report = await served.call(make_caller(Speak("technical support", interrupt_after_seconds=1.5)))
    assert transferred_department(served) == ["support"]
    assert MENU_PROMPT not in spoken_prompts(served)
    (interrupted,) = served.bus.data_of("prompt.interrupted")
    assert 1.0 < interrupted["played_seconds"] < 3.0
    assert len(report.clears) == 1
    assert report.clears[0].cleared_ms > 500
    assert report.turns[0].barge_in_latency_ms is not None
    assert report.errors == ()


async def test_silent_caller_is_reprompted_and_transferred_to_the_desk(front_desk, serve_gateway):
    async with serve_gateway(front_desk) as served:
        await served.call()
    assert spoken_prompts(served)[1:] == [MENU_PROMPT, "Sorry, please say sales, billing or support."]
    assert [event["exit"] for event in served.bus.data_of("node.left") if event["node"] == "ask"] == ["no_input"]
    assert transferred_department(served) == ["desk"]


async def test_unintelligible_speech_takes_the_no_match_exit(front_desk, serve_gateway, make_caller):
    async with serve_gateway(front_desk) as served:
        await served.call(make_caller(Speak("elephants like bananas"), Speak("elephants like bananas")))
    assert [event["exit"] for event in served.bus.data_of("node.left") if event["node"] == "ask"] == ["no_match"]
    assert transferred_department(served) == ["desk"]


async def test_busy_department_continues_the_flow_and_plays_the_whole_goodbye(front_desk, serve_gateway, make_caller):
    async with serve_gateway(front_desk) as served:
        report = await served.call(make_caller(PressKeys("1")), callees=["busy"])
    assert spoken_prompts(served)[-1].startswith("Sorry, nobody can take your call")
    assert outcome(served) == "completed"
    assert (report.ending, len(report.streams), report.errors) == ("hangup", 2, ())
    goodbye = report.streams[-1]
    assert goodbye.cleared_ms == 0
    assert goodbye.played_ms == goodbye.received_ms > 3000


async def test_unknown_number_is_rejected_with_a_message(front_desk, serve_gateway):
    async with serve_gateway(front_desk) as served:
        report = await served.simulator.call("+13072240000", "+13105550142")
    assert "not in service" in report.say_texts[0]
    assert (report.ending, report.streams) == ("hangup", ())
    assert served.bus.events == []
