"""How far the rendering of a flow is: for the API, and whoever has promoted it."""

import msgspec

from vocelio.engine.voice import Voice
from vocelio.gateway.errors import Conflict
from vocelio.gateway.prompts.manifest import ActiveManifest, PromptManifests
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows.versions import UnusableVersion
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import PromptStatus

MAX_FAILURES = 20  # told of a flow: most fail for the same reason


class RenderFailure(msgspec.Struct, frozen=True):
    """A sentence that could not be rendered: why, how often it was tried, and when it is tried again."""

    sentence: str
    voice: Voice
    problem: str
    attempts: int
    due: int | None


class RenderProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How many sentences of the active ``version`` there are, and how far each is.

    A ``failed`` one is tried again; until it is ready it is spoken by the provider when a call comes to it.
    ``characters`` are those of all, ``characters_left`` of those that are not ready. ``seconds_left`` is null while the
    pace is not known, and 0 when all is done that can be.
    """

    version: int
    total: int
    ready: int
    pending: int
    failed: int
    characters: int
    characters_left: int
    seconds_left: float | None
    problems: list[RenderFailure]


class RetryResult(msgspec.Struct, frozen=True):
    """How many sentences had failed, and are tried again now."""

    retried: int


async def get_progress(
    database: Database, manifests: PromptManifests, tenant: str, flow: str, now: int
) -> RenderProgress:
    """How far a flow's active version is. Raises NotFound, Conflict, TooMany."""
    active = await _get_active_manifest(database, manifests, tenant, flow)
    characters = {one.id: len(one.sentence) for one in active.manifest.prompts}
    held = await render_queue.get_statuses(database, tenant, list(characters))
    ready = [one.id for one in held if one.state == "ready"]
    failed = [one for one in held if one.state == "failed"]
    left = sum(characters.values()) - sum(characters[one] for one in ready)
    pending = left - sum(characters[one.id] for one in failed)
    return RenderProgress(
        version=active.version,
        total=len(characters),
        ready=len(ready),
        pending=len(characters) - len(ready) - len(failed),
        failed=len(failed),
        characters=sum(characters.values()),
        characters_left=left,
        seconds_left=_estimated_seconds(pending, await render_queue.measure_throughput(database, tenant, now)),
        problems=[_to_failure(one) for one in failed[:MAX_FAILURES]],
    )


async def retry_failed(database: Database, manifests: PromptManifests, actor: Actor, flow: str) -> RetryResult:
    """Try what failed of a flow's active version again now. Raises NotFound, Conflict, TooMany."""
    active = await _get_active_manifest(database, manifests, actor.tenant, flow)
    return RetryResult(
        await render_queue.retry_failed(database, actor, flow, [one.id for one in active.manifest.prompts])
    )


async def _get_active_manifest(
    database: Database, manifests: PromptManifests, tenant: str, flow: str
) -> ActiveManifest:
    try:
        active = await manifests.get_active_manifest(database, tenant, flow)
    except UnusableVersion as error:
        raise Conflict(f"Calls cannot run that version any more: {error}") from None
    if active is None:
        raise Conflict("The flow answers no calls: it was never promoted.")
    return active


def _estimated_seconds(characters: int, characters_per_second: float | None) -> float | None:
    if not characters:
        return 0.0
    return round(characters / characters_per_second, 1) if characters_per_second else None


def _to_failure(prompt: PromptStatus) -> RenderFailure:
    return RenderFailure(prompt.sentence, prompt.voice, prompt.problem, prompt.attempts, prompt.due)
