"""The front desk, called: by voice, by key, interrupting, silent, unintelligible, busy."""

from vocelio.codecs import wav
from vocelio.gateway.simulator.caller.script import Press, Speak

ASKED = "Say sales, billing or support, or press 1, 2 or 3."


def department(served):
    """Where the call was transferred."""
    return [event["department"] for event in served.bus.of("transfer.started")]


def prompts(served):
    """What the caller was told, in order."""
    return [event["text"] for event in served.bus.of("prompt.started")]


def outcome(served):
    """How the call ended."""
    (ended,) = served.bus.of("call.ended")
    return ended["outcome"]


async def test_sales_by_voice(front_desk, serving, speak, tmp_path):
    recording = tmp_path / "call.wav"
    async with serving(front_desk) as served:
        report = await served.call(speak(Speak("sales please")), recording=recording)
    assert department(served) == ["sales"]
    assert outcome(served) == "transferred"
    assert [dialed.target for dialed in report.dialed] == ["+13105550111"]
    assert report.dialed[0].whisper == "A sales call."
    assert report.errors == ()
    (turn,) = report.turns
    assert turn.latency_ms is not None
    both, rate = wav.read(recording)
    assert (rate, len(both) > 8000 * 2 * 5) == (8000, True)


async def test_billing_by_voice(front_desk, serving, speak):
    async with serving(front_desk) as served:
        report = await served.call(speak(Speak("my invoice")))
    assert department(served) == ["billing"]
    assert [dialed.target for dialed in report.dialed] == ["+13105550112"]


async def test_support_by_key(front_desk, serving, speak):
    async with serving(front_desk) as served:
        report = await served.call(speak(Press("3")))
    assert department(served) == ["support"]
    assert outcome(served) == "transferred"
    assert report.errors == ()


async def test_a_caller_who_interrupts_is_heard_whole_and_not_talked_over(front_desk, serving, speak):
    front_desk["nodes"]["greet"]["text"] = (
        "Thank you for calling Harbour Tools, the first address for tools of every kind, on land and at sea, "
        "in summer and in winter, for seventy years."
    )
    async with serving(front_desk) as served:
        report = await served.call(speak(Speak("technical support", interrupt=1.5)))
    assert department(served) == ["support"]
    assert ASKED not in prompts(served)
    (interrupted,) = served.bus.of("caller.interrupted")
    assert 1.0 < interrupted["heard_seconds"] < 3.0
    assert len(report.clears) == 1
    assert report.clears[0].cleared_ms > 500
    assert report.turns[0].silenced_ms is not None
    assert report.errors == ()


async def test_a_caller_who_says_nothing_is_asked_again_and_put_through_to_the_desk(front_desk, serving):
    async with serving(front_desk) as served:
        await served.call()
    assert prompts(served)[1:] == [ASKED, "Sorry, please say sales, billing or support."]
    assert [event["exit"] for event in served.bus.of("node.left") if event["node"] == "ask"] == ["no_input"]
    assert department(served) == ["desk"]


async def test_what_nobody_understands_is_no_match(front_desk, serving, speak):
    async with serving(front_desk) as served:
        await served.call(speak(Speak("elephants like bananas"), Speak("elephants like bananas")))
    assert [event["exit"] for event in served.bus.of("node.left") if event["node"] == "ask"] == ["no_match"]
    assert department(served) == ["desk"]


async def test_when_the_department_is_busy_the_flow_goes_on_and_its_goodbye_is_complete(front_desk, serving, speak):
    async with serving(front_desk) as served:
        report = await served.call(speak(Press("1")), dials=["busy"])
    assert prompts(served)[-1].startswith("Sorry, nobody can take your call")
    assert outcome(served) == "completed"
    assert (report.ended, len(report.streams), report.errors) == ("hangup", 2, ())
    goodbye = report.streams[-1]
    assert goodbye.cleared_ms == 0
    assert goodbye.played_ms == goodbye.received_ms > 3000


async def test_an_unknown_number_hears_an_apology(front_desk, serving):
    async with serving(front_desk) as served:
        report = await served.carrier.call("+13072240000", "+13105550142")
    assert "not in service" in report.spoken[0]
    assert (report.ended, report.streams) == ("hangup", ())
    assert served.bus.events == []
