"""Generated calls, as the call store would have written them, inserted directly into the tables."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import insert

from tests.integration.conftest import NOW
from vocelio.gateway.calls.billing import cost_micro_usd
from vocelio.gateway.store.audit import dump_json
from vocelio.gateway.store.db.schema import call_events, call_logs, calls, tenants, usage

HOUR, DAY = 3_600_000_000, 86_400_000_000
TODAY = NOW // DAY * DAY
REJECTED_OUTCOMES = ("paused", "unassigned", "suspended", "blocked", "tenant_limit", "unavailable")
OUTCOMES = ("completed", "transferred", "failed", "abandoned", "lost")
RATES = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}


def new_rng(seed):
    """A seeded random number generator."""
    return random.Random(seed)  # noqa: S311 (not used for security)


@dataclass
class GeneratedCall:
    """Row of a call with its segments (tier, microseconds) and events (type, at, data)."""

    tenant: str
    row: Mapping
    segments: list = field(default_factory=list)
    events: list = field(default_factory=list)
    log: bytes = b""


def make_call(place=1, tenant="harbour", started_at=NOW, segments=(), events=(), log=b"", **parts):
    """Create a call with default values for fields that are not given."""
    row = {
        "id": f"CA{place:032x}",
        "account_sid": "AC" + "0" * 32,
        "number": "+13072249663",
        "caller": "+13105550142",
        "flow_id": "front-desk",
        "version": 3,
        "revision": 2,
        "generation": 1,
        "started_at": started_at,
        "ended_at": started_at + 60_000_000,
        "outcome": "completed",
        "disposition": "",
        "department": "",
        "billed_microseconds": sum(spent for _, spent in segments),
        "cost_micro_usd": sum(cost_micro_usd(spent, RATES[tier]) for tier, spent in segments),
    }
    return GeneratedCall(tenant, row | parts, list(segments), list(events), log)


def make_random_call(place, rng: random.Random, tenant="harbour", days=10):
    """Create a random call within the last ``days``, including today."""
    started = TODAY + DAY - 1 - rng.randrange(days * DAY)
    flow, line = rng.choice(("front-desk", "night", "survey")), f"+1307224966{rng.randrange(3)}"
    where = {"flow_id": flow, "number": line}
    kind = rng.random()
    if kind < 0.1:
        parts = {"version": None, "generation": 0, "ended_at": started, "outcome": rng.choice(REJECTED_OUTCOMES)}
        return make_call(place, tenant, started, **where | parts)
    live = kind < 0.2
    spent = rng.choice((rng.randrange(1, 5), rng.randrange(60), rng.randrange(600))) * 1_000_000 + rng.randrange(10)
    segments = [(rng.choice(list(RATES)), rng.randrange(spent + 1)) for _ in range(rng.randrange(1, 4))]
    outcome = "" if live else rng.choice(OUTCOMES)
    department = rng.choice(("", "sales")) if outcome != "transferred" else "sales"
    end = {"ended_at": None if live else started + spent, "outcome": outcome, "department": department}
    return make_call(
        place, tenant, started, segments, list(_random_events(rng, started, spent, department)), **where | end
    )


def _random_events(rng, started, spent, department):
    for _ in range(rng.randrange(6)):
        at = started + rng.randrange(spent + 1)
        node = rng.choice(("greet", "ask", "desk"))
        yield "prompt.started", at, {"node": node} | ({"latency_ms": rng.randrange(300, 320)} if at % 3 else {})
        yield "node.left", at, {"node": node, "exit": rng.choice(("next", "no_input"))}
        yield "transcript.final", at, {"node": node, "text": "sales", "confidence": 0.5}
    if department or rng.random() < 0.1:  # to a plain number
        yield "transfer.started", started + spent, {"department": department, "number": "+13105550110"}


async def insert_calls(database, *generated, known=()):
    """Insert calls, and their tenants unless they are ``known``."""
    new_tenants = {call.tenant for call in generated} - set(known)
    async with database.transaction() as connection:
        for name in sorted(new_tenants):
            row = {"id": name, "name": name, "settings": "{}", "revision": 1, "suspended": False, "created_at": NOW}
            await connection.execute(insert(tenants), row)
        for table, rows in (
            (calls, [{"tenant_id": call.tenant, **call.row} for call in generated]),
            (usage, [row for call in generated for row in _usage_rows(call)]),
            (call_events, [row for call in generated for row in _event_rows(call)]),
            (call_logs, [_log_row(call) for call in generated if call.log]),
        ):
            if rows:
                await connection.execute(insert(table), rows)


def _usage_rows(call):
    for segment, (tier, spent) in enumerate(call.segments):
        yield {
            "tenant_id": call.tenant,
            "call_id": call.row["id"],
            "segment": segment,
            "number": call.row["number"],
            "flow_id": call.row["flow_id"],
            "tier": tier,
            "started_at": call.row["started_at"],
            "billed_microseconds": spent,
            "micro_usd_per_minute": RATES[tier],
            "cost_micro_usd": cost_micro_usd(spent, RATES[tier]),
        }


def _event_rows(call):
    for index, (kind, at, data) in enumerate(call.events):
        yield {
            "tenant_id": call.tenant,
            "call_id": call.row["id"],
            "generation": 1 + index // 100,
            "seq": index % 100 + 1,
            "type": kind,
            "occurred_at": at,
            "flow_id": call.row["flow_id"],
            "data": dump_json(data),
            "node": data.get("node"),
            "exit": data.get("exit"),
            "latency_ms": data.get("latency_ms"),
        }


def _log_row(call):
    key = {"tenant_id": call.tenant, "call_id": call.row["id"], "generation": 1, "revision": 1}
    return {**key, "log": zlib.compress(call.log)}
