"""vocelio serve: run the gateway in worker processes under a supervisor.

This module is the supervisor's: it must stay cheap to import. What a worker imports is in ``worker``.
"""

from pathlib import Path
from typing import Annotated

import typer

from vocelio.gateway import logs, private_files
from vocelio.gateway.cli import common
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import SettingsError
from vocelio.gateway.server.sockets import reserve_port, share_port
from vocelio.gateway.server.supervisor import StartTask, Supervisor

app = typer.Typer(add_completion=False)

ALONE_DRAIN_SECONDS = 3_600.0  # for calls to end, if no other process can take them


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port. Default: PORT, or 8080.")] = None,
    site: Annotated[
        Path | None,
        typer.Option(help="Create what this folder (site.json, flows/*.json) has and the database lacks."),
    ] = None,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=86_400,
            help="Time for calls to finish on shutdown. Default: 0 if other processes take them, else 3600.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Number of processes. More than one need PostgreSQL and VOCELIO_REDIS_URL."),
    ] = 1,
) -> None:
    """Run the gateway. SIGTERM stops it, and SIGHUP replaces its processes, without losing a call."""
    logs.configure()
    private_files.make_new_files_private()
    with common.exit_on_error():
        settings = common.read_settings()
        private_files.make_existing_files_private(settings)
        port = settings.port if port is None else port
        raise typer.Exit(run_supervisor(settings, site, host, port, drain_seconds, workers))


def run_supervisor(
    settings: Settings,
    site: Path | None,
    host: str,
    port: int,
    drain_seconds: float | None,
    workers: int,
    worker_module: str = "vocelio.gateway.cli.worker",
) -> int:
    """Serve with worker processes until a signal arrives. Returns the exit code. Raises SettingsError.

    ``worker_module`` is replaced by tests.
    """
    if workers > 1:
        require_shared_backends(settings)
    handoff_seconds, alone_seconds = (
        (0.0, ALONE_DRAIN_SECONDS) if drain_seconds is None else (drain_seconds, drain_seconds)
    )

    def command(channel: int, listener: int, task: StartTask) -> list[str]:
        arguments = (channel, listener, task, handoff_seconds, alone_seconds, *([site] if site else []))
        return ["-m", worker_module, *map(str, arguments)]

    with reserve_port(host, port) as reserved:
        return Supervisor(
            command,
            lambda: share_port(reserved),
            workers,
            max_drain_seconds=alone_seconds,
            drain_seconds=handoff_seconds,
        ).run()


def require_shared_backends(settings: Settings) -> None:
    """Check that several processes can work together. Raises SettingsError."""
    if not settings.database_url.startswith("postgresql"):
        raise SettingsError("--workers needs a shared database: VOCELIO_DATABASE_URL=postgresql+asyncpg://")
    if not settings.redis_url:
        raise SettingsError("--workers needs VOCELIO_REDIS_URL: processes exchange events through Redis")
