"""Every call ends in a defined way, and calls do not affect each other."""

import asyncio

from vocelio.gateway.simulator.caller.script import HangUp, Speak

TALK_FLOW = {
    "name": "Talk",
    "start": "talk",
    "nodes": {"talk": {"type": "say", "barge_in": False, "text": "This is a long announcement. " * 8}},
}


async def test_hangup_during_a_prompt_abandons_the_call(serve_gateway, make_caller):
    async with serve_gateway(TALK_FLOW) as served:
        report = await served.call(make_caller(HangUp(interrupt_after_seconds=1.5)))
        (ended,) = served.bus.data_of("call.ended")
    assert (report.ending, ended["outcome"]) == ("caller_hung_up", "abandoned")


async def test_concurrent_calls_are_recognized_separately(front_desk, serve_gateway, make_caller):
    async with serve_gateway(front_desk) as served:
        first, second = await asyncio.gather(
            served.call(make_caller(Speak("sales please"))), served.call(make_caller(Speak("my invoice")))
        )
    assert [first.dial_results[0].target, second.dial_results[0].target] == ["+13105550111", "+13105550112"]
