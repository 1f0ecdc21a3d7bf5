"""vocelio key: create API keys."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from vocelio.gateway import private_files
from vocelio.gateway.cli import api_client, common
from vocelio.gateway.clock import wall_clock
from vocelio.gateway.store import api_keys
from vocelio.gateway.store.db.database import Database

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def key() -> None:
    """Manage keys of the control API."""


class Role(StrEnum):
    """Role of an API key."""

    viewer = "viewer"
    operator = "operator"
    designer = "designer"
    admin = "admin"
    platform = "platform"


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="Role of the key.")],
    tenant: Annotated[str, typer.Option(help="Tenant of the key; a platform key is for all tenants.")] = "",
    label: Annotated[str, typer.Option(help="Description of its use.")] = "created on the command line",
    server: common.ServerOption = "",
) -> None:
    """Create a key and print it once. Platform keys are written to the database directly, others through the API."""
    with common.exit_on_error():
        if role is Role.platform:
            secret = asyncio.run(_create_platform_key(label))
        else:
            response = api_client.ApiClient(server, tenant).request(
                "POST", "/v1/keys", {"role": role.value, "label": label}
            )
            secret = response.json()["secret"]
    typer.echo(secret)


async def _create_platform_key(label: str) -> str:
    private_files.make_new_files_private()  # this may be the first command
    database = Database(common.read_settings().database_url)
    try:
        await database.migrate()
        return await api_keys.create_platform_key(database, label, wall_clock())
    finally:
        await database.aclose()
