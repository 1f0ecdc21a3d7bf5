"""Call routing: latency of looking up a number's call config, with 100, 1,000 and 10,000 tenants in the database.

Every tenant has a different flow (so no compiled flow is shared), one version of it, a number and two departments.
``first`` is a number's first lookup in this process, which loads and compiles its flow; ``warm`` is every later one, in
random order, one at a time. The baseline is ``SELECT 1`` on the same pool, measured between the lookups.
Run it: ``python -m benchmarks.lookup [URL of an empty database]``.
"""

import asyncio
import json
import random
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Table as SqlTable
from sqlalchemy import insert, text

from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db import schema
from vocelio.gateway.store.db.database import Database

TENANT_COUNTS = (100, 1_000, 10_000)
LOOKUPS = 5_000
FLOW_JSON = (Path(__file__).parents[1] / "examples" / "front-desk.json").read_text()


@dataclass(frozen=True, slots=True)
class LookupLatency:
    """Latency in milliseconds, and the peak memory of the process in MB."""

    tenants: int
    lookups: int
    first_p50_ms: float
    warm_p50_ms: float
    warm_p99_ms: float
    select_1_p50_ms: float
    select_1_p99_ms: float
    memory_mb: float


def tenant_number(index: int) -> str:
    """Return the phone number of a tenant."""
    return f"+1307{index:07}"


async def seed_tenants(database: Database, first: int, last: int) -> None:
    """Insert the tenants of that range, each with its own flow."""
    rows: dict[SqlTable, list[dict[str, object]]] = {
        table: [] for table in (schema.tenants, schema.flows, schema.flow_versions, schema.numbers, schema.departments)
    }
    for index in range(first, last):
        for table, row in _tenant_rows(index):
            rows[table].append(row)
    async with database.transaction() as connection:
        for table, table_rows in rows.items():
            await connection.execute(insert(table), table_rows)


def _tenant_rows(index: int) -> Iterator[tuple[SqlTable, dict[str, object]]]:
    tenant, at = f"tenant-{index}", wall_clock()
    flow = json.loads(FLOW_JSON) | {"name": f"Front desk of tenant {index}"}
    document = json.dumps(flow).encode()
    yield (
        schema.tenants,
        {"id": tenant, "name": tenant, "settings": "{}", "revision": 1, "suspended": False, "created_at": at},
    )
    yield (
        schema.flows,
        {
            "tenant_id": tenant,
            "id": "front-desk",
            "name": flow["name"],
            "draft": document,
            "revision": 1,
            "active_version": 1,
            "created_at": at,
            "updated_at": at,
        },
    )
    yield (
        schema.flow_versions,
        {
            "tenant_id": tenant,
            "flow_id": "front-desk",
            "number": 1,
            "content_hash": load_flow(document).id,
            "document": document,
            "subflows": "{}",
            "voice": "{}",
            "note": "",
            "promoted_by": "bench",
            "promoted_at": at,
        },
    )
    yield (
        schema.numbers,
        {"tenant_id": tenant, "number": tenant_number(index), "flow_id": "front-desk", "label": "", "created_at": at},
    )
    department = msgspec.json.encode({"numbers": ["+13105550111"]}).decode()
    for name in ("sales", "support"):
        yield schema.departments, {"tenant_id": tenant, "name": name, "settings": department, "updated_at": at}


async def measure(database: Database, tenants: int, lookups: int = LOOKUPS) -> LookupLatency:
    """Measure the lookups of a process that serves all of these tenants."""
    directory = DatabaseDirectory(database, SecretCipher(["bench"]), wall_clock)
    order = random.Random(1)
    first = [await _lookup_ms(directory, index) for index in order.sample(range(tenants), tenants)]
    warm, select_1 = [], []
    for index in order.choices(range(tenants), k=lookups):
        warm.append(await _lookup_ms(directory, index))
        select_1.append(await _select_1_ms(database))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return LookupLatency(
        tenants,
        lookups,
        _percentile(first, 50),
        _percentile(warm, 50),
        _percentile(warm, 99),
        _percentile(select_1, 50),
        _percentile(select_1, 99),
        memory,
    )


async def _lookup_ms(directory: DatabaseDirectory, index: int) -> float:
    started_at = perf_counter()
    config = await directory.get_call_config(tenant_number(index))
    duration = perf_counter() - started_at
    assert isinstance(config, CallConfig)
    assert config.tenant.id == f"tenant-{index}"
    return duration * 1e3


async def _select_1_ms(database: Database) -> float:
    started_at = perf_counter()
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))
    return (perf_counter() - started_at) * 1e3


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


async def measure_all(url: str) -> list[LookupLatency]:
    """Measure with each number of tenants."""
    database = Database(url)
    try:
        await database.migrate()
        rows, before = [], 0
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("tenants", total=TENANT_COUNTS[-1])
            for tenants in TENANT_COUNTS:
                for first in range(before, tenants, 500):
                    await seed_tenants(database, first, min(first + 500, tenants))
                    progress.update(task, completed=first + 500)
                before = tenants
                rows.append(await measure(database, tenants))
        return rows
    finally:
        await database.aclose()


def main() -> None:
    """Print the table."""
    with TemporaryDirectory() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite+aiosqlite:///{directory}/bench.db"
        rows = runner.run(measure_all(url))
    table = Table(
        "tenants", "lookups", "first p50", "warm p50", "warm p99", "SELECT 1 p50", "p99", "ratio p50", "MB", box=None
    )
    for row in rows:
        times = (
            row.first_p50_ms,
            row.warm_p50_ms,
            row.warm_p99_ms,
            row.select_1_p50_ms,
            row.select_1_p99_ms,
            row.warm_p50_ms / row.select_1_p50_ms,
        )
        table.add_row(str(row.tenants), str(row.lookups), *(f"{time:.2f}" for time in times), f"{row.memory_mb:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
