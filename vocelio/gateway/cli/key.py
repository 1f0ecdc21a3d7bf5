"""vocelio key: keys for the API."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from vocelio.gateway.cli import api_client, common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def key() -> None:
    """Keys for the control API."""


class Role(StrEnum):
    """What a key may do."""

    viewer = "viewer"
    operator = "operator"
    designer = "designer"
    admin = "admin"
    platform = "platform"


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="What it may do.")],
    tenant: Annotated[str, typer.Option(help="Whose things it is for; a platform key is for everybody's.")] = "",
    label: Annotated[str, typer.Option(help="What it is used for.")] = "made on the command line",
    server: common.ServerOption = "",
) -> None:
    """Make a key and show it, once. A platform key is written straight to the database; others are made by the API."""
    with common.exit_on_error():
        if role is Role.platform:
            secret = asyncio.run(_create_platform_key(label))
        else:
            made = api_client.ApiClient(server, tenant).request(
                "POST", "/v1/keys", {"role": role.value, "label": label}
            )
            secret = made.json()["secret"]
    typer.echo(secret)


async def _create_platform_key(label: str) -> str:
    database = Database(common.read_settings().database_url)
    try:
        await database.migrate()
        return await api_keys.create_platform_key(database, label, wall_clock())
    finally:
        await database.aclose()
