"""Private PostgreSQL server for tests: created in a temporary directory, reached by a unix socket in it.

It uses nothing shared: no port, no running server, no file outside the directory. Data survives `stop()` and `start()`,
for tests of outages. A guard process removes everything when the owner ends, even if it is killed. A test may leave the
server stopped or paused: creating the next database restarts it.
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
PORT = 5432  # only part of the socket's name
START_TIMEOUT_SECONDS = 30  # for a start or a stop
DEBIAN = Path("/usr/lib/postgresql")

# A database has 300 files. Measured: created in 30 ms in memory, in 120 to 350 ms on a disk, even without fsync.
SHARED_MEMORY, MIN_FREE_BYTES = Path("/dev/shm"), 2 << 30  # noqa: S108 (only the parent of a temporary directory)

# fsync: if the machine crashes, so does the test, so nothing needs to be on the disk. A commit is still written to its
# file before it is acknowledged, so that a crash of only the server loses no more than in production.
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

# Reads until its input ends, which happens when the owner ends for any reason. The server's processes may be paused and
# each leads a session, so they are resumed one by one. SIGQUIT: no checkpoint, but shared memory is released.
GUARD_SCRIPT = """
read -r _
if read -r pid < "$1/data/postmaster.pid"; then
    kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
    kill -QUIT "$pid"
    for _ in $(seq 100); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.1; done
fi
for _ in 1 2 3; do rm -rf "$1" && break; sleep 1; done  # initdb may still be running
"""


class PostgresServer:
    """Server that runs during a `with` block; all its files are in `directory`."""

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
            self._guard.communicate(timeout=START_TIMEOUT_SECONDS)  # the guard removes the directory

    @property
    def socket(self):
        """Path of the unix socket."""
        return f"{self.directory}/.s.PGSQL.{PORT}"

    async def create_database(self, template=None):
        """Create a database, empty or a copy of a template without connections; return its URL."""
        name = f"test_{next(self._numbers)}"
        await self._command(f"CREATE DATABASE {name}" + (f" TEMPLATE {_database_name(template)}" if template else ""))
        query = {"host": str(self.directory), "port": str(PORT)}
        return str(URL.create("postgresql+asyncpg", SUPERUSER, database=name, query=query))

    async def drop_database(self, database):
        """Drop a database, given by name or URL, and close its connections."""
        await self._command(f"DROP DATABASE IF EXISTS {_database_name(database)} WITH (FORCE)")

    @asynccontextmanager
    async def temporary_database(self, template=None):
        """Create a database for the duration of the block; yield its URL."""
        url = await self.create_database(template)
        try:
            yield url
        finally:
            await self.drop_database(url)

    def start(self):
        """Start or resume the server with its existing data; return when it accepts connections."""
        if self._server is not None and self._server.poll() is None:
            self.resume()
            return
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 (PostgreSQL's own program)
                [self._programs / "postgres", "-D", self._data, "-k", self.directory, *_server_options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Control-C must only reach pytest, which then stops the server
                **self._process_options(),
            )
        self._await_ready()

    def stop(self):
        """Stop the server (fast shutdown) and keep its data."""
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
        """Freeze all processes of the server: connections stay open and new ones are accepted, without responses."""
        parent = self._server.pid
        os.kill(parent, signal.SIGSTOP)
        os.waitid(os.P_PID, parent, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        paused = set()  # no new children from here on, but the list can miss some while others end
        while children := _children(parent) - paused:
            _signal_all(children, signal.SIGSTOP)
            paused |= children

    def resume(self):
        """End `pause`, if any."""
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
        """Run as an unprivileged user: PostgreSQL refuses root. TZ saves initdb the search for the time zone."""
        options = {"cwd": self.directory, "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
        if os.geteuid() != 0:
            return options
        user = _unprivileged_user()
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        return options | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _await_ready(self):
        """Wait for "ready" in the server's pid file, as pg_ctl does."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            ended = self._server.poll() is not None
            if ended or time.monotonic() > deadline:
                self._server.kill()
                self._server.wait()
                self._server = None
                problem = "exited" if ended else f"was not ready after {START_TIMEOUT_SECONDS} s"
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
    """Return the URL of the same database through a proxy on 127.0.0.1."""
    return str(make_url(url).set(host="127.0.0.1", port=port, query={}))


def find_programs(path=None, debian=DEBIAN):
    """Return the directory with `initdb` and `postgres`: on the PATH, or Debian's newest version."""
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
    """Return /dev/shm if it has space for a few servers (containers often limit it), else None."""
    has_space = os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free > MIN_FREE_BYTES
    return SHARED_MEMORY if has_space else None


def _server_options():
    return [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]


def _start_guard(directory):
    return subprocess.Popen(  # noqa: S603 (constant script)
        ["/bin/sh", "-c", GUARD_SCRIPT, "guard", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # must survive signals to the owner's process group
    )


def _unprivileged_user():
    """Return the account to use instead of root; Debian's package creates the first."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody.")


def _database_name(database):
    return make_url(database).database if "://" in database else database


def _children(pid):
    """Each process of PostgreSQL leads a session, so the process group has only the first of them."""
    with suppress(FileNotFoundError):
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return set()


def _signal_all(pids, number):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
