"""A PostgreSQL of the tests' own: made in a fresh directory, reached by a socket in it, gone with it.

Nothing shared is touched: no port, no running server, no file outside the directory. What a test writes survives
`stop()` and `start()`, for tests of outages; nothing survives the process that made it, even if that is killed: a guard
waits for its end. A test that leaves the server stopped or paused harms no other: whoever makes the next database gets
it running.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url

SUPERUSER = "vocelio"
PORT = 5432  # only a part of the socket's name
START_TIMEOUT_SECONDS = 30  # seconds, for a start or a stop
DEBIAN = Path("/usr/lib/postgresql")

# A database is three hundred files. Measured: made in 30 ms in memory, in 120 to 350 ms on a disk, even without fsync.
SHARED_MEMORY, MIN_FREE_BYTES = Path("/dev/shm"), 2 << 30  # noqa: S108 (a directory of our own is made in it); bytes

# fsync: a machine that crashes takes the test with it, so nothing needs to be on the disk. A commit is still written
# to its file before it is acknowledged, so that a crash of the server alone loses as little as a real one would.
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": 100,
    "shared_buffers": "16MB",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "autovacuum": "off",
}

# Reads until its input ends, as it does when the owner is gone, however it went. The server's processes may be paused
# then and lead a session each, so they are woken one by one. SIGQUIT: no checkpoint, but no shared memory is left.
GUARD_SCRIPT = """
read -r _
if read -r pid < "$1/data/postmaster.pid"; then
    kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
    kill -QUIT "$pid"
    for _ in $(seq 100); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.1; done
fi
for _ in 1 2 3; do rm -rf "$1" && break; sleep 1; done  # an initdb may still be at work
"""


class PostgresServer:
    """A server that runs from `with` to its end; `directory` holds all of it."""

    def __init__(self):
        self.directory = None
        self._programs = find_programs()
        self._numbers = itertools.count(1)
        self._server = self._guard = None

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="vocelio-postgres-", dir=_data_parent()))  # mode 0700
        self._guard = _start_guard(self.directory)
        try:
            self._init_cluster()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self._guard.communicate(timeout=START_TIMEOUT_SECONDS)  # it removes the directory, here as after a kill

    @property
    def socket(self):
        """The path of the unix socket."""
        return f"{self.directory}/.s.PGSQL.{PORT}"

    async def create_database(self, template=None):
        """A fresh database, empty or a copy of another that nobody is connected to: its URL."""
        name = f"test_{next(self._numbers)}"
        await self._command(f"CREATE DATABASE {name}" + (f" TEMPLATE {_database_name(template)}" if template else ""))
        query = {"host": str(self.directory), "port": str(PORT)}
        return str(URL.create("postgresql+asyncpg", SUPERUSER, database=name, query=query))

    async def drop_database(self, database):
        """Remove that database, named or by its URL, and throw out whoever is connected."""
        await self._command(f"DROP DATABASE IF EXISTS {_database_name(database)} WITH (FORCE)")

    @asynccontextmanager
    async def temporary_database(self, template=None):
        """A database for as long as the block runs: its URL."""
        url = await self.create_database(template)
        try:
            yield url
        finally:
            await self.drop_database(url)

    def start(self):
        """Start the server on the data it has, or let it go on; returns when it takes connections."""
        if self._server is not None and self._server.poll() is None:
            self.resume()
            return
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 (PostgreSQL's own program)
                [self._programs / "postgres", "-D", self._data, "-k", self.directory, *_server_options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Control-C is for pytest, which stops the server when it is done
                **self._process_options(),
            )
        self._await_ready()

    def stop(self):
        """Throw everybody out, write everything and end, if it runs; the data stay."""
        if self._server is None:
            return
        self.resume()
        server, self._server = self._server, None
        server.send_signal(signal.SIGINT)
        try:
            server.wait(START_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait(START_TIMEOUT_SECONDS)
            raise

    def pause(self):
        """Freeze every process of the server: connections stay open, new ones are taken, nothing is answered."""
        parent = self._server.pid
        os.kill(parent, signal.SIGSTOP)
        os.waitid(os.P_PID, parent, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        paused = set()  # from here on there are no new children, but the list misses some while others end
        while children := _children(parent) - paused:
            _signal_all(children, signal.SIGSTOP)
            paused |= children

    def resume(self):
        """The end of `pause`; without one nothing happens."""
        if self._server is not None:
            _signal_all(_children(self._server.pid) | {self._server.pid}, signal.SIGCONT)

    @property
    def _data(self):
        return self.directory / "data"

    def _init_cluster(self):
        options = ("--no-sync", "--auth=trust", "--no-locale", "--encoding=UTF8", f"--username={SUPERUSER}")
        done = subprocess.run(  # noqa: S603 (PostgreSQL's own program)
            [self._programs / "initdb", *options, "-D", self._data],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_TIMEOUT_SECONDS,
            check=False,
            **self._process_options(),
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}")

    def _process_options(self):
        """PostgreSQL refuses to run as root. TZ saves initdb a search for the machine's time zone."""
        around = {"cwd": self.directory, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
        if os.geteuid() != 0:
            return around
        user = _unprivileged_user()
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        return around | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _await_ready(self):
        """As pg_ctl does it: the server says in its pid file when it is ready, and tells nobody else."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            ended = self._server.poll() is not None
            if ended or time.monotonic() > deadline:
                self._server.kill()
                self._server.wait()
                self._server = None
                problem = "ended" if ended else f"is not ready after {START_TIMEOUT_SECONDS} s"
                raise RuntimeError(f"postgres {problem}:\n{(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.005)

    def _is_ready(self):
        with suppress(FileNotFoundError):
            lines = [line.strip() for line in (self._data / "postmaster.pid").read_text().splitlines()]
            return lines[:1] == [str(self._server.pid)] and lines[7:8] == ["ready"]
        return False

    async def _command(self, sql):
        self.start()
        connection = await asyncpg.connect(
            host=str(self.directory), port=PORT, user=SUPERUSER, database="postgres", timeout=START_TIMEOUT_SECONDS
        )
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


def tcp_url(url, port):
    """The same database through a proxy on 127.0.0.1."""
    return str(make_url(url).set(host="127.0.0.1", port=port, query={}))


def find_programs(path=None, debian=DEBIAN):
    """The directory that holds `initdb` and `postgres`: of the PATH, or the newest that Debian has."""
    versions = sorted(debian.glob("[1-9][0-9]/bin"), reverse=True)
    path = os.environ.get("PATH", "") if path is None else path
    for directory in [*map(Path, filter(None, path.split(os.pathsep))), *versions]:
        if all(shutil.which(name, path=str(directory)) for name in ("initdb", "postgres")):
            return directory
    raise FileNotFoundError(
        "The tests start a PostgreSQL of their own, and neither the PATH nor "
        f"{debian}/*/bin has initdb and postgres. `make test` installs Debian's package postgresql; "
        "elsewhere, install PostgreSQL and put its programs on the PATH."
    )


def _data_parent():
    """Memory if it has room for a few servers, as in a container it often has not; else the usual place."""
    roomy = os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > MIN_FREE_BYTES
    return SHARED_MEMORY if roomy else None


def _server_options():
    return [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]


def _start_guard(directory):
    return subprocess.Popen(  # noqa: S603 (our own words)
        ["/bin/sh", "-c", GUARD_SCRIPT, "guard", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # whatever kills the owner's process group must not reach it
    )


def _unprivileged_user():
    """An account to run as when we are root; Debian's package makes the first."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody.")


def _database_name(database):
    return make_url(database).database if "://" in database else database


def _children(pid):
    """PostgreSQL's processes lead a session each, so its process group holds the first of them only."""
    with suppress(FileNotFoundError):
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return set()


def _signal_all(pids, number):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
