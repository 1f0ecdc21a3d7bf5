"""The command line: ``vocelio``. One module a command, loaded when it is asked for.

All of them together take seconds to import, the database's libraries alone one, and nobody who validates a flow again
and again should wait for that. The way is click's own: https://click.palletsprojects.com/en/stable/complex/
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = ("serve", "demo", "call", "flow", "replay", "key", "doctor")


class _Commands(TyperGroup):
    """The commands by name; each is the ``app`` of the module of its name. (Typer's own types of click are private.)"""

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
    """A voice gateway: phone flows on Twilio Media Streams, heard and answered in real time."""


def main() -> None:
    """The entry point."""
    app()
