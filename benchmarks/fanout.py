"""From a call to every monitor's socket: how long, for 1, 100 and 1,000 monitors, in one process and through Redis.

The gateway is this process, on an SQLite file and with real sockets; the monitors are all in a second one; through
Redis, the calls are in a third. A latency is from an event's ``at`` to its arrival at a monitor, by the machine's
clock. ``publish`` is what telling an event costs the call that tells it. Run it: ``python -m benchmarks.fanout``.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.account import ACCOUNT, TOKEN
from vocelio.engine.validation.loader import load
from vocelio.gateway.api.framework.rate_limit import Limits
from vocelio.gateway.api.routes import routes
from vocelio.gateway.api.websockets.endpoints import Watching
from vocelio.gateway.api.websockets.push_socket import Pace
from vocelio.gateway.app import build
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.events.factory import connect
from vocelio.gateway.events.pubsub import Alone, Line
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.model.directory import Assignment, Site
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.monitors.key_revocation import Guard
from vocelio.gateway.monitors.service import Monitors
from vocelio.gateway.server.server import listen, running
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.routing.database import DatabaseSite
from vocelio.gateway.store.tenants import tenants

LOADS = ((1, 1_000), (100, 100), (1_000, 10))  # monitors, and events a second: ten thousand messages a second
SECONDS = 10.0
CALLS = 20
SECRET, TENANT = "a secret of the bench", Tenant(id="bench", name="Bench")
FLOW = b'{"name":"Bench","start":"bye","nodes":{"bye":{"type":"hangup"}}}'
PROBES = 5_000


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds from a call to a monitor; events told, and messages that arrived for each that should have."""

    through: str
    monitors: int
    rate: int
    events: int
    arrived: float
    p50: float
    p99: float


def actor() -> Actor:
    """Whoever makes what the bench needs."""
    return Actor("bench", "platform", "", "", wall_clock())


def _calls(database: Database, line: Line, site: Site | None = None) -> Calls:
    vault = Vault([SECRET])
    speech = only(ScriptedRecognizer(()), ToneSynthesizer())
    site, journal = site or DatabaseSite(database, vault, wall_clock), DatabaseJournal(database, vault)
    return Calls(Services(site, speech, EventBus(line), Fetcher(), journal, wall_clock))


@asynccontextmanager
async def serving(
    url: str, line: Line, site: Site | None = None, pace: Pace | None = None, **limits: int
) -> AsyncIterator[tuple[str, Calls]]:
    """A gateway with monitors, and where it is. ``limits`` are those of Guard."""
    database, listener = Database(url), listen()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        calls = _calls(database, line, site)
        monitors = Monitors(calls.services.bus, database, wall_clock, Guard(database, wall_clock, **limits))
        watching = Watching(monitors, (SECRET,), origin, pace or Pace())
        generous = Limits(requests=1e6, at_once=1_000_000)
        api = routes(database, Vault([SECRET]), calls, wall_clock, generous, watching=watching)
        app = build(Settings(origin, {ACCOUNT: TOKEN}), calls, api=api, workers=[monitors])
        async with running(app, listener):
            yield origin, calls
    finally:
        await database.aclose()


async def publish(calls: Calls, rate: int, seconds: float, text: str = "") -> int:
    """Tell so many events a second, of several calls in turn: how many."""
    version = load(FLOW)
    assignment = Assignment(number="+13072249663", tenant=TENANT, flow="bench", version=version)
    records = [CallRecord(f"CA{place:032x}", "", "", assignment, wall_clock(), generation=1) for place in range(CALLS)]
    for record in records:
        calls.save(record)
        calls.publish(record, "call.started", caller="", number=assignment.number, flow="bench")
    await asyncio.sleep(1)  # for the store to have them, and the monitors
    began, told = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while told < passed * rate:
            calls.publish(records[told % CALLS], "key.pressed", node="bench", text=text)
            told += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    return told


async def measure(monitors: int, rate: int, seconds: float = SECONDS, redis: str = "") -> Row:
    """That many monitors, in this process or through Redis."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        url = f"sqlite+aiosqlite:///{folder}/bench.db"
        keys = await fill(url)
        gateway = serving(url, connect(redis), per_key=10_000, per_process=10_000)
        origin, calls = await stack.enter_async_context(gateway)
        watching = await readers(origin, keys, monitors)
        await said(watching)
        if redis:
            telling = await started("fanout", "tell", url, redis, str(rate), str(seconds))
            told = int((await telling.communicate())[0])
        else:
            told = await publish(calls, rate, seconds)
        out, _ = await watching.communicate(b"\n")
        latencies = json.loads(out)["latencies"]
    percent = quantiles(latencies, n=100)
    arrived = len(latencies) / (told * monitors)
    return Row("redis" if redis else "the process", monitors, rate, told, arrived, median(latencies), percent[98])


async def fill(url: str, count: int = 1) -> list[str]:
    """The database with a tenant, and so many keys."""
    database = Database(url)
    try:
        await database.migrate()
        await tenants.create(database, actor(), TENANT)
        return [await api_keys.first(database, "bench", wall_clock()) for _ in range(count)]
    finally:
        await database.aclose()


async def started(bench: str, *arguments: str) -> asyncio.subprocess.Process:
    """One of a bench's other processes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{bench}", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def readers(origin: str, keys: list[str], count: int) -> asyncio.subprocess.Process:
    """So many monitors that read, by the keys in turn."""
    return await started("readers", origin, json.dumps([*map(headers, keys)]), str(count))


def headers(key: str) -> dict[str, str]:
    """Who watches what."""
    return {"Authorization": f"Bearer {key}", "Vocelio-Tenant": TENANT.id}


async def said(process: asyncio.subprocess.Process) -> None:
    """Once the other process is ready."""
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"


# The process that has the calls


async def tell(url: str, redis: str, rate: int, seconds: float) -> None:
    """Be the process that has the calls; prints how many events it told."""
    database = Database(url)
    calls = _calls(database, connect(redis))
    for part in (calls.services.bus.line, calls.services.journal):
        await part.start()
    print(await publish(calls, rate, seconds))
    for part in (calls.services.journal, calls.services.bus.line):
        await part.aclose()
    await database.aclose()


async def cost(line: Line, *, watched: bool) -> tuple[float, float]:
    """Microseconds of one ``publish``, at the median and the ninety-ninth percentile."""
    bus = EventBus(line)
    await line.start()
    async with AsyncExitStack() as stack:
        if watched:
            await stack.enter_async_context(bus.watch(TENANT.id))
        took = []
        for seq in range(PROBES):
            began = time.perf_counter_ns()
            bus.publish(_event(seq))
            took.append((time.perf_counter_ns() - began) / 1e3)
            if not seq % 100:
                await asyncio.sleep(0.001)
    await line.aclose()
    return median(took), quantiles(took, n=100)[98]


def _event(seq: int) -> Event:
    data = {"prompt": "1", "node": "greet", "text": "Thank you for calling. How can I help?", "latency_ms": 420}
    return Event(tenant=TENANT.id, call="CA1", generation=1, seq=seq, type="prompt.started", at=0, data=data)


# The table


@contextmanager
def private_redis() -> Iterator[str]:
    """A Redis of the bench's own: its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server on the PATH")
    with TemporaryDirectory() as folder:
        place = Path(folder) / "socket"
        options = ("--port", "0", "--unixsocket", str(place), "--save", "", "--dir", folder)
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
            while not place.exists():
                time.sleep(0.01)
            yield f"unix://{place}"
            server.terminate()


async def run(redis: str) -> tuple[list[Row], list[tuple[str, float, float]]]:
    """All rows, and what publishing costs."""
    rows = [await measure(*load, redis=url) for url in ("", redis) for load in LOADS]
    costs: list[tuple[str, Any, bool]] = [
        ("nobody watches", Alone(), False),
        ("somebody watches", Alone(), True),
        ("through Redis", connect(redis), False),
    ]
    return rows, [(name, *await cost(line, watched=watched)) for name, line, watched in costs]


def main() -> None:
    """Print the tables, or be the process that has the calls."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match sys.argv[1:]:
            case ["tell", url, redis, rate, seconds]:
                runner.run(tell(url, redis, int(rate), float(seconds)))
            case _:
                with private_redis() as redis:
                    _print(*runner.run(run(redis)))


def _print(rows: list[Row], costs: list[tuple[str, float, float]]) -> None:
    table = Table("through", "monitors", "events/s", "events", "arrived", "p50 ms", "p99 ms", box=None)
    for row in rows:
        figures = (row.monitors, row.rate, row.events, f"{row.arrived:.4f}", f"{row.p50:.2f}", f"{row.p99:.2f}")
        table.add_row(row.through, *map(str, figures))
    Console().print(table)
    table = Table("publish", "p50 us", "p99 us", box=None)
    for name, p50, p99 in costs:
        table.add_row(name, f"{p50:.1f}", f"{p99:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
