"""vocelio doctor: what is right and what is wrong, from the settings to each number at Twilio.

The settings and the database are looked at here; what Twilio has, the gateway is asked for, by its API.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
import typer
from rich.table import Table

from vocelio.gateway.cli import api_client, common
from vocelio.gateway.cli.api_client import Api, ApiError
from vocelio.gateway.config import SIMULATOR_ACCOUNT, Settings
from vocelio.gateway.errors import GatewayError, SettingsError
from vocelio.gateway.store.db import migrate
from vocelio.gateway.store.db.database import Database

app = typer.Typer(add_completion=False)

Verdict = Literal["fine", "wrong", "unknown"]

COLOURS = {"fine": "green", "wrong": "red", "unknown": "yellow"}
EXIT_CODES = {"fine": 0, "wrong": 1, "unknown": 2}
REPAIR_SECONDS = 30.0  # that are waited for numbers to be set: Twilio needs about one for each
LOOK_SECONDS = 1.0


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, and what about it."""

    what: str
    verdict: Verdict
    said: str


@app.command()
def doctor(
    tenant: api_client.TenantName = "",
    repair: Annotated[bool, typer.Option("--repair", help="Set numbers anew that are not as they should be.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server: common.Server = "",
) -> None:
    """Check settings, database, gateway and numbers. Exit code 1: something is wrong; 2: not all could be checked."""
    findings = [*_here(), *_gateway(tenant, server, repair)]
    verdict = _worst(findings)
    if as_json:
        typer.echo(msgspec.json.encode({"verdict": verdict, "findings": findings}).decode())
    else:
        _show(findings)
    raise typer.Exit(EXIT_CODES[verdict])


def _worst(findings: list[Finding]) -> Verdict:
    verdicts = {finding.verdict for finding in findings}
    return "wrong" if "wrong" in verdicts else "unknown" if "unknown" in verdicts else "fine"


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        colour = COLOURS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/{colour}]", finding.what, _plain(finding.said))
    common.out.print(table)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


# This machine


def _here() -> Iterator[Finding]:
    try:
        settings = common.settings()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", "fine", "can be read")
    yield _database(settings)
    if settings.redis_url:
        yield _redis(settings.redis_url)
    yield _public_url(settings)


def _database(settings: Settings) -> Finding:
    try:
        revision = asyncio.run(_revision(settings.database_url))
    except GatewayError as error:
        return Finding("database", "wrong", str(error))
    if revision == migrate.head():
        return Finding("database", "fine", f"answers, and has the tables of revision {revision}")
    found = f"has the tables of revision {revision}" if revision else "has no tables yet"
    return Finding("database", "wrong", f"{found}: `vocelio serve` makes those of {migrate.head()}")


async def _revision(url: str) -> str:
    database = Database(url)
    try:
        return await database.revision()
    finally:
        await database.aclose()


def _redis(url: str) -> Finding:
    from vocelio.gateway.events.redis import client  # here: most have none, and it takes half a second to import

    async def reached() -> bool:
        async with asyncio.timeout(client.SECONDS):
            server = await client.reach(url)
        await server.aclose()
        return server.sharded

    try:
        sharded = asyncio.run(reached())
    except client.TROUBLE as error:  # its text may show the address, which may hold a password
        problem = f"does not answer ({type(error).__name__}): monitors see events of one process only, and late"
        return Finding("redis", "wrong", problem)
    return Finding("redis", "fine", f"answers{', and is a cluster' if sharded else ''}")


def _public_url(settings: Settings) -> Finding:
    if settings.public_url.startswith("https://"):
        return Finding("public URL", "fine", settings.public_url)
    if SIMULATOR_ACCOUNT in settings.tokens:
        return Finding(
            "public URL", "fine", f"{settings.public_url}, which will do for the simulator, but not for Twilio"
        )
    problem = f"{settings.public_url} is not https: Twilio opens no media stream there. Set VOCELIO_PUBLIC_URL."
    return Finding("public URL", "wrong", problem)


# The gateway


def _gateway(tenant: str, server: str, repair: bool) -> Iterator[Finding]:
    try:
        api = Api(server, tenant)
        answer = api.ask("GET", "/v1/me", accept=(401, 404))
        if answer.status >= 400:
            yield Finding("gateway", "wrong", str(answer.json()["detail"]))
            return
        yield Finding("gateway", "fine", f"answers at {common.address(server)}")
        yield from _speech(api)
        for name in _tenants(api, answer.json()["tenant"]):
            yield from _tenant(Api(server, name), name, repair)
    except (GatewayError, KeyError, msgspec.DecodeError) as error:
        yield Finding("gateway", "unknown", f"{error}. So what Twilio has was not looked at")


def _speech(api: Api) -> Iterator[Finding]:
    for provider in api.ask("GET", "/v1/speech").json()["providers"]:
        if not provider["configured"]:
            yield Finding(f"speech of {provider['name']}", "fine", "is not configured: others stand in for it")
        for service in provider["services"]:
            yield _service(service)


def _service(one: dict[str, Any]) -> Finding:
    what = f"{one['service']} of {one['provider']}"
    last = f" {one['last_error_seconds']} s ago: {one['last_error']}" if one["last_error"] else ""
    if one["state"] != "closed":
        return Finding(what, "wrong", f"is not used, others stand in;{last}")
    speed = f", {one['p50_ms']} ms (p95 {one['p95_ms']} ms)" if one["p50_ms"] is not None else ""
    return Finding(what, "fine", f"can be had{speed}" + (f"; failed{last}" if last else ""))


def _tenants(api: Api, own: str) -> list[str]:
    """The key's tenant; of a platform key that names none, all."""
    return [own] if own else [one["id"] for _, page in _pages(api, "/v1/tenants") for one in page]


def _pages(api: Api, path: str) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    cursor = ""
    while True:
        page = api.ask("GET", f"{path}?limit=200&cursor={quote(cursor)}").json()
        yield page, page["items"]
        cursor = page["next"]
        if not cursor:
            return


def _tenant(api: Api, name: str, repair: bool) -> Iterator[Finding]:
    if repair:
        yield _repaired(api, name)
    pages = list(_pages(api, "/v1/registrations"))
    yield _account(name, pages[0][0])
    for page, registrations in pages:
        for registration in registrations:
            yield _number(registration, page["managed"], bool(page["problem"]))


def _account(name: str, page: dict[str, Any]) -> Finding:
    what = f"Twilio account of {name}"
    if not page["managed"]:
        return Finding(what, "fine", page["problem"])
    if page["problem"]:
        return Finding(what, "wrong", page["problem"])
    whose = "the tenant's own" if page["own"] else "the platform's"
    return Finding(what, "fine", f"{page['account']}, {whose}, answers")


def _number(one: dict[str, Any], managed: bool, unseen: bool) -> Finding:
    """``managed`` is whether there is an account at Twilio, ``unseen`` whether it could not be asked."""
    number, state, problem = one["number"], one["state"], one["problem"]
    if not managed and one["flow"] is not None:
        return Finding(number, "fine", "is set by nobody: there is no Twilio account")
    match state:
        case "registered" if unseen:
            return Finding(number, "unknown", "was set once; whether it still is cannot be seen")
        case "registered":
            return Finding(number, "fine", "its calls come here")
        case "pending":
            return Finding(number, "unknown", "is being set")
        case None if one["flow"] is None:
            return Finding(number, "fine", "leads to no flow, and is left alone")
        case None:
            return Finding(number, "wrong", "has never been set at Twilio: --repair does it")
        case _:
            return Finding(number, "wrong", f"{state}: {problem}")


def _repaired(api: Api, name: str) -> Finding:
    """Ask for it, and wait until nothing is on its way any more."""
    what = f"repair of {name}"
    try:
        asked = api.ask("POST", "/v1/registrations/repair").json()["numbers"]
    except ApiError as error:
        return Finding(what, "wrong", str(error))
    end = time.monotonic() + REPAIR_SECONDS
    while _is_pending(api) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    return Finding(what, "fine", f"tried: {', '.join(asked)}" if asked else "nothing to do")


def _is_pending(api: Api) -> bool:
    return any(one["state"] == "pending" for _, page in _pages(api, "/v1/registrations") for one in page)
