"""vocelio serve: run the gateway in one process, or in several under a supervisor."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import logs
from vocelio.gateway.calls.background.drain import drain
from vocelio.gateway.cli import common
from vocelio.gateway.composition import CallStoreFactory, compose_gateway, prepare_database
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.errors import SettingsError
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.server.server import GatewayServer, bind_socket, loop_factory, reserve_port, uvicorn_config
from vocelio.gateway.server.supervisor import Supervisor, SupervisorChannel
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore

app = typer.Typer(add_completion=False)

EXAMPLE_NUMBER = "+13072249663"  # the number of examples/site


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: PORT, or 8080.")] = None,
    site: Annotated[
        Path | None, typer.Option(help="Load this folder (site.json, flows/*.json) into the database first.")
    ] = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            help="Grace period on shutdown for calls to finish before they are handed over.",
        ),
    ] = 0.0,
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Number of processes. More than one need PostgreSQL and VOCELIO_REDIS_URL."),
    ] = 1,
) -> None:
    """Run the gateway. On SIGTERM, live calls are handed over to another process."""
    logs.configure()
    with common.exit_on_error():
        settings = common.read_settings()
        site_folder = SiteFolder(site) if site else None
        port = settings.port if port is None else port
        if workers > 1:
            raise typer.Exit(run_supervisor(settings, site_folder, host, port, drain_seconds, workers))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_until_signal(settings, site_folder, host, port, drain_seconds))


def run_supervisor(
    settings: Settings,
    site_folder: SiteFolder | None,
    host: str,
    port: int,
    drain_seconds: float,
    workers: int,
    worker_module: str = "vocelio.gateway.cli.worker",
) -> int:
    """Serve with several worker processes until a signal arrives. Returns the exit code. Raises SettingsError.

    ``worker_module`` is replaced by tests.
    """
    require_shared_backends(settings)
    asyncio.run(prepare_database(settings, site_folder))

    def command(channel: int) -> list[str]:
        return ["-m", worker_module, str(channel), host, str(reserved.getsockname()[1]), str(drain_seconds)]

    with reserve_port(host, port) as reserved:
        _print_welcome(settings, site_folder, host, reserved.getsockname()[1])
        return Supervisor(command, workers, drain_seconds).run()


def require_shared_backends(settings: Settings) -> None:
    """Check that several processes can work together. Raises SettingsError."""
    if not settings.database_url.startswith("postgresql"):
        raise SettingsError("--workers needs a shared database: VOCELIO_DATABASE_URL=postgresql+asyncpg://")
    if not settings.redis_url:
        raise SettingsError("--workers needs VOCELIO_REDIS_URL: processes exchange events through Redis")


async def serve_until_signal(
    settings: Settings,
    site_folder: SiteFolder | None,
    host: str,
    port: int,
    drain_seconds: float,
    *,
    http_client: HttpClient | None = None,
    call_store_factory: CallStoreFactory = WriteBehindCallStore,
    supervisor_channel: SupervisorChannel | None = None,
) -> None:
    """Serve in this process until a signal arrives. ``http_client`` and ``call_store_factory`` are replaced by tests.

    A worker has a ``supervisor_channel``: its supervisor has prepared the database and reserved the port.
    """
    if supervisor_channel is None:
        await prepare_database(settings, site_folder)
    async with AsyncExitStack() as resources:
        gateway = compose_gateway(settings, resources, http_client=http_client, call_store_factory=call_store_factory)
        if supervisor_channel is None:
            _print_welcome(settings, site_folder, host, port)
        server = GatewayServer(
            uvicorn_config(gateway.app, host, port),
            lambda: drain(gateway.calls.registry, drain_seconds),
            resources.aclose,
            supervisor_channel,
        )
        await server.serve([bind_socket(host, port, reuse_port=True)] if supervisor_channel else None)


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
