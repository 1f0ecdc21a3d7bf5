"""vocelio doctor: check the installation, from the settings to each number's configuration at Twilio.

Settings, database and Redis are checked by this command; speech providers and Twilio through the API of the gateway.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
import typer
from rich.table import Table

from vocelio.gateway import private_files
from vocelio.gateway.cli import api_client, common
from vocelio.gateway.cli.api_client import ApiClient, ApiClientError
from vocelio.gateway.config import Settings
from vocelio.gateway.errors import GatewayError, SettingsError
from vocelio.gateway.store.db import migrate
from vocelio.gateway.store.db.database import Database

app = typer.Typer(add_completion=False)

Verdict = Literal["ok", "failed", "unknown"]

VERDICT_COLORS: dict[Verdict, str] = {"ok": "green", "failed": "red", "unknown": "yellow"}
EXIT_CODES: dict[Verdict, int] = {"ok": 0, "failed": 1, "unknown": 2}
REPAIR_TIMEOUT_SECONDS = 30.0  # Twilio needs about a second for each number
POLL_INTERVAL_SECONDS = 1.0


class Check(msgspec.Struct, frozen=True):
    """Result of one check."""

    name: str
    verdict: Verdict
    detail: str


@app.command()
def doctor(
    tenant: api_client.TenantOption = "",
    repair: Annotated[bool, typer.Option("--repair", help="Configure numbers at Twilio that have drifted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    server: common.ServerOption = "",
) -> None:
    """Check settings, database, gateway and numbers. Exits with 1 if a check failed, with 2 if one was impossible."""
    checks = [*_local_checks(), *_gateway_checks(tenant, server, repair)]
    verdict = _overall_verdict(checks)
    if as_json:
        typer.echo(msgspec.json.encode({"verdict": verdict, "checks": checks}).decode())
    else:
        _print_checks(checks)
    raise typer.Exit(EXIT_CODES[verdict])


def _overall_verdict(checks: list[Check]) -> Verdict:
    verdicts = {check.verdict for check in checks}
    return "failed" if "failed" in verdicts else "unknown" if "unknown" in verdicts else "ok"


def _print_checks(checks: list[Check]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        color = VERDICT_COLORS[check.verdict]
        table.add_row(f"[{color}]{check.verdict}[/{color}]", check.name, _escape_markup(check.detail))
    common.stdout.print(table)


def _escape_markup(text: str) -> str:
    return text.replace("[", r"\[")


# Local checks


def _local_checks() -> Iterator[Check]:
    try:
        settings = common.read_settings()
    except SettingsError as error:
        yield Check("settings", "failed", str(error))
        return
    yield Check("settings", "ok", "valid")
    yield _check_files(settings)
    yield _check_database(settings)
    if settings.redis_url:
        yield _check_redis(settings.redis_url)
    yield _check_public_url(settings)


def _check_files(settings: Settings) -> Check:
    exposed = private_files.find_exposed(settings)
    if not exposed:
        return Check("files", "ok", "readable only by their owner")
    detail = f"{', '.join(map(str, exposed))}: other users have access. `vocelio serve` corrects it, or chmod go="
    return Check("files", "failed", detail)


def _check_database(settings: Settings) -> Check:
    try:
        revision = asyncio.run(_database_revision(settings.database_url))
    except GatewayError as error:
        return Check("database", "failed", str(error))
    if revision == migrate.head():
        return Check("database", "ok", f"reachable, schema revision {revision}")
    found = f"has schema revision {revision}" if revision else "has no tables"
    return Check("database", "failed", f"{found}: `vocelio serve` migrates it to {migrate.head()}")


async def _database_revision(url: str) -> str:
    database = Database(url)
    try:
        return await database.get_revision()
    finally:
        await database.aclose()


def _check_redis(url: str) -> Check:
    from vocelio.gateway.events.redis import client  # here: it takes half a second, and Redis is optional

    async def is_sharded() -> bool:
        async with asyncio.timeout(client.TIMEOUT_SECONDS):
            server = await client.connect(url)
        await server.aclose()
        return server.sharded

    try:
        sharded = asyncio.run(is_sharded())
    except client.CONNECTION_ERRORS as error:  # its message may contain the URL with a password
        detail = f"not reachable ({type(error).__name__}): events do not reach the monitors of other processes in time"
        return Check("redis", "failed", detail)
    return Check("redis", "ok", f"reachable{', cluster' if sharded else ''}")


def _check_public_url(settings: Settings) -> Check:
    if settings.public_url.startswith("https://"):
        return Check("public URL", "ok", settings.public_url)
    return Check("public URL", "ok", f"{settings.public_url}, sufficient for the simulator, but not for Twilio")


# Checks through the API


def _gateway_checks(tenant: str, server: str, repair: bool) -> Iterator[Check]:
    try:
        api = ApiClient(server, tenant)
        response = api.request("GET", "/v1/me", allowed_statuses=(401, 404))
        if response.status >= 400:
            yield Check("gateway", "failed", str(response.json()["detail"]))
            return
        yield Check("gateway", "ok", f"reachable at {common.base_url(server)}")
        yield from _check_speech(api)
        for tenant_id in _tenant_ids(api, response.json()["tenant"]):
            yield from _check_tenant(ApiClient(server, tenant_id), tenant_id, repair)
    except (GatewayError, KeyError, msgspec.DecodeError) as error:
        yield Check("gateway", "unknown", f"{error}. Numbers at Twilio were not checked")


def _check_speech(api: ApiClient) -> Iterator[Check]:
    for provider in api.request("GET", "/v1/speech").json()["providers"]:
        if not provider["configured"]:
            yield Check(f"speech of {provider['name']}", "ok", "not configured: replaced by other providers")
        for service in provider["services"]:
            yield _check_speech_service(service)


def _check_speech_service(service: dict[str, Any]) -> Check:
    name = f"{service['service']} of {service['provider']}"
    last_error = f" {service['last_error_age_seconds']} s ago: {service['last_error']}" if service["last_error"] else ""
    if service["state"] != "closed":
        return Check(name, "failed", f"circuit breaker open, replaced by other providers;{last_error}")
    p50, p95 = service["latency_p50_ms"], service["latency_p95_ms"]
    latency = f", {p50} ms (p95 {p95} ms)" if p50 is not None else ""
    return Check(name, "ok", f"available{latency}" + (f"; failed{last_error}" if last_error else ""))


def _tenant_ids(api: ApiClient, own_tenant: str) -> list[str]:
    """Return the key's tenant, or all tenants for a platform key without --tenant."""
    if own_tenant:
        return [own_tenant]
    return [tenant["id"] for _, tenants in _iter_pages(api, "/v1/tenants") for tenant in tenants]


def _iter_pages(api: ApiClient, path: str) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    cursor = ""
    while True:
        page = api.request("GET", f"{path}?limit=200&cursor={quote(cursor)}").json()
        yield page, page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return


def _check_tenant(api: ApiClient, tenant_id: str, repair: bool) -> Iterator[Check]:
    if repair:
        yield _repair_numbers(api, tenant_id)
    pages = list(_iter_pages(api, "/v1/number-provisioning"))
    yield _check_account(tenant_id, pages[0][0])
    for page, number_states in pages:
        for number_state in number_states:
            yield _check_number(number_state, page["managed"], bool(page["error"]))


def _check_account(tenant_id: str, page: dict[str, Any]) -> Check:
    name = f"Twilio account of {tenant_id}"
    if not page["managed"]:
        return Check(name, "ok", page["error"])
    if page["error"]:
        return Check(name, "failed", page["error"])
    owner = "the tenant's own" if page["tenant_owned"] else "the platform's"
    return Check(name, "ok", f"{page['account_sid']}, {owner}, reachable")


def _check_number(number_state: dict[str, Any], managed: bool, unreachable: bool) -> Check:
    """``managed``: there is a Twilio account. ``unreachable``: it could not be queried."""
    number, state, problem = number_state["number"], number_state["state"], number_state["error"]
    if not managed and number_state["flow"] is not None:
        return Check(number, "ok", "not managed: there is no Twilio account")
    match state:
        case "provisioned" if unreachable:
            return Check(number, "unknown", "configured earlier; the current state is unknown")
        case "provisioned":
            return Check(number, "ok", "its webhooks point to this gateway")
        case "pending":
            return Check(number, "unknown", "being configured")
        case None if number_state["flow"] is None:
            return Check(number, "ok", "has no flow and is not managed")
        case None:
            return Check(number, "failed", "never configured at Twilio: use --repair")
        case _:
            return Check(number, "failed", f"{state}: {problem}")


def _repair_numbers(api: ApiClient, tenant_id: str) -> Check:
    """Request provisioning of all numbers and wait until none is pending."""
    name = f"repair of {tenant_id}"
    try:
        requested = api.request("POST", "/v1/number-provisioning/repair").json()["numbers"]
    except ApiClientError as error:
        return Check(name, "failed", str(error))
    deadline = time.monotonic() + REPAIR_TIMEOUT_SECONDS
    while _has_pending_numbers(api) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_SECONDS)
    return Check(name, "ok", f"requested for {', '.join(requested)}" if requested else "nothing to do")


def _has_pending_numbers(api: ApiClient) -> bool:
    return any(
        number_state["state"] == "pending"
        for _, number_states in _iter_pages(api, "/v1/number-provisioning")
        for number_state in number_states
    )
