"""Promotion: validate a draft against the tenant's resources, make it an immutable version, compare, and roll back.

Validation takes a while, so it runs between two transactions: one loads all inputs, the other makes the version if the
draft is unchanged. A flow called by the draft that is promoted in between is not noticed.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vocelio.engine.diagnostics import Diagnostic, Diagnostics, did_you_mean, truncate
from vocelio.engine.diff import Change, diff, format_summary
from vocelio.engine.flow import FlowVersion, ValidationContext
from vocelio.engine.validation.loader import validate_flow as check_document
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.tasks import CPU_EXECUTOR
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import DialContext, DialTarget
from vocelio.gateway.errors import Conflict, InvalidInput, NotFound
from vocelio.gateway.model.tenant import Department
from vocelio.gateway.model.types import PATTERN_END
from vocelio.gateway.store.audit import Actor, dump_json
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import flow_versions
from vocelio.gateway.store.db.schema import flows as flow_table
from vocelio.gateway.store.flows import drafts, versions
from vocelio.gateway.store.flows.versions import UnusableVersion, Version, VersionNumber, VersionPin, VersionShape
from vocelio.gateway.store.tenants import departments, tenants

Note = Annotated[str, Meta(max_length=1_000)]


class PromotionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A note on why the draft is promoted."""

    note: Note = ""


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version to make active again, and why."""

    version: VersionNumber
    note: Note = ""


class ValidationResult(msgspec.Struct, frozen=True):
    """The diagnostics of a ``revision`` of the draft, and whether it can be promoted."""

    revision: int
    promotable: bool
    diagnostics: list[Diagnostic]


class Promotion(msgspec.Struct, frozen=True):
    """The version that is active now. It is not ``new`` if the draft equals the active version."""

    version: Version
    new: bool
    warnings: list[Diagnostic]


class _PromotionInputs(NamedTuple):
    """A draft and everything that its validation needs."""

    flow: str
    revision: int
    document: bytes  # with the tenant's voice, if it names none
    departments: Mapping[str, Department]
    dial_context: DialContext
    dial_targets: Sequence[DialTarget]  # of its transfers
    subflows: Mapping[str, VersionPin]  # as the draft names them
    shapes: Mapping[VersionPin, VersionShape]
    documents: Mapping[VersionPin, bytes] | None  # None: too many, or too large
    hints: Mapping[str, str]  # by diagnostic message


class _FlowNodes(msgspec.Struct, frozen=True):
    nodes: dict[str, Any] = {}


async def validate_draft(database: Database, tenant: str, flow: str) -> ValidationResult:
    """Validate a flow's draft. Raises NotFound, RateLimited."""
    inputs = await _load_inputs(database, tenant, flow)
    version, problems = await CPU_EXECUTOR.run(lambda: _validate(inputs))
    return ValidationResult(inputs.revision, version is not None, problems)


async def promote_flow(
    database: Database, actor: Actor, flow: str, note: str, expected_revision: int | None = None
) -> Promotion:
    """Make the draft the active version.

    Raises NotFound, RevisionConflict, InvalidInput, Conflict, RateLimited.
    """
    inputs = await _load_inputs(database, actor.tenant, flow, expected_revision)
    version, problems = await CPU_EXECUTOR.run(lambda: _validate(inputs))
    if version is None:
        raise InvalidInput("The draft has errors.", problems)
    async with database.transaction() as connection:
        row = await drafts.lock_row(connection, actor.tenant, flow)
        if row.revision != inputs.revision:
            raise Conflict("The draft changed during validation. Review it and promote again.")
        if row.active_version is not None:
            active = await versions.get_row(connection, actor.tenant, VersionPin(flow, row.active_version))
            if active.content_hash == version.id:
                return Promotion(versions.from_row(active, row.active_version), new=False, warnings=problems)
        created = await _create_version(connection, actor, row, inputs, version, note)
    return Promotion(created, new=True, warnings=problems)


async def _create_version(
    connection: AsyncConnection, actor: Actor, row: Row[Any], inputs: _PromotionInputs, version: FlowVersion, note: str
) -> Version:
    where = (flow_versions.c.tenant_id == actor.tenant, flow_versions.c.flow_id == row.id)
    number = 1 + (await connection.scalar(select(func.max(flow_versions.c.number)).where(*where)) or 0)
    values = {
        "tenant_id": actor.tenant,
        "flow_id": row.id,
        "number": number,
        "content_hash": version.id,
        "document": inputs.document,
        "subflows": dump_json({name: inputs.subflows[name] for name in version.subflows}),
        "voice": dump_json(version.flow.voice),
        "note": note,
        "promoted_by": actor.key_id,
        "promoted_at": actor.now,
    }
    await connection.execute(insert(flow_versions).values(values))
    await drafts.update_columns(connection, actor, row.id, active_version=number)
    after = {"active_version": number, "content_hash": version.id, "note": note}
    await actor.audit(connection, "flow.promoted", row.id, {"active_version": row.active_version}, after)
    return versions.from_row(await versions.get_row(connection, actor.tenant, VersionPin(row.id, number)), number)


async def rollback_flow(database: Database, actor: Actor, flow: str, request: RollbackRequest) -> Version:
    """Make an existing version the active one; the draft stays. Raises NotFound, InvalidInput, Conflict."""
    async with database.read() as connection:
        await drafts.get_row(connection, actor.tenant, flow)
        try:
            await versions.load_version(connection, actor.tenant, flow, request.version)
        except NotFound:
            problem = Diagnostic("version", "no-such-version", f"the flow has no version {request.version}")
            raise InvalidInput("Unknown version.", [problem]) from None
        except UnusableVersion as error:
            raise Conflict(f"The version cannot be run any more: {error}") from None
    async with database.transaction() as connection:
        row = await drafts.lock_row(connection, actor.tenant, flow)
        version = versions.from_row(
            await versions.get_row(connection, actor.tenant, VersionPin(flow, request.version)), request.version
        )
        if row.active_version != request.version:
            await drafts.update_columns(connection, actor, flow, active_version=request.version)
            after = {"active_version": request.version, "content_hash": version.content_hash, "note": request.note}
            await actor.audit(connection, "flow.rolled_back", flow, {"active_version": row.active_version}, after)
    return version


def with_default_voice(document: bytes, voice: Voice) -> bytes:
    """Insert the tenant's voice into a document that names none, so that the version keeps its voice."""
    try:
        raw = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return document
    if not isinstance(raw, dict) or not raw or "voice" in raw:
        return document
    before, _, after = document.partition(b"{")
    return b'%b{"voice":%b,%b' % (before, msgspec.json.encode(voice), after)


# Validation


async def _load_inputs(
    database: Database, tenant: str, flow: str, expected_revision: int | None = None
) -> _PromotionInputs:
    async with database.read() as connection:
        row = await drafts.get_row(connection, tenant, flow)
        voice = await tenants.get_default_voice(connection, tenant)
    drafts.check_revision(row, expected_revision)
    document, references, dial_targets = await CPU_EXECUTOR.run(
        lambda: (
            with_default_voice(row.draft, voice),
            _subflow_references(row.draft),
            validation.find_targets(row.draft),
        )
    )
    async with database.read() as connection:
        query = select(flow_table.c.id, flow_table.c.active_version).where(flow_table.c.tenant_id == tenant)
        active = {row.id: row.active_version for row in await connection.execute(query)}
        pins = {name: pin for name in references if (pin := _resolve_pin(name, active))}
        shapes = await versions.load_shapes(connection, tenant, pins.values())
        existing = {name: pin for name, pin in pins.items() if pin in shapes}
        within_limits = not versions.exceeds_limits(shapes, existing.values())
        documents = await versions.load_documents(connection, tenant, shapes) if within_limits else None
        tenant_departments = await departments.load_departments(connection, tenant)
        rules = await tenants.load_dial_context(connection, tenant, dial_targets)
    hints = {
        f"there is no flow `{truncate(name)}`": _missing_flow_hint(name, active)
        for name in references - existing.keys()
    }
    return _PromotionInputs(
        flow, row.revision, document, tenant_departments, rules, dial_targets, existing, shapes, documents, hints
    )


def _subflow_references(document: bytes) -> set[str]:
    """Return the references to flows that a draft calls, as far as it can be parsed."""
    try:
        nodes = msgspec.json.decode(document, type=_FlowNodes).nodes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return set()
    subflow_nodes = (node for node in nodes.values() if isinstance(node, dict) and node.get("type") == "subflow")
    return {
        f"{node.get('flow')}@{node['version']}" if node.get("version") else str(node.get("flow"))
        for node in subflow_nodes
    }


def _resolve_pin(reference: str, active_versions: Mapping[str, int | None]) -> VersionPin | None:
    """Return the version that a reference means, None if there can be none."""
    flow, _, number = reference.partition("@")
    if flow not in active_versions:
        return None
    if number:
        return VersionPin(flow, int(number)) if number.isdecimal() and len(number) < 10 else None
    newest = active_versions[flow]
    return VersionPin(flow, newest) if newest else None


def _missing_flow_hint(reference: str, active_versions: Mapping[str, int | None]) -> str:
    flow, _, _ = reference.partition("@")
    if flow not in active_versions:
        return did_you_mean(reference, [name for name, number in active_versions.items() if number])
    return f"its active version is {active_versions[flow]}" if active_versions[flow] else f"promote `{flow}` first"


def _validate(inputs: _PromotionInputs) -> tuple[FlowVersion | None, list[Diagnostic]]:
    if inputs.documents is None:
        message = f"a flow with all flows that it calls can be at most {versions.MAX_COMPILED_FLOWS} flows "
        message += f"and {versions.MAX_COMPILED_BYTES:,} bytes"
        return None, [Diagnostic("nodes", "too-large", message)]
    try:
        compiled = versions.compile_versions(inputs.shapes, inputs.documents)
    except UnusableVersion as error:
        return None, [Diagnostic("nodes", "invalid-subflow", str(error), "promote that flow again")]
    called = {name: compiled[pin] for name, pin in inputs.subflows.items()}
    context = ValidationContext(departments=inputs.departments, flows=called, flow_name=inputs.flow)
    version, problems = check_document(inputs.document, context)
    diagnostics = [_with_hint(problem, inputs.hints) for problem in problems]
    return _with_gateway_diagnostics(
        version, diagnostics, list(validation.check_flow(inputs.dial_context, inputs.departments, inputs.dial_targets))
    )


def _with_gateway_diagnostics(
    version: FlowVersion | None, engine_diagnostics: list[Diagnostic], gateway_diagnostics: list[Diagnostic]
) -> tuple[FlowVersion | None, list[Diagnostic]]:
    """Merge the diagnostics of the engine and of the gateway, within the limit of one report."""
    report = Diagnostics()
    report.extend([*gateway_diagnostics, *engine_diagnostics])
    return None if gateway_diagnostics else version, report.by_path


def _with_hint(problem: Diagnostic, hints: Mapping[str, str]) -> Diagnostic:
    if problem.code != "no-such-flow":
        return problem
    return msgspec.structs.replace(problem, hint=hints.get(problem.message, problem.hint))


DiffSide = Annotated[
    str,
    Meta(
        pattern=f"^(draft|active|[1-9][0-9]{{0,8}}){PATTERN_END}", description="a version's number, `active` or `draft`"
    ),
]


class FlowDiff(msgspec.Struct, frozen=True):
    """The changes from one side to the other, and a short summary as text."""

    changes: list[Change]
    summary: str


async def diff_versions(database: Database, tenant: str, flow: str, before: str, after: str) -> FlowDiff:
    """Return the changes from ``before`` to ``after``: each a version's number, ``active`` or ``draft``.

    Raises NotFound, Conflict, RateLimited.
    """
    async with database.read() as connection:
        before_document = await _get_document(connection, tenant, flow, before)
        after_document = await _get_document(connection, tenant, flow, after)
    return await CPU_EXECUTOR.run(lambda: _diff_documents(before_document, after_document))


def _diff_documents(before: bytes, after: bytes) -> FlowDiff:
    changes = diff(msgspec.json.decode(before), msgspec.json.decode(after))
    return FlowDiff(changes, format_summary(changes))


async def _get_document(connection: AsyncConnection, tenant: str, flow: str, side: str) -> bytes:
    row: Any = await drafts.get_row(connection, tenant, flow)
    if side == "draft":  # as it would be promoted
        return with_default_voice(row.draft, await tenants.get_default_voice(connection, tenant))
    if side == "active" and row.active_version is None:
        raise Conflict("The flow was never promoted: it has no active version.")
    number = row.active_version if side == "active" else int(side)
    document: bytes = (await versions.get_row(connection, tenant, VersionPin(flow, number))).document
    return document
