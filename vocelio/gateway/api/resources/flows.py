"""/v1/flows: drafts, versions, promotion and pre-rendered prompts."""

import msgspec

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.prompts import progress
from vocelio.gateway.prompts.progress import RenderProgress, RetryResult
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.store.db.pagination import Page
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.flows import versions as version_store
from vocelio.gateway.store.flows.drafts import FlowDraft, FlowSummary, PauseSettings
from vocelio.gateway.store.flows.promotion import (
    DiffSide,
    FlowDiff,
    Promotion,
    PromotionRequest,
    RollbackRequest,
    ValidationResult,
)
from vocelio.gateway.store.flows.versions import Version, VersionDetail, VersionNumber

DEFAULT_PROMOTION = PromotionRequest()
DEFAULT_PAUSE = PauseSettings()


class DiffQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The two sides: a version's number, the `active` version, or the `draft`."""

    before: DiffSide = msgspec.field(default="active", name="from")
    after: DiffSide = msgspec.field(default="draft", name="to")


async def list_flows(context: RequestContext, *, query: PageQuery) -> Page[FlowSummary]:
    """List the tenant's flows."""
    return await drafts.list_flows(context.database, context.tenant, query.limit, query.cursor)


async def get_flow(context: RequestContext, *, flow: ResourceName) -> ApiResponse[FlowDraft]:
    """Get a flow and its draft. The ETag is the draft's revision."""
    draft = await drafts.get_flow(context.database, context.tenant, flow)
    return ApiResponse(draft, etag=draft.revision)


async def put_flow(context: RequestContext, *, flow: ResourceName, body: bytes) -> ApiResponse[FlowSummary]:
    """Save a flow document as the flow's draft, even with errors. If-Match names the revision that it replaces."""
    summary, created = await drafts.put_flow(context.database, context.actor, flow, body, context.if_match)
    if created:
        return ApiResponse(summary, status=201, etag=summary.revision, location=f"/v1/flows/{flow}")
    return ApiResponse(summary, etag=summary.revision)


async def delete_flow(context: RequestContext, *, flow: ResourceName) -> None:
    """Delete a flow that was never promoted."""
    await drafts.delete_flow(context.database, context.actor, flow, context.if_match)


async def validate_flow(context: RequestContext, *, flow: ResourceName) -> ValidationResult:
    """Validate the draft: all diagnostics at once, each with its path and, where possible, a hint."""
    return await promotion.validate_draft(context.database, context.tenant, flow)


async def promote_flow(
    context: RequestContext, *, flow: ResourceName, body: PromotionRequest = DEFAULT_PROMOTION
) -> ApiResponse[Promotion]:
    """Make a version of the draft and activate it for new calls. Live calls stay on their version.

    A draft that is equal to the active version makes no new version.
    """
    made = await promotion.promote_flow(context.database, context.actor, flow, body.note, context.if_match)
    _notify_render_worker(context, flow)
    if made.new:
        return ApiResponse(made, status=201, location=f"/v1/flows/{flow}/versions/{made.version.number}")
    return ApiResponse(made)


async def list_versions(context: RequestContext, *, flow: ResourceName, query: PageQuery) -> Page[Version]:
    """List the flow's versions, newest first."""
    return await version_store.list_versions(context.database, context.tenant, flow, query.limit, query.cursor)


async def get_version(context: RequestContext, *, flow: ResourceName, number: VersionNumber) -> VersionDetail:
    """Get a version with its document and its complete voice settings, who promoted it, when and why."""
    return await version_store.get_version(context.database, context.tenant, flow, number)


async def diff_versions(context: RequestContext, *, flow: ResourceName, query: DiffQuery) -> FlowDiff:
    """Compare two versions, or the active version with the draft: what a promotion would change."""
    return await promotion.diff_versions(context.database, context.tenant, flow, query.before, query.after)


async def rollback_flow(context: RequestContext, *, flow: ResourceName, body: RollbackRequest) -> Version:
    """Activate another version for new calls. The draft stays as it is."""
    version = await promotion.rollback_flow(context.database, context.actor, flow, body)
    _notify_render_worker(context, flow)
    return version


async def pause_flow(
    context: RequestContext, *, flow: ResourceName, body: PauseSettings = DEFAULT_PAUSE
) -> FlowSummary:
    """Reject new calls with a message, or forward them to a number. Live calls go on."""
    return await drafts.pause_flow(context.database, context.actor, flow, body)


async def resume_flow(context: RequestContext, *, flow: ResourceName) -> FlowSummary:
    """Accept new calls again."""
    return await drafts.resume_flow(context.database, context.actor, flow)


async def get_prompt_progress(context: RequestContext, *, flow: ResourceName) -> RenderProgress:
    """Get how many prompts of the active version are rendered, which failed and why, and the time left."""
    manifests = _require_render_worker(context).manifests
    return await progress.get_progress(context.database, manifests, context.tenant, flow, context.actor.now)


async def retry_prompts(context: RequestContext, *, flow: ResourceName) -> ApiResponse[RetryResult]:
    """Render failed prompts again now, instead of after their backoff."""
    worker = _require_render_worker(context)
    result = await progress.retry_failed(context.database, worker.manifests, context.actor, flow)
    worker.notify()
    return ApiResponse(result, status=202)


def _notify_render_worker(context: RequestContext, flow: str) -> None:
    if context.render_worker:
        context.render_worker.on_promoted(context.tenant, flow)


def _require_render_worker(context: RequestContext) -> PromptRenderWorker:
    if context.render_worker is None:
        raise Conflict("This gateway renders no prompts in advance: texts are synthesized during the call.")
    return context.render_worker
