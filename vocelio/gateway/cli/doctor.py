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
from vocelio.gateway.cli.api_client import ApiClient, ApiClientError
from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, Settings
from vocelio.gateway.errors import GatewayError, SettingsError
from vocelio.gateway.store.db import migrate
from vocelio.gateway.store.db.database import Database

app = typer.Typer(add_completion=False)

Verdict = Literal["fine", "wrong", "unknown"]

VERDICT_COLORS = {"fine": "green", "wrong": "red", "unknown": "yellow"}
EXIT_CODES = {"fine": 0, "wrong": 1, "unknown": 2}
REPAIR_TIMEOUT_SECONDS = 30.0  # that are waited for numbers to be set: Twilio needs about one for each
POLL_INTERVAL_SECONDS = 1.0


class Check(msgspec.Struct, frozen=True):
    """What was looked at, and what about it."""

    what: str
    verdict: Verdict
    said: str


@app.command()
def doctor(
    tenant: api_client.TenantOption = "",
    repair: Annotated[bool, typer.Option("--repair", help="Set numbers anew that are not as they should be.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server: common.ServerOption = "",
) -> None:
    """Check settings, database, gateway and numbers. Exit code 1: something is wrong; 2: not all could be checked."""
    findings = [*_local_checks(), *_gateway_checks(tenant, server, repair)]
    verdict = _overall_verdict(findings)
    if as_json:
        typer.echo(msgspec.json.encode({"verdict": verdict, "findings": findings}).decode())
    else:
        _print_checks(findings)
    raise typer.Exit(EXIT_CODES[verdict])


def _overall_verdict(checks: list[Check]) -> Verdict:
    verdicts = {finding.verdict for finding in checks}
    return "wrong" if "wrong" in verdicts else "unknown" if "unknown" in verdicts else "fine"


def _print_checks(checks: list[Check]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in checks:
        colour = VERDICT_COLORS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/{colour}]", finding.what, _escape_markup(finding.said))
    common.stdout.print(table)


def _escape_markup(text: str) -> str:
    return text.replace("[", r"\[")


# This machine


def _local_checks() -> Iterator[Check]:
    try:
        settings = common.read_settings()
    except SettingsError as error:
        yield Check("settings", "wrong", str(error))
        return
    yield Check("settings", "fine", "can be read")
    yield _check_database(settings)
    if settings.redis_url:
        yield _check_redis(settings.redis_url)
    yield _check_public_url(settings)


def _check_database(settings: Settings) -> Check:
    try:
        revision = asyncio.run(_database_revision(settings.database_url))
    except GatewayError as error:
        return Check("database", "wrong", str(error))
    if revision == migrate.head():
        return Check("database", "fine", f"answers, and has the tables of revision {revision}")
    found = f"has the tables of revision {revision}" if revision else "has no tables yet"
    return Check("database", "wrong", f"{found}: `vocelio serve` makes those of {migrate.head()}")


async def _database_revision(url: str) -> str:
    database = Database(url)
    try:
        return await database.get_revision()
    finally:
        await database.aclose()


def _check_redis(url: str) -> Check:
    from vocelio.gateway.events.redis import client  # here: most have none, and it takes half a second to import

    async def reached() -> bool:
        async with asyncio.timeout(client.TIMEOUT_SECONDS):
            server = await client.connect(url)
        await server.aclose()
        return server.sharded

    try:
        sharded = asyncio.run(reached())
    except client.CONNECTION_ERRORS as error:  # its text may show the address, which may hold a password
        problem = f"does not answer ({type(error).__name__}): monitors see events of one process only, and late"
        return Check("redis", "wrong", problem)
    return Check("redis", "fine", f"answers{', and is a cluster' if sharded else ''}")


def _check_public_url(settings: Settings) -> Check:
    if settings.public_url.startswith("https://"):
        return Check("public URL", "fine", settings.public_url)
    if SIMULATOR_ACCOUNT_SID in settings.platform_tokens:
        return Check(
            "public URL", "fine", f"{settings.public_url}, which will do for the simulator, but not for Twilio"
        )
    problem = f"{settings.public_url} is not https: Twilio opens no media stream there. Set VOCELIO_PUBLIC_URL."
    return Check("public URL", "wrong", problem)


# The gateway


def _gateway_checks(tenant: str, server: str, repair: bool) -> Iterator[Check]:
    try:
        api = ApiClient(server, tenant)
        answer = api.request("GET", "/v1/me", allowed_statuses=(401, 404))
        if answer.status >= 400:
            yield Check("gateway", "wrong", str(answer.json()["detail"]))
            return
        yield Check("gateway", "fine", f"answers at {common.base_url(server)}")
        yield from _check_speech(api)
        for name in _tenant_ids(api, answer.json()["tenant"]):
            yield from _check_tenant(ApiClient(server, name), name, repair)
    except (GatewayError, KeyError, msgspec.DecodeError) as error:
        yield Check("gateway", "unknown", f"{error}. So what Twilio has was not looked at")


def _check_speech(api: ApiClient) -> Iterator[Check]:
    for provider in api.request("GET", "/v1/speech").json()["providers"]:
        if not provider["configured"]:
            yield Check(f"speech of {provider['name']}", "fine", "is not configured: others stand in for it")
        for service in provider["services"]:
            yield _check_speech_service(service)


def _check_speech_service(service: dict[str, Any]) -> Check:
    what = f"{service['service']} of {service['provider']}"
    last = f" {service['last_error_age_seconds']} s ago: {service['last_error']}" if service["last_error"] else ""
    if service["state"] != "closed":
        return Check(what, "wrong", f"is not used, others stand in;{last}")
    speed = (
        f", {service['latency_p50_ms']} ms (p95 {service['latency_p95_ms']} ms)"
        if service["latency_p50_ms"] is not None
        else ""
    )
    return Check(what, "fine", f"can be had{speed}" + (f"; failed{last}" if last else ""))


def _tenant_ids(api: ApiClient, own_tenant: str) -> list[str]:
    """The key's tenant; of a platform key that names none, all."""
    return [own_tenant] if own_tenant else [one["id"] for _, page in _iter_pages(api, "/v1/tenants") for one in page]


def _iter_pages(api: ApiClient, path: str) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    cursor = ""
    while True:
        page = api.request("GET", f"{path}?limit=200&cursor={quote(cursor)}").json()
        yield page, page["items"]
        cursor = page["next"]
        if not cursor:
            return


def _check_tenant(api: ApiClient, tenant_id: str, repair: bool) -> Iterator[Check]:
    if repair:
        yield _repair_numbers(api, tenant_id)
    pages = list(_iter_pages(api, "/v1/registrations"))
    yield _check_account(tenant_id, pages[0][0])
    for page, registrations in pages:
        for registration in registrations:
            yield _check_number(registration, page["managed"], bool(page["error"]))


def _check_account(tenant_id: str, page: dict[str, Any]) -> Check:
    what = f"Twilio account of {tenant_id}"
    if not page["managed"]:
        return Check(what, "fine", page["error"])
    if page["error"]:
        return Check(what, "wrong", page["error"])
    whose = "the tenant's own" if page["tenant_owned"] else "the platform's"
    return Check(what, "fine", f"{page['account_sid']}, {whose}, answers")


def _check_number(number_state: dict[str, Any], managed: bool, unreachable: bool) -> Check:
    """``managed`` is whether there is an account at Twilio, ``unseen`` whether it could not be asked."""
    number, state, problem = number_state["number"], number_state["state"], number_state["error"]
    if not managed and number_state["flow"] is not None:
        return Check(number, "fine", "is set by nobody: there is no Twilio account")
    match state:
        case "provisioned" if unreachable:
            return Check(number, "unknown", "was set once; whether it still is cannot be seen")
        case "provisioned":
            return Check(number, "fine", "its calls come here")
        case "pending":
            return Check(number, "unknown", "is being set")
        case None if number_state["flow"] is None:
            return Check(number, "fine", "leads to no flow, and is left alone")
        case None:
            return Check(number, "wrong", "has never been set at Twilio: --repair does it")
        case _:
            return Check(number, "wrong", f"{state}: {problem}")


def _repair_numbers(api: ApiClient, tenant_id: str) -> Check:
    """Ask for it, and wait until nothing is on its way any more."""
    what = f"repair of {tenant_id}"
    try:
        asked = api.request("POST", "/v1/registrations/repair").json()["numbers"]
    except ApiClientError as error:
        return Check(what, "wrong", str(error))
    end = time.monotonic() + REPAIR_TIMEOUT_SECONDS
    while _has_pending_numbers(api) and time.monotonic() < end:
        time.sleep(POLL_INTERVAL_SECONDS)
    return Check(what, "fine", f"tried: {', '.join(asked)}" if asked else "nothing to do")


def _has_pending_numbers(api: ApiClient) -> bool:
    return any(one["state"] == "pending" for _, page in _iter_pages(api, "/v1/registrations") for one in page)
