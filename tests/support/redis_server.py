"""Private Redis server for tests, in a temporary directory.

It listens on a unix socket in that directory; a cluster (of one node) on free ports of 127.0.0.1, since clusters do not
support unix sockets. A guard process removes everything when the owner ends, even if it is killed.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.free_ports import free_ports

START_TIMEOUT_SECONDS = 20  # for a start or a stop
LAST_SLOT = "16383"  # the last one of a cluster

# Reads until its input ends, which happens when the owner ends for any reason. The server may be paused.
GUARD_SCRIPT = """
read -r _
if read -r pid < "$1/pid"; then
    kill -CONT "$pid"; kill -KILL "$pid"
fi
rm -rf "$1"
"""


class RedisServer:
    """Server that runs during a `with` block."""

    def __init__(self, *, cluster=False):
        self.directory = None
        self._program, self._cluster = find_program(), cluster
        self._ports = free_ports(2) if cluster else [0, 0]
        self._server = self._guard = None

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="vocelio-redis-"))  # mode 0700
        self._guard = subprocess.Popen(  # noqa: S603 (constant script)
            ["/bin/sh", "-c", GUARD_SCRIPT, "guard", self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # must survive signals to the owner's process group
        )
        try:
            self.start()
            if self._cluster:
                self.command("CLUSTER", "ADDSLOTSRANGE", "0", LAST_SLOT)
                self._wait_until(lambda: b"cluster_state:ok" in self.command("CLUSTER", "INFO"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.kill()
        self._guard.communicate(timeout=START_TIMEOUT_SECONDS)

    @property
    def socket(self):
        """Path of the unix socket, or address of the cluster."""
        return ("127.0.0.1", self._ports[0]) if self._cluster else str(self.directory / "socket")

    @property
    def url(self):
        return f"redis://127.0.0.1:{self._ports[0]}" if self._cluster else f"unix://{self.socket}"

    def start(self):
        """Start or resume the server; return when it responds."""
        if self._server is not None and self._server.poll() is None:
            self.resume()
            return
        options = {
            "dir": self.directory,
            "pidfile": self.directory / "pid",
            "port": self._ports[0],
            "bind": "127.0.0.1",
            "unixsocket": self.directory / "socket",
            "save": "",
            "appendonly": "no",
            "logfile": self.directory / "log",
        }
        if self._cluster:
            options |= {"cluster-enabled": "yes", "cluster-port": self._ports[1]}
        self._server = subprocess.Popen(  # noqa: S603 (Redis's own program)
            [self._program, *(part for name, value in options.items() for part in (f"--{name}", str(value)))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        (self.directory / "pid").write_text(f"{self._server.pid}\n")
        self._wait_until(lambda: self.command("PING") == b"+PONG\r\n")

    def kill(self):
        """Kill the server; its data is lost."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait(START_TIMEOUT_SECONDS)

    def pause(self):
        """Freeze the server: connections stay open, without responses."""
        self._server.send_signal(signal.SIGSTOP)

    def resume(self):
        """End `pause`."""
        self._server.send_signal(signal.SIGCONT)

    def command(self, *words):
        """Return the raw response to a command, empty if the server is down."""
        words = [word if isinstance(word, bytes) else word.encode() for word in words]
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(START_TIMEOUT_SECONDS)
                sock.connect(str(self.directory / "socket"))
                sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
                return sock.recv(65_536)
        except (FileNotFoundError, ConnectionRefusedError):
            return b""

    def _wait_until(self, condition):
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not condition():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{(self.directory / 'log').read_text()}")
            time.sleep(0.01)


def find_program():
    """Return the path of redis-server."""
    program = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if program is None:
        raise FileNotFoundError(
            "The tests start a Redis of their own, and redis-server is not on the PATH. `make test` installs Debian's "
            "package redis-server; elsewhere, install Redis 7 or newer."
        )
    return program
