"""Every sentence of an active version is rendered, once, whatever happens meanwhile."""

import asyncio

import pytest

from tests.integration.rendered.world import AVA, DAY, HARBOUR, HOUR, SECOND, START
from tests.integration.store.things import fill_up
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.keys import address, fingerprint, path
from vocelio.gateway.prompts.render_job import LONGEST_PAUSE, NOBODY_SECONDS, backoff
from vocelio.gateway.prompts.render_worker import LEASE_SECONDS
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import TenantChange

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


async def test_all_sentences_are_rendered_in_the_order_of_a_call(world):
    await world.promote()
    renderer = world.renderer()
    before = await world.progress(renderer)
    assert (before.version, before.total, before.pending, before.ready) == (1, 8, 8, 0)
    assert await world.rendered(renderer) == 8
    assert world.speaker.asked == EVERY
    there = await world.progress(renderer)
    assert (there.ready, there.pending, there.failed, there.characters_left, there.seconds_left) == (8, 0, 0, 0, 0.0)
    assert there.characters == sum(map(len, EVERY)) == before.characters_left
    one = address(fingerprint(Voice()), "Good day.")
    assert len(world.storage.objects[path(HARBOUR, one)]) == len("Good day.")
    assert await world.rendered(world.renderer()) == 0


async def test_a_second_flow_and_a_second_version_add_what_they_say_anew(world):
    renderer = world.renderer()
    await world.promote()
    await world.rendered(renderer)
    await world.promote("Good day. Who are you?")
    await world.promote("How are you? Well.", flow="other")
    assert await world.rendered(renderer) == 2
    assert world.speaker.asked[8:] in (["Who are you?", "Well."], ["Well.", "Who are you?"])


async def test_two_processes_share_the_work_and_do_nothing_twice(world):
    await world.promote(" ".join(f"This is number {n}." for n in range(40)))
    renderers = [world.renderer(at_once=3) for _ in range(2)]
    for renderer in renderers:
        await renderer.start()
    try:
        await world.until(lambda: _done(world, renderers[0]))
    finally:
        for renderer in renderers:
            await renderer.aclose()
    assert len(world.speaker.asked) == len(set(world.speaker.asked)) == 46
    assert world.speaker.most <= 6


async def _done(world, renderer):
    return (await world.progress(renderer)).pending == 0


async def test_a_promotion_that_is_told_is_rendered_at_once(world):
    renderer = world.renderer()
    await renderer.start()
    try:
        await asyncio.sleep(0.05)
        await world.promote()
        renderer.promoted(HARBOUR, "desk")
        await world.until(lambda: _done(world, renderer))
    finally:
        await renderer.aclose()
    assert sorted(world.speaker.asked) == sorted(EVERY)


async def test_tenants_have_their_turns(world):
    await world.tenant("zebra")
    await world.promote()
    await world.promote("Zebra day.", name="zebra")
    await world.rendered(world.renderer())
    assert world.speaker.asked[:4] == ["Good day.", "Zebra day.", "How are you?", "One moment, please."]


# Failures


async def test_what_fails_is_tried_again_ever_more_seldom_and_holds_nothing_up(world):
    world.speaker.failing = {"Good day.": SpeechError("the line is bad")}
    await world.promote()
    renderer = world.renderer()
    await world.rendered(renderer)
    there = await world.progress(renderer)
    assert (there.ready, there.failed, there.pending, there.characters_left) == (7, 1, 0, len("Good day."))
    (trouble,) = there.problems
    assert (trouble.sentence, trouble.problem, trouble.attempts) == ("Good day.", "the line is bad", 1)
    pauses = []
    while world.now < START + HOUR:
        (trouble,) = (await world.progress(renderer)).problems
        pauses.append((trouble.due - world.now) / SECOND)
        for world.now, tried in ((trouble.due - 1, 0), (trouble.due, 1)):
            assert await renderer.run_due() == tried
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560]
    world.speaker.failing = {}
    world.now += LONGEST_PAUSE * SECOND
    assert await renderer.run_due() == 1
    assert (await world.progress(renderer)).problems == []


def test_the_pauses():
    assert [backoff(n) for n in (1, 2, 3, 9, 10, 1_000)] == [10, 20, 40, 2_560, 3_600, 3_600]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (RuntimeError("secret"), "This is our mistake. The gateway's log says more."),
        (TimeoutError(), "It took more than 40 seconds."),
    ],
)
async def test_whatever_a_voice_does_it_is_a_failure(world, error, problem):
    world.speaker.failing = {"Good day.": error}
    await world.promote()
    renderer = world.renderer()
    await world.rendered(renderer)
    assert [one.problem for one in (await world.progress(renderer)).problems] == [problem]


async def test_silence_is_a_failure(world):
    class Silent:
        async def __call__(self, sentence, voice):
            """See Synthesise."""
            return b""

    world.speaker = Silent()
    await world.promote()
    renderer = world.renderer()
    await world.rendered(renderer)
    assert {one.problem for one in (await world.progress(renderer)).problems} == {"The voice says nothing."}


async def test_a_refused_key_is_tried_with_one_sentence_at_a_time(world):
    world.speaker.failing = {"*": CredentialsRefused("the key has expired")}
    await world.promote(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = world.renderer()
    await world.rendered(renderer)
    await renderer.run_due()
    assert len(world.speaker.asked) == 1
    world.now += NOBODY_SECONDS * SECOND + 1
    await renderer.run_due()
    assert len(world.speaker.asked) == 2
    world.speaker.failing = {}
    world.now += NOBODY_SECONDS * SECOND + 1
    await renderer.run_due()
    assert (await world.progress(renderer)).ready == 8


async def test_what_nobody_can_render_yet_waits_without_being_a_failure(world):
    world.renders = lambda voice: None
    await world.promote(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = world.renderer()
    await world.rendered(renderer)
    there = await world.progress(renderer)
    assert (there.pending, there.failed, there.seconds_left, world.speaker.asked) == (8, 0, None, [])
    world.renders = lambda voice: voice
    world.now += NOBODY_SECONDS * SECOND + 1
    assert await world.rendered(renderer) == 8


async def test_what_another_voice_speaks_is_rendered_in_that_one(world):
    world.renders = lambda voice: Voice()
    await world.promote(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    renderer = world.renderer()
    assert await world.rendered(renderer) == 8
    assert path(HARBOUR, address(fingerprint(Voice()), "Good day.")) in world.storage.objects
    world.renders = lambda voice: voice  # the key has come
    assert await world.rendered(renderer) == 8
    assert path(HARBOUR, address(fingerprint(AVA), "Good day.")) in world.storage.objects
    world.renders = lambda voice: Voice()
    await render_queue.enter(world.database, HARBOUR, [render_queue.Wanted("a" * 64, "Hm.", AVA)], world.now)
    assert await world.rendered(renderer) == 1
    assert "Hm." not in world.speaker.asked


async def test_while_the_storage_is_away_nothing_is_spoken_twice(world):
    world.storage.away = True
    await world.promote()
    renderer = world.renderer()
    await renderer.keeper.reconcile()
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            await renderer.run_due()
    assert world.speaker.asked == ["Good day."]
    (trouble,) = (await world.progress(renderer)).problems
    assert trouble.problem.startswith("It cannot be kept.")
    world.storage.away = False
    world.now += 10 * SECOND
    await renderer.run_due()
    assert sorted(world.speaker.asked) == sorted(EVERY)
    assert (await world.progress(renderer)).ready == 8


async def test_one_that_is_told_to_end_gives_back_what_it_was_at(world):
    world.speaker.hanging = {"Good day."}
    await world.promote()
    first = world.renderer(at_once=1)
    await first.start()
    await world.speaker.began.wait()
    await first.aclose()
    world.speaker.hanging = set()
    assert await world.rendered(world.renderer()) == 8


async def test_what_a_killed_process_was_at_another_takes_over_when_the_claim_has_ended(world):
    world.speaker.hanging = {"Good day."}
    await world.promote()
    killed = world.renderer(at_once=1)
    await killed.start()
    await world.speaker.began.wait()
    world.speaker.hanging = set()
    other = world.renderer()
    assert await world.rendered(other) == 7
    assert (await world.progress(other)).pending == 1
    world.now += round(LEASE_SECONDS * SECOND) + 1
    assert await world.rendered(other) == 1
    await killed.aclose()  # it does not take it away from the other
    there = await world.progress(other)
    assert (there.ready, there.pending) == (8, 0)


# What changes


async def test_a_tenants_new_name_is_rendered(world):
    renderer = world.renderer()
    await world.promote("This is {{ tenant.name }}.")
    await world.rendered(renderer)
    assert "This is Harbour." in world.speaker.asked
    await tenants.change(world.database, world.actor(HARBOUR), HARBOUR, TenantChange(name="Bay", hold="Hold on."))
    assert await world.rendered(renderer) == 2
    assert set(world.speaker.asked[-2:]) == {"This is Bay.", "Hold on."}


async def test_a_suspended_tenants_flows_are_not_rendered(world):
    await world.promote()
    await tenants.change(world.database, world.actor(HARBOUR), HARBOUR, tenants.PlatformChange(suspended=True))
    assert await world.rendered(world.renderer()) == 0


async def test_a_version_that_calls_cannot_run_is_passed_over(world):
    row = {"tenant_id": HARBOUR, "id": "broken", "name": "Broken", "draft": b"{}", "revision": 1, "active": 1}
    await fill_up(world.database, flows, [{**row, "created": START, "changed": START}])
    version = {"tenant_id": HARBOUR, "flow_id": "broken", "number": 1, "content": "0" * 16, "document": b"{}"}
    more = {"subflows": "{}", "voice": "{}", "note": "", "promoted_by": "key1", "promoted": START}
    await fill_up(world.database, flow_versions, [{**version, **more}])
    await world.promote()
    renderer = world.renderer()
    assert await renderer.keeper.reconcile() is True
    assert await renderer.run_due() == 8


async def test_what_no_version_has_said_for_a_week_is_removed_with_its_sound(world):
    renderer = world.renderer()
    await world.promote("First. Both.")
    await world.rendered(renderer)
    await world.promote("Second. Both.")
    await world.rendered(renderer)
    gone = path(HARBOUR, address(fingerprint(Voice()), "First."))
    for _ in range(7):
        world.now += DAY
        await renderer.keeper.reconcile()
        assert await renderer.keeper.collect() == 0
        assert gone in world.storage.objects
    world.now += DAY
    await renderer.keeper.reconcile()
    assert await renderer.keeper.collect() == 1
    assert gone not in world.storage.objects
    there = await world.progress(renderer)
    assert (there.total, there.ready) == (8, 8)
    assert len(world.storage.objects) == 8


async def test_a_version_that_comes_back_within_the_week_is_there_at_once(world):
    renderer = world.renderer()
    for text in ("First.", "Second."):
        await world.promote(text)
        await world.rendered(renderer)
    world.now += 6 * DAY
    await world.promote("First.")
    assert await world.rendered(renderer) == 0
    world.now += 6 * DAY
    await renderer.keeper.reconcile()
    await renderer.keeper.collect()
    assert (await world.progress(renderer)).pending == 0


async def test_the_pace_is_measured_and_tells_what_is_left(world):
    renderer = world.renderer()
    await world.promote()
    await renderer.keeper.reconcile()
    world.speaker.failing = {"Goodbye.": SpeechError("no")}
    assert (await world.progress(renderer)).seconds_left is None
    for _ in range(4):
        world.now += SECOND
        await renderer._one()
    there = await world.progress(renderer)
    pace = sum(map(len, EVERY[1:4])) / 3
    assert there.seconds_left == pytest.approx(there.characters_left / pace, abs=0.1)
    world.now += HOUR
    assert (await world.progress(renderer)).seconds_left is None
