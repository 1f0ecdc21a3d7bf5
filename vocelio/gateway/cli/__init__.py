"""The command line: ``vocelio``. One module a command; this one only gathers them."""

import typer

from vocelio.gateway.cli import call, demo, flow, key, replay, serve

app = typer.Typer(
    help="A voice gateway: phone flows on Twilio Media Streams, heard and answered in real time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(call.call)
app.command()(replay.replay)
app.add_typer(flow.app, name="flow")
app.add_typer(key.app, name="key")


def main() -> None:
    """The entry point."""
    app()
