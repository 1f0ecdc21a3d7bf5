"""/v1/flows/{flow}/prompts."""

from vocelio.gateway.api.framework.operation import ApiResponse, RequestContext
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import ResourceName
from vocelio.gateway.prompts import progress
from vocelio.gateway.prompts.progress import RenderProgress, RetryResult
from vocelio.gateway.prompts.render_worker import PromptRenderWorker


async def get_prompt_progress(context: RequestContext, *, flow: ResourceName) -> RenderProgress:
    """How far the active version's sentences are rendered, what failed and why, and how long the rest may take."""
    plans = _require_render_worker(context).manifests
    return await progress.get_progress(context.database, plans, context.tenant, flow, context.actor.now)


async def retry_prompts(context: RequestContext, *, flow: ResourceName) -> ApiResponse[RetryResult]:
    """Try the sentences that failed again at once, not when their pause is over."""
    renderer = _require_render_worker(context)
    retried = await progress.retry_failed(context.database, renderer.manifests, context.actor, flow)
    renderer.notify()
    return ApiResponse(retried, status=202)


def _require_render_worker(context: RequestContext) -> PromptRenderWorker:
    if context.render_worker is None:
        raise Conflict("This gateway renders nothing beforehand: every text is spoken when a call comes to it.")
    return context.render_worker
