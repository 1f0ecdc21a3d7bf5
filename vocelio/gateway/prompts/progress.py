"""Progress of pre-rendering a flow's active version, for the API and the CLI."""

import msgspec

from vocelio.engine.voice import Voice
from vocelio.gateway.clock import Instant
from vocelio.gateway.errors import Conflict
from vocelio.gateway.prompts.manifest import ActiveManifest, PromptManifests
from vocelio.gateway.store import render_queue
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows.versions import UnusableVersion
from vocelio.gateway.store.render_queue import PromptStatus

MAX_FAILURES = 20  # reported for a flow: most sentences fail for the same reason


class RenderFailure(msgspec.Struct, frozen=True):
    """A sentence that could not be rendered, and the error of the last attempt."""

    sentence: str
    voice: Voice
    error: str
    failed_attempts: int
    next_attempt_at: Instant | None


class RenderProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How many sentences the active ``version`` has, by state.

    A ``failed`` sentence is retried; until it is ready, calls have it synthesized by the provider. ``characters``
    counts all sentences, ``remaining_characters`` those that are not ready. ``remaining_seconds`` is null while the
    pace is unknown, and 0 when nothing is pending.
    """

    version: int
    total: int
    ready: int
    pending: int
    failed: int
    characters: int
    remaining_characters: int
    remaining_seconds: float | None
    failures: list[RenderFailure]


class RetryResult(msgspec.Struct, frozen=True):
    """The number of failed sentences that are now retried."""

    retried: int


async def get_progress(
    database: Database, manifests: PromptManifests, tenant: str, flow: str, now: int
) -> RenderProgress:
    """Return the progress of a flow's active version. Raises NotFound, Conflict, RateLimited."""
    active = await _get_active_manifest(database, manifests, tenant, flow)
    characters = {prompt.id: len(prompt.sentence) for prompt in active.manifest.prompts}
    statuses = await render_queue.get_statuses(database, tenant, list(characters))
    ready = [status.id for status in statuses if status.state == "ready"]
    failed = [status for status in statuses if status.state == "failed"]
    remaining = sum(characters.values()) - sum(characters[prompt_id] for prompt_id in ready)
    pending = remaining - sum(characters[status.id] for status in failed)
    return RenderProgress(
        version=active.version,
        total=len(characters),
        ready=len(ready),
        pending=len(characters) - len(ready) - len(failed),
        failed=len(failed),
        characters=sum(characters.values()),
        remaining_characters=remaining,
        remaining_seconds=_estimated_seconds(pending, await render_queue.measure_throughput(database, tenant, now)),
        failures=[_to_failure(status) for status in failed[:MAX_FAILURES]],
    )


async def retry_failed(database: Database, manifests: PromptManifests, actor: Actor, flow: str) -> RetryResult:
    """Retry the failed sentences of a flow's active version now. Raises NotFound, Conflict, RateLimited."""
    active = await _get_active_manifest(database, manifests, actor.tenant, flow)
    prompt_ids = [prompt.id for prompt in active.manifest.prompts]
    return RetryResult(await render_queue.retry_failed(database, actor, flow, prompt_ids))


async def _get_active_manifest(
    database: Database, manifests: PromptManifests, tenant: str, flow: str
) -> ActiveManifest:
    try:
        active = await manifests.get_active_manifest(database, tenant, flow)
    except UnusableVersion as error:
        raise Conflict(f"The active version can no longer be run: {error}") from None
    if active is None:
        raise Conflict("The flow has no active version: it was never promoted.")
    return active


def _estimated_seconds(characters: int, characters_per_second: float | None) -> float | None:
    if not characters:
        return 0.0
    return round(characters / characters_per_second, 1) if characters_per_second else None


def _to_failure(status: PromptStatus) -> RenderFailure:
    next_attempt_at = None if status.due_at is None else Instant(status.due_at)
    return RenderFailure(status.sentence, status.voice, status.error, status.failed_attempts, next_attempt_at)
