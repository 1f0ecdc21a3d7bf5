"""Tests of the test servers, the fork server and the proxy, with their faults."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.command_runner import run_vocelio, running_vocelio
from tests.support.faulty_tcp_proxy import FaultyTcpProxy
from tests.support.postgres_server import find_programs, tcp_url

ROOT = Path(__file__).parents[3]
STUCK = 0.2  # seconds without an answer that comes in a millisecond when it comes


@pytest.fixture
async def database(postgres):
    async with postgres.temporary_database() as url:
        yield url


@asynccontextmanager
async def create_engine(url):
    engine = create_async_engine(url, pool_pre_ping=True)
    try:
        yield engine
    finally:
        await engine.dispose()


async def execute_statements(url, *statements):
    """Execute each statement in its own transaction; return the result of the last one."""
    engine = create_async_engine(url, poolclass=NullPool)
    for statement in statements:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement))
    return result.all() if result.returns_rows else None


async def wait_until_stuck(*tasks):
    done, _ = await asyncio.wait(tasks, timeout=STUCK)
    return not done


async def test_data_survives_a_restart(postgres, database):
    await execute_statements(database, "CREATE TABLE calls (sid text)", "INSERT INTO calls VALUES ('CA1')")
    postgres.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        await execute_statements(database, "SELECT 1")
    postgres.start()
    assert await execute_statements(database, "SELECT sid FROM calls") == [("CA1",)]


async def test_stop_ends_connections_and_the_engine_reconnects(postgres, database):
    async with create_engine(database) as engine:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            postgres.stop()
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT 2"))
        postgres.start()
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 3")) == 3


async def test_databases_are_empty_or_copies(postgres, database):
    await execute_statements(database, "CREATE TABLE flows (name text)", "INSERT INTO flows VALUES ('desk')")
    async with postgres.temporary_database(template=database) as copy, postgres.temporary_database() as empty:
        await execute_statements(copy, "UPDATE flows SET name = 'other'")
        assert await execute_statements(database, "SELECT name FROM flows") == [("desk",)]
        assert await execute_statements(empty, "SELECT to_regclass('flows')") == [(None,)]
        assert len({make_url(url).database for url in (database, copy, empty)}) == 3


async def test_database_in_use_is_dropped(postgres):
    url = await postgres.create_database()
    async with create_engine(url) as engine, engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await postgres.drop_database(make_url(url).database)
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT 1"))
    with pytest.raises(DBAPIError, match="does not exist"):
        await execute_statements(url, "SELECT 1")


async def test_paused_server_does_not_respond_until_resumed(postgres, database):
    async with create_engine(database) as engine, engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        postgres.pause()
        asked = [
            asyncio.create_task(connection.scalar(text("SELECT 2"))),
            asyncio.create_task(execute_statements(database, "SELECT 3")),
        ]
        assert await wait_until_stuck(*asked)
        postgres.resume()
        assert await asyncio.gather(*asked) == [2, [(3,)]]


@pytest.mark.parametrize("fault", ["stop", "pause"])
async def test_stopped_or_paused_server_runs_for_the_next_test(postgres, fault):
    getattr(postgres, fault)()
    async with postgres.temporary_database() as url:
        assert await execute_statements(url, "SELECT 1") == [(1,)]


# Paused is the worst case: no process of the server can detect that its owner is gone.
OWNER = """
import os, signal
from tests.support.postgres_server import PostgresServer, _children
with PostgresServer() as postgres:
    postgres.pause()
    server = postgres._server.pid
    print(postgres.directory, server, *_children(server), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_guard_removes_everything_of_a_killed_owner():
    directory, *pids = output_before_kill(OWNER)
    assert len(pids) > 3
    wait_until_gone(pids, directory)


def output_before_kill(script, *arguments):
    """Run a script that kills itself; return its output."""
    owner = subprocess.run(  # noqa: S603 (scripts of this file)
        [sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert owner.returncode == -signal.SIGKILL
    return owner.stdout.split()


def wait_until_gone(pids, *directories):
    deadline = time.monotonic() + 10
    while remaining := [directory for directory in directories if Path(directory).exists()] + [
        *filter(is_running, pids)
    ]:
        assert time.monotonic() < deadline, f"still there: {remaining}"
        time.sleep(0.01)


def is_running(pid):
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_missing_programs_raise_an_error_with_instructions(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`make test` installs Debian's package postgresql"):
        find_programs(path=str(tmp_path), debian=tmp_path)


def test_path_has_priority_over_debians_newest_version(tmp_path):
    for directory in ("13/bin", "17/bin", "16/bin", "own"):
        for name in ("initdb", "postgres"):
            program = tmp_path / directory / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch(0o755)
    assert find_programs(path="", debian=tmp_path) == tmp_path / "17/bin"
    assert find_programs(path=f"{tmp_path}:{tmp_path}/own", debian=tmp_path) == tmp_path / "own"


@pytest.fixture
def unwritten_fifo(tmp_path):
    """A FIFO as flow file: its reader waits."""
    os.mkfifo(tmp_path / "flow.json")
    return tmp_path / "flow.json"


async def test_commands_are_isolated(tmp_path):
    (tmp_path / "other").mkdir()
    commands = [
        run_vocelio("flow", "validate", "flow.json", cwd=tmp_path, environment={"COLUMNS": "40"}),
        run_vocelio("flow", "validate", "flow.json", cwd=tmp_path / "other"),
        run_vocelio("flow", "validate", str(ROOT / "examples" / "front-desk.json"), cwd=tmp_path),
    ]
    (tmp_path / "other" / "flow.json").write_text("{}")
    narrow, wide, fine = await asyncio.gather(*commands)
    assert (narrow[0], wide[0], fine[0]) == (2, 1, 0)
    assert max(map(len, narrow[2].splitlines())) <= 40
    assert wide[1].startswith("flow.json: name: error")
    assert fine[2] == ""


async def test_command_is_killed_at_the_end_of_the_block(unwritten_fifo):
    async with running_vocelio("flow", "validate", str(unwritten_fifo)) as command:
        file = await asyncio.to_thread(unwritten_fifo.open, "wb", 0)  # once it reads
    with file:
        assert await command.wait() == -signal.SIGKILL


# A stopped command does not notice the end of its input.
COMMANDER = """
import asyncio, os, signal, sys
from tests.support.command_runner import running_vocelio
from tests.support.postgres_server import _children
async def main():
    async with running_vocelio("flow", "validate", sys.argv[1]) as command:
        file = open(sys.argv[1], "wb")
        (server,) = _children(os.getpid())
        print(server, *_children(server), flush=True)
        command.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_commands_of_a_killed_owner_are_killed(unwritten_fifo):
    pids = output_before_kill(COMMANDER, str(unwritten_fifo))
    assert len(pids) == 2
    wait_until_gone(pids)


class EchoServer:
    """TCP server that echoes lines."""

    def __init__(self):
        self.open = 0

    async def __call__(self, reader, writer):
        self.open += 1
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@pytest.fixture(params=["unix", "tcp"])
async def echo_proxy(request, tmp_path):
    """A proxy in front of an echo server."""
    path = tmp_path / "echo"
    unix = request.param == "unix"
    echo = EchoServer()
    server = await (asyncio.start_unix_server(echo, path) if unix else asyncio.start_server(echo, "127.0.0.1"))
    async with FaultyTcpProxy(path if unix else server.sockets[0].getsockname()) as proxy:
        proxy.echo = echo
        yield proxy
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in tasks if "Proxy" in task.get_coro().__qualname__]
    if tasks:  # the echo's, which end with their connections
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


@asynccontextmanager
async def connect_through(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send_and_receive(reader, writer, said):
    writer.write(said)
    return await reader.readline()


async def test_proxy_forwards_data_and_ends(echo_proxy):
    async with connect_through(echo_proxy) as (reader, writer):
        assert await send_and_receive(reader, writer, b"one\n") == b"one\n"
        long = b"x" * 50_000 + b"\n"
        writer.write(long * 100)
        writer.write_eof()
        assert await reader.read() == long * 100


async def test_stalled_proxy_holds_data_until_restored(echo_proxy):
    async with connect_through(echo_proxy) as old:
        assert await send_and_receive(*old, b"one\n") == b"one\n"
        await echo_proxy.stall()
        async with connect_through(echo_proxy) as new, connect_through(echo_proxy) as ended:
            ended[1].write_eof()
            asked = [
                asyncio.create_task(send_and_receive(*old, b"two\n")),
                asyncio.create_task(send_and_receive(*new, b"three\n")),
                asyncio.create_task(ended[0].read()),
            ]
            assert await wait_until_stuck(*asked)
            assert echo_proxy.echo.open == 1
            await echo_proxy.restore()
            assert await asyncio.gather(*asked) == [b"two\n", b"three\n", b""]


@pytest.mark.parametrize("before", ["restore", "stall"])
async def test_cut_proxy_closes_connections_and_refuses_new_ones(echo_proxy, before):
    async with connect_through(echo_proxy) as (reader, writer):
        assert await send_and_receive(reader, writer, b"one\n") == b"one\n"
        await getattr(echo_proxy, before)()
        await echo_proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", echo_proxy.port)
    await echo_proxy.restore()
    async with connect_through(echo_proxy) as (reader, writer):
        assert await send_and_receive(reader, writer, b"two\n") == b"two\n"


async def test_no_connection_survives_a_cut(echo_proxy):
    for moment in range(30):
        knocking = [asyncio.create_task(asyncio.open_connection("127.0.0.1", echo_proxy.port)) for _ in range(3)]
        for _ in range(moment % 6):
            await asyncio.sleep(0)
        await echo_proxy.cut()
        for answer in await asyncio.gather(*knocking, return_exceptions=True):
            if isinstance(answer, OSError):
                continue
            reader, writer = answer
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.transport.abort()
        await echo_proxy.restore()


async def test_unreachable_target_ends_the_connection(tmp_path):
    async with FaultyTcpProxy(tmp_path / "nobody") as proxy, connect_through(proxy) as (reader, _):
        assert await reader.read() == b""


async def test_database_through_the_proxy(postgres, database):
    async with FaultyTcpProxy(postgres.socket) as proxy, create_engine(tcp_url(database, proxy.port)) as engine:

        async def ask():
            async with engine.connect() as connection:
                return await connection.scalar(text("SELECT 1"))

        assert await ask() == 1
        await proxy.stall()
        asked = asyncio.create_task(ask())
        assert await wait_until_stuck(asked)
        await proxy.restore()
        assert await asked == 1
        await proxy.cut()
        with pytest.raises(OSError, match=r"refused|failed"):
            await ask()
        await proxy.restore()
        assert await ask() == 1
