"""Worker process of ``vocelio serve``, started by the supervisor. Not a user command.

python -m vocelio.gateway.cli.worker CHANNEL LISTENER TASK HANDOFF_SECONDS ALONE_SECONDS [SITE_FOLDER]
"""

import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import msgspec

from vocelio.gateway import logs
from vocelio.gateway.calls.background.drain import Drain
from vocelio.gateway.cli import common
from vocelio.gateway.composition import CallStoreFactory, compose_gateway, prepare_database
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.server.connection_limits import ConnectionLimits, max_connections, open_file_limit
from vocelio.gateway.server.server import GatewayServer, loop_factory, uvicorn_config
from vocelio.gateway.server.supervisor import SETTINGS_ERROR_EXIT_CODE, StartTask, SupervisorChannel
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import SeedReport
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore

EXAMPLE_NUMBER = "+13072249663"  # the number of examples/site
MAX_CHANGES_PRINTED = 20  # of those that were made, and of those that were not
START_FAILED_EXIT_CODE = 3  # uvicorn's


class WorkerArguments(msgspec.Struct, frozen=True):
    """Arguments of a worker; see Supervisor and Drain. Tests run one without a supervisor, and so without a channel."""

    channel: SupervisorChannel | None
    listener: socket.socket
    task: StartTask
    handoff_seconds: float
    alone_seconds: float
    site: Path | None = None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "WorkerArguments":
        """Parse the command line; the file descriptors were inherited from the supervisor."""
        channel, listener, task, handoff_seconds, alone_seconds, *site = arguments
        return cls(
            SupervisorChannel(int(channel)),
            socket.socket(fileno=int(listener)),
            cast("StartTask", task),
            float(handoff_seconds),
            float(alone_seconds),
            Path(site[0]) if site else None,
        )


def main(arguments: Sequence[str]) -> None:
    """Serve until the supervisor stops this process or exits itself."""
    logs.configure()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_until_signal(common.read_settings(), WorkerArguments.parse(arguments)))
    except GatewayError as error:
        common.print_error(str(error))
        sys.exit(SETTINGS_ERROR_EXIT_CODE)


async def serve_until_signal(
    settings: Settings,
    arguments: WorkerArguments,
    *,
    http_client: HttpClient | None = None,
    call_store_factory: CallStoreFactory = WriteBehindCallStore,
) -> None:
    """Serve until a signal arrives. ``http_client`` and ``call_store_factory`` are replaced by tests.

    Raises SettingsError, SiteFolderError, DatabaseUnavailable.
    """
    is_first = arguments.task == "first"
    site_folder = SiteFolder(arguments.site) if arguments.site and is_first else None
    seed_report = await prepare_database(settings, site_folder) if arguments.task != "none" else None
    listener = arguments.listener

    def announce() -> None:
        if is_first:
            if arguments.site and seed_report:
                _print_seed_report(arguments.site, seed_report)
            _print_welcome(settings, site_folder, *listener.getsockname()[:2])

    async with AsyncExitStack() as resources:
        gateway = compose_gateway(settings, resources, http_client=http_client, call_store_factory=call_store_factory)
        drain = Drain(gateway.calls.registry, gateway.heartbeat, arguments.handoff_seconds, arguments.alone_seconds)
        limits = ConnectionLimits(
            max_connections(open_file_limit()), settings.max_connections_per_address, settings.trusted_proxies
        )
        config = uvicorn_config(
            gateway.app, limits=limits, trusted_proxies=[str(network) for network in settings.trusted_proxies]
        )
        server = GatewayServer(config, drain.run, resources.aclose, arguments.channel, on_ready=announce)
        await server.serve([listener])
    if not server.started:
        sys.exit(START_FAILED_EXIT_CODE)  # the reason has been logged


def _print_seed_report(folder: Path, report: SeedReport) -> None:
    """Print what the start made of the site folder."""

    def echo(text: str) -> None:
        common.stdout.print(text, markup=False, soft_wrap=True)

    for change in report.created[:MAX_CHANGES_PRINTED]:
        echo(f"created {change.resource}")
    for change in report.left_alone[:MAX_CHANGES_PRINTED]:
        echo(f"left alone {change}")
    omitted = sum(max(0, len(changes) - MAX_CHANGES_PRINTED) for changes in (report.created, report.left_alone))
    if omitted:
        echo(f"... and {omitted} more")
    if report.left_alone:
        echo(f"The database differs from {folder}. To make it equal: vocelio site apply {folder}")


def _print_welcome(settings: Settings, site_folder: SiteFolder | None, host: str, port: int) -> None:
    echo = common.stdout.print
    if site_folder:
        echo(f"[bold]{site_folder.tenant.name}[/bold] answers {', '.join(site_folder.numbers)}")
    echo(f"listening on http://{host}:{port}, public URL {settings.public_url}")
    if SIMULATOR_ACCOUNT_SID in settings.platform_tokens:
        number = next(iter(site_folder.numbers), "") if site_folder else EXAMPLE_NUMBER
        echo(
            "no Twilio account is configured: only the simulator is answered. "
            f"Try [bold]vocelio call {number} --say sales[/bold]"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
