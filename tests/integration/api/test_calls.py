"""/v1/calls, /v1/usage, /v1/analytics as a client meets them; and what operators tell live calls."""

import json

import pytest

from tests.support.api_client import START, create_tenant
from tests.support.generated_calls import DAY, insert_calls, make_call
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.store.db.schema import calls

NUMBER = "+13072249663"
LIVE, ENDED, AWAY, OTHER_TENANTS_CALL = (f"CA{place:032x}" for place in range(1, 5))
FLOW = {"name": "A flow", "start": "bye", "nodes": {"bye": {"type": "hangup"}}}
COMMANDS = [
    ("hangup", None, ("hang_up", "")),
    ("transfer", {"department": "sales"}, ("transfer", "sales")),
    ("say", {"text": "Just a second."}, ("say", "Just a second.")),
    ("jump", {"node": "bye"}, ("jump", "bye")),
]


@pytest.fixture
async def live_calls(api):
    """A live call's telephone, an ended call, one that is live elsewhere, and another tenant's, live here."""
    admin = await create_tenant(api, "harbour")
    await create_tenant(api, "depot")
    assert (await admin.request("PUT", "/v1/departments/sales", {"numbers": ["+13105550111"]})).status == 200
    goes_on = {"ended_at": None, "outcome": ""}
    entered = [("node.entered", START - 4, {"node": node, "type": "say"}) for node in ("greet", "bye")]
    await insert_calls(
        api.database,
        make_call(1, started_at=START - 5, events=entered, **goes_on),
        make_call(2, started_at=START - DAY, segments=[("azure", 60_000_000)], events=entered, log=b'{"log":1}\n'),
        make_call(3, started_at=START - 3, **goes_on),
        make_call(4, tenant="depot", started_at=START - 2, segments=[("azure", 1)], **goes_on),
        known=("harbour", "depot"),
    )
    phones = {}
    for name, call in (("harbour", LIVE), ("depot", OTHER_TENANTS_CALL)):
        version = load_flow(json.dumps(FLOW).encode())
        assignment = CallConfig(number=NUMBER, tenant=Tenant(id=name, name=name), flow="front-desk", version=version)
        phones[call] = api.add_live_call(call, assignment)
    return phones


async def audited_commands(api):
    """The commands in the audit trail: of which call, and what."""
    admin = await api.create_client("harbour")
    reported = (await admin.request("GET", "/v1/audit")).json["items"]
    return [(item["target"], item["after"]) for item in reported if item["action"] == "call.command"]


@pytest.mark.parametrize(("path", "body", "reported"), COMMANDS)
async def test_a_live_call_is_told_and_the_trail_has_it(api, live_calls, path, body, reported):
    operator = await api.create_client("harbour", "operator")
    answer = await operator.request("POST", f"/v1/calls/{LIVE}/{path}", body)
    assert (answer.status, answer.json) == (202, {"status": "accepted", "node": "greet"})
    assert live_calls[LIVE].commands == [reported]
    assert await audited_commands(api) == [(LIVE, {"command": reported[0], "value": reported[1]})]


@pytest.mark.parametrize(("path", "body", "reported"), COMMANDS)
@pytest.mark.parametrize(
    ("call", "status"), [(ENDED, 409), (AWAY, 409), (OTHER_TENANTS_CALL, 404), (f"CA{9:032x}", 404), ("CA%00", 404)]
)
async def test_a_call_that_is_not_on_the_line_is_not_told_and_the_trail_has_nothing(
    api, live_calls, path, body, reported, call, status
):
    operator = await api.create_client("harbour", "operator")
    assert (await operator.request("POST", f"/v1/calls/{call}/{path}", body)).status == status
    assert [phone.commands for phone in live_calls.values()] == [[], []]
    assert await audited_commands(api) == []


@pytest.mark.parametrize(("path", "body", "reported"), COMMANDS)
async def test_a_stream_whose_call_goes_on_with_another_is_not_told(api, live_calls, path, body, reported):
    async with api.database.transaction() as connection:
        await connection.execute(calls.update().where(calls.c.id == LIVE).values(generation=2))
    operator = await api.create_client("harbour", "operator")
    assert (await operator.request("POST", f"/v1/calls/{LIVE}/{path}", body)).status == 409
    assert live_calls[LIVE].commands == []
    assert await audited_commands(api) == []


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("transfer", {"department": "kitchen"}, "department"),
        ("transfer", {}, "department"),
        ("say", {"text": ""}, "text"),
        ("say", {"text": "x" * 1_001}, "text"),
        ("say", {"text": "a\0b"}, "text"),
        ("jump", {"node": ""}, "node"),
        ("jump", {"node": "nowhere"}, "node"),
    ],
)
async def test_what_cannot_be_told(api, live_calls, path, body, field):
    operator = await api.create_client("harbour", "operator")
    answer = await operator.request("POST", f"/v1/calls/{LIVE}/{path}", body)
    assert (answer.status, [error["path"] for error in answer.json["errors"]]) == (422, [field])
    assert live_calls[LIVE].commands == []


async def test_a_department_of_another_tenant_is_none_of_ours(api, live_calls):
    depot = await api.create_client("depot")
    assert (
        await depot.request("POST", f"/v1/calls/{OTHER_TENANTS_CALL}/transfer", {"department": "sales"})
    ).status == 422
    assert live_calls[OTHER_TENANTS_CALL].commands == []


async def test_calls_are_listed_and_shown_and_their_log_is_json_lines(api, live_calls):
    viewer = await api.create_client("harbour", "viewer")
    page = (await viewer.request("GET", "/v1/calls?limit=2&status=live")).json
    assert ([call["id"] for call in page["items"]], page["next_cursor"]) == ([AWAY, LIVE], "")
    assert [call["node"] for call in page["items"]] == ["", "bye"]
    first = (await viewer.request("GET", "/v1/calls?limit=1")).json
    second = (await viewer.request("GET", f"/v1/calls?limit=2&cursor={first['next_cursor']}")).json
    assert [call["id"] for call in second["items"]] == [LIVE, ENDED]
    listed = (await viewer.request("GET", f"/v1/calls/{ENDED}")).json
    assert listed["node"] == "", "it is nowhere any more"
    assert (listed["cost_micro_usd"], listed["billed_seconds"], listed["segments"][0]["tier"]) == (
        80_000,
        60.0,
        "azure",
    )
    log = await viewer.request("GET", f"/v1/calls/{ENDED}/log")
    assert (log.body, log.headers["content-type"]) == (b'{"log":1}\n', "application/x-ndjson")
    assert (await viewer.request("GET", f"/v1/calls/{LIVE}/log")).status == 404


@pytest.mark.parametrize("query", ["?format=csv", "?format=csv&by=day", ""])
async def test_usage_as_csv(api, live_calls, query):
    viewer = await api.create_client("harbour", "viewer")
    answer = await viewer.request("GET", f"/v1/usage{query}", Accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.body.decode().splitlines() == [
        "day,calls,billed_microseconds,billed_seconds,cost_micro_usd",
        "2023-11-13,1,60000000,60.000000,80000",
    ]


async def test_usage_of_a_tenant_and_of_all(api, live_calls):
    platform = await api.platform_client()
    path = "/v1/usage?by=tenant,tier&format=json"
    assert [row["tenant"] for row in (await platform.request("GET", path)).json["rows"]] == ["depot", "harbour"]
    viewer = await api.create_client("harbour", "viewer")
    reported = await viewer.request("GET", path, Accept="text/csv", Vocelio_Tenant="depot")
    row = {
        "tenant": "harbour",
        "tier": "azure",
        "calls": 1,
        "billed_microseconds": 60_000_000,
        "billed_seconds": 60.0,
        "cost_micro_usd": 80_000,
    }
    assert reported.json["rows"] == [row]


async def test_analytics_of_a_period(api, live_calls):
    viewer = await api.create_client("harbour", "viewer")
    reported = (
        await viewer.request(
            "GET", f"/v1/analytics?since={to_rfc3339(START - 2 * DAY)}&until={to_rfc3339(START)}&interval=hour"
        )
    ).json
    counts = {name: reported["overall"][name] for name in ("calls", "live", "ended", "contained")}
    assert counts == {"calls": 3, "live": 2, "ended": 1, "contained": 1}
    assert (reported["flows"][0]["flow"], len(reported["series"]), reported["overall"]["turn_latency"]) == (
        "front-desk",
        49,
        None,
    )
    refused = await viewer.request("GET", f"/v1/analytics?since={to_rfc3339(START)}&until={to_rfc3339(START)}")
    assert (refused.status, refused.json["errors"][0]["path"]) == (422, "since")
