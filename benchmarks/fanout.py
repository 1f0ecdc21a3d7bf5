"""Event fan-out: latency from a call to the sockets of 1, 100 and 1,000 monitors, in one process and through Redis.

The gateway runs in this process, on an SQLite file and with real sockets; all monitors run in a second process; with
Redis, the calls are in a third. Latency is measured from an event's ``occurred_at`` to its arrival at a monitor, on the
machine's wall clock. The second table has the cost of publishing. Run it: ``python -m benchmarks.fanout``.
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
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.events import Event, EventBus
from vocelio.gateway.events.pubsub import LocalPubSub, PubSub
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig, Directory
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.monitors.key_revocation import KeyRevocationWatcher
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.server.server import serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.database_directory import DatabaseDirectory
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.tenants import tenants

LOADS = ((1, 1_000), (100, 100), (1_000, 10))  # monitors and events per second: 1,000 to 10,000 messages per second
DURATION_SECONDS = 10.0
CALLS = 20
SECRET_KEY, TENANT = "benchmark-secret", Tenant(id="bench", name="Bench")
FLOW = b'{"name":"Bench","start":"bye","nodes":{"bye":{"type":"hangup"}}}'
PUBLISH_SAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class FanoutLatency:
    """Latency from a call to a monitor. ``delivered_share`` is delivered messages / (events * monitors)."""

    transport: str
    monitors: int
    events_per_second: int
    published_events: int
    delivered_share: float
    p50_ms: float
    p99_ms: float


def platform_actor() -> Actor:
    """Return the actor of the audit log for everything that the benchmark creates."""
    return Actor("bench", "platform", "", "", wall_clock())


def _build_components(database: Database, pubsub: PubSub, directory: Directory | None = None) -> CallComponents:
    cipher = SecretCipher([SECRET_KEY])
    speech = single_provider(ScriptedRecognizer(()), ToneSynthesizer())
    directory = directory or DatabaseDirectory(database, cipher, wall_clock)
    call_store = WriteBehindCallStore(database, cipher)
    return build_call_components(
        CallServices(directory, speech, EventBus(pubsub), HttpClient(), call_store, wall_clock)
    )


@asynccontextmanager
async def running_gateway(
    url: str,
    pubsub: PubSub,
    directory: Directory | None = None,
    heartbeat: HeartbeatSettings | None = None,
    **limits: int,
) -> AsyncIterator[tuple[str, CallComponents]]:
    """Run a gateway with monitors; yield its origin and components. ``limits`` are those of KeyRevocationWatcher."""
    database, listener = Database(url), bind_socket()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        components = _build_components(database, pubsub, directory)
        monitors = MonitorService(
            components.services.bus, database, wall_clock, KeyRevocationWatcher(database, wall_clock, **limits)
        )
        monitoring = MonitoringDependencies(monitors, (SECRET_KEY,), origin, heartbeat or HeartbeatSettings())
        rate_limits = RateLimits(requests_per_second=1e6, request_burst=1_000_000)
        api = create_routes(
            database, SecretCipher([SECRET_KEY]), components, wall_clock, rate_limits, monitoring=monitoring
        )
        app = create_app(
            Settings(origin, {ACCOUNT_SID: AUTH_TOKEN}), components, api_routes=api, background_services=[monitors]
        )
        async with serve_embedded(app, listener):
            yield origin, components
    finally:
        await database.aclose()


async def publish_events(components: CallComponents, events_per_second: int, seconds: float, text: str = "") -> int:
    """Publish events of several calls in turn; return how many were published."""
    version = load_flow(FLOW)
    config = CallConfig(number="+13072249663", tenant=TENANT, flow="bench", version=version)
    records = [
        CallRecord.create(f"CA{index:032x}", "", "", config, wall_clock(), generation=1) for index in range(CALLS)
    ]
    for record in records:
        components.repository.save(record)
        components.publisher.publish(record.stored, "call.started", caller="", number=config.number, flow="bench")
    await asyncio.sleep(1)  # until the store and the monitors have them
    started_at, published = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started_at) < seconds:
        while published < elapsed * events_per_second:
            components.publisher.publish(records[published % CALLS].stored, "dtmf.received", node="bench", text=text)
            published += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    return published


async def measure(
    monitors: int, events_per_second: int, seconds: float = DURATION_SECONDS, redis_url: str = ""
) -> FanoutLatency:
    """Measure the latency to ``monitors`` monitors; through Redis if ``redis_url`` is set."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory())
        url = f"sqlite+aiosqlite:///{directory}/bench.db"
        keys = await create_keys(url)
        gateway = running_gateway(url, connect_pubsub(redis_url), max_per_key=10_000, max_per_process=10_000)
        origin, components = await stack.enter_async_context(gateway)
        readers = await start_readers(origin, keys, monitors)
        await wait_until_ready(readers)
        if redis_url:
            publisher = await start_process("fanout", "publish", url, redis_url, str(events_per_second), str(seconds))
            published = int((await publisher.communicate())[0])
        else:
            published = await publish_events(components, events_per_second, seconds)
        out, _ = await readers.communicate(b"\n")
        latencies = json.loads(out)["latencies_ms"]
    percentiles = quantiles(latencies, n=100)
    delivered_share = len(latencies) / (published * monitors)
    return FanoutLatency(
        "redis" if redis_url else "the process",
        monitors,
        events_per_second,
        published,
        delivered_share,
        median(latencies),
        percentiles[98],
    )


async def create_keys(url: str, count: int = 1) -> list[str]:
    """Migrate the database, create the tenant and return ``count`` platform keys."""
    database = Database(url)
    try:
        await database.migrate()
        await tenants.create_tenant(database, platform_actor(), TENANT)
        return [await api_keys.create_platform_key(database, "bench", wall_clock()) for _ in range(count)]
    finally:
        await database.aclose()


async def start_process(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start another process of a benchmark."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.{module}", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def start_readers(origin: str, keys: list[str], count: int) -> asyncio.subprocess.Process:
    """Start ``count`` reading monitors, which use the keys in turn."""
    return await start_process("reading_monitors", origin, json.dumps([*map(auth_headers, keys)]), str(count))


def auth_headers(key: str) -> dict[str, str]:
    """Return the headers of a request to the tenant's events."""
    return {"Authorization": f"Bearer {key}", "Vocelio-Tenant": TENANT.id}


async def wait_until_ready(process: asyncio.subprocess.Process) -> None:
    """Wait for the line with which a process says that it is ready."""
    assert process.stdout
    assert await process.stdout.readline() == b"ready\n"


# The process that publishes


async def run_publisher(url: str, redis_url: str, events_per_second: int, seconds: float) -> None:
    """Publish through Redis from this process and print the number of events."""
    database = Database(url)
    components = _build_components(database, connect_pubsub(redis_url))
    for service in (components.services.bus.pubsub, components.services.call_store):
        await service.start()
    print(await publish_events(components, events_per_second, seconds))
    for service in (components.services.call_store, components.services.bus.pubsub):
        await service.aclose()
    await database.aclose()


async def publish_cost(pubsub: PubSub, *, watched: bool) -> tuple[float, float]:
    """Return the p50 and p99 of one ``EventBus.publish`` in microseconds."""
    bus = EventBus(pubsub)
    await pubsub.start()
    async with AsyncExitStack() as stack:
        if watched:
            await stack.enter_async_context(bus.subscribe(TENANT.id))
        durations_us = []
        for sequence in range(PUBLISH_SAMPLES):
            started_at = time.perf_counter_ns()
            bus.publish(_make_event(sequence))
            durations_us.append((time.perf_counter_ns() - started_at) / 1e3)
            if not sequence % 100:
                await asyncio.sleep(0.001)
    await pubsub.aclose()
    return median(durations_us), quantiles(durations_us, n=100)[98]


def _make_event(sequence: int) -> Event:
    data = {"prompt": "1", "node": "greet", "text": "Thank you for calling. How can I help?", "latency_ms": 420}
    return Event(
        tenant=TENANT.id, call="CA1", generation=1, sequence=sequence, type="prompt.started", occurred_at=0, data=data
    )


# The table


@contextmanager
def private_redis() -> Iterator[str]:
    """Run a Redis server for this benchmark; yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server was not found on the PATH")
    with TemporaryDirectory() as directory:
        socket_path = Path(directory) / "socket"
        options = ("--port", "0", "--unixsocket", str(socket_path), "--save", "", "--dir", directory)
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
            while not socket_path.exists():
                time.sleep(0.01)
            yield f"unix://{socket_path}"
            server.terminate()


async def measure_all(redis_url: str) -> tuple[list[FanoutLatency], list[tuple[str, float, float]]]:
    """Return the latencies of all loads, and the cost of publishing."""
    rows = [await measure(*load, redis_url=url) for url in ("", redis_url) for load in LOADS]
    costs: list[tuple[str, Any, bool]] = [
        ("no subscriber", LocalPubSub(), False),
        ("one subscriber", LocalPubSub(), True),
        ("through Redis", connect_pubsub(redis_url), False),
    ]
    return rows, [(name, *await publish_cost(pubsub, watched=watched)) for name, pubsub, watched in costs]


def main() -> None:
    """Print the tables, or with "publish" run only the publisher."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match sys.argv[1:]:
            case ["publish", url, redis, rate, seconds]:
                runner.run(run_publisher(url, redis, int(rate), float(seconds)))
            case _:
                with private_redis() as redis:
                    _print_tables(*runner.run(measure_all(redis)))


def _print_tables(rows: list[FanoutLatency], costs: list[tuple[str, float, float]]) -> None:
    table = Table("through", "monitors", "events/s", "events", "delivered", "p50 ms", "p99 ms", box=None)
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
