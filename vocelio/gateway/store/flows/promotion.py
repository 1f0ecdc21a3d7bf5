"""From draft to production: a draft is checked against what the tenant has, and becomes a version for ever.

Checking takes a while, so it is done between two transactions: one that reads all there is to know, and one that
finds the draft as it was and makes the version. What was promoted meanwhile of the flows that it calls is not seen.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Problem, Report, did_you_mean, short
from vocelio.engine.flow import FlowVersion, Known
from vocelio.engine.validation.loader import check as check_document
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.cpu_executor import ASIDE
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import Named, Rules
from vocelio.gateway.errors import Conflict, Invalid, NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.store.audit.actor import Actor, to_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import flow_versions, tenants
from vocelio.gateway.store.db.schema import flows as flow_table
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.flows.versions import Pin, Shape, UnusableVersion, Version, VersionNumber
from vocelio.gateway.store.tenants import departments, dial_context

Note = Annotated[str, Meta(max_length=1_000)]


class NewVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to remember of a promotion: why it was made."""

    note: Note = ""


class Return(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version is to be active again, and why."""

    version: VersionNumber
    note: Note = ""


class Checked(msgspec.Struct, frozen=True):
    """What was found about a ``revision`` of the draft, and whether it can be promoted."""

    revision: int
    promotable: bool
    problems: list[Problem]


class Promotion(msgspec.Struct, frozen=True):
    """The version that calls get now. It is not ``new`` if the draft is what it was made of; warnings are no errors."""

    version: Version
    new: bool
    warnings: list[Problem]


class _Ground(NamedTuple):
    """A draft and all that it is checked against."""

    flow: str
    revision: int
    document: bytes  # with the tenant's voice, where it has none of its own
    departments: Mapping[str, Department]
    rules: Rules
    rung: Sequence[Named]  # whom its transfers name
    called: Mapping[str, Pin]  # as the draft names them
    shapes: Mapping[Pin, Shape]
    documents: Mapping[Pin, bytes] | None  # None: they are too many, or too large
    hints: Mapping[str, str]  # messages and what helps


class _Calling(msgspec.Struct, frozen=True):
    nodes: dict[str, Any] = {}


class _Settings(msgspec.Struct, frozen=True):
    voice: Voice = Voice()


async def check(database: Database, tenant: str, flow: str) -> Checked:
    """What is wrong with a flow's draft. Raises NotFound, TooMany."""
    ground = await _survey(database, tenant, flow)
    version, problems = await ASIDE.run(lambda: _look(ground))
    return Checked(ground.revision, version is not None, problems)


async def promote(database: Database, actor: Actor, flow: str, note: str, seen: int | None = None) -> Promotion:
    """Make the draft the active version. Raises NotFound, Stale, Invalid, Conflict, TooMany."""
    ground = await _survey(database, actor.tenant, flow, seen)
    version, problems = await ASIDE.run(lambda: _look(ground))
    if version is None:
        raise Invalid("The draft has errors, so it cannot be promoted.", problems)
    async with database.writing() as connection:
        row = await drafts.held(connection, actor.tenant, flow)
        if row.revision != ground.revision:
            raise Conflict("The draft was changed while it was checked. Look at it, and promote it again.")
        if row.active is not None:
            same = await versions.found(connection, actor.tenant, Pin(flow, row.active))
            if same.content == version.id:
                return Promotion(versions.told(same, row.active), new=False, warnings=problems)
        made = await _make(connection, actor, row, ground, version, note)
    return Promotion(made, new=True, warnings=problems)


async def _make(
    connection: AsyncConnection, actor: Actor, row: Row[Any], ground: _Ground, version: FlowVersion, note: str
) -> Version:
    where = (flow_versions.c.tenant_id == actor.tenant, flow_versions.c.flow_id == row.id)
    number = 1 + (await connection.scalar(select(func.max(flow_versions.c.number)).where(*where)) or 0)
    made = {
        "tenant_id": actor.tenant,
        "flow_id": row.id,
        "number": number,
        "content": version.id,
        "document": ground.document,
        "subflows": to_json({name: ground.called[name] for name in version.subflows}),
        "voice": to_json(version.flow.voice),
        "note": note,
        "promoted_by": actor.key,
        "promoted": actor.at,
    }
    await connection.execute(insert(flow_versions).values(made))
    await drafts.set_parts(connection, actor, row.id, active=number)
    after = {"active": number, "content": version.id, "note": note}
    await actor.record(connection, "flow.promoted", row.id, {"active": row.active}, after)
    return versions.told(await versions.found(connection, actor.tenant, Pin(row.id, number)), number)


async def roll_back(database: Database, actor: Actor, flow: str, to: Return) -> Version:
    """Make another version the active one; the draft stays. Raises NotFound, Invalid, Conflict."""
    async with database.reading() as connection:
        await drafts.found(connection, actor.tenant, flow)
        try:
            await versions.load(connection, actor.tenant, flow, to.version)
        except NotFound:
            problem = Problem("version", "no-such-version", f"the flow has no version {to.version}")
            raise Invalid("There is nothing to go back to.", [problem]) from None
        except UnusableVersion as error:
            raise Conflict(f"Calls cannot run that version any more: {error}") from None
    async with database.writing() as connection:
        row = await drafts.held(connection, actor.tenant, flow)
        made = versions.told(await versions.found(connection, actor.tenant, Pin(flow, to.version)), to.version)
        if row.active != to.version:
            await drafts.set_parts(connection, actor, flow, active=to.version)
            after = {"active": to.version, "content": made.content, "note": to.note}
            await actor.record(connection, "flow.rolled_back", flow, {"active": row.active}, after)
    return made


def with_voice(document: bytes, voice: Voice) -> bytes:
    """A flow that names no voice gets the tenant's, so that what it sounds like is kept with it."""
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return document
    if not isinstance(raw, dict) or not raw or "voice" in raw:
        return document
    before, _, after = document.partition(b"{")
    return b'%b{"voice":%b,%b' % (before, msgspec.json.encode(voice), after)


async def voice_of(connection: AsyncConnection, tenant: str) -> Voice:
    """The tenant's default voice."""
    settings = await connection.scalar(select(tenants.c.settings).where(tenants.c.id == tenant))
    return msgspec.json.decode(settings or "{}", type=_Settings).voice


# What a draft is checked against


async def _survey(database: Database, tenant: str, flow: str, seen: int | None = None) -> _Ground:
    async with database.reading() as connection:
        row = await drafts.found(connection, tenant, flow)
        voice = await voice_of(connection, tenant)
    drafts.must_match(row, seen)
    document, names, rung = await ASIDE.run(
        lambda: (with_voice(row.draft, voice), _named(row.draft), validation.named(row.draft))
    )
    async with database.reading() as connection:
        query = select(flow_table.c.id, flow_table.c.active).where(flow_table.c.tenant_id == tenant)
        active = {row.id: row.active for row in await connection.execute(query)}
        called = {name: pin for name in names if (pin := _pin(name, active))}
        shapes = await versions.below(connection, tenant, called.values())
        there = {name: pin for name, pin in called.items() if pin in shapes}
        enough = not versions.too_much(shapes, there.values())
        documents = await versions.read(connection, tenant, shapes) if enough else None
        theirs = await departments.read(connection, tenant)
        rules = await dial_context.read(connection, tenant, rung)
    hints = {f"there is no flow `{short(name)}`": _hint(name, active) for name in names - there.keys()}
    return _Ground(flow, row.revision, document, theirs, rules, rung, there, shapes, documents, hints)


def _named(document: bytes) -> set[str]:
    """The versions of flows that a draft calls, as it names them, as far as it can be read."""
    try:
        nodes = msgspec.json.decode(document, type=_Calling).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return set()
    every = (node for node in nodes.values() if isinstance(node, dict) and node.get("type") == "subflow")
    return {f"{node.get('flow')}@{node['version']}" if node.get("version") else str(node.get("flow")) for node in every}


def _pin(name: str, active: Mapping[str, int | None]) -> Pin | None:
    """The version that is meant, if there can be one."""
    flow, _, number = name.partition("@")
    if flow not in active:
        return None
    if number:
        return Pin(flow, int(number)) if number.isdecimal() and len(number) < 10 else None
    newest = active[flow]
    return Pin(flow, newest) if newest else None


def _hint(name: str, active: Mapping[str, int | None]) -> str:
    flow, _, _ = name.partition("@")
    if flow not in active:
        return did_you_mean(name, [other for other, number in active.items() if number])
    return f"its active version is {active[flow]}" if active[flow] else f"promote `{flow}` first"


def _look(ground: _Ground) -> tuple[FlowVersion | None, list[Problem]]:
    if ground.documents is None:
        message = f"with the flows that it calls, a flow is at most {versions.MAX_CALLED} flows "
        message += f"and {versions.MAX_BYTES_CALLED:,} bytes"
        return None, [Problem("nodes", "too-large", message)]
    try:
        made = versions.compiled(ground.shapes, ground.documents)
    except UnusableVersion as error:
        return None, [Problem("nodes", "broken-flow", str(error), "promote that flow anew")]
    called = {name: made[pin] for name, pin in ground.called.items()}
    known = Known(departments=ground.departments, flows=called, name=ground.flow)
    version, problems = check_document(ground.document, known)
    found = [_helped(problem, ground.hints) for problem in problems]
    return _with(version, found, list(validation.of_flow(ground.rules, ground.departments, ground.rung)))


def _with(
    version: FlowVersion | None, found: list[Problem], more: list[Problem]
) -> tuple[FlowVersion | None, list[Problem]]:
    """What the engine found, and what the gateway did: at most as many as anybody reads."""
    report = Report()
    report.extend([*more, *found])
    return None if more else version, report.problems


def _helped(problem: Problem, hints: Mapping[str, str]) -> Problem:
    if problem.code != "no-such-flow":
        return problem
    return msgspec.structs.replace(problem, hint=hints.get(problem.message, problem.hint))
