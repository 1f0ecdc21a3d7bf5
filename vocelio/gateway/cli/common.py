"""What the commands share: consoles, settings, and leaving with a message instead of a traceback.

It imports little, for all of them wait for it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from vocelio.gateway import config
from vocelio.gateway.errors import GatewayError
from vocelio.gateway.speech.interfaces import SpeechError

ServerOption = Annotated[str, typer.Option(help="Where the gateway listens; otherwise localhost at PORT, or 8080.")]

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_error(text: str) -> None:
    """Say what is wrong; the text may hold anything."""
    stderr.print("[red]vocelio:[/red] ", end="")
    stderr.print(text, markup=False, soft_wrap=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Errors of the user's world end the command with their message and exit code 2."""
    try:
        yield
    except (GatewayError, SpeechError) as error:
        print_error(str(error))
        raise typer.Exit(2) from error


def read_settings() -> config.Settings:
    """The settings of the environment."""
    return config.load_settings(os.environ)


def base_url(server: str) -> str:
    """Where the gateway listens, if the user has not said otherwise."""
    return server.rstrip("/") or f"http://localhost:{read_settings().port}"
