"""vocelio serve: the gateway."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import config as configuration
from vocelio.gateway.api.routes import routes
from vocelio.gateway.app import build
from vocelio.gateway.calls.handover import hand_over
from vocelio.gateway.calls.ports import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.carrier.desk import Desk
from vocelio.gateway.carrier.registration import Registrar
from vocelio.gateway.carrier.rest import Rest
from vocelio.gateway.cli import common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.config import Settings
from vocelio.gateway.events import EventBus
from vocelio.gateway.outbound.fetch import Fetcher
from vocelio.gateway.recordings.recordings import Recordings
from vocelio.gateway.rendered.plans import Plans
from vocelio.gateway.rendered.rendered import Rendered
from vocelio.gateway.rendered.renderer import Renderer
from vocelio.gateway.rendered.shelf import Shelf
from vocelio.gateway.server import Server, config, loop_factory
from vocelio.gateway.speech.providers import configured, speech
from vocelio.gateway.speech.voices import chain
from vocelio.gateway.storage.objects import ObjectStorage
from vocelio.gateway.store.accounts import Accounts
from vocelio.gateway.store.actor import Actor
from vocelio.gateway.store.database import Database
from vocelio.gateway.store.filling import fill
from vocelio.gateway.store.folder import Folder
from vocelio.gateway.store.journal import Journal
from vocelio.gateway.store.lookup import DatabaseSite
from vocelio.gateway.store.recordings import DatabaseCatalogue
from vocelio.gateway.store.renewal import renew
from vocelio.gateway.store.vault import Vault
from vocelio.gateway.store.writing import DatabaseJournal

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
) -> None:
    """Run the gateway until it is told to stop; its live calls go on with another process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with common.explained(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        settings = common.settings()
        folder = Folder(site) if site else None
        runner.run(run(settings, folder, host, port or settings.port, drain_seconds))


async def run(
    settings: Settings,
    folder: Folder | None,
    host: str,
    port: int,
    drain_seconds: float,
    *,
    fetcher: Fetcher | None = None,
    journal: Callable[[Database, Vault], Journal] = DatabaseJournal,
) -> None:
    """Serve until a signal comes. ``fetcher`` and ``journal`` are what tests have others of."""
    database, vault = Database(settings.database_url), Vault(settings.secret_keys)
    try:
        await database.migrate()
        await renew(database, vault)
        if folder:
            await _fill(database, folder)
        storage = ObjectStorage(settings.storage_url)
        _welcome(settings, folder, host, port)
        tiers = configured(settings)
        plans = Plans(lambda voice: chain(voice, tiers)[0])
        shelf = Shelf(storage, database, wall_clock)
        prompts = Rendered(shelf, plans)
        speaking = speech(settings, prompts)
        services = Services(
            DatabaseSite(database, vault, wall_clock),
            speaking,
            EventBus(),
            fetcher or Fetcher(),
            journal(database, vault),
            wall_clock,
            Recordings(storage, DatabaseCatalogue(database), wall_clock, settings.public_url),
            prompts=prompts,
        )
        renderer = Renderer(database, shelf, plans, speaking.voices.render, wall_clock)
        calls = Calls(services, settings.secret_keys, settings.capacity)
        registrar = Registrar(Desk(settings, database, vault, services.bus, wall_clock, Rest()))
        api = routes(database, vault, calls, wall_clock, registrar=registrar, renderer=renderer)
        app = build(settings, calls, accounts=Accounts(database, vault).token, api=api, workers=[registrar, renderer])
        await Server(config(app, host, port), lambda: hand_over(calls, drain_seconds)).serve()
        await shelf.aclose()
    finally:
        await database.aclose()


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
