"""Command line interface ``vocelio``: one module for each command, imported when it is used.

Importing all of them takes seconds, the database libraries alone one, which ``vocelio flow validate`` should not cost.
The pattern is click's own: https://click.palletsprojects.com/en/stable/complex/
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = ("serve", "demo", "call", "flow", "replay", "key", "site", "doctor")


class _Commands(TyperGroup):
    """Lazy group of commands: each is the ``app`` of the module of its name. (Typer's own click types are private.)"""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"{__name__}.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def vocelio() -> None:
    """Voice gateway: runs phone flows on Twilio Media Streams in real time."""


def main() -> None:
    """Run the command line interface."""
    app()
