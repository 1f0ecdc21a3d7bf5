"""Runs ``vocelio`` commands in tests: real processes, forked from a server that has imported the command's modules.

Importing takes one or two seconds of CPU, and the tests run about fifty commands. Each test process has one fork
server. A command has its own directory, environment, output, errors and exit code, and no input; it runs the same
function as the console script, and is killed when its client disconnects. Tests of the script itself run ``SCRIPT``.

    code, out, err = await run_vocelio("flow", "validate", "flow.json")
    async with running_vocelio("serve", "--port", "0") as command: ...
"""

import asyncio
import atexit
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path

from tests.support.process_env import clean_environment

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "vocelio"
COMMAND_TIMEOUT_SECONDS = 90
MAX_ORDER_BYTES = 200_000  # of an order, mostly the environment
PRELOADED_MODULES = ("aiohttp", "vocelio.gateway.store.db.migrate", "vocelio.gateway.events.redis.client")
"""Modules that commands import lazily; `flow` commands rarely need them."""


def command_environment(settings):
    """Return the environment of a command with only these settings of the gateway."""
    return clean_environment() | {"COLUMNS": "120"} | settings


async def wait_until_listening(port):
    """Wait until a server accepts connections at the port."""
    async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def run_vocelio(*arguments, cwd=ROOT, environment=None):
    """Run a command to its end; return exit code, output and errors."""
    async with (
        running_vocelio(*arguments, cwd=cwd, environment=environment) as command,
        asyncio.timeout(COMMAND_TIMEOUT_SECONDS),
    ):
        out, err = await asyncio.gather(command.out.read(), command.err.read())
        return await command.wait(), out.decode(), err.decode()


@asynccontextmanager
async def running_vocelio(*arguments, cwd=ROOT, environment=None):
    """Start a command; kill it at the end of the block if it is still running."""
    order = {"arguments": arguments, "cwd": str(cwd), "environment": command_environment(environment or {})}
    with ExitStack() as opened:
        channel, server_end = map(opened.enter_context, socket.socketpair())
        (out, into_out), (err, into_err) = os.pipe(), os.pipe()
        command = RunningCommand(channel, await _open_reader(out, opened), await _open_reader(err, opened))
        socket.send_fds(_fork_server(), [json.dumps(order).encode()], [server_end.fileno(), into_out, into_err])
        server_end.close()
        for descriptor in (into_out, into_err):
            os.close(descriptor)
        try:
            yield command
        finally:
            command.send_signal(signal.SIGKILL)
            await command.wait()


async def _open_reader(descriptor, opened):
    reader, pipe = asyncio.StreamReader(), os.fdopen(descriptor, "rb", 0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    opened.callback(transport.close)
    return reader


class RunningCommand:
    """A running command; ``out`` and ``err`` are readers of its output."""

    def __init__(self, channel, out, err):
        self._channel, self.out, self.err = channel, out, err
        self._channel.setblocking(False)
        self._code = None

    def send_signal(self, number):
        """Send a signal unless the command has ended."""
        with suppress(ConnectionError):
            self._channel.send(bytes([number]))

    async def next_worker_pid(self):
        """Return the process id of the next worker that serves, from the log of ``vocelio serve``."""
        lines = []
        while line := (await self.err.readline()).decode():
            lines.append(line)
            message = json.loads(line)["message"]
            if message.endswith("is ready"):
                return int(message.split()[1])
        raise AssertionError(f"the supervisor has ended: {lines}")

    async def wait(self):
        """Wait for the end; return the exit code, negative for a signal."""
        if self._code is None:
            message = await asyncio.get_running_loop().sock_recv(self._channel, 16)
            assert message, "the fork server has ended"
            self._code = int(message)
        return self._code


@functools.cache
def _fork_server():
    """Start the fork server of this test process, which ends with it; return the socket to it."""
    channel, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server_end:
        server = subprocess.Popen(  # noqa: S603 (this module)
            [sys.executable, "-m", "tests.support.command_runner", str(server_end.fileno())],
            cwd=ROOT,
            env=command_environment(
                {"OPENBLAS_NUM_THREADS": "1"}
            ),  # numpy would start threads, and a fork keeps only one
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[server_end.fileno()],
            start_new_session=True,  # Control-C must only reach the tests; the server ends with them
        )

    def end():
        channel.shutdown(socket.SHUT_RDWR)
        channel.close()
        server.wait()

    atexit.register(end)
    return channel


# The fork server


class _ForkedCommand:
    """A forked command. Its channel receives signals and sends the exit code."""

    def __init__(self, pid, channel):
        self.pid, self.channel = pid, channel
        self.end = os.pidfd_open(pid)  # readable when it has ended

    def forward_signal(self):
        """Forward the received signal; kill the command if the client has disconnected."""
        number = self.channel.recv(1)
        os.kill(self.pid, number[0] if number else signal.SIGKILL)

    def reap_exit_code(self):
        """Send the exit code and close the channel."""
        _, status = os.waitpid(self.pid, 0)
        with suppress(ConnectionError):
            self.channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        self.close()

    def close(self):
        self.channel.close()
        os.close(self.end)


def _serve_orders(channel):
    """Fork for each order; when the tests have ended, kill all children. Returns only in a child."""
    children = []
    while True:
        watched = [source for child in children for source in (child.end, child.channel)]
        readable, _, _ = select.select([channel, *watched], [], [])
        for child in list(children):
            if child.end in readable:
                child.reap_exit_code()
                children.remove(child)
            elif child.channel in readable:
                child.forward_signal()
        if channel in readable:
            content, descriptors, _, _ = socket.recv_fds(channel, MAX_ORDER_BYTES, 3)
            if not content:
                for child in children:
                    os.kill(child.pid, signal.SIGKILL)
                sys.exit()
            order = json.loads(content)
            _preload(*order["arguments"][:1])
            if not (pid := os.fork()):
                channel.close()
                for child in children:
                    child.close()
                return order, descriptors
            command_channel, *outputs = descriptors
            children.append(_ForkedCommand(pid, socket.socket(fileno=command_channel)))
            for output in outputs:
                os.close(output)


def _become_command(order, channel, out, err):
    """Run the command in this process."""
    os.close(channel)
    for output, descriptor in ((out, 1), (err, 2)):
        os.dup2(output, descriptor)
        os.close(output)
    os.umask(0)  # the most permissive: files are private only by the gateway's own doing
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [str(SCRIPT), *order["arguments"]]
    import_module("vocelio.gateway.cli").main()


@functools.cache
def _preload(command):
    """Import the command's modules, but not the CLI itself, whose consoles read the environment."""
    from pydantic import AfterValidator, Field, TypeAdapter  # noqa: F401 (needed by typer when it parses options)

    from vocelio.gateway import cli

    if command in cli.COMMANDS:
        for name in (f"{cli.__name__}.{command}", *(PRELOADED_MODULES if command != "flow" else ())):
            import_module(name)
    for name in [name for name in sys.modules if name.startswith(cli.__name__)]:
        del sys.modules[name]
    gc.freeze()  # garbage collection would copy all shared pages
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork keeps only one thread"


if __name__ == "__main__":
    order, descriptors = _serve_orders(socket.socket(fileno=int(sys.argv[1])))
    _become_command(order, *descriptors)
