"""A process with live calls is killed: another one resumes them, and no side effect is lost or repeated."""

import asyncio

import pytest

from tests.resilience.cluster import running_cluster
from tests.resilience.kill_rounds import kill_round, new_rng
from tests.resilience.silence import OutcomeTally
from vocelio.gateway.simulator.behavior import TwilioBehavior
from vocelio.gateway.store.db.schema import call_events, calls

CALLS, ROUNDS = 30, 2


@pytest.mark.timeout(300)
async def test_calls_of_a_killed_process_are_resumed(postgres, capsys):
    tally, rng = OutcomeTally(), new_rng(7)
    async with running_cluster(postgres) as running:
        for _ in range(ROUNDS):
            await kill_round(running, tally, rng, CALLS)
    with capsys.disabled():
        print(f"\n  {tally}")  # noqa: T201 (printed, not asserted: absolute times mean little on a shared machine)
    assert tally.unaffected_failed == []
    assert tally.cut >= 10
    assert tally.recovered_share >= 0.995, tally.failed


async def test_resumed_call_has_a_second_stream_and_repeats_the_question(postgres):
    async with running_cluster(postgres, 2) as running:
        call = asyncio.create_task(running.call("1234"))
        await running.crm.first_request.wait()
        await asyncio.sleep(0.3)
        await (await running.wait_until_busy()).kill()
        report = await call
        await running.wait_until_settled()
        assert await running.failed_calls([report]) == []
        timeline = sorted(await running.rows(call_events), key=lambda event: (event.generation, event.seq))
        starts = [
            (event.type, event.generation) for event in timeline if event.type in ("call.started", "call.resumed")
        ]
        assert starts == [("call.started", 1), ("call.resumed", 2)]
        prompts = [event.data for event in timeline if event.type == "prompt.started"]
        assert any("Sorry, let's go on. Please enter your code for the" in prompt for prompt in prompts)


async def test_without_resumption_the_calls_are_lost(postgres):
    """Control experiment: the other tests would fail with a gateway that cannot resume calls."""
    tally, rng = OutcomeTally(), new_rng(7)
    async with running_cluster(postgres, 3, "--forgetful") as running:
        await kill_round(running, tally, rng, 15)
    assert tally.cut >= 1
    assert tally.recovered_share == 0


async def test_calls_are_ended_in_the_store_when_twilio_hangs_up_after_a_stream_loss(postgres):
    tally, rng = OutcomeTally(), new_rng(7)
    async with running_cluster(postgres, behavior=TwilioBehavior(after_stream_loss="hang_up")) as running:
        await kill_round(running, tally, rng, 15)
        lost = await running.rows(calls, calls.c.outcome != "transferred")
    assert tally.unaffected_failed == []
    assert len(lost) == tally.cut >= 1
    assert {call.outcome for call in lost} <= {"lost", "abandoned"}
