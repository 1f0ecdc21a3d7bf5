"""Shared by all commands: consoles, settings, and exit codes with an error message instead of a traceback.

It must stay cheap to import.
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

ServerOption = Annotated[str, typer.Option(help="URL of the gateway. Default: localhost at PORT, or 8080.")]

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def print_error(text: str) -> None:
    """Print an error message, without interpreting markup in it."""
    stderr.print("[red]vocelio:[/red] ", end="")
    stderr.print(text, markup=False, soft_wrap=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn expected errors into a message and exit code 2."""
    try:
        yield
    except (GatewayError, SpeechError) as error:
        print_error(str(error))
        raise typer.Exit(2) from error


def read_settings() -> config.Settings:
    """Load the settings from the environment."""
    return config.load_settings(os.environ)


def base_url(server: str) -> str:
    """Return the URL of the gateway: the option, or else localhost."""
    return server.rstrip("/") or f"http://localhost:{read_settings().port}"
