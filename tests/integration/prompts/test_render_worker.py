"""Render worker: every sentence of an active version is rendered once, despite failures and crashes."""

import asyncio

import pytest

from tests.support.prompt_env import AVA_VOICE, DAY, HARBOUR, HOUR, SECOND, START, same_voice
from tests.support.tenant_fixtures import insert_rows
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.manifest import cache_key, object_path, voice_fingerprint
from vocelio.gateway.prompts.progress import RetryResult, retry_failed
from vocelio.gateway.prompts.render_job import BACKOFF, TIER_PAUSE_SECONDS
from vocelio.gateway.prompts.render_worker import LEASE_SECONDS
from vocelio.gateway.speech.interfaces import AuthenticationFailed, SpeechError
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.db.schema import flow_versions, flows
from vocelio.gateway.store.render_queue import MAX_UNFINISHED_ATTEMPTS
from vocelio.gateway.store.tenants import tenants
from vocelio.gateway.store.tenants.tenants import TenantUpdate

ALL_SENTENCES = [
    "Good day.",
    "How are you?",
    "One moment, please.",
    "Sorry, let's go on.",
    "Sorry, this call has reached its longest time.",
    "Goodbye.",
    "Sorry, something went wrong.",
    "Please call again later.",
]


async def test_all_sentences_are_rendered_in_call_order(prompt_env):
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    before = await prompt_env.get_progress(worker)
    assert (before.version, before.total, before.pending, before.ready) == (1, 8, 8, 0)
    assert await prompt_env.render_all(worker) == 8
    assert prompt_env.synthesizer.requests == ALL_SENTENCES
    progress = await prompt_env.get_progress(worker)
    assert (
        progress.ready,
        progress.pending,
        progress.failed,
        progress.remaining_characters,
        progress.remaining_seconds,
    ) == (
        8,
        0,
        0,
        0,
        0.0,
    )
    assert progress.characters == sum(map(len, ALL_SENTENCES)) == before.remaining_characters
    item = cache_key(voice_fingerprint(Voice()), "Good day.")
    assert len(prompt_env.storage.objects[object_path(HARBOUR, item)]) == len("Good day.")
    assert await prompt_env.render_all(prompt_env.create_worker()) == 0


async def test_second_flow_and_version_only_add_their_new_sentences(prompt_env):
    worker = prompt_env.create_worker()
    await prompt_env.promote_flow()
    await prompt_env.render_all(worker)
    await prompt_env.promote_flow("Good day. Who are you?")
    await prompt_env.promote_flow("How are you? Well.", flow="other")
    assert await prompt_env.render_all(worker) == 2
    assert prompt_env.synthesizer.requests[8:] in (["Who are you?", "Well."], ["Well.", "Who are you?"])


async def test_two_processes_share_the_work_and_render_nothing_twice(prompt_env):
    await prompt_env.promote_flow(" ".join(f"This is number {n}." for n in range(40)))
    workers = [prompt_env.create_worker(concurrency=3) for _ in range(2)]
    for worker in workers:
        await worker.start()
    try:
        await prompt_env.wait_until(lambda: _is_rendered(prompt_env, workers[0]))
    finally:
        for worker in workers:
            await worker.aclose()
    assert len(prompt_env.synthesizer.requests) == len(set(prompt_env.synthesizer.requests)) == 46
    assert prompt_env.synthesizer.max_concurrency <= 6


async def _is_rendered(prompt_env, worker):
    return (await prompt_env.get_progress(worker)).pending == 0


async def test_announced_promotion_is_rendered_at_once(prompt_env):
    worker = prompt_env.create_worker()
    await worker.start()
    try:
        await asyncio.sleep(0.05)
        await prompt_env.promote_flow()
        worker.on_promoted(HARBOUR, "desk")
        await prompt_env.wait_until(lambda: _is_rendered(prompt_env, worker))
    finally:
        await worker.aclose()
    assert sorted(prompt_env.synthesizer.requests) == sorted(ALL_SENTENCES)


async def test_tenants_take_turns(prompt_env):
    await prompt_env.create_tenant("zebra")
    await prompt_env.promote_flow()
    await prompt_env.promote_flow("Zebra day.", name="zebra")
    await prompt_env.render_all(prompt_env.create_worker())
    assert prompt_env.synthesizer.requests[:4] == ["Good day.", "Zebra day.", "How are you?", "One moment, please."]


# Failures


async def test_failed_sentence_is_retried_with_backoff_and_delays_no_other(prompt_env):
    prompt_env.synthesizer.failing = {"Good day.": SpeechError("the line is bad")}
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    progress = await prompt_env.get_progress(worker)
    assert (progress.ready, progress.failed, progress.pending, progress.remaining_characters) == (
        7,
        1,
        0,
        len("Good day."),
    )
    (failure,) = progress.failures
    assert (failure.sentence, failure.error, failure.failed_attempts) == ("Good day.", "the line is bad", 1)
    delays = []
    while prompt_env.now < START + HOUR:
        (failure,) = (await prompt_env.get_progress(worker)).failures
        delays.append((failure.next_attempt_at - prompt_env.now) / SECOND)
        for prompt_env.now, tried in ((failure.next_attempt_at - 1, 0), (failure.next_attempt_at, 1)):
            assert await worker.process_due() == tried
    assert delays == [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560]
    prompt_env.synthesizer.failing = {}
    prompt_env.now += round(BACKOFF.max_seconds) * SECOND
    assert await worker.process_due() == 1
    assert (await prompt_env.get_progress(worker)).failures == []


def test_backoff_starts_at_10_seconds_and_ends_at_an_hour():
    assert [BACKOFF.delay_seconds(n) for n in (1, 2, 3, 9, 10, 1_000)] == [10, 20, 40, 2_560, 3_600, 3_600]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (RuntimeError("secret"), "Internal error; see the gateway's log."),
        (TimeoutError(), "Synthesis took more than 40 seconds."),
    ],
)
async def test_unexpected_synthesis_error_is_recorded_as_a_failure(prompt_env, error, problem):
    prompt_env.synthesizer.failing = {"Good day.": error}
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    assert [item.error for item in (await prompt_env.get_progress(worker)).failures] == [problem]


async def test_empty_audio_is_a_failure(prompt_env):
    class Silent:
        async def __call__(self, tenant, sentence, voice):
            return b""

    prompt_env.synthesizer = Silent()
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    assert {item.error for item in (await prompt_env.get_progress(worker)).failures} == {
        "The provider returned no audio."
    }


async def test_rejected_api_key_is_tried_with_one_sentence_at_a_time(prompt_env):
    prompt_env.synthesizer.failing = {"*": AuthenticationFailed("the key has expired")}
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    await worker.process_due()
    assert len(prompt_env.synthesizer.requests) == 1
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    await worker.process_due()
    assert len(prompt_env.synthesizer.requests) == 2
    prompt_env.synthesizer.failing = {}
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    await worker.process_due()
    assert (await prompt_env.get_progress(worker)).ready == 8


async def test_tier_without_a_provider_is_paused_without_a_failure(prompt_env):
    prompt_env.resolve_voice = lambda voice: None
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    progress = await prompt_env.get_progress(worker)
    assert (progress.pending, progress.failed, progress.remaining_seconds, prompt_env.synthesizer.requests) == (
        8,
        0,
        None,
        [],
    )
    prompt_env.resolve_voice = lambda voice: voice
    prompt_env.now += TIER_PAUSE_SECONDS * SECOND + 1
    assert await prompt_env.render_all(worker) == 8


async def test_substituted_voice_is_rendered_instead(prompt_env):
    prompt_env.resolve_voice = lambda voice: Voice()
    await prompt_env.promote_flow(voice={"tier": "azure", "name": "en-US-AvaNeural"})
    worker = prompt_env.create_worker()
    assert await prompt_env.render_all(worker) == 8
    assert object_path(HARBOUR, cache_key(voice_fingerprint(Voice()), "Good day.")) in prompt_env.storage.objects
    prompt_env.resolve_voice = lambda voice: voice  # the tier has been configured
    assert await prompt_env.render_all(worker) == 8
    assert object_path(HARBOUR, cache_key(voice_fingerprint(AVA_VOICE), "Good day.")) in prompt_env.storage.objects
    prompt_env.resolve_voice = lambda voice: Voice()
    await render_queue.enqueue(
        prompt_env.database, HARBOUR, [render_queue.PromptRef("a" * 64, "Hm.", AVA_VOICE)], prompt_env.now
    )
    assert await prompt_env.render_all(worker) == 1
    assert "Hm." not in prompt_env.synthesizer.requests


async def test_nothing_is_synthesized_twice_while_the_storage_is_unavailable(prompt_env):
    prompt_env.storage.is_unavailable = True
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    await worker.reconciler.reconcile()
    for _ in range(5):
        with pytest.raises(StorageUnavailable):
            await worker.process_due()
    assert prompt_env.synthesizer.requests == ["Good day."]
    (failure,) = (await prompt_env.get_progress(worker)).failures
    assert failure.error.startswith("The audio could not be stored.")
    prompt_env.storage.is_unavailable = False
    prompt_env.now += 10 * SECOND
    await worker.process_due()
    assert sorted(prompt_env.synthesizer.requests) == sorted(ALL_SENTENCES)
    assert (await prompt_env.get_progress(worker)).ready == 8


async def test_aclose_releases_leases(prompt_env):
    prompt_env.synthesizer.hanging = {"Good day."}
    await prompt_env.promote_flow()
    first = prompt_env.create_worker(concurrency=1)
    await first.start()
    await prompt_env.synthesizer.started.wait()
    await first.aclose()
    prompt_env.synthesizer.hanging = set()
    assert await prompt_env.render_all(prompt_env.create_worker()) == 8


async def test_task_of_a_killed_process_is_taken_over_when_its_lease_ends(prompt_env):
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
    await killed.aclose()  # this does not release the other worker's lease
    progress = await prompt_env.get_progress(other)
    assert (progress.ready, progress.pending) == (8, 0)


async def killed_while_rendering(prompt_env, sentence):
    """Let a process lease everything and die while it renders a sentence; then its leases end."""
    prompt_env.synthesizer.hanging = {sentence}
    prompt_env.synthesizer.started.clear()
    killed = prompt_env.create_worker(concurrency=1)
    await killed.start()
    await prompt_env.synthesizer.started.wait()
    prompt_env.now += round(LEASE_SECONDS * SECOND) + 1
    killed.worker_id = "nobody"  # so that it releases nothing
    await killed.aclose()
    prompt_env.synthesizer.hanging = set()


async def test_sentence_on_which_processes_die_is_given_up(prompt_env):
    await prompt_env.promote_flow()
    await prompt_env.create_worker().reconciler.reconcile()
    for _ in range(MAX_UNFINISHED_ATTEMPTS):
        await killed_while_rendering(prompt_env, "Good day.")
    worker = prompt_env.create_worker()
    assert await prompt_env.render_all(worker) == 7
    progress = await prompt_env.get_progress(worker)
    (failure,) = progress.failures
    assert (progress.ready, progress.failed, failure.sentence, failure.next_attempt_at) == (7, 1, "Good day.", None)
    assert "ended before it was done" in failure.error
    prompt_env.now += 2 * DAY
    assert await prompt_env.render_all(worker) == 0
    assert await retry_failed(prompt_env.database, worker.manifests, prompt_env.actor(HARBOUR), "desk") == RetryResult(
        1
    )
    assert await prompt_env.render_all(worker) == 1
    assert (await prompt_env.get_progress(worker)).failures == []


@pytest.mark.parametrize("outcome", ["failed", "released", "closed"])
async def test_attempt_that_ends_is_not_counted_as_unfinished(prompt_env, outcome):
    await prompt_env.promote_flow()
    await prompt_env.create_worker().reconciler.reconcile()
    for _ in range(MAX_UNFINISHED_ATTEMPTS + 1):
        worker = prompt_env.create_worker(concurrency=1)
        if outcome == "closed":
            prompt_env.synthesizer.hanging = {"Good day."}
            prompt_env.synthesizer.started.clear()
            await worker.start()
            await prompt_env.synthesizer.started.wait()
            await worker.aclose()
            prompt_env.synthesizer.hanging = set()
        elif outcome == "failed":
            prompt_env.synthesizer.failing = {"Good day.": SpeechError("the line is bad")}
            await worker.process_due(1)
            prompt_env.now += HOUR
        else:
            prompt_env.resolve_voice = lambda voice: None
            await worker.process_due(1)
            prompt_env.now += HOUR
    prompt_env.synthesizer.failing, prompt_env.resolve_voice = {}, same_voice
    worker = prompt_env.create_worker()
    await prompt_env.render_all(worker)
    assert (await prompt_env.get_progress(worker)).ready == 8


# What changes


async def test_changed_tenant_name_is_rendered(prompt_env):
    worker = prompt_env.create_worker()
    await prompt_env.promote_flow("This is {{ tenant.name }}.")
    await prompt_env.render_all(worker)
    assert "This is Harbour." in prompt_env.synthesizer.requests
    await tenants.update_tenant(
        prompt_env.database, prompt_env.actor(HARBOUR), HARBOUR, TenantUpdate(name="Bay", hold_message="Hold on.")
    )
    assert await prompt_env.render_all(worker) == 2
    assert set(prompt_env.synthesizer.requests[-2:]) == {"This is Bay.", "Hold on."}


async def test_flows_of_a_suspended_tenant_are_not_rendered(prompt_env):
    await prompt_env.promote_flow()
    await tenants.update_tenant(
        prompt_env.database, prompt_env.actor(HARBOUR), HARBOUR, tenants.PlatformTenantUpdate(suspended=True)
    )
    assert await prompt_env.render_all(prompt_env.create_worker()) == 0


async def test_version_that_cannot_be_run_is_skipped(prompt_env):
    row = {"tenant_id": HARBOUR, "id": "broken", "name": "Broken", "draft": b"{}", "revision": 1, "active_version": 1}
    await insert_rows(prompt_env.database, flows, [{**row, "created_at": START, "updated_at": START}])
    version = {"tenant_id": HARBOUR, "flow_id": "broken", "number": 1, "content_hash": "0" * 16, "document": b"{}"}
    more = {"subflows": "{}", "voice": "{}", "note": "", "promoted_by": "key1", "promoted_at": START}
    await insert_rows(prompt_env.database, flow_versions, [{**version, **more}])
    await prompt_env.promote_flow()
    worker = prompt_env.create_worker()
    assert await worker.reconciler.reconcile() is True
    assert await worker.process_due() == 8


async def test_prompt_unused_for_a_week_is_deleted_with_its_audio(prompt_env):
    worker = prompt_env.create_worker()
    await prompt_env.promote_flow("First. Both.")
    await prompt_env.render_all(worker)
    await prompt_env.promote_flow("Second. Both.")
    await prompt_env.render_all(worker)
    gone = object_path(HARBOUR, cache_key(voice_fingerprint(Voice()), "First."))
    for _ in range(7):
        prompt_env.now += DAY
        await worker.reconciler.reconcile()
        assert await worker.reconciler.collect_garbage() == 0
        assert gone in prompt_env.storage.objects
    prompt_env.now += DAY
    await worker.reconciler.reconcile()
    assert await worker.reconciler.collect_garbage() == 1
    assert gone not in prompt_env.storage.objects
    progress = await prompt_env.get_progress(worker)
    assert (progress.total, progress.ready) == (8, 8)
    assert len(prompt_env.storage.objects) == 8


async def test_rollback_within_a_week_needs_no_rendering(prompt_env):
    worker = prompt_env.create_worker()
    for text in ("First.", "Second."):
        await prompt_env.promote_flow(text)
        await prompt_env.render_all(worker)
    prompt_env.now += 6 * DAY
    await prompt_env.promote_flow("First.")
    assert await prompt_env.render_all(worker) == 0
    prompt_env.now += 6 * DAY
    await worker.reconciler.reconcile()
    await worker.reconciler.collect_garbage()
    assert (await prompt_env.get_progress(worker)).pending == 0


async def test_remaining_time_is_estimated_from_the_measured_throughput(prompt_env):
    worker = prompt_env.create_worker()
    await prompt_env.promote_flow()
    await worker.reconciler.reconcile()
    prompt_env.synthesizer.failing = {"Goodbye.": SpeechError("no")}
    assert (await prompt_env.get_progress(worker)).remaining_seconds is None
    for _ in range(4):
        prompt_env.now += SECOND
        await worker.process_due(1)
    progress = await prompt_env.get_progress(worker)
    throughput = sum(map(len, ALL_SENTENCES[1:4])) / 3
    assert progress.remaining_seconds == pytest.approx(progress.remaining_characters / throughput, abs=0.1)
    prompt_env.now += HOUR
    assert (await prompt_env.get_progress(worker)).remaining_seconds is None
