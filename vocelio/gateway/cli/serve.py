"""vocelio serve: the gateway."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import config as configuration
from vocelio.gateway import logs
from vocelio.gateway.api.routes import create_routes
from vocelio.gateway.api.websockets.endpoints import MonitoringDependencies
from vocelio.gateway.app import BackgroundService, create_app
from vocelio.gateway.calls.background.drain import drain
from vocelio.gateway.calls.background.process_heartbeat import ProcessHeartbeat
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.cli import common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import SecretCipher
from vocelio.gateway.errors import SettingsError
from vocelio.gateway.events import EventBus
from vocelio.gateway.events.factory import connect
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.monitors.key_revocation import MAX_SOCKETS_PER_PROCESS, KeyRevocationWatcher
from vocelio.gateway.monitors.service import MonitorService
from vocelio.gateway.prompts.cache import PreloadingPromptCache, PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.server.protocols import raise_open_file_limit
from vocelio.gateway.server.server import GatewayServer, bind_socket, loop_factory, reserve_port, uvicorn_config
from vocelio.gateway.server.supervisor import Supervisor, SupervisorChannel
from vocelio.gateway.site.folder import SiteFolder
from vocelio.gateway.site.seed import seed_database
from vocelio.gateway.speech.fallback_synthesizer import fallback_voices
from vocelio.gateway.speech.providers import configured_tiers, create_speech_services
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.interface import CallStore
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.key_rotation import rotate_keys
from vocelio.gateway.store.recordings import DatabaseRecordingCatalog
from vocelio.gateway.store.routing.database import DatabaseDirectory
from vocelio.gateway.store.tenants.twilio_accounts import TwilioAccounts
from vocelio.gateway.twilio.provisioning.context import ProvisioningContext
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner
from vocelio.gateway.twilio.rest_client import TwilioClient

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="The port; otherwise PORT, otherwise 8080.")] = None,
    site: Annotated[
        Path | None, typer.Option(help="First put what this folder (site.json, flows/*.json) has into the database.")
    ] = None,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            help="When told to stop, let live calls end by themselves for so long; then hand them over.",
        ),
    ] = 0.0,
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Processes on the port; more than one need PostgreSQL and VOCELIO_REDIS_URL."),
    ] = 1,
) -> None:
    """Run the gateway until it is told to stop; its live calls go on with another process."""
    logs.configure()
    with common.exit_on_error():
        settings = common.read_settings()
        folder = SiteFolder(site) if site else None
        where = host, settings.port if port is None else port
        if workers > 1:
            raise typer.Exit(run_supervisor(settings, folder, *where, drain_seconds, workers))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_until_signal(settings, folder, *where, drain_seconds))


def run_supervisor(
    settings: Settings,
    site_folder: SiteFolder | None,
    host: str,
    port: int,
    drain_seconds: float,
    workers: int,
    worker_module: str = "vocelio.gateway.cli.worker",
) -> int:
    """Serve by that many processes until a signal comes: the exit code. Raises SettingsError.

    ``module`` is what a worker runs: tests have another.
    """
    require_shared_backends(settings)
    asyncio.run(_prepare_database(settings, site_folder))

    def command(channel: int) -> list[str]:
        return ["-m", worker_module, str(channel), host, str(holder.getsockname()[1]), str(drain_seconds)]

    with reserve_port(host, port) as holder:
        _print_welcome(settings, site_folder, host, holder.getsockname()[1])
        return Supervisor(command, workers, drain_seconds).run()


def require_shared_backends(settings: Settings) -> None:
    """Whether several processes can work together. Raises SettingsError."""
    if not settings.database_url.startswith("postgresql"):
        raise SettingsError(
            "--workers needs a database that processes share: VOCELIO_DATABASE_URL=postgresql+asyncpg://"
        )
    if not settings.redis_url:
        raise SettingsError("--workers needs VOCELIO_REDIS_URL: it is how processes tell each other of events")


async def _prepare_database(settings: Settings, site_folder: SiteFolder | None) -> None:
    """What is done once, before anybody serves. Raises SettingsError, SiteError, StoreUnavailable."""
    database = Database(settings.database_url)
    try:
        await database.migrate()
        await rotate_keys(database, SecretCipher(settings.secret_keys))
        if site_folder:
            await _seed(database, site_folder)
    finally:
        await database.aclose()


async def serve_until_signal(
    settings: Settings,
    site_folder: SiteFolder | None,
    host: str,
    port: int,
    drain_seconds: float,
    *,
    http_client: HttpClient | None = None,
    call_store_factory: Callable[[Database, SecretCipher], CallStore] = WriteBehindCallStore,
    supervisor_channel: SupervisorChannel | None = None,
) -> None:
    """Serve until a signal comes. ``fetcher`` and ``journal`` are what tests have others of.

    One of several has a ``parent``, which has prepared everything and holds the port.
    """
    if supervisor_channel is None:
        await _prepare_database(settings, site_folder)
    database, vault = Database(settings.database_url), SecretCipher(settings.secret_keys)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(database.aclose)
        storage = ObjectStorage(settings.storage_url)
        if supervisor_channel is None:
            _print_welcome(settings, site_folder, host, port)
        tiers = configured_tiers(settings)
        plans = PromptManifests(lambda voice: fallback_voices(voice, tiers)[0])
        shelf = PromptCache(storage, database, wall_clock)
        opened.push_async_callback(shelf.aclose)
        prompts = PreloadingPromptCache(shelf, plans)
        speaking = create_speech_services(settings, prompts)
        services = CallServices(
            DatabaseDirectory(database, vault, wall_clock),
            speaking,
            EventBus(connect(settings.redis_url)),
            http_client or HttpClient(),
            call_store_factory(database, vault),
            wall_clock,
            RecordingService(storage, DatabaseRecordingCatalog(database), wall_clock, settings.public_url),
            prompt_preloader=prompts,
        )
        renderer = PromptRenderWorker(database, shelf, plans, speaking.synthesizer.render, wall_clock)
        calls = CallRegistry(services, settings.secret_keys, settings.max_calls)
        registrar = NumberProvisioner(
            ProvisioningContext(settings, database, vault, services.bus, wall_clock, TwilioClient())
        )
        guard = KeyRevocationWatcher(
            database, wall_clock, max_per_process=min(MAX_SOCKETS_PER_PROCESS, raise_open_file_limit() // 2)
        )  # the other half for calls
        monitors = MonitorService(services.bus, database, wall_clock, guard)
        watching = MonitoringDependencies(monitors, settings.secret_keys, settings.origin)
        api = create_routes(
            database, vault, calls, wall_clock, provisioner=registrar, render_worker=renderer, monitoring=watching
        )
        workers: list[BackgroundService] = [registrar, renderer, monitors, ProcessHeartbeat(database, calls)]
        app = create_app(
            settings,
            calls,
            tenant_tokens=TwilioAccounts(database, vault).get_auth_token,
            api_routes=api,
            background_services=workers,
        )
        server = GatewayServer(
            uvicorn_config(app, host, port), lambda: drain(calls, drain_seconds), opened.aclose, supervisor_channel
        )
        await server.serve([bind_socket(host, port, reuse_port=True)] if supervisor_channel else None)


async def _seed(database: Database, site_folder: SiteFolder) -> None:
    actor = Actor("command-line", "platform", site_folder.tenant.id, "", wall_clock())
    await seed_database(database, site_folder, actor)


def _print_welcome(settings: Settings, site_folder: SiteFolder | None, host: str, port: int) -> None:
    say = common.stdout.print
    if site_folder:
        say(f"[bold]{site_folder.tenant.name}[/bold] answers {', '.join(site_folder.numbers)}")
    say(f"listening on http://{host}:{port}, known to Twilio as {settings.public_url}")
    if configuration.SIMULATOR_ACCOUNT_SID in settings.platform_tokens:
        number = next(iter(site_folder.numbers), "") if site_folder else "+13072249663"
        say(
            "no Twilio account is set up, so only the simulator is answered: "
            f"[bold]vocelio call {number} --say sales[/bold]"
        )
