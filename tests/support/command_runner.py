"""Commands as the tests run them: real processes, forked from one that has imported what a command needs.

That takes one or two seconds of CPU, and the tests run some fifty commands. So each test process has a server that
imports once, and forks whenever it is told to. A command has a folder, an environment, output, errors and an exit code
of its own, and nothing to read; it runs what the console script runs, and is killed when nobody waits for it any more.
What a fork cannot show is that the script starts: tests of that run ``SCRIPT``.

    code, out, err = await vocelio("flow", "validate", "flow.json")
    async with started("serve", "--port", "0") as command: ...
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
COMMAND_TIMEOUT_SECONDS = 90  # seconds for a command that ends by itself
MAX_ORDER_BYTES = 200_000  # bytes of an order, most of which is the environment
PRELOADED_MODULES = ("aiohttp", "vocelio.gateway.store.db.migrate", "vocelio.gateway.events.redis.client")
"""What commands import when they come to it, but for those on a flow, which seldom do."""


def command_environment(settings):
    """The environment of a command: of the gateway's settings, these and no others."""
    return clean_environment() | {"COLUMNS": "120"} | settings


async def wait_until_listening(port):
    """Once somebody takes connections there."""
    async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def run_vocelio(*arguments, cwd=ROOT, environment=None):
    """Run a command to its end: exit code, output, errors."""
    async with (
        running_vocelio(*arguments, cwd=cwd, environment=environment) as command,
        asyncio.timeout(COMMAND_TIMEOUT_SECONDS),
    ):
        out, err = await asyncio.gather(command.out.read(), command.err.read())
        return await command.wait(), out.decode(), err.decode()


@asynccontextmanager
async def running_vocelio(*arguments, cwd=ROOT, environment=None):
    """A command that runs; if it still does at the end, it is killed."""
    order = {"arguments": arguments, "cwd": str(cwd), "environment": command_environment(environment or {})}
    with ExitStack() as opened:
        way, theirs = map(opened.enter_context, socket.socketpair())
        (out, into_out), (err, into_err) = os.pipe(), os.pipe()
        command = RunningCommand(way, await _open_reader(out, opened), await _open_reader(err, opened))
        socket.send_fds(_fork_server(), [json.dumps(order).encode()], [theirs.fileno(), into_out, into_err])
        theirs.close()
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
    """A command that runs; ``out`` and ``err`` are what it writes."""

    def __init__(self, way, out, err):
        self._channel, self.out, self.err = way, out, err
        self._channel.setblocking(False)
        self._code = None

    def send_signal(self, number):
        """Send it a signal, unless it has ended."""
        with suppress(ConnectionError):
            self._channel.send(bytes([number]))

    async def wait(self):
        """Its exit code, once it has ended; of a signal, its number below zero."""
        if self._code is None:
            told = await asyncio.get_running_loop().sock_recv(self._channel, 16)
            assert told, "the server of the commands has ended"
            self._code = int(told)
        return self._code


@functools.cache
def _fork_server():
    """The way to the server of this test process, with which it ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(  # noqa: S603 (this module)
            [sys.executable, "-m", "tests.support.command_runner", str(theirs.fileno())],
            cwd=ROOT,
            env=command_environment(
                {"OPENBLAS_NUM_THREADS": "1"}
            ),  # numpy would start some: a fork keeps one thread only
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Control-C is for the tests: it ends with them
        )

    def end():
        ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# The server


class _ForkedCommand:
    """A command that was forked. By ``way`` signals come for it, and its exit code goes."""

    def __init__(self, pid, way):
        self.pid, self.channel = pid, way
        self.end = os.pidfd_open(pid)  # readable when it has ended

    def forward_signal(self):
        """The signal that has come; if it is the end, nobody waits for the command any more."""
        number = self.channel.recv(1)
        os.kill(self.pid, number[0] if number else signal.SIGKILL)

    def reap_exit_code(self):
        """Tell how it ended."""
        _, status = os.waitpid(self.pid, 0)
        with suppress(ConnectionError):
            self.channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        self.close()

    def close(self):
        """Forget it."""
        self.channel.close()
        os.close(self.end)


def _serve_orders(channel):
    """Fork for each order until the tests are gone: then what is left is killed. Returns in the children only."""
    children = []
    while True:
        theirs = [one for child in children for one in (child.end, child.channel)]
        readable, _, _ = select.select([channel, *theirs], [], [])
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
            way, *outputs = descriptors
            children.append(_ForkedCommand(pid, socket.socket(fileno=way)))
            for output in outputs:
                os.close(output)


def _become_command(order, way, out, err):
    """This process is the command."""
    os.close(way)
    for output, descriptor in ((out, 1), (err, 2)):
        os.dup2(output, descriptor)
        os.close(output)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [str(SCRIPT), *order["arguments"]]
    import_module("vocelio.gateway.cli").main()


@functools.cache
def _preload(command):
    """Import what the command needs, but for the command line itself, whose consoles look at the environment."""
    from pydantic import AfterValidator, Field, TypeAdapter  # noqa: F401 (what typer needs when it reads options)

    from vocelio.gateway import cli

    if command in cli.COMMANDS:
        for name in (f"{cli.__name__}.{command}", *(PRELOADED_MODULES if command != "flow" else ())):
            import_module(name)
    for name in [name for name in sys.modules if name.startswith(cli.__name__)]:
        del sys.modules[name]
    gc.freeze()  # to collect garbage would be to copy it all
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "of several threads a fork has one"


if __name__ == "__main__":
    order, descriptors = _serve_orders(socket.socket(fileno=int(sys.argv[1])))
    _become_command(order, *descriptors)
