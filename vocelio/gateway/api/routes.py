"""The table of all operations of the control API, and the routes that serve it."""

from functools import cache
from itertools import groupby

from starlette.routing import BaseRoute, Route

from vocelio.codecs.telephony import MAX_SOUND_BYTES
from vocelio.engine import schema
from vocelio.engine.validation.loader import MAX_FLOW_BYTES
from vocelio.gateway.api.framework import openapi
from vocelio.gateway.api.framework.authentication import Authenticator, RateLimits, WebSocketTickets
from vocelio.gateway.api.framework.endpoint import Endpoint, NotFoundEndpoint, PathEndpoint
from vocelio.gateway.api.framework.operation import ApiResponse, Operation, RequestContext
from vocelio.gateway.api.resources import (
    calls,
    flow_assets,
    flows,
    monitoring,
    numbers,
    recordings,
    reports,
    tenants,
)
from vocelio.gateway.api.websockets.endpoints import MonitoringDependencies, WebSocketEndpoints
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.clock import WallClock
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.metrics import CONTENT_TYPE
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner

JSON, JSON_SCHEMA, WAV = "application/json", "application/schema+json", "audio/wav"
CREATED, OK_OR_CREATED, ACCEPTED, OK_OR_PARTIAL = (201,), (200, 201), (202,), (200, 206)
MAX_SETTINGS_BYTES = 300_000  # ten thousand blocked callers have 200,000


async def get_flow_schema(_: RequestContext) -> ApiResponse[bytes]:
    """Get the JSON Schema of flow documents, for editors."""
    return ApiResponse(_flow_schema_json(), media_type=JSON_SCHEMA)


async def get_openapi(_: RequestContext) -> ApiResponse[bytes]:
    """Get the OpenAPI document of this API."""
    return ApiResponse(_openapi_json())


OPERATIONS = (
    Operation("GET", "/openapi.json", None, get_openapi, response_types=(JSON,)),
    Operation("GET", "/v1/me", "read", tenants.get_current_key, requires_tenant=False),
    Operation("GET", "/v1/speech", "read", monitoring.get_speech_providers, requires_tenant=False),
    # The platform
    Operation(
        "GET", "/metrics", "platform", monitoring.get_metrics, requires_tenant=False, response_types=(CONTENT_TYPE,)
    ),
    Operation("GET", "/v1/processes", "platform", monitoring.list_processes, requires_tenant=False),
    Operation("GET", "/v1/tenants", "platform", tenants.list_tenants, requires_tenant=False),
    Operation(
        "POST",
        "/v1/tenants",
        "platform",
        tenants.create_tenant,
        requires_tenant=False,
        success_statuses=CREATED,
        max_body_bytes=MAX_SETTINGS_BYTES,
    ),
    Operation("GET", "/v1/tenants/{tenant}", "platform", tenants.get_tenant, requires_tenant=False),
    Operation(
        "PATCH",
        "/v1/tenants/{tenant}",
        "platform",
        tenants.update_tenant,
        requires_tenant=False,
        max_body_bytes=MAX_SETTINGS_BYTES,
    ),
    Operation("GET", "/v1/rates/defaults", "platform", tenants.get_default_rates, requires_tenant=False),
    Operation(
        "POST",
        "/v1/rates/defaults",
        "platform",
        tenants.create_default_rate,
        requires_tenant=False,
        success_statuses=CREATED,
    ),
    # The tenant
    Operation("GET", "/v1/tenant", "read", tenants.get_own_tenant),
    Operation("PATCH", "/v1/tenant", "administer", tenants.update_own_tenant, max_body_bytes=MAX_SETTINGS_BYTES),
    Operation("PUT", "/v1/tenant/twilio", "administer", tenants.put_twilio_account, calls_twilio=True),
    Operation("DELETE", "/v1/tenant/twilio", "administer", tenants.delete_twilio_account),
    Operation("GET", "/v1/keys", "administer", tenants.list_keys, requires_tenant=False),
    Operation("POST", "/v1/keys", "administer", tenants.create_key, requires_tenant=False, success_statuses=CREATED),
    Operation("GET", "/v1/keys/{key}", "administer", tenants.get_key, requires_tenant=False),
    Operation("DELETE", "/v1/keys/{key}", "administer", tenants.revoke_key, requires_tenant=False),
    Operation("GET", "/v1/rates", "read", tenants.get_rates),
    Operation("POST", "/v1/rates", "administer", tenants.create_rate, success_statuses=CREATED),
    Operation("GET", "/v1/audit", "administer", reports.list_audit_entries, requires_tenant=False),
    # Flows
    Operation("GET", "/v1/flows", "read", flows.list_flows),
    Operation("GET", "/v1/flows/schema", None, get_flow_schema, response_types=(JSON_SCHEMA,)),
    Operation("GET", "/v1/flows/{flow}", "read", flows.get_flow),
    Operation(
        "PUT",
        "/v1/flows/{flow}",
        "design",
        flows.put_flow,
        conditional=True,
        content_type=JSON,
        max_body_bytes=MAX_FLOW_BYTES,
        success_statuses=OK_OR_CREATED,
    ),
    Operation("DELETE", "/v1/flows/{flow}", "design", flows.delete_flow, conditional=True),
    Operation("POST", "/v1/flows/{flow}/validate", "read", flows.validate_flow),
    Operation(
        "POST",
        "/v1/flows/{flow}/promote",
        "design",
        flows.promote_flow,
        conditional=True,
        success_statuses=OK_OR_CREATED,
    ),
    Operation("GET", "/v1/flows/{flow}/versions", "read", flows.list_versions),
    Operation("GET", "/v1/flows/{flow}/versions/{number}", "read", flows.get_version),
    Operation("GET", "/v1/flows/{flow}/diff", "read", flows.diff_versions),
    Operation("POST", "/v1/flows/{flow}/rollback", "design", flows.rollback_flow),
    Operation("GET", "/v1/flows/{flow}/prompts", "read", flows.get_prompt_progress),
    Operation("POST", "/v1/flows/{flow}/prompts/retry", "design", flows.retry_prompts, success_statuses=ACCEPTED),
    Operation("POST", "/v1/flows/{flow}/pause", "operate", flows.pause_flow),
    Operation("POST", "/v1/flows/{flow}/resume", "operate", flows.resume_flow),
    # Flow assets
    Operation("GET", "/v1/departments", "read", flow_assets.list_departments),
    Operation("GET", "/v1/departments/{name}", "read", flow_assets.get_department),
    Operation("PUT", "/v1/departments/{name}", "administer", flow_assets.put_department),
    Operation("DELETE", "/v1/departments/{name}", "administer", flow_assets.delete_department),
    Operation("GET", "/v1/secrets", "read", flow_assets.list_secrets),
    Operation("PUT", "/v1/secrets/{name}", "design", flow_assets.put_secret),
    Operation("DELETE", "/v1/secrets/{name}", "design", flow_assets.delete_secret),
    Operation("GET", "/v1/sounds", "read", flow_assets.list_sounds),
    Operation(
        "PUT", "/v1/sounds/{name}", "design", flow_assets.put_sound, content_type=WAV, max_body_bytes=MAX_SOUND_BYTES
    ),
    Operation("DELETE", "/v1/sounds/{name}", "design", flow_assets.delete_sound),
    # Numbers
    Operation("GET", "/v1/numbers", "read", numbers.list_numbers),
    Operation("POST", "/v1/numbers", "administer", numbers.create_number, success_statuses=CREATED, calls_twilio=True),
    Operation("GET", "/v1/numbers/{number}", "read", numbers.get_number),
    Operation("PATCH", "/v1/numbers/{number}", "administer", numbers.update_number),
    Operation("DELETE", "/v1/numbers/{number}", "administer", numbers.delete_number),
    Operation("PUT", "/v1/numbers/{number}/assignment", "administer", numbers.assign_number, calls_twilio=True),
    Operation("DELETE", "/v1/numbers/{number}/assignment", "administer", numbers.unassign_number),
    Operation("GET", "/v1/numbers/{number}/assignments", "read", numbers.list_assignments),
    Operation(
        "POST",
        "/v1/numbers/{number}/provisioning",
        "administer",
        numbers.retry_provisioning,
        success_statuses=ACCEPTED,
        calls_twilio=True,
    ),
    Operation("GET", "/v1/number-provisioning", "read", numbers.list_provisioning, calls_twilio=True),
    Operation(
        "POST",
        "/v1/number-provisioning/repair",
        "administer",
        numbers.repair_provisioning,
        success_statuses=ACCEPTED,
        calls_twilio=True,
    ),
    Operation("GET", "/v1/twilio/numbers", "administer", numbers.list_account_numbers, calls_twilio=True),
    Operation("POST", "/v1/numbers/import", "administer", numbers.import_account_numbers, calls_twilio=True),
    # Calls
    Operation("GET", "/v1/calls", "read", calls.list_calls),
    Operation("GET", "/v1/calls/{call}", "read", calls.get_call),
    Operation("GET", "/v1/calls/{call}/log", "read", calls.get_call_log, response_types=(calls.JSON_LINES,)),
    Operation("POST", "/v1/calls/{call}/hangup", "operate", calls.hang_up_call, success_statuses=ACCEPTED),
    Operation("POST", "/v1/calls/{call}/transfer", "operate", calls.transfer_call, success_statuses=ACCEPTED),
    Operation("POST", "/v1/calls/{call}/say", "operate", calls.say_to_caller, success_statuses=ACCEPTED),
    Operation("POST", "/v1/calls/{call}/jump", "operate", calls.jump_to_node, success_statuses=ACCEPTED),
    Operation("GET", "/v1/live", "read", monitoring.get_live_counts, requires_tenant=False),
    Operation(
        "POST", "/v1/events/tickets", "read", monitoring.create_ticket, requires_tenant=False, success_statuses=CREATED
    ),
    Operation("GET", "/v1/recordings", "read", recordings.list_recordings),
    Operation("GET", "/v1/recordings/{recording}", "read", recordings.get_recording),
    Operation(
        "GET",
        "/v1/recordings/{recording}/audio",
        "read",
        recordings.get_recording_audio,
        response_types=(WAV,),
        success_statuses=OK_OR_PARTIAL,
    ),
    Operation("DELETE", "/v1/recordings/{recording}", "administer", recordings.delete_recording),
    Operation("GET", "/v1/usage", "read", reports.get_usage, requires_tenant=False, response_types=(reports.CSV,)),
    Operation("GET", "/v1/analytics", "read", reports.get_analytics),
)


def create_routes(
    database: Database,
    cipher: SecretCipher,
    components: CallComponents,
    wall: WallClock,
    rate_limits: RateLimits | None = None,
    provisioner: NumberProvisioner | None = None,
    render_worker: PromptRenderWorker | None = None,
    monitoring: MonitoringDependencies | None = None,
) -> list[BaseRoute]:
    """Create the routes of the API.

    Args:
        database: The database with the connection pool of the API; see ``API_POOL``.
        provisioner: Provisions numbers at Twilio; None to leave Twilio alone.
        render_worker: Renders prompts in advance; None to synthesize them during calls only.
        monitoring: Dependencies of the WebSockets; None for an API without WebSockets.
    """
    authenticator = Authenticator(database, wall, rate_limits or RateLimits())
    tickets = WebSocketTickets(monitoring.secret_keys if monitoring else ())
    routes: list[BaseRoute] = []
    for path, rows in groupby(sorted(OPERATIONS, key=_specificity), key=lambda row: row.path):
        endpoints = {
            row.method: Endpoint(row, database, cipher, components, authenticator, provisioner, render_worker, tickets)
            for row in rows
        }
        routes.append(Route(path, PathEndpoint(endpoints)))
    if monitoring:
        sockets = WebSocketEndpoints(database, components.listen_in_relay, authenticator, tickets, monitoring)
        routes += sockets.routes()
    return [*routes, Route("/v1/{rest:path}", NotFoundEndpoint())]


def _specificity(operation: Operation) -> tuple[bool, str]:
    """Sort fixed paths before those with parameters: /v1/flows/schema is not a flow."""
    return "{" in operation.path, operation.path


@cache
def _flow_schema_json() -> bytes:
    return schema.schema_json()


@cache
def _openapi_json() -> bytes:
    return openapi.build_openapi(OPERATIONS)
