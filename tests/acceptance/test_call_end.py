"""However a call ends, it has an end; and calls are kept apart."""

import asyncio

from vocelio.gateway.simulator.caller.script import HangUp, Speak

TALKING = {
    "name": "Talk",
    "start": "talk",
    "nodes": {"talk": {"type": "say", "barge_in": False, "text": "This is a long announcement. " * 8}},
}


async def test_a_hang_up_in_mid_prompt(serving, speak):
    async with serving(TALKING) as served:
        report = await served.call(speak(HangUp(interrupt=1.5)))
        (ended,) = served.bus.of("call.ended")
    assert (report.ended, ended["outcome"]) == ("caller_hung_up", "abandoned")


async def test_speech_in_one_call_is_not_heard_in_another(front_desk, serving, speak):
    async with serving(front_desk) as served:
        first, second = await asyncio.gather(
            served.call(speak(Speak("sales please"))), served.call(speak(Speak("my invoice")))
        )
    assert [first.dialed[0].target, second.dialed[0].target] == ["+13105550111", "+13105550112"]
