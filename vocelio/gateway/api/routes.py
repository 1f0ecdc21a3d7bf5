"""Every operation of the control API, in one table, and the routes that serve it."""

from functools import cache
from itertools import groupby

from starlette.routing import BaseRoute, Route

from vocelio.codecs.telephony import MAX_SOUND
from vocelio.engine import schema
from vocelio.engine.validation.loader import MAX_BYTES as MAX_FLOW
from vocelio.gateway.api.framework import openapi
from vocelio.gateway.api.framework.authentication import Gate
from vocelio.gateway.api.framework.endpoint import Endpoint, Nowhere, Resource
from vocelio.gateway.api.framework.operation import Answer, Context, Operation
from vocelio.gateway.api.framework.rate_limit import Limits
from vocelio.gateway.api.framework.websocket_tickets import Tickets
from vocelio.gateway.api.resources import (
    analytics,
    api_keys,
    audit,
    calls,
    departments,
    flows,
    live,
    numbers,
    processes,
    prompts,
    provisioning,
    rates,
    recordings,
    secrets,
    sounds,
    speech,
    tenants,
    usage,
)
from vocelio.gateway.api.websockets.endpoints import Sockets, Watching
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.clock import WallClock
from vocelio.gateway.crypto.encryption import Vault
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.twilio.provisioning.worker import Registrar

JSON, JSON_SCHEMA, WAV = "application/json", "application/schema+json", "audio/wav"
MADE, MADE_OR_NOT, TOLD, PARTLY = (201,), (200, 201), (202,), (200, 206)
SETTINGS = 300_000  # bytes: ten thousand blocked callers have 200,000


async def flow_schema(_: Context) -> Answer[bytes]:
    """The JSON Schema of a flow document, for editors."""
    return Answer(_flow_schema(), media=JSON_SCHEMA)


async def description(_: Context) -> Answer[bytes]:
    """This API, in OpenAPI."""
    return Answer(_description())


OPERATIONS = (
    Operation("GET", "/openapi.json", None, description, media=(JSON,)),
    Operation("GET", "/v1/me", "read", api_keys.me, tenant=False),
    Operation("GET", "/v1/speech", "read", speech.providers, tenant=False),
    # The platform
    Operation("GET", "/metrics", "platform", speech.metrics, tenant=False, media=(CONTENT_TYPE,)),
    Operation("GET", "/v1/processes", "platform", processes.every, tenant=False),
    Operation("GET", "/v1/tenants", "platform", tenants.every, tenant=False),
    Operation("POST", "/v1/tenants", "platform", tenants.create, tenant=False, statuses=MADE, limit=SETTINGS),
    Operation("GET", "/v1/tenants/{tenant}", "platform", tenants.show, tenant=False),
    Operation("PATCH", "/v1/tenants/{tenant}", "platform", tenants.change, tenant=False, limit=SETTINGS),
    Operation("GET", "/v1/rates/defaults", "platform", rates.defaults, tenant=False),
    Operation("POST", "/v1/rates/defaults", "platform", rates.set_default, tenant=False, statuses=MADE),
    # The tenant
    Operation("GET", "/v1/tenant", "read", tenants.own),
    Operation("PATCH", "/v1/tenant", "administer", tenants.change_own, limit=SETTINGS),
    Operation("PUT", "/v1/tenant/twilio", "administer", tenants.set_account),
    Operation("DELETE", "/v1/tenant/twilio", "administer", tenants.remove_account),
    Operation("GET", "/v1/keys", "administer", api_keys.every, tenant=False),
    Operation("POST", "/v1/keys", "administer", api_keys.create, tenant=False, statuses=MADE),
    Operation("GET", "/v1/keys/{key}", "administer", api_keys.show, tenant=False),
    Operation("DELETE", "/v1/keys/{key}", "administer", api_keys.revoke, tenant=False),
    Operation("GET", "/v1/rates", "read", rates.every),
    Operation("POST", "/v1/rates", "administer", rates.set, statuses=MADE),
    Operation("GET", "/v1/audit", "administer", audit.every, tenant=False),
    # Flows
    Operation("GET", "/v1/flows", "read", flows.every),
    Operation("GET", "/v1/flows/schema", None, flow_schema, media=(JSON_SCHEMA,)),
    Operation("GET", "/v1/flows/{flow}", "read", flows.show),
    Operation(
        "PUT", "/v1/flows/{flow}", "design", flows.put, conditional=True, raw=JSON, limit=MAX_FLOW, statuses=MADE_OR_NOT
    ),
    Operation("DELETE", "/v1/flows/{flow}", "design", flows.remove, conditional=True),
    Operation("POST", "/v1/flows/{flow}/validate", "read", flows.check),
    Operation("POST", "/v1/flows/{flow}/promote", "design", flows.promote, conditional=True, statuses=MADE_OR_NOT),
    Operation("GET", "/v1/flows/{flow}/versions", "read", flows.versions),
    Operation("GET", "/v1/flows/{flow}/versions/{number}", "read", flows.version),
    Operation("GET", "/v1/flows/{flow}/difference", "read", flows.difference),
    Operation("POST", "/v1/flows/{flow}/rollback", "design", flows.rollback),
    Operation("GET", "/v1/flows/{flow}/prompts", "read", prompts.show),
    Operation("POST", "/v1/flows/{flow}/prompts/retry", "design", prompts.retry, statuses=TOLD),
    Operation("POST", "/v1/flows/{flow}/pause", "operate", flows.pause),
    Operation("POST", "/v1/flows/{flow}/resume", "operate", flows.resume),
    # What flows use
    Operation("GET", "/v1/departments", "read", departments.every),
    Operation("GET", "/v1/departments/{name}", "read", departments.show),
    Operation("PUT", "/v1/departments/{name}", "administer", departments.put),
    Operation("DELETE", "/v1/departments/{name}", "administer", departments.remove),
    Operation("GET", "/v1/secrets", "read", secrets.every),
    Operation("PUT", "/v1/secrets/{name}", "design", secrets.put),
    Operation("DELETE", "/v1/secrets/{name}", "design", secrets.remove),
    Operation("GET", "/v1/sounds", "read", sounds.every),
    Operation("PUT", "/v1/sounds/{name}", "design", sounds.put, raw=WAV, limit=MAX_SOUND),
    Operation("DELETE", "/v1/sounds/{name}", "design", sounds.remove),
    # Numbers
    Operation("GET", "/v1/numbers", "read", numbers.every),
    Operation("POST", "/v1/numbers", "administer", numbers.create, statuses=MADE),
    Operation("GET", "/v1/numbers/{number}", "read", numbers.show),
    Operation("PATCH", "/v1/numbers/{number}", "administer", numbers.change),
    Operation("DELETE", "/v1/numbers/{number}", "administer", numbers.remove),
    Operation("PUT", "/v1/numbers/{number}/assignment", "administer", numbers.assign),
    Operation("DELETE", "/v1/numbers/{number}/assignment", "administer", numbers.unassign),
    Operation("GET", "/v1/numbers/{number}/assignments", "read", numbers.assignments),
    Operation(
        "POST", "/v1/numbers/{number}/registration", "administer", provisioning.again, statuses=TOLD, twilio=True
    ),
    Operation("GET", "/v1/registrations", "read", provisioning.every, twilio=True),
    Operation("POST", "/v1/registrations/repair", "administer", provisioning.repair, statuses=TOLD, twilio=True),
    Operation("GET", "/v1/twilio/numbers", "administer", provisioning.offered, twilio=True),
    Operation("POST", "/v1/numbers/import", "administer", provisioning.import_numbers, twilio=True),
    # Calls
    Operation("GET", "/v1/calls", "read", calls.every),
    Operation("GET", "/v1/calls/{call}", "read", calls.show),
    Operation("GET", "/v1/calls/{call}/log", "read", calls.log, media=(calls.JSON_LINES,)),
    Operation("POST", "/v1/calls/{call}/hangup", "operate", calls.hang_up, statuses=TOLD),
    Operation("POST", "/v1/calls/{call}/transfer", "operate", calls.transfer, statuses=TOLD),
    Operation("POST", "/v1/calls/{call}/say", "operate", calls.say, statuses=TOLD),
    Operation("POST", "/v1/calls/{call}/jump", "operate", calls.jump, statuses=TOLD),
    Operation("GET", "/v1/live", "read", live.totals, tenant=False),
    Operation("POST", "/v1/events/tickets", "read", live.ticket, tenant=False, statuses=MADE),
    Operation("GET", "/v1/recordings", "read", recordings.every),
    Operation("GET", "/v1/recordings/{recording}", "read", recordings.show),
    Operation("GET", "/v1/recordings/{recording}/audio", "read", recordings.audio, media=(WAV,), statuses=PARTLY),
    Operation("DELETE", "/v1/recordings/{recording}", "administer", recordings.remove),
    Operation("GET", "/v1/usage", "read", usage.usage, tenant=False, media=(usage.CSV,)),
    Operation("GET", "/v1/analytics", "read", analytics.analytics),
)


def routes(
    database: Database,
    vault: Vault,
    registry: Calls,
    wall: WallClock,
    limits: Limits | None = None,
    registrar: Registrar | None = None,
    renderer: Renderer | None = None,
    watching: Watching | None = None,
) -> list[BaseRoute]:
    """The routes of the API, for the application.

    Without a ``registrar`` nothing is set at Twilio, without a ``renderer`` nothing is rendered beforehand; without
    ``watching`` nobody can watch.
    """
    gate = Gate(database, wall, limits or Limits())
    tickets = Tickets(watching.keys if watching else ())
    made: list[BaseRoute] = []
    for path, rows in groupby(sorted(OPERATIONS, key=_place), key=lambda row: row.path):
        endpoints = {
            row.method: Endpoint(row, database, vault, registry, gate, registrar, renderer, tickets) for row in rows
        }
        made.append(Route(path, Resource(endpoints)))
    if watching:
        sockets = Sockets(database, registry, gate, watching.monitors, tickets, watching.origin, watching.pace)
        made += sockets.routes()
    return [*made, Route("/v1/{rest:path}", Nowhere())]


def _place(operation: Operation) -> tuple[bool, str]:
    """Paths that say more come first: /v1/flows/schema is no flow."""
    return "{" in operation.path, operation.path


@cache
def _flow_schema() -> bytes:
    return schema.document()


@cache
def _description() -> bytes:
    return openapi.describe(OPERATIONS)
