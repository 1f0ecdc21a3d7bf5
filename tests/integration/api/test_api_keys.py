"""Keys: shown once, good at once, revoked at once, rotated by two."""

import asyncio

import pytest
from sqlalchemy import select

from tests.support.api_client import ApiEnv, ApiTestClient, create_tenant
from vocelio.gateway.api.framework.authentication import RateLimits
from vocelio.gateway.clock import to_rfc3339
from vocelio.gateway.store.db.schema import api_keys as table
from vocelio.gateway.store.db.schema import audit_log

both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

MINUTE = 60_000_000


@both
async def test_a_key_is_rotated_by_a_second_one(api):
    first = await create_tenant(api, "harbour")
    made = (await first.request("POST", "/v1/keys", {"role": "admin", "label": "the next one"})).json
    second = ApiTestClient(api.app, made["secret"])
    old = (await first.request("GET", "/v1/me")).json["key_id"]
    assert (await second.request("DELETE", f"/v1/keys/{old}")).status == 204
    assert (await first.request("GET", "/v1/me")).status == 401
    assert (await second.request("GET", "/v1/me")).json["key_id"] == made["id"]


async def test_a_key_cannot_revoke_itself(api):
    admin = await create_tenant(api, "harbour")
    own = (await admin.request("GET", "/v1/me")).json["key_id"]
    assert (await admin.request("DELETE", f"/v1/keys/{own}")).status == 409
    assert (await admin.request("GET", "/v1/me")).status == 200


@both
async def test_of_two_keys_that_revoke_each_other_one_is_left(api):
    first = await create_tenant(api, "harbour")
    second = await api.create_client("harbour")
    ids = [(await client.request("GET", "/v1/me")).json["key_id"] for client in (first, second)]
    answers = await asyncio.gather(
        first.request("DELETE", f"/v1/keys/{ids[1]}"), second.request("DELETE", f"/v1/keys/{ids[0]}")
    )
    assert sorted(answer.status for answer in answers) == [204, 401]
    assert sorted([(await client.request("GET", "/v1/me")).status for client in (first, second)]) == [200, 401]


async def test_a_revoked_key_can_be_revoked_again(api):
    admin = await create_tenant(api, "harbour")
    viewer = await api.create_client("harbour", "viewer")
    key = (await viewer.request("GET", "/v1/me")).json["key_id"]
    assert (await admin.request("DELETE", f"/v1/keys/{key}")).status == 204
    assert (await admin.request("DELETE", f"/v1/keys/{key}")).status == 204
    assert (await admin.request("GET", f"/v1/keys/{key}")).json["revoked_at"] == to_rfc3339(api.now)


async def create_expiring_key(api, admin):
    """Create a key that expires in a minute."""
    body = {"role": "viewer", "expires_at": to_rfc3339(api.now + MINUTE)}
    return (await admin.request("POST", "/v1/keys", body)).json


async def test_every_key_that_is_no_good_gets_the_same_answer(api):
    admin = await create_tenant(api, "harbour")
    expiring = (
        await admin.request("POST", "/v1/keys", {"role": "viewer", "expires_at": to_rfc3339(api.now + MINUTE)})
    ).json["secret"]
    revoked = (await admin.request("POST", "/v1/keys", {"role": "viewer"})).json
    await admin.request("DELETE", f"/v1/keys/{revoked['id']}")
    other = await create_tenant(api, "other")
    await (await api.platform_client()).request("PATCH", "/v1/tenants/other", {"suspended": True})
    api.now += 2 * MINUTE
    good = (await admin.request("POST", "/v1/keys", {"role": "viewer"})).json["secret"]
    wrong = [
        good[:-1] + ("a" if good[-1] != "a" else "b"),
        f"voc_{'0' * 16}_{'a' * 32}",
        "voc_",
        "something",
        good + "\u0660",
        expiring,
        revoked["secret"],
        other.key,
    ]
    answers = [
        await ApiTestClient(api.app, key.encode().decode("latin-1")).request("GET", "/v1/me", X_Request_Id="one")
        for key in wrong
    ]
    basic = await ApiTestClient(api.app).request("GET", "/v1/me", Authorization=f"Basic {good}", X_Request_Id="one")
    none = await ApiTestClient(api.app).request("GET", "/v1/me", X_Request_Id="one")
    assert {answer.status for answer in [*answers, basic, none]} == {401}
    assert len({answer.body for answer in [*answers, basic, none]}) == 1
    assert none.headers["www-authenticate"] == "Bearer"
    assert (await ApiTestClient(api.app, good).request("GET", "/v1/me")).status == 200


async def test_a_key_that_expires_is_good_until_then(api):
    admin = await create_tenant(api, "harbour")
    made = (
        await admin.request("POST", "/v1/keys", {"role": "viewer", "expires_at": to_rfc3339(api.now + MINUTE)})
    ).json
    viewer = ApiTestClient(api.app, made["secret"])
    api.now += MINUTE - 1
    assert (await viewer.request("GET", "/v1/me")).status == 200
    api.now += 1
    assert (await viewer.request("GET", "/v1/me")).status == 401


async def test_a_key_cannot_expire_in_the_past(api):
    admin = await create_tenant(api, "harbour")
    answer = await admin.request("POST", "/v1/keys", {"role": "viewer", "expires_at": to_rfc3339(api.now)})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "expires_at")


@pytest.mark.parametrize(
    ("maker", "role", "status"),
    [
        ("admin", "admin", 201),
        ("admin", "designer", 201),
        ("admin", "platform", 403),
        ("designer", "viewer", 403),
        ("operator", "viewer", 403),
        ("viewer", "viewer", 403),
    ],
)
async def test_a_key_makes_keys_of_roles_not_above_its_own(api, maker, role, status):
    await create_tenant(api, "harbour")
    client = await api.create_client("harbour", maker)
    assert (await client.request("POST", "/v1/keys", {"role": role})).status == status


async def test_a_platform_key_makes_keys_of_the_tenant_it_names_or_of_the_platform(api):
    await create_tenant(api, "harbour")
    nobodys, named = await api.platform_client(), await api.platform_client("harbour")
    assert (await nobodys.request("POST", "/v1/keys", {"role": "viewer"})).status == 400
    assert (await named.request("POST", "/v1/keys", {"role": "platform"})).status == 422
    assert (await named.request("POST", "/v1/keys", {"role": "viewer"})).json["tenant"] == "harbour"
    made = (await nobodys.request("POST", "/v1/keys", {"role": "platform"})).json
    assert made["tenant"] == ""
    assert (await ApiTestClient(api.app, made["secret"]).request("GET", "/v1/tenants")).status == 200


async def test_a_secret_is_shown_once_and_kept_nowhere(api):
    admin = await create_tenant(api, "harbour")
    made = (await admin.request("POST", "/v1/keys", {"role": "viewer", "label": "a label"})).json
    for path in ("/v1/keys", f"/v1/keys/{made['id']}", "/v1/audit"):
        assert made["secret"][-32:] not in (await admin.request("GET", path)).body.decode()
    async with api.database.read() as connection:
        rows = [*await connection.execute(select(table)), *await connection.execute(select(audit_log))]
    assert made["secret"][-32:] not in str(rows)


async def test_last_used_is_written_once_a_minute(api):
    admin = await create_tenant(api, "harbour")
    key = (await admin.request("GET", "/v1/me")).json["key_id"]
    first = api.now
    api.now += MINUTE - 1
    assert (await admin.request("GET", f"/v1/keys/{key}")).json["last_used_at"] == to_rfc3339(first)
    api.now += 1
    assert (await admin.request("GET", f"/v1/keys/{key}")).json["last_used_at"] == to_rfc3339(api.now)


async def test_there_are_a_hundred_live_keys_at_most(api):
    admin = await create_tenant(api, "harbour")
    for _ in range(99):
        assert (await admin.request("POST", "/v1/keys", {"role": "viewer"})).status == 201
    assert (await admin.request("POST", "/v1/keys", {"role": "viewer"})).status == 409
    result = (await admin.request("GET", "/v1/keys?limit=1")).json["items"][0]["id"]
    own = (await admin.request("GET", "/v1/me")).json["key_id"]
    victim = result if result != own else (await admin.request("GET", "/v1/keys?limit=2")).json["items"][1]["id"]
    assert (await admin.request("DELETE", f"/v1/keys/{victim}")).status == 204
    assert (await admin.request("POST", "/v1/keys", {"role": "viewer"})).status == 201


@both
async def test_keys_come_in_pages_each_once(api):
    admin = await create_tenant(api, "harbour")
    for place in range(6):
        api.now += place % 2  # some at the same instant
        await admin.request("POST", "/v1/keys", {"role": "viewer"})
    seen, cursor = [], ""
    while True:
        page = (await admin.request("GET", f"/v1/keys?limit=2&cursor={cursor}")).json
        seen += [key["id"] for key in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == [key["id"] for key in (await admin.request("GET", "/v1/keys")).json["items"]]


async def test_a_key_that_asks_too_often_waits_while_others_go_on(database):
    api = ApiEnv(database, RateLimits(requests_per_second=2, request_burst=3))
    busy, other = await create_tenant(api, "harbour"), await create_tenant(api, "other")
    statuses = [(await busy.request("GET", "/v1/me")).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = await busy.request("GET", "/v1/me")
    assert refused.headers["retry-after"] == "1"
    assert (await other.request("GET", "/v1/me")).status == 200
    api.now += 500_000
    assert [(await busy.request("GET", "/v1/me")).status for _ in range(2)] == [200, 429]


async def test_who_tries_keys_is_slowed_down_but_locks_nobody_out(database):
    api = ApiEnv(database, RateLimits(failures_per_second=1, failure_burst=2))
    admin = await create_tenant(api, "harbour")
    thief = ApiTestClient(api.app, f"voc_{'0' * 16}_{'a' * 32}", address=admin.address)
    assert [(await thief.request("GET", "/v1/me")).status for _ in range(3)] == [401, 401, 429]
    assert (await admin.request("GET", "/v1/me")).status == 200  # behind the same proxy
    assert (await ApiTestClient(api.app, thief.key, address="10.9.9.9").request("GET", "/v1/me")).status == 401
