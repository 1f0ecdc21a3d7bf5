"""vocelio serve: the gateway."""

import logging
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from vocelio.gateway import config as configuration
from vocelio.gateway.app import build
from vocelio.gateway.cli import common
from vocelio.gateway.server import config
from vocelio.gateway.store.site import FolderSite


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="The port; otherwise PORT, otherwise 8080.")] = None,
    site: Annotated[Path, typer.Option(help="The folder with site.json and flows/*.json.")] = common.SITE,
) -> None:
    """Run the gateway until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with common.explained():
        settings = common.settings()
        folder = FolderSite(site)
        app = build(settings, common.local_services(folder))
        common.out.print(f"[bold]{folder.tenant.name}[/bold] answers {', '.join(folder.numbers)}")
        common.out.print(
            f"listening on http://{host}:{port or settings.port}, known to Twilio as {settings.public_url}"
        )
        if configuration.SIMULATOR_ACCOUNT in settings.tokens:
            common.out.print(
                "no Twilio account is set up, so only the simulator is answered: "
                f"[bold]vocelio call {folder.numbers[0]} --say sales[/bold]"
            )
        uvicorn.Server(config(app, host, port or settings.port)).run()
