"""Drain: calls are handed off to other processes; without any, they end by themselves, and new ones are refused."""

import asyncio

from tests.support.twilio_peer import CallEnv, TwilioPeer
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.background.drain import DIAL_SECONDS, Drain

FLOW = {
    "name": "Talk",
    "start": "talk",
    "nodes": {
        "talk": {"type": "say", "text": "A long sentence.", "exits": {"next": "pause"}},
        "pause": {"type": "wait", "seconds": 60, "exits": {"next": "bye"}},
        "bye": {"type": "hangup", "text": "Goodbye."},
    },
}


class FakePeers:
    """Other processes: ``serving_from`` is the loop time from which one of them accepts calls."""

    def __init__(self, serving_from=None, calls_without_stream=0):
        self.serving_from, self.calls_without_stream = serving_from, calls_without_stream
        self.announced = False
        self.checks = 0

    async def announce_draining(self):
        self.announced = True

    async def are_serving(self):
        self.checks += 1
        return self.serving_from is not None and asyncio.get_running_loop().time() >= self.serving_from

    async def count_calls_without_stream(self):
        return self.calls_without_stream


class DrainEnv:
    """One live call in a process that drains."""

    def __init__(self, peers, drain_seconds=0.0, alone_seconds=600.0):
        self.env = CallEnv(FLOW)
        self.registry, self.peers = self.env.registry, peers
        self.peer = TwilioPeer(self.env, self.env.stream_token())
        self.drain = Drain(self.registry, peers, drain_seconds, alone_seconds)
        self.stopped_accepting_at = None

    async def start(self):
        await self.peer.run(0.5)
        self.task = asyncio.create_task(self.drain.run(self._stop_accepting))
        await asyncio.sleep(0)

    def _stop_accepting(self):
        if self.stopped_accepting_at is None:
            self.stopped_accepting_at = asyncio.get_running_loop().time()

    def outcomes(self):
        return [event["outcome"] for event in self.env.data_of("call.ended")]


@in_virtual_time
async def test_call_is_handed_off_when_another_process_serves():
    drained = DrainEnv(FakePeers(serving_from=0))
    await drained.start()
    await drained.peer.run(0.1)
    assert drained.peers.announced
    assert drained.stopped_accepting_at is not None, "new connections go to the other process"
    await drained.peer.run(8)
    await drained.task
    assert (drained.peer.close_code, drained.outcomes()) == (1000, [])
    assert not drained.registry.is_full
    await drained.peer.disconnect()


@in_virtual_time
async def test_call_of_a_single_process_ends_by_itself():
    drained = DrainEnv(FakePeers())
    await drained.start()
    await drained.peer.run(30)
    assert drained.stopped_accepting_at is None, "the call may need webhooks"
    assert drained.registry.is_full, "new calls are refused"
    assert drained.peer.close_code is None
    await drained.peer.run(40)
    await drained.task
    assert drained.outcomes() == ["completed"]
    assert drained.stopped_accepting_at is not None
    await drained.peer.disconnect()


@in_virtual_time
async def test_call_is_handed_off_as_soon_as_another_process_has_started():
    drained = DrainEnv(FakePeers(serving_from=20))
    await drained.start()
    await drained.peer.run(19)
    assert (drained.registry.is_full, drained.stopped_accepting_at) == (True, None)
    await drained.peer.run(10)
    await drained.task
    assert 20 <= drained.stopped_accepting_at < 22
    assert (drained.peer.close_code, drained.outcomes(), drained.registry.is_full) == (1000, [], False)
    await drained.peer.disconnect()


@in_virtual_time
async def test_call_that_outlasts_the_deadline_is_lost():
    drained = DrainEnv(FakePeers(), alone_seconds=10)
    await drained.start()
    await drained.peer.run(15)
    await drained.task
    assert drained.outcomes() == ["lost"]
    assert drained.peer.close_code == 1012
    await drained.peer.disconnect()


@in_virtual_time
async def test_second_signal_ends_the_calls_of_a_single_process():
    drained = DrainEnv(FakePeers())
    await drained.start()
    await drained.peer.run(5)
    drained.task.cancel()
    await asyncio.wait({drained.task})
    assert drained.outcomes() == ["lost"]
    await drained.peer.disconnect()


@in_virtual_time
async def test_second_signal_leaves_calls_to_the_other_processes():
    drained = DrainEnv(FakePeers(serving_from=0), drain_seconds=60)
    await drained.start()
    await drained.peer.run(5)
    drained.task.cancel()
    await asyncio.wait({drained.task})
    assert (drained.outcomes(), drained.peer.close_code) == ([], None), "another process resumes it"
    await drained.peer.disconnect()


@in_virtual_time
async def test_calls_without_a_stream_are_waited_for_while_they_may_be_ringing():
    env, peers = CallEnv(FLOW), FakePeers(calls_without_stream=1)
    drain = asyncio.create_task(Drain(env.registry, peers, 0, 600).run(lambda: None))
    await asyncio.sleep(DIAL_SECONDS - 2)
    assert not drain.done()
    await asyncio.sleep(4)
    assert drain.done(), "the transfer was answered: its end is reported to the next process"
    assert peers.checks < DIAL_SECONDS + 3, "the database is asked once a second"
    await drain


@in_virtual_time
async def test_process_without_calls_exits_at_once():
    env = CallEnv(FLOW)
    await asyncio.wait_for(Drain(env.registry, FakePeers(), 0, 600).run(lambda: None), 0.1)
