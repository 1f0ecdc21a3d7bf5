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

from benchmarks.account import ACCOUNT_SID, AUTH_TOKEN
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.api.framework.authentication import RateLimits
from vocelio.gateway.api.routes import create_routes
from vocelio.gateway.api.websockets.endpoints import MonitoringDependencies
from vocelio.gateway.api.websockets.push_socket import HeartbeatSettings
from vocelio.gateway.app import create_app
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.components import CallComponents, build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.composition import connect_pubsub
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig, Directory
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.monitors.key_revocation import KeyRevocationWatcher
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.server.server import bind_socket, serve_embedded
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.routing.database import DatabaseDirectory
from vocelio.gateway.store.tenants import tenants

LOADS = ((1, 1_000), (100, 100), (1_000, 10))  # monitors, and events a second: ten thousand messages a second
DURATION_SECONDS = 10.0
CALLS = 20
SECRET_KEY, TENANT = "a secret of the bench", Tenant(id="bench", name="Bench")
FLOW = b'{"name":"Bench","start":"bye","nodes":{"bye":{"type":"hangup"}}}'
PUBLISH_SAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class FanoutLatency:
    """Milliseconds from a call to a monitor; events told, and messages that arrived for each that should have."""

    transport: str
    monitors: int
    events_per_second: int
    published_events: int
    delivered_share: float
    p50_ms: float
    p99_ms: float


def platform_actor() -> Actor:
    """Whoever makes what the bench needs."""
    return Actor("bench", "platform", "", "", wall_clock())


def _call_registry(database: Database, pubsub: PubSub, directory: Directory | None = None) -> CallComponents:
    vault = SecretCipher([SECRET_KEY])
    speech = single_provider(ScriptedRecognizer(()), ToneSynthesizer())
    directory, journal = (
        directory or DatabaseDirectory(database, vault, wall_clock),
        WriteBehindCallStore(database, vault),
    )
    return build_call_components(CallServices(directory, speech, EventBus(pubsub), HttpClient(), journal, wall_clock))


@asynccontextmanager
async def running_gateway(
    url: str,
    pubsub: PubSub,
    directory: Directory | None = None,
    heartbeat: HeartbeatSettings | None = None,
    **limits: int,
) -> AsyncIterator[tuple[str, CallComponents]]:
    """A gateway with monitors, and where it is. ``limits`` are those of Guard."""
    database, listener = Database(url), bind_socket()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        calls = _call_registry(database, pubsub, directory)
        monitors = MonitorService(
            calls.services.bus, database, wall_clock, KeyRevocationWatcher(database, wall_clock, **limits)
        )
        watching = MonitoringDependencies(monitors, (SECRET_KEY,), origin, heartbeat or HeartbeatSettings())
        generous = RateLimits(requests_per_second=1e6, request_burst=1_000_000)
        api = create_routes(database, SecretCipher([SECRET_KEY]), calls, wall_clock, generous, monitoring=watching)
        app = create_app(
            Settings(origin, {ACCOUNT_SID: AUTH_TOKEN}), calls, api_routes=api, background_services=[monitors]
        )
        async with serve_embedded(app, listener):
            yield origin, calls
    finally:
        await database.aclose()


async def publish_events(calls: CallComponents, events_per_second: int, seconds: float, text: str = "") -> int:
    """Tell so many events a second, of several calls in turn: how many."""
    version = load_flow(FLOW)
    assignment = CallConfig(number="+13072249663", tenant=TENANT, flow="bench", version=version)
    records = [
        CallRecord.create(f"CA{place:032x}", "", "", assignment, wall_clock(), generation=1) for place in range(CALLS)
    ]
    for record in records:
        calls.repository.save(record)
        calls.publisher.publish(record.stored, "call.started", caller="", number=assignment.number, flow="bench")
    await asyncio.sleep(1)  # for the store to have them, and the monitors
    began, told = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while told < passed * events_per_second:
            calls.publisher.publish(records[told % CALLS].stored, "dtmf.received", node="bench", text=text)
            told += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    return told


async def measure(
    monitors: int, events_per_second: int, seconds: float = DURATION_SECONDS, redis_url: str = ""
) -> FanoutLatency:
    """That many monitors, in this process or through Redis."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        url = f"sqlite+aiosqlite:///{folder}/bench.db"
        keys = await create_keys(url)
        gateway = running_gateway(url, connect_pubsub(redis_url), max_per_key=10_000, max_per_process=10_000)
        origin, calls = await stack.enter_async_context(gateway)
        watching = await start_readers(origin, keys, monitors)
        await wait_until_ready(watching)
        if redis_url:
            telling = await start_process("fanout", "tell", url, redis_url, str(events_per_second), str(seconds))
            told = int((await telling.communicate())[0])
        else:
            told = await publish_events(calls, events_per_second, seconds)
        out, _ = await watching.communicate(b"\n")
        latencies = json.loads(out)["latencies"]
    percent = quantiles(latencies, n=100)
    arrived = len(latencies) / (told * monitors)
    return FanoutLatency(
        "redis" if redis_url else "the process",
        monitors,
        events_per_second,
        told,
        arrived,
        median(latencies),
        percent[98],
    )


async def create_keys(url: str, count: int = 1) -> list[str]:
    """The database with a tenant, and so many keys."""
    database = Database(url)
    try:
        await database.migrate()
        await tenants.create_tenant(database, platform_actor(), TENANT)
        return [await api_keys.create_platform_key(database, "bench", wall_clock()) for _ in range(count)]
    finally:
        await database.aclose()


async def start_process(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """One of a bench's other processes."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{module}", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def start_readers(origin: str, keys: list[str], count: int) -> asyncio.subprocess.Process:
    """So many monitors that read, by the keys in turn."""
    return await start_process("readers", origin, json.dumps([*map(auth_headers, keys)]), str(count))


def auth_headers(key: str) -> dict[str, str]:
    """Who watches what."""
    return {"Authorization": f"Bearer {key}", "Vocelio-Tenant": TENANT.id}


async def wait_until_ready(process: asyncio.subprocess.Process) -> None:
    """Once the other process is ready."""
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"


# The process that has the calls


async def run_publisher(url: str, redis_url: str, events_per_second: int, seconds: float) -> None:
    """Be the process that has the calls; prints how many events it told."""
    database = Database(url)
    calls = _call_registry(database, connect_pubsub(redis_url))
    for part in (calls.services.bus.pubsub, calls.services.call_store):
        await part.start()
    print(await publish_events(calls, events_per_second, seconds))
    for part in (calls.services.call_store, calls.services.bus.pubsub):
        await part.aclose()
    await database.aclose()


async def publish_cost(pubsub: PubSub, *, watched: bool) -> tuple[float, float]:
    """Microseconds of one ``publish``, at the median and the ninety-ninth percentile."""
    bus = EventBus(pubsub)
    await pubsub.start()
    async with AsyncExitStack() as stack:
        if watched:
            await stack.enter_async_context(bus.subscribe(TENANT.id))
        took = []
        for sequence in range(PUBLISH_SAMPLES):
            began = time.perf_counter_ns()
            bus.publish(_make_event(sequence))
            took.append((time.perf_counter_ns() - began) / 1e3)
            if not sequence % 100:
                await asyncio.sleep(0.001)
    await pubsub.aclose()
    return median(took), quantiles(took, n=100)[98]


def _make_event(sequence: int) -> Event:
    data = {"prompt": "1", "node": "greet", "text": "Thank you for calling. How can I help?", "latency_ms": 420}
    return Event(
        tenant=TENANT.id, call="CA1", generation=1, sequence=sequence, type="prompt.started", occurred_at=0, data=data
    )


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


async def measure_all(redis_url: str) -> tuple[list[FanoutLatency], list[tuple[str, float, float]]]:
    """All rows, and what publishing costs."""
    rows = [await measure(*load, redis_url=url) for url in ("", redis_url) for load in LOADS]
    costs: list[tuple[str, Any, bool]] = [
        ("nobody watches", LocalPubSub(), False),
        ("somebody watches", LocalPubSub(), True),
        ("through Redis", connect_pubsub(redis_url), False),
    ]
    return rows, [(name, *await publish_cost(line, watched=watched)) for name, line, watched in costs]


def main() -> None:
    """Print the tables, or be the process that has the calls."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match sys.argv[1:]:
            case ["tell", url, redis, rate, seconds]:
                runner.run(run_publisher(url, redis, int(rate), float(seconds)))
            case _:
                with private_redis() as redis:
                    _print_tables(*runner.run(measure_all(redis)))


def _print_tables(rows: list[FanoutLatency], costs: list[tuple[str, float, float]]) -> None:
    table = Table("through", "monitors", "events/s", "events", "arrived", "p50 ms", "p99 ms", box=None)
    for row in rows:
        figures = (
            row.monitors,
            row.events_per_second,
            row.published_events,
            f"{row.delivered_share:.4f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
        )
        table.add_row(row.transport, *map(str, figures))
    Console().print(table)
    table = Table("publish", "p50 us", "p99 us", box=None)
    for name, p50, p99 in costs:
        table.add_row(name, f"{p50:.1f}", f"{p99:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
