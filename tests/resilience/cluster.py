"""A cluster of gateway processes on one PostgreSQL, behind one TCP balancer, with simulated callers.

The flow asks for a code three times, posts each answer to a CRM, and transfers. Callers enter their code whenever they
are asked, also when a question is repeated, so that lost and repeated side effects are detected.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web
from sqlalchemy import select

from tests.support.free_ports import free_ports
from tests.support.process_env import clean_environment
from tests.support.redis_server import RedisServer
from tests.support.tcp_balancer import TcpBalancer
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.caller.script import PressKeys, SimulatedCaller
from vocelio.gateway.simulator.simulator import TwilioSimulator
from vocelio.gateway.store import api_keys, numbers
from vocelio.gateway.store.api_keys import NewApiKey
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import call_events, calls, usage
from vocelio.gateway.store.flows import drafts, promotion
from vocelio.gateway.store.numbers import NewNumber
from vocelio.gateway.store.tenants import departments, tenants

ACCOUNT, TOKEN = SIMULATOR_ACCOUNT_SID, "cluster-auth-token"
SECRET, PUBLIC_URL = "cluster-secret-key", "https://gateway.example"
NUMBER = "+13072249663"
QUESTIONS = ("first", "second", "third")
START_TIMEOUT_SECONDS = 60


def codes_flow(crm):
    """Return the flow with three questions, whose answers are posted to the URL ``crm``."""
    nodes = {"greet": {"type": "say", "text": "Welcome.", "exits": {"next": "first"}}}
    for name, next_node in zip(QUESTIONS, (*QUESTIONS[1:], "ring"), strict=True):
        nodes[name] = {
            "type": "collect",
            "prompt": f"Please enter your code for the {name} time.",
            "expect": "digits",
            "input": ["keys"],
            "min_digits": 4,
            "max_digits": 4,
            "timeout": 8,
            "retries": 3,
            "save_as": name,
            "exits": {"done": f"tell_{name}", "no_input": "bye", "no_match": "bye"},
        }
        nodes[f"tell_{name}"] = {
            "type": "request",
            "method": "POST",
            "url": f"{crm}/{name}",
            "json": {"call": "{{ call.id }}", "code": f"{{{{ {name} }}}}"},
            "exits": {"ok": next_node, "error": next_node, "timeout": next_node},
        }
    nodes["ring"] = {"type": "transfer", "department": "sales", "exits": {}}
    nodes["bye"] = {"type": "hangup", "text": "Goodbye."}
    voice = {"tier": "azure", "name": "en-US-AvaNeural"}
    return {
        "name": "Codes",
        "start": "greet",
        "voice": voice,
        "variables": dict.fromkeys(QUESTIONS, ""),
        "nodes": nodes,
    }


class FakeCrm:
    """HTTP server that counts the answers posted to it."""

    def __init__(self):
        self.requests = Counter()  # (call, question)
        self.codes = {}
        self.keys = Counter()
        self.first_request = asyncio.Event()
        self._runner = None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/{question}", self._handle_request)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _handle_request(self, request):
        body = await request.json()
        key = body["call"], request.match_info["question"]
        self.requests[key] += 1
        self.first_request.set()
        self.codes[key] = body["code"]
        self.keys[request.headers["Idempotency-Key"]] += 1
        return web.json_response({})


class GatewayProcess:
    """One gateway process of the cluster."""

    def __init__(self, port, environment, *options):
        self.port, self._environment, self._options = port, environment, options
        self.process = None

    @property
    def origin(self):
        """Origin that bypasses the balancer."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self):
        """Start the process and wait until it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.resilience.cluster_process",
            str(self.port),
            *self._options,
            env=self._environment,
        )
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await _is_serving(self.port):
                if self.process.returncode is not None:
                    raise RuntimeError(f"the gateway did not start: exit code {self.process.returncode}")
                await asyncio.sleep(0.05)

    async def live_calls(self):
        """Return the number of live calls of this process."""
        async with ClientSession() as session, session.get(f"{self.origin}/healthz") as response:
            return (await response.json())["live_calls"]

    async def status(self):
        """Return the readiness of this process."""
        async with ClientSession() as session, session.get(f"{self.origin}/readyz") as response:
            return (await response.json())["status"]

    async def kill(self):
        """Kill the process with SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def reload(self):
        """Let the supervisor replace its workers."""
        self.process.send_signal(signal.SIGHUP)

    async def stop(self):
        """Stop the process with SIGTERM; return the seconds until it exited."""
        started_at = asyncio.get_running_loop().time()
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()
        return asyncio.get_running_loop().time() - started_at


@dataclass
class GatewayCluster:
    """A running cluster; the simulator calls it through the balancer."""

    members: list
    balancer: TcpBalancer
    crm: FakeCrm
    database: Database
    simulator: TwilioSimulator
    redis: RedisServer | None
    key: str  # API key of a viewer
    codes: dict = field(default_factory=dict)  # by call SID

    async def call(self, code, steps=10, **options):
        """Place a call whose caller enters the code at every question."""
        report = await self.simulator.call(
            NUMBER, "+13105550142", SimulatedCaller([PressKeys(code)] * steps), **options
        )
        self.codes[report.call_sid] = code
        return report

    async def wait_until_busy(self):
        """Return the only process that has a live call."""
        (busy,) = [member for member in self.members if await member.live_calls()]
        return busy

    async def rows(self, table, *where):
        """Select rows of a table."""
        async with self.database.read() as connection:
            return (await connection.execute(select(table).where(*where))).all()

    async def wait_until_settled(self):
        """Wait until no call is live in the store."""
        async with asyncio.timeout(60):
            while await self.rows(calls, calls.c.ended_at.is_(None)):  # noqa: ASYNC110 (other processes end them)
                await asyncio.sleep(0.2)

    async def failed_calls(self, reports):
        """Check calls that have ended; return one text per error."""
        stored = {row.id: row for row in await self.rows(calls)}
        costs = Counter()
        for row in await self.rows(usage):
            costs[row.call_id] += row.cost_micro_usd
        answered = Counter()
        for row in await self.rows(call_events, call_events.c.type == "node.left"):
            answered[row.call_id, row.node] += 1
        return [
            f"{report.call_sid}: {text}"
            for report in reports
            for text in self._check_call(report, stored, costs, answered)
        ]

    def _check_call(self, report, stored, costs, answered):
        call, row = report.call_sid, stored.get(report.call_sid)
        if row is None:
            yield "not stored"
            return
        yield from self._check_bill(report, row, costs[call])
        if (row.outcome, row.department) != ("transferred", "sales"):
            yield f"outcome {row.outcome!r}, department {row.department!r}, {report.ending}, {report.errors}"
            return
        if len(report.dial_results) != 1:
            yield f"dialed {len(report.dial_results)} times"
        for question in QUESTIONS:
            times, code = self.crm.requests[call, question], self.crm.codes.get((call, question))
            if times > 1 or (
                times == 0 and len(report.streams) == 1
            ):  # a request of a lost stream may not have been sent
                yield f"answer of {question} posted {times} times"
            if code not in (None, self.codes[call]):
                yield f"answer of {question} was {self.codes[call]}, but {code} was posted"
            if answered[call, question] != 1:
                yield f"node {question} was left {answered[call, question]} times"

    def _check_bill(self, report, row, cost_micro_usd):
        """Compare the billed time with the time from the start of the first stream to the end of the last one.

        The caller's clock may start up to two seconds earlier than the gateway's under load on two cores. A stream that
        was not billed lasts longer than that.
        """
        if cost_micro_usd != row.cost_micro_usd:
            yield f"costs {row.cost_micro_usd}, sum of segments {cost_micro_usd}"
        streamed = report.streams[-1].closed_at - report.streams[0].opened_at if report.streams else 0.0
        if report.streams and not -3.0 < row.billed_microseconds / 1e6 - streamed < 0.5:
            yield f"billed {row.billed_microseconds / 1e6:.1f} s of {streamed:.1f} s"


@contextlib.asynccontextmanager
async def running_cluster(postgres, count=3, *options, drain=0, **simulator_options):
    """Run ``count`` processes on a new database. ``options`` are those of cluster_process."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(postgres.temporary_database())
        redis = stack.enter_context(RedisServer())
        environment = _environment(url, redis.url)
        members = [GatewayProcess(port, environment, str(drain), *options) for port in free_ports(count)]
        yield await _start(stack, url, members, redis, simulator_options)


@contextlib.asynccontextmanager
async def running_machine(folder, **simulator_options):
    """Run one supervised process on an SQLite file in the folder, without Redis, with the default drain time."""
    async with contextlib.AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{folder}/vocelio.db"
        environment = _environment(url, "") | {"VOCELIO_STORAGE_URL": str(folder / "storage")}
        members = [GatewayProcess(*free_ports(1), environment, "default", "--workers", "1")]
        yield await _start(stack, url, members, None, simulator_options)


async def _start(stack, url, members, redis, simulator_options):
    """Fill the database and start the members; ``stack`` stops everything."""
    crm = await stack.enter_async_context(FakeCrm())
    database = Database(url)
    stack.push_async_callback(database.aclose)
    await database.migrate()
    key = await _seed_database(database, crm.url)
    balancer = await stack.enter_async_context(TcpBalancer([member.port for member in members]))
    stack.push_async_callback(_stop_all, members)
    await asyncio.gather(*(member.start() for member in members))
    origin = f"http://127.0.0.1:{balancer.port}"
    simulator = await stack.enter_async_context(
        TwilioSimulator(origin, PUBLIC_URL, ACCOUNT, TOKEN, **simulator_options)
    )
    return GatewayCluster(members, balancer, crm, database, simulator, redis, key)


async def _stop_all(members):
    for member in members:
        if member.process is not None and member.process.returncode is None:
            await member.kill()


async def _seed_database(database, crm):
    actor = Actor("tests", "admin", "harbour", "", wall_clock())
    await tenants.create_tenant(
        database, actor, Tenant(id="harbour", name="Harbour Tools", max_transfers_per_hour=100_000)
    )
    await departments.put_department(database, actor, "sales", Department(("+13105550111",)))
    await assign_flow(database, actor, NUMBER, "codes", codes_flow(crm))
    return (await api_keys.create_key(database, actor, NewApiKey("viewer"))).secret


async def assign_flow(database, actor, number, name, document):
    """Promote the flow and assign the number to it."""
    await drafts.put_flow(database, actor, name, json.dumps(document).encode(), None)
    await promotion.promote_flow(database, actor, name, "")
    await numbers.create_number(database, actor, NewNumber(number))
    await numbers.assign_number(database, actor, number, name)


def _environment(url, redis_url):
    return clean_environment() | {
        "VOCELIO_DATABASE_URL": url,
        "VOCELIO_PUBLIC_URL": PUBLIC_URL,
        "VOCELIO_REDIS_URL": redis_url,
        "VOCELIO_SECRET_KEYS": SECRET,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


async def _is_serving(port):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        return b" 200 " in await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
