"""The command line: ``vocelio``. One module a command, loaded when it is asked for.

All of them together take seconds to import, the database's libraries alone one, and nobody who validates a flow again
and again should wait for that. The way is click's own: https://click.palletsprojects.com/en/stable/complex/
"""

from importlib import import_module

import typer
from click import Command, Context
from typer.core import TyperGroup

COMMANDS = ("serve", "demo", "call", "flow", "replay", "key")


class _Commands(TyperGroup):
    """The commands by name; each is the ``app`` of the module of its name."""

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"{__name__}.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def vocelio() -> None:
    """A voice gateway: phone flows on Twilio Media Streams, heard and answered in real time."""


def main() -> None:
    """The entry point."""
    app()
