"""/v1/flows."""

import msgspec

from vocelio.gateway.api.framework.operation import Answer, Context, Page
from vocelio.gateway.model.types import Name
from vocelio.gateway.store.db.pagination import Items
from vocelio.gateway.store.flows import diff, drafts, promotion
from vocelio.gateway.store.flows import versions as version_store
from vocelio.gateway.store.flows.diff import Comparison, Side
from vocelio.gateway.store.flows.drafts import Draft, Flow, Pause
from vocelio.gateway.store.flows.promotion import Checked, NewVersion, Promotion, Return
from vocelio.gateway.store.flows.versions import Version, VersionNumber, WholeVersion

NO_NOTE = NewVersion()
DEFAULT_PAUSE = Pause()


class Between(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is compared: versions by number, the `active` one, or the `draft`."""

    before: Side = msgspec.field(default="active", name="from")
    after: Side = msgspec.field(default="draft", name="to")


async def every(context: Context, *, query: Page) -> Items[Flow]:
    """The tenant's flows."""
    return await drafts.every(context.database, context.tenant, query.limit, query.cursor)


async def show(context: Context, *, flow: Name) -> Answer[Draft]:
    """A flow and its draft; the ETag is the draft's revision."""
    draft = await drafts.show(context.database, context.tenant, flow)
    return Answer(draft, etag=draft.revision)


async def put(context: Context, *, flow: Name, body: bytes) -> Answer[Flow]:
    """Keep a draft, a flow document, errors and all; If-Match says which revision it takes the place of."""
    kept, new = await drafts.put(context.database, context.actor, flow, body, context.if_match)
    if new:
        return Answer(kept, status=201, etag=kept.revision, location=f"/v1/flows/{flow}")
    return Answer(kept, etag=kept.revision)


async def remove(context: Context, *, flow: Name) -> None:
    """Remove a flow that was never promoted."""
    await drafts.remove(context.database, context.actor, flow, context.if_match)


async def check(context: Context, *, flow: Name) -> Checked:
    """What is wrong with the draft: all problems at once, each with its path and, where possible, a mend."""
    return await promotion.check(context.database, context.tenant, flow)


async def promote(context: Context, *, flow: Name, body: NewVersion = NO_NOTE) -> Answer[Promotion]:
    """Make a version of the draft, which calls get from now on; live ones stay on theirs.

    A draft that is what the active version was made of makes no other.
    """
    made = await promotion.promote(context.database, context.actor, flow, body.note, context.if_match)
    _tell(context, flow)
    if made.new:
        return Answer(made, status=201, location=f"/v1/flows/{flow}/versions/{made.version.number}")
    return Answer(made)


async def versions(context: Context, *, flow: Name, query: Page) -> Items[Version]:
    """The flow's versions, the newest first."""
    return await version_store.every(context.database, context.tenant, flow, query.limit, query.cursor)


async def version(context: Context, *, flow: Name, number: VersionNumber) -> WholeVersion:
    """One version with its document and its voice in full, who promoted it, when and why."""
    return await version_store.show(context.database, context.tenant, flow, number)


async def difference(context: Context, *, flow: Name, query: Between) -> Comparison:
    """What differs between two versions, or what a promotion of the draft would change."""
    return await diff.compare(context.database, context.tenant, flow, query.before, query.after)


async def rollback(context: Context, *, flow: Name, body: Return) -> Version:
    """Let calls get another version again; the draft stays as it is."""
    version = await promotion.roll_back(context.database, context.actor, flow, body)
    _tell(context, flow)
    return version


async def pause(context: Context, *, flow: Name, body: Pause = DEFAULT_PAUSE) -> Flow:
    """Turn new calls away, with a text or to another number; live ones go on."""
    return await drafts.pause(context.database, context.actor, flow, body)


async def resume(context: Context, *, flow: Name) -> Flow:
    """Let new calls in again."""
    return await drafts.resume(context.database, context.actor, flow)


def _tell(context: Context, flow: str) -> None:
    """What calls may say now is rendered, beside the answer."""
    if context.renderer:
        context.renderer.promoted(context.tenant, flow)
