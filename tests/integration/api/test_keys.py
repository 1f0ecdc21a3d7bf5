"""Keys: shown once, good at once, revoked at once, rotated by two."""

import asyncio

import pytest
from sqlalchemy import select

from tests.integration.api.client import Api, Client, tenant
from vocelio.gateway.api.framework.rate_limit import Limits
from vocelio.gateway.store.db.schema import audit
from vocelio.gateway.store.db.schema import keys as table

both = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)

MINUTE = 60_000_000


@both
async def test_a_key_is_rotated_by_a_second_one(api):
    first = await tenant(api, "harbour")
    made = (await first.ask("POST", "/v1/keys", {"role": "admin", "label": "the next one"})).json
    second = Client(api.app, made["secret"])
    old = (await first.ask("GET", "/v1/me")).json["key"]
    assert (await second.ask("DELETE", f"/v1/keys/{old}")).status == 204
    assert (await first.ask("GET", "/v1/me")).status == 401
    assert (await second.ask("GET", "/v1/me")).json["key"] == made["id"]


async def test_a_key_cannot_revoke_itself(api):
    admin = await tenant(api, "harbour")
    own = (await admin.ask("GET", "/v1/me")).json["key"]
    assert (await admin.ask("DELETE", f"/v1/keys/{own}")).status == 409
    assert (await admin.ask("GET", "/v1/me")).status == 200


@both
async def test_of_two_keys_that_revoke_each_other_one_is_left(api):
    first = await tenant(api, "harbour")
    second = await api.client("harbour")
    ids = [(await client.ask("GET", "/v1/me")).json["key"] for client in (first, second)]
    answers = await asyncio.gather(
        first.ask("DELETE", f"/v1/keys/{ids[1]}"), second.ask("DELETE", f"/v1/keys/{ids[0]}")
    )
    assert sorted(answer.status for answer in answers) == [204, 401]
    assert sorted([(await client.ask("GET", "/v1/me")).status for client in (first, second)]) == [200, 401]


async def test_a_revoked_key_can_be_revoked_again(api):
    admin = await tenant(api, "harbour")
    viewer = await api.client("harbour", "viewer")
    key = (await viewer.ask("GET", "/v1/me")).json["key"]
    assert (await admin.ask("DELETE", f"/v1/keys/{key}")).status == 204
    assert (await admin.ask("DELETE", f"/v1/keys/{key}")).status == 204
    assert (await admin.ask("GET", f"/v1/keys/{key}")).json["revoked"] == api.now


async def test_every_key_that_is_no_good_gets_the_same_answer(api):
    admin = await tenant(api, "harbour")
    expiring = (await admin.ask("POST", "/v1/keys", {"role": "viewer", "expires": api.now + MINUTE})).json["secret"]
    revoked = (await admin.ask("POST", "/v1/keys", {"role": "viewer"})).json
    await admin.ask("DELETE", f"/v1/keys/{revoked['id']}")
    other = await tenant(api, "other")
    await (await api.platform()).ask("PATCH", "/v1/tenants/other", {"suspended": True})
    api.now += 2 * MINUTE
    good = (await admin.ask("POST", "/v1/keys", {"role": "viewer"})).json["secret"]
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
        await Client(api.app, key.encode().decode("latin-1")).ask("GET", "/v1/me", X_Request_Id="one") for key in wrong
    ]
    basic = await Client(api.app).ask("GET", "/v1/me", Authorization=f"Basic {good}", X_Request_Id="one")
    none = await Client(api.app).ask("GET", "/v1/me", X_Request_Id="one")
    assert {answer.status for answer in [*answers, basic, none]} == {401}
    assert len({answer.body for answer in [*answers, basic, none]}) == 1
    assert none.headers["www-authenticate"] == "Bearer"
    assert (await Client(api.app, good).ask("GET", "/v1/me")).status == 200


async def test_a_key_that_expires_is_good_until_then(api):
    admin = await tenant(api, "harbour")
    made = (await admin.ask("POST", "/v1/keys", {"role": "viewer", "expires": api.now + MINUTE})).json
    viewer = Client(api.app, made["secret"])
    api.now += MINUTE - 1
    assert (await viewer.ask("GET", "/v1/me")).status == 200
    api.now += 1
    assert (await viewer.ask("GET", "/v1/me")).status == 401


async def test_a_key_cannot_expire_in_the_past(api):
    admin = await tenant(api, "harbour")
    answer = await admin.ask("POST", "/v1/keys", {"role": "viewer", "expires": api.now})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "expires")


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
    await tenant(api, "harbour")
    client = await api.client("harbour", maker)
    assert (await client.ask("POST", "/v1/keys", {"role": role})).status == status


async def test_a_platform_key_makes_keys_of_the_tenant_it_names_or_of_the_platform(api):
    await tenant(api, "harbour")
    nobodys, named = await api.platform(), await api.platform("harbour")
    assert (await nobodys.ask("POST", "/v1/keys", {"role": "viewer"})).status == 400
    assert (await named.ask("POST", "/v1/keys", {"role": "platform"})).status == 422
    assert (await named.ask("POST", "/v1/keys", {"role": "viewer"})).json["tenant"] == "harbour"
    made = (await nobodys.ask("POST", "/v1/keys", {"role": "platform"})).json
    assert made["tenant"] == ""
    assert (await Client(api.app, made["secret"]).ask("GET", "/v1/tenants")).status == 200


async def test_a_secret_is_shown_once_and_kept_nowhere(api):
    admin = await tenant(api, "harbour")
    made = (await admin.ask("POST", "/v1/keys", {"role": "viewer", "label": "a label"})).json
    for path in ("/v1/keys", f"/v1/keys/{made['id']}", "/v1/audit"):
        assert made["secret"][-32:] not in (await admin.ask("GET", path)).body.decode()
    async with api.database.reading() as connection:
        rows = [*await connection.execute(select(table)), *await connection.execute(select(audit))]
    assert made["secret"][-32:] not in str(rows)


async def test_last_used_is_written_once_a_minute(api):
    admin = await tenant(api, "harbour")
    key = (await admin.ask("GET", "/v1/me")).json["key"]
    first = api.now
    api.now += MINUTE - 1
    assert (await admin.ask("GET", f"/v1/keys/{key}")).json["last_used"] == first
    api.now += 1
    assert (await admin.ask("GET", f"/v1/keys/{key}")).json["last_used"] == api.now


async def test_there_are_a_hundred_live_keys_at_most(api):
    admin = await tenant(api, "harbour")
    for _ in range(99):
        assert (await admin.ask("POST", "/v1/keys", {"role": "viewer"})).status == 201
    assert (await admin.ask("POST", "/v1/keys", {"role": "viewer"})).status == 409
    found = (await admin.ask("GET", "/v1/keys?limit=1")).json["items"][0]["id"]
    own = (await admin.ask("GET", "/v1/me")).json["key"]
    victim = found if found != own else (await admin.ask("GET", "/v1/keys?limit=2")).json["items"][1]["id"]
    assert (await admin.ask("DELETE", f"/v1/keys/{victim}")).status == 204
    assert (await admin.ask("POST", "/v1/keys", {"role": "viewer"})).status == 201


@both
async def test_keys_come_in_pages_each_once(api):
    admin = await tenant(api, "harbour")
    for place in range(6):
        api.now += place % 2  # some at the same instant
        await admin.ask("POST", "/v1/keys", {"role": "viewer"})
    seen, cursor = [], ""
    while True:
        page = (await admin.ask("GET", f"/v1/keys?limit=2&cursor={cursor}")).json
        seen += [key["id"] for key in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == [key["id"] for key in (await admin.ask("GET", "/v1/keys")).json["items"]]


async def test_a_key_that_asks_too_often_waits_while_others_go_on(database):
    api = Api(database, Limits(requests=2, at_once=3))
    busy, other = await tenant(api, "harbour"), await tenant(api, "other")
    statuses = [(await busy.ask("GET", "/v1/me")).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = await busy.ask("GET", "/v1/me")
    assert refused.headers["retry-after"] == "1"
    assert (await other.ask("GET", "/v1/me")).status == 200
    api.now += 500_000
    assert [(await busy.ask("GET", "/v1/me")).status for _ in range(2)] == [200, 429]


async def test_who_tries_keys_is_slowed_down_but_locks_nobody_out(database):
    api = Api(database, Limits(failures=1, failures_at_once=2))
    admin = await tenant(api, "harbour")
    thief = Client(api.app, f"voc_{'0' * 16}_{'a' * 32}", address=admin.address)
    assert [(await thief.ask("GET", "/v1/me")).status for _ in range(3)] == [401, 401, 429]
    assert (await admin.ask("GET", "/v1/me")).status == 200  # behind the same proxy
    assert (await Client(api.app, thief.key, address="10.9.9.9").ask("GET", "/v1/me")).status == 401
