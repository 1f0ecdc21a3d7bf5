"""`kill -9` of a process under live calls: they go on with another one, and nothing is done twice or lost."""

import asyncio

import pytest

from tests.faults.cluster import cluster
from tests.faults.measuring import Tally
from tests.faults.rounds import kill_round, source
from vocelio.gateway.simulator.behavior import Switches
from vocelio.gateway.store.db.schema import call_events, calls

CALLS, ROUNDS = 30, 2


@pytest.mark.timeout(300)
async def test_calls_go_on_when_their_process_is_killed(postgres, capsys):
    tally, rng = Tally(), source(7)
    async with cluster(postgres) as running:
        for _ in range(ROUNDS):
            await kill_round(running, tally, rng, CALLS)
    with capsys.disabled():
        print(f"\n  {tally}")  # noqa: T201 (seen, not asserted: absolute times mean little on a shared machine)
    assert tally.unaffected_wrong == []
    assert tally.cut >= 10
    assert tally.kept >= 0.995, tally.wrong


async def test_one_call_with_two_streams_and_the_question_again(postgres):
    async with cluster(postgres, 2) as running:
        call = asyncio.create_task(running.call("1234"))
        await running.crm.first.wait()
        await asyncio.sleep(0.3)
        await (await running.busy()).kill()
        report = await call
        await running.settled()
        assert await running.wrong([report]) == []
        timeline = sorted(await running.rows(call_events), key=lambda event: (event.generation, event.seq))
        began = [(event.type, event.generation) for event in timeline if event.type in ("call.started", "call.resumed")]
        assert began == [("call.started", 1), ("call.resumed", 2)]
        prompts = [event.data for event in timeline if event.type == "prompt.started"]
        assert any("Sorry, let's go on. Please enter your code for the" in prompt for prompt in prompts)


async def test_without_resuming_the_calls_are_lost(postgres):
    """The control: what the other tests show is not shown by any gateway."""
    tally, rng = Tally(), source(7)
    async with cluster(postgres, 3, "--forgetful") as running:
        await kill_round(running, tally, rng, 15)
    assert tally.cut >= 1
    assert tally.kept == 0


async def test_when_twilio_hangs_up_on_a_loss_the_store_knows_that_the_call_is_over(postgres):
    tally, rng = Tally(), source(7)
    async with cluster(postgres, switches=Switches(after_loss="hang_up")) as running:
        await kill_round(running, tally, rng, 15)
        lost = await running.rows(calls, calls.c.outcome != "transferred")
    assert tally.unaffected_wrong == []
    assert len(lost) == tally.cut >= 1
    assert {call.outcome for call in lost} <= {"lost", "abandoned"}
