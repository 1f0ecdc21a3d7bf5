"""What the commands share: consoles, the site's folder, and leaving with a message instead of a traceback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vocelio.gateway import config
from vocelio.gateway.calls.ports import Services
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.events import EventBus
from vocelio.gateway.outbound.fetch import Fetcher
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer
from vocelio.gateway.speech.ports import SpeechError
from vocelio.gateway.speech.speech import only
from vocelio.gateway.store.folder import Folder
from vocelio.gateway.store.memory import MemoryJournal

Server = Annotated[str, typer.Option(help="Where the gateway listens; otherwise localhost at PORT, or 8080.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXAMPLES = Path(__file__).parents[3] / "examples"
SITE = EXAMPLES / "site"


def complain(text: str) -> None:
    """Say what is wrong; the text may hold anything."""
    err.print("[red]vocelio:[/red] ", end="")
    err.print(text, markup=False, soft_wrap=True)


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the user's world end the command with their message and exit code 2."""
    try:
        yield
    except (GatewayError, SpeechError) as error:
        complain(str(error))
        raise typer.Exit(2) from error


def settings() -> config.Settings:
    """The settings of the environment."""
    return config.read(os.environ)


def address(server: str) -> str:
    """Where the gateway listens, if the user has not said otherwise."""
    return server.rstrip("/") or f"http://localhost:{settings().port}"


def local_services(folder: Folder) -> Services:
    """Services with offline speech for a folder's site, kept in memory."""
    journal = MemoryJournal()
    site = folder.site(journal)
    return Services(site, only(LocalRecognizer(), LocalSynthesizer()), EventBus(), Fetcher(), journal, wall_clock)
