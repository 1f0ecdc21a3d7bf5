"""/v1/flows/{flow}/prompts."""

from vocelio.gateway.api.framework.operation import Answer, Context
from vocelio.gateway.errors import Conflict
from vocelio.gateway.model.types import Name
from vocelio.gateway.prompts import progress
from vocelio.gateway.prompts.progress import Progress, Retried
from vocelio.gateway.prompts.render_worker import Renderer


async def show(context: Context, *, flow: Name) -> Progress:
    """How far the active version's sentences are rendered, what failed and why, and how long the rest may take."""
    plans = _renderer(context).plans
    return await progress.progress(context.database, plans, context.tenant, flow, context.actor.at)


async def retry(context: Context, *, flow: Name) -> Answer[Retried]:
    """Try the sentences that failed again at once, not when their pause is over."""
    renderer = _renderer(context)
    retried = await progress.retry(context.database, renderer.plans, context.actor, flow)
    renderer.wake()
    return Answer(retried, status=202)


def _renderer(context: Context) -> Renderer:
    if context.renderer is None:
        raise Conflict("This gateway renders nothing beforehand: every text is spoken when a call comes to it.")
    return context.renderer
