"""The reaper: every call without a sign of life ends, once, whatever the state of others is."""

import asyncio

import msgspec

from tests.support.twilio_peer import ACCOUNT, CallEnv
from tests.support.virtual_time import in_virtual_time
from vocelio.gateway.calls.background.reaper import (
    HEARTBEAT_SECONDS,
    MAX_CALLS_PER_SWEEP,
    SWEEP_DELAY_SECONDS,
    UNREADABLE_GRACE_SECONDS,
)
from vocelio.gateway.store.in_memory import InMemoryDirectory

FLOW = {"name": "Wait", "start": "wait", "nodes": {"wait": {"type": "wait", "seconds": 400, "exits": {}}}}
OTHER_NUMBER = "+13072240000"


class DefectiveDirectory(InMemoryDirectory):
    """Meets a defect whenever one number's configuration is loaded."""

    async def get_resume_config(self, tenant, number, flow, version, started_at):
        if number == OTHER_NUMBER:
            raise RuntimeError("a defect")
        return await super().get_resume_config(tenant, number, flow, version, started_at)


def add_calls(env, count, **parts):
    """Store calls of a process that has died; return their ids."""
    ids = [f"CA{len(env.call_store.calls) + number:032x}" for number in range(count)]
    for call in ids:
        facts = {"id": call, "due_at": env.calls.services.wall_clock(), "generation": 1, **parts}
        env.call_store.calls[call] = msgspec.structs.replace(env.stored_call, **facts)
    return ids


def outcomes(env, ids):
    return {env.call_store.calls[call].outcome for call in ids}


async def sweep_for(env, seconds):
    await env.calls.reaper.start()
    await asyncio.sleep(seconds)
    await env.calls.reaper.aclose()


@in_virtual_time
async def test_unreadable_calls_end_as_lost_after_the_grace_period_with_one_warning_each(caplog):
    env = CallEnv(FLOW)
    unreadable = add_calls(env, MAX_CALLS_PER_SWEEP + 50, resume_state=None, is_readable=False)
    others = add_calls(env, 3)
    await sweep_for(env, SWEEP_DELAY_SECONDS + 1)
    assert (outcomes(env, others), outcomes(env, unreadable)) == ({"lost"}, {""})
    await sweep_for(env, UNREADABLE_GRACE_SECONDS + 3 * HEARTBEAT_SECONDS)
    assert outcomes(env, unreadable) == {"lost"}
    await sweep_for(env, 300)
    warnings = [record for record in caplog.records if "VOCELIO_SECRET_KEYS" in record.getMessage()]
    assert len(warnings) == len(unreadable)
    assert {record.levelname for record in warnings} == {"WARNING"}
    ended = [event.call for event in env.events if event.type == "call.ended"]
    assert sorted(ended) == sorted(env.call_store.calls), "each once"


@in_virtual_time
async def test_unreadable_call_that_twilio_reported_as_completed_is_abandoned():
    env = CallEnv(FLOW)
    ids = add_calls(env, 1, resume_state=None, is_readable=False, status_report="completed")
    await sweep_for(env, SWEEP_DELAY_SECONDS + UNREADABLE_GRACE_SECONDS + 2 * HEARTBEAT_SECONDS)
    assert outcomes(env, ids) == {"abandoned"}


@in_virtual_time
async def test_defect_of_one_call_does_not_keep_others_alive(caplog):
    env = CallEnv(FLOW, site=DefectiveDirectory)
    defective = add_calls(env, MAX_CALLS_PER_SWEEP, number=OTHER_NUMBER)
    others = add_calls(env, 3)
    await sweep_for(env, SWEEP_DELAY_SECONDS + 3 * HEARTBEAT_SECONDS)
    assert (outcomes(env, others), outcomes(env, defective)) == ({"lost"}, {"failed"})
    assert sum(bool(record.exc_info) for record in caplog.records) == len(defective)
    assert await env.call_store.find(defective[0], ACCOUNT) is not None
