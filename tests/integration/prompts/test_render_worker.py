"""Every sentence of an active version is rendered, once, whatever happens meanwhile."""

import asyncio

import pytest

from tests.support.prompt_env import AVA_VOICE, DAY, HARBOUR, HOUR, SECOND, START
from tests.support.tenant_fixtures import insert_rows
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.keys import cache_key, object_path, voice_fingerprint
from vocelio.gateway.prompts.render_job import BACKOFF_MAX_SECONDS, TIER_PAUSE_SECONDS, backoff_seconds
from vocelio.gateway.prompts.render_worker import LEASE_SECONDS
from vocelio.gateway.speech.interfaces import AuthenticationFailed, SpeechError
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

EVERY = [
    "Good day.",
    "How are you?",
    "One moment, please.",
    "Sorry, let's go on.",
    "Sorry, this call has reached its longest time.",
    "Goodbye.",
    "Sorry, something went wrong.",
    "Please call again later.",
]


async def test_all_sentences_are_rendered_in_the_order_of_a_call(prompt_env):
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    before = await prompt_env.get_progress(renderer)
    assert (before.version, before.total, before.pending, before.ready) == (1, 8, 8, 0)
    assert await prompt_env.render_all(renderer) == 8
    assert prompt_env.synthesizer.requests == EVERY
    there = await prompt_env.get_progress(renderer)
    assert (there.ready, there.pending, there.failed, there.characters_left, there.seconds_left) == (8, 0, 0, 0, 0.0)
    assert there.characters == sum(map(len, EVERY)) == before.characters_left
    one = cache_key(voice_fingerprint(Voice()), "Good day.")
    assert len(prompt_env.storage.objects[object_path(HARBOUR, one)]) == len("Good day.")
    assert await prompt_env.render_all(prompt_env.create_worker()) == 0


async def test_a_second_flow_and_a_second_version_add_what_they_say_anew(prompt_env):
    renderer = prompt_env.create_worker()
    await prompt_env.promote_flow()
    await prompt_env.render_all(renderer)
    await prompt_env.promote_flow("Good day. Who are you?")
    await prompt_env.promote_flow("How are you? Well.", flow="other")
    assert await prompt_env.render_all(renderer) == 2
    assert prompt_env.synthesizer.requests[8:] in (["Who are you?", "Well."], ["Well.", "Who are you?"])


async def test_two_processes_share_the_work_and_do_nothing_twice(prompt_env):
    await prompt_env.promote_flow(" ".join(f"This is number {n}." for n in range(40)))
    renderers = [prompt_env.create_worker(concurrency=3) for _ in range(2)]
    for renderer in renderers:
        await renderer.start()
    try:
        await prompt_env.wait_until(lambda: _is_rendered(prompt_env, renderers[0]))
    finally:
        for renderer in renderers:
            await renderer.aclose()
    assert len(prompt_env.synthesizer.requests) == len(set(prompt_env.synthesizer.requests)) == 46
    assert prompt_env.synthesizer.max_concurrency <= 6


async def _is_rendered(world, renderer):
    return (await world.get_progress(renderer)).pending == 0


async def test_a_promotion_that_is_told_is_rendered_at_once(prompt_env):
    renderer = prompt_env.create_worker()
    await renderer.start()
    try:
        await asyncio.sleep(0.05)
        await prompt_env.promote_flow()
        renderer.on_promoted(HARBOUR, "desk")
        await prompt_env.wait_until(lambda: _is_rendered(prompt_env, renderer))
    finally:
        await renderer.aclose()
    assert sorted(prompt_env.synthesizer.requests) == sorted(EVERY)


async def test_tenants_have_their_turns(prompt_env):
    await prompt_env.create_tenant("zebra")
    await prompt_env.promote_flow()
    await prompt_env.promote_flow("Zebra day.", name="zebra")
    await prompt_env.render_all(prompt_env.create_worker())
    assert prompt_env.synthesizer.requests[:4] == ["Good day.", "Zebra day.", "How are you?", "One moment, please."]


# Failures


async def test_what_fails_is_tried_again_ever_more_seldom_and_holds_nothing_up(prompt_env):
    prompt_env.synthesizer.failing = {"Good day.": SpeechError("the line is bad")}
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    await prompt_env.render_all(renderer)
    there = await prompt_env.get_progress(renderer)
    assert (there.ready, there.failed, there.pending, there.characters_left) == (7, 1, 0, len("Good day."))
    (trouble,) = there.problems
    assert (trouble.sentence, trouble.problem, trouble.attempts) == ("Good day.", "the line is bad", 1)
    pauses = []
    while prompt_env.now < START + HOUR:
        (trouble,) = (await prompt_env.get_progress(renderer)).problems
        pauses.append((trouble.due - prompt_env.now) / SECOND)
        for prompt_env.now, tried in ((trouble.due - 1, 0), (trouble.due, 1)):
            assert await renderer.run_due() == tried
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560]
    prompt_env.synthesizer.failing = {}
    prompt_env.now += BACKOFF_MAX_SECONDS * SECOND
    assert await renderer.run_due() == 1
    assert (await prompt_env.get_progress(renderer)).problems == []


def test_the_pauses():
    assert [backoff_seconds(n) for n in (1, 2, 3, 9, 10, 1_000)] == [10, 20, 40, 2_560, 3_600, 3_600]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (RuntimeError("secret"), "This is our mistake. The gateway's log says more."),
        (TimeoutError(), "It took more than 40 seconds."),
    ],
)
async def test_whatever_a_voice_does_it_is_a_failure(prompt_env, error, problem):
    prompt_env.synthesizer.failing = {"Good day.": error}
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    await prompt_env.render_all(renderer)
    assert [one.problem for one in (await prompt_env.get_progress(renderer)).problems] == [problem]


async def test_silence_is_a_failure(prompt_env):
    class Silent:
        async def __call__(self, sentence, voice):
            """See Synthesise."""
            return b""

    prompt_env.synthesizer = Silent()
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    await prompt_env.render_all(renderer)
    assert {one.problem for one in (await prompt_env.get_progress(renderer)).problems} == {"The voice says nothing."}


async def test_a_refused_key_is_tried_with_one_sentence_at_a_time(prompt_env):
    prompt_env.synthesizer.failing = {"*": AuthenticationFailed("the key has expired")}
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = prompt_env.create_worker()
    await prompt_env.render_all(renderer)
    await renderer.run_due()
    assert len(prompt_env.synthesizer.requests) == 1
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    await renderer.run_due()
    assert len(prompt_env.synthesizer.requests) == 2
    prompt_env.synthesizer.failing = {}
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    await renderer.run_due()
    assert (await prompt_env.get_progress(renderer)).ready == 8


async def test_what_nobody_can_render_yet_waits_without_being_a_failure(prompt_env):
    prompt_env.resolve_voice = lambda voice: None
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = prompt_env.create_worker()
    await prompt_env.render_all(renderer)
    there = await prompt_env.get_progress(renderer)
    assert (there.pending, there.failed, there.seconds_left, prompt_env.synthesizer.requests) == (8, 0, None, [])
    prompt_env.resolve_voice = lambda voice: voice
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    assert await prompt_env.render_all(renderer) == 8


async def test_what_another_voice_speaks_is_rendered_in_that_one(prompt_env):
    prompt_env.resolve_voice = lambda voice: Voice()
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = prompt_env.create_worker()
    assert await prompt_env.render_all(renderer) == 8
    assert object_path(HARBOUR, cache_key(voice_fingerprint(Voice()), "Good day.")) in prompt_env.storage.objects
    prompt_env.resolve_voice = lambda voice: voice  # the key has come
    assert await prompt_env.render_all(renderer) == 8
    assert object_path(HARBOUR, cache_key(voice_fingerprint(AVA_VOICE), "Good day.")) in prompt_env.storage.objects
    prompt_env.resolve_voice = lambda voice: Voice()
    await render_queue.enqueue(
        prompt_env.database, HARBOUR, [render_queue.PromptRef("a" * 64, "Hm.", AVA_VOICE)], prompt_env.now
    )
    assert await prompt_env.render_all(renderer) == 1
    assert "Hm." not in prompt_env.synthesizer.requests


async def test_while_the_storage_is_away_nothing_is_spoken_twice(prompt_env):
    prompt_env.storage.is_unavailable = True
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    await renderer.reconciler.reconcile()
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            await renderer.run_due()
    assert prompt_env.synthesizer.requests == ["Good day."]
    (trouble,) = (await prompt_env.get_progress(renderer)).problems
    assert trouble.problem.startswith("It cannot be kept.")
    prompt_env.storage.is_unavailable = False
    prompt_env.now += 10 * SECOND
    await renderer.run_due()
    assert sorted(prompt_env.synthesizer.requests) == sorted(EVERY)
    assert (await prompt_env.get_progress(renderer)).ready == 8


async def test_one_that_is_told_to_end_gives_back_what_it_was_at(prompt_env):
    prompt_env.synthesizer.hanging = {"Good day."}
    await prompt_env.promote_flow()
    first = prompt_env.create_worker(concurrency=1)
    await first.start()
    await prompt_env.synthesizer.started.wait()
    await first.aclose()
    prompt_env.synthesizer.hanging = set()
    assert await prompt_env.render_all(prompt_env.create_worker()) == 8


async def test_what_a_killed_process_was_at_another_takes_over_when_the_claim_has_ended(prompt_env):
    prompt_env.synthesizer.hanging = {"Good day."}
    await prompt_env.promote_flow()
    killed = prompt_env.create_worker(concurrency=1)
    await killed.start()
    await prompt_env.synthesizer.started.wait()
    prompt_env.synthesizer.hanging = set()
    other = prompt_env.create_worker()
    assert await prompt_env.render_all(other) == 7
    assert (await prompt_env.get_progress(other)).pending == 1
    prompt_env.now += round(LEASE_SECONDS * SECOND) + 1
    assert await prompt_env.render_all(other) == 1
    await killed.aclose()  # it does not take it away from the other
    there = await prompt_env.get_progress(other)
    assert (there.ready, there.pending) == (8, 0)


# What changes


async def test_a_tenants_new_name_is_rendered(prompt_env):
    renderer = prompt_env.create_worker()
    await prompt_env.promote_flow("This is {{ tenant.name }}.")
    await prompt_env.render_all(renderer)
    assert "This is Harbour." in prompt_env.synthesizer.requests
    await tenants.update_tenant(
        prompt_env.database, prompt_env.actor(HARBOUR), HARBOUR, TenantUpdate(name="Bay", hold="Hold on.")
    )
    assert await prompt_env.render_all(renderer) == 2
    assert set(prompt_env.synthesizer.requests[-2:]) == {"This is Bay.", "Hold on."}


async def test_a_suspended_tenants_flows_are_not_rendered(prompt_env):
    await prompt_env.promote_flow()
    await tenants.update_tenant(
        prompt_env.database, prompt_env.actor(HARBOUR), HARBOUR, tenants.PlatformTenantUpdate(suspended=True)
    )
    assert await prompt_env.render_all(prompt_env.create_worker()) == 0


async def test_a_version_that_calls_cannot_run_is_passed_over(prompt_env):
    row = {"tenant_id": HARBOUR, "id": "broken", "name": "Broken", "draft": b"{}", "revision": 1, "active": 1}
    await insert_rows(prompt_env.database, flows, [{**row, "created": START, "changed": START}])
    version = {"tenant_id": HARBOUR, "flow_id": "broken", "number": 1, "content": "0" * 16, "document": b"{}"}
    more = {"subflows": "{}", "voice": "{}", "note": "", "promoted_by": "key1", "promoted": START}
    await insert_rows(prompt_env.database, flow_versions, [{**version, **more}])
    await prompt_env.promote_flow()
    renderer = prompt_env.create_worker()
    assert await renderer.reconciler.reconcile() is True
    assert await renderer.run_due() == 8


async def test_what_no_version_has_said_for_a_week_is_removed_with_its_sound(prompt_env):
    renderer = prompt_env.create_worker()
    await prompt_env.promote_flow("First. Both.")
    await prompt_env.render_all(renderer)
    await prompt_env.promote_flow("Second. Both.")
    await prompt_env.render_all(renderer)
    gone = object_path(HARBOUR, cache_key(voice_fingerprint(Voice()), "First."))
    for _ in range(7):
        prompt_env.now += DAY
        await renderer.reconciler.reconcile()
        assert await renderer.reconciler.collect_garbage() == 0
        assert gone in prompt_env.storage.objects
    prompt_env.now += DAY
    await renderer.reconciler.reconcile()
    assert await renderer.reconciler.collect_garbage() == 1
    assert gone not in prompt_env.storage.objects
    there = await prompt_env.get_progress(renderer)
    assert (there.total, there.ready) == (8, 8)
    assert len(prompt_env.storage.objects) == 8


async def test_a_version_that_comes_back_within_the_week_is_there_at_once(prompt_env):
    renderer = prompt_env.create_worker()
    for text in ("First.", "Second."):
        await prompt_env.promote_flow(text)
        await prompt_env.render_all(renderer)
    prompt_env.now += 6 * DAY
    await prompt_env.promote_flow("First.")
    assert await prompt_env.render_all(renderer) == 0
    prompt_env.now += 6 * DAY
    await renderer.reconciler.reconcile()
    await renderer.reconciler.collect_garbage()
    assert (await prompt_env.get_progress(renderer)).pending == 0


async def test_the_pace_is_measured_and_tells_what_is_left(prompt_env):
    renderer = prompt_env.create_worker()
    await prompt_env.promote_flow()
    await renderer.reconciler.reconcile()
    prompt_env.synthesizer.failing = {"Goodbye.": SpeechError("no")}
    assert (await prompt_env.get_progress(renderer)).seconds_left is None
    for _ in range(4):
        prompt_env.now += SECOND
        await renderer._render_next()
    there = await prompt_env.get_progress(renderer)
    pace = sum(map(len, EVERY[1:4])) / 3
    assert there.seconds_left == pytest.approx(there.characters_left / pace, abs=0.1)
    prompt_env.now += HOUR
    assert (await prompt_env.get_progress(renderer)).seconds_left is None
