"""vocelio serve: the gateway."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import config as configuration
from vocelio.gateway import logs
from vocelio.gateway.api.routes import routes
from vocelio.gateway.api.websockets.endpoints import Watching
from vocelio.gateway.app import Worker, build
from vocelio.gateway.calls.background.drain import hand_over
from vocelio.gateway.calls.background.process_heartbeat import Presence
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.cli import common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.errors import SettingsError
from vocelio.gateway.events import EventBus
from vocelio.gateway.events.factory import connect
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.monitors.key_revocation import PER_PROCESS, Guard
from vocelio.gateway.monitors.service import Monitors
from vocelio.gateway.prompts.cache import Rendered, Shelf
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.recordings.service import Recordings
from vocelio.gateway.server.protocols import open_files
from vocelio.gateway.server.server import Server, config, listen, loop_factory, reserve
from vocelio.gateway.server.supervisor import Parent, Supervisor
from vocelio.gateway.site.folder import Folder
from vocelio.gateway.site.seed import fill
from vocelio.gateway.speech.fallback_synthesizer import chain
from vocelio.gateway.speech.providers import configured, speech
from vocelio.gateway.storage.object_store import ObjectStorage
from vocelio.gateway.store.audit.actor import Actor
from vocelio.gateway.store.calls.interface import Journal
from vocelio.gateway.store.calls.write_behind import DatabaseJournal
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.key_rotation import renew
from vocelio.gateway.store.recordings import DatabaseCatalogue
from vocelio.gateway.store.routing.database import DatabaseSite
from vocelio.gateway.store.tenants.twilio_accounts import Accounts
from vocelio.gateway.twilio.provisioning.context import Desk
from vocelio.gateway.twilio.provisioning.worker import Registrar
from vocelio.gateway.twilio.rest_client import Rest

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
    logs.begin()
    with common.explained():
        settings = common.settings()
        folder = Folder(site) if site else None
        where = host, settings.port if port is None else port
        if workers > 1:
            raise typer.Exit(supervise(settings, folder, *where, drain_seconds, workers))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run(settings, folder, *where, drain_seconds))


def supervise(
    settings: Settings,
    folder: Folder | None,
    host: str,
    port: int,
    drain_seconds: float,
    workers: int,
    module: str = "vocelio.gateway.cli.worker",
) -> int:
    """Serve by that many processes until a signal comes: the exit code. Raises SettingsError.

    ``module`` is what a worker runs: tests have another.
    """
    check_shared(settings)
    asyncio.run(_prepare(settings, folder))

    def command(channel: int) -> list[str]:
        return ["-m", module, str(channel), host, str(holder.getsockname()[1]), str(drain_seconds)]

    with reserve(host, port) as holder:
        _welcome(settings, folder, host, holder.getsockname()[1])
        return Supervisor(command, workers, drain_seconds).run()


def check_shared(settings: Settings) -> None:
    """Whether several processes can work together. Raises SettingsError."""
    if not settings.database_url.startswith("postgresql"):
        raise SettingsError(
            "--workers needs a database that processes share: VOCELIO_DATABASE_URL=postgresql+asyncpg://"
        )
    if not settings.redis_url:
        raise SettingsError("--workers needs VOCELIO_REDIS_URL: it is how processes tell each other of events")


async def _prepare(settings: Settings, folder: Folder | None) -> None:
    """What is done once, before anybody serves. Raises SettingsError, SiteError, StoreUnavailable."""
    database = Database(settings.database_url)
    try:
        await database.migrate()
        await renew(database, Vault(settings.secret_keys))
        if folder:
            await _fill(database, folder)
    finally:
        await database.aclose()


async def run(
    settings: Settings,
    folder: Folder | None,
    host: str,
    port: int,
    drain_seconds: float,
    *,
    fetcher: Fetcher | None = None,
    journal: Callable[[Database, Vault], Journal] = DatabaseJournal,
    parent: Parent | None = None,
) -> None:
    """Serve until a signal comes. ``fetcher`` and ``journal`` are what tests have others of.

    One of several has a ``parent``, which has prepared everything and holds the port.
    """
    if parent is None:
        await _prepare(settings, folder)
    database, vault = Database(settings.database_url), Vault(settings.secret_keys)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(database.aclose)
        storage = ObjectStorage(settings.storage_url)
        if parent is None:
            _welcome(settings, folder, host, port)
        tiers = configured(settings)
        plans = Plans(lambda voice: chain(voice, tiers)[0])
        shelf = Shelf(storage, database, wall_clock)
        opened.push_async_callback(shelf.aclose)
        prompts = Rendered(shelf, plans)
        speaking = speech(settings, prompts)
        services = Services(
            DatabaseSite(database, vault, wall_clock),
            speaking,
            EventBus(connect(settings.redis_url)),
            fetcher or Fetcher(),
            journal(database, vault),
            wall_clock,
            Recordings(storage, DatabaseCatalogue(database), wall_clock, settings.public_url),
            prompts=prompts,
        )
        renderer = Renderer(database, shelf, plans, speaking.voices.render, wall_clock)
        calls = Calls(services, settings.secret_keys, settings.capacity)
        registrar = Registrar(Desk(settings, database, vault, services.bus, wall_clock, Rest()))
        guard = Guard(database, wall_clock, per_process=min(PER_PROCESS, open_files() // 2))  # the other half for calls
        monitors = Monitors(services.bus, database, wall_clock, guard)
        watching = Watching(monitors, settings.secret_keys, settings.origin)
        api = routes(database, vault, calls, wall_clock, registrar=registrar, renderer=renderer, watching=watching)
        workers: list[Worker] = [registrar, renderer, monitors, Presence(database, calls)]
        app = build(settings, calls, accounts=Accounts(database, vault).token, api=api, workers=workers)
        server = Server(config(app, host, port), lambda: hand_over(calls, drain_seconds), opened.aclose, parent)
        await server.serve([listen(host, port, shared=True)] if parent else None)


async def _fill(database: Database, folder: Folder) -> None:
    actor = Actor("command-line", "platform", folder.tenant.id, "", wall_clock())
    await fill(database, folder, actor)


def _welcome(settings: Settings, folder: Folder | None, host: str, port: int) -> None:
    say = common.out.print
    if folder:
        say(f"[bold]{folder.tenant.name}[/bold] answers {', '.join(folder.numbers)}")
    say(f"listening on http://{host}:{port}, known to Twilio as {settings.public_url}")
    if configuration.SIMULATOR_ACCOUNT in settings.tokens:
        number = next(iter(folder.numbers), "") if folder else "+13072249663"
        say(
            "no Twilio account is set up, so only the simulator is answered: "
            f"[bold]vocelio call {number} --say sales[/bold]"
        )
