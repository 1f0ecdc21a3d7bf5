"""/v1/flows."""

import msgspec

from vocelio.gateway.api.framework.operation import ApiResponse, PageQuery, RequestContext
from vocelio.gateway.model.types import ResourceName
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
    """What is compared: versions by number, the `active` one, or the `draft`."""

    before: DiffSide = msgspec.field(default="active", name="from")
    after: DiffSide = msgspec.field(default="draft", name="to")


async def list_flows(context: RequestContext, *, query: PageQuery) -> Page[FlowSummary]:
    """The tenant's flows."""
    return await drafts.list_flows(context.database, context.tenant, query.limit, query.cursor)


async def get_flow(context: RequestContext, *, flow: ResourceName) -> ApiResponse[FlowDraft]:
    """A flow and its draft; the ETag is the draft's revision."""
    draft = await drafts.get_flow(context.database, context.tenant, flow)
    return ApiResponse(draft, etag=draft.revision)


async def put_flow(context: RequestContext, *, flow: ResourceName, body: bytes) -> ApiResponse[FlowSummary]:
    """Keep a draft, a flow document, errors and all; If-Match says which revision it takes the place of."""
    kept, new = await drafts.put_flow(context.database, context.actor, flow, body, context.if_match)
    if new:
        return ApiResponse(kept, status=201, etag=kept.revision, location=f"/v1/flows/{flow}")
    return ApiResponse(kept, etag=kept.revision)


async def delete_flow(context: RequestContext, *, flow: ResourceName) -> None:
    """Remove a flow that was never promoted."""
    await drafts.delete_flow(context.database, context.actor, flow, context.if_match)


async def validate_flow(context: RequestContext, *, flow: ResourceName) -> ValidationResult:
    """What is wrong with the draft: all problems at once, each with its path and, where possible, a mend."""
    return await promotion.validate_draft(context.database, context.tenant, flow)


async def promote_flow(
    context: RequestContext, *, flow: ResourceName, body: PromotionRequest = DEFAULT_PROMOTION
) -> ApiResponse[Promotion]:
    """Make a version of the draft, which calls get from now on; live ones stay on theirs.

    A draft that is what the active version was made of makes no other.
    """
    made = await promotion.promote_flow(context.database, context.actor, flow, body.note, context.if_match)
    _notify_render_worker(context, flow)
    if made.new:
        return ApiResponse(made, status=201, location=f"/v1/flows/{flow}/versions/{made.version.number}")
    return ApiResponse(made)


async def list_versions(context: RequestContext, *, flow: ResourceName, query: PageQuery) -> Page[Version]:
    """The flow's versions, the newest first."""
    return await version_store.list_versions(context.database, context.tenant, flow, query.limit, query.cursor)


async def get_version(context: RequestContext, *, flow: ResourceName, number: VersionNumber) -> VersionDetail:
    """One version with its document and its voice in full, who promoted it, when and why."""
    return await version_store.get_version(context.database, context.tenant, flow, number)


async def diff_versions(context: RequestContext, *, flow: ResourceName, query: DiffQuery) -> FlowDiff:
    """What differs between two versions, or what a promotion of the draft would change."""
    return await promotion.diff_versions(context.database, context.tenant, flow, query.before, query.after)


async def rollback_flow(context: RequestContext, *, flow: ResourceName, body: RollbackRequest) -> Version:
    """Let calls get another version again; the draft stays as it is."""
    version = await promotion.rollback_flow(context.database, context.actor, flow, body)
    _notify_render_worker(context, flow)
    return version


async def pause_flow(
    context: RequestContext, *, flow: ResourceName, body: PauseSettings = DEFAULT_PAUSE
) -> FlowSummary:
    """Turn new calls away, with a text or to another number; live ones go on."""
    return await drafts.pause_flow(context.database, context.actor, flow, body)


async def resume_flow(context: RequestContext, *, flow: ResourceName) -> FlowSummary:
    """Let new calls in again."""
    return await drafts.resume_flow(context.database, context.actor, flow)


def _notify_render_worker(context: RequestContext, flow: str) -> None:
    """What calls may say now is rendered, beside the answer."""
    if context.render_worker:
        context.render_worker.on_promoted(context.tenant, flow)
