"""Who may do what: the table says what every operation answers to every kind of key.

`other` is the admin of another tenant, who asks for the very same thing by its name. It is told that there is nothing,
or it sees and changes its own; of the first tenant's things it neither sees nor changes anything.
"""

import asyncio
import shutil
from functools import cache

import pytest
from sqlalchemy import bindparam, select

from tests.support.api_client import ApiEnv, ApiTestClient
from tests.support.two_tenants import (
    ACCOUNT,
    CALL,
    CANARY,
    ENDED_CALL,
    NUMBER,
    OTHER_CALL,
    OTHER_NUMBER,
    OTHER_RECORDING,
    RECORDING,
    TOKEN,
    add_live_call,
    add_twilio_numbers,
    create_two_tenants,
    make_flow,
    silent_wav,
    store_recording_audio,
)
from vocelio.gateway.api.routes import OPERATIONS
from vocelio.gateway.simulator.rest_api.server import TwilioRestApi
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.schema import metadata

ROLES = ("viewer", "operator", "designer", "admin", "platform")

#   operation                                          viewer  operator  designer  admin  platform  other  none  revoked
TABLE = """
    GET    /openapi.json                               200     200       200       200    200       200    200   200
    GET    /v1/flows/schema                            200     200       200       200    200       200    200   200
    GET    /v1/me                                      200     200       200       200    200       200    401   401
    GET    /v1/speech                                  200     200       200       200    200       200    401   401
    GET    /metrics                                    403     403       403       403    200       403    401   401
    GET    /v1/processes                               403     403       403       403    200       403    401   401
    GET    /v1/tenants                                 403     403       403       403    200       403    401   401
    POST   /v1/tenants                                 403     403       403       403    201       403    401   401
    GET    /v1/tenants/{tenant}                        403     403       403       403    200       403    401   401
    PATCH  /v1/tenants/{tenant}                        403     403       403       403    200       403    401   401
    GET    /v1/rates/defaults                          403     403       403       403    200       403    401   401
    POST   /v1/rates/defaults                          403     403       403       403    201       403    401   401
    GET    /v1/tenant                                  200     200       200       200    200       200    401   401
    PATCH  /v1/tenant                                  403     403       403       200    200       200    401   401
    PUT    /v1/tenant/twilio                           403     403       403       204    204       204    401   401
    DELETE /v1/tenant/twilio                           403     403       403       204    204       204    401   401
    GET    /v1/keys                                    403     403       403       200    200       200    401   401
    POST   /v1/keys                                    403     403       403       201    201       201    401   401
    GET    /v1/keys/{key}                              403     403       403       200    200       404    401   401
    DELETE /v1/keys/{key}                              403     403       403       204    204       404    401   401
    GET    /v1/rates                                   200     200       200       200    200       200    401   401
    POST   /v1/rates                                   403     403       403       201    201       201    401   401
    GET    /v1/audit                                   403     403       403       200    200       200    401   401
    GET    /v1/flows                                   200     200       200       200    200       200    401   401
    GET    /v1/flows/{flow}                            200     200       200       200    200       404    401   401
    PUT    /v1/flows/{flow}                            403     403       200       200    200       412    401   401
    DELETE /v1/flows/{flow}                            403     403       204       204    204       404    401   401
    POST   /v1/flows/{flow}/validate                   200     200       200       200    200       404    401   401
    POST   /v1/flows/{flow}/promote                    403     403       201       201    201       404    401   401
    GET    /v1/flows/{flow}/versions                   200     200       200       200    200       404    401   401
    GET    /v1/flows/{flow}/versions/{number}          200     200       200       200    200       404    401   401
    GET    /v1/flows/{flow}/diff                       200     200       200       200    200       404    401   401
    POST   /v1/flows/{flow}/rollback                   403     403       200       200    200       404    401   401
    GET    /v1/flows/{flow}/prompts                    200     200       200       200    200       404    401   401
    POST   /v1/flows/{flow}/prompts/retry              403     403       202       202    202       404    401   401
    POST   /v1/flows/{flow}/pause                      403     200       403       200    200       404    401   401
    POST   /v1/flows/{flow}/resume                     403     200       403       200    200       404    401   401
    GET    /v1/departments                             200     200       200       200    200       200    401   401
    GET    /v1/departments/{name}                      200     200       200       200    200       404    401   401
    PUT    /v1/departments/{name}                      403     403       403       200    200       200    401   401
    DELETE /v1/departments/{name}                      403     403       403       204    204       404    401   401
    GET    /v1/secrets                                 200     200       200       200    200       200    401   401
    PUT    /v1/secrets/{name}                          403     403       200       200    200       200    401   401
    DELETE /v1/secrets/{name}                          403     403       204       204    204       404    401   401
    GET    /v1/sounds                                  200     200       200       200    200       200    401   401
    PUT    /v1/sounds/{name}                           403     403       200       200    200       200    401   401
    DELETE /v1/sounds/{name}                           403     403       204       204    204       404    401   401
    GET    /v1/numbers                                 200     200       200       200    200       200    401   401
    POST   /v1/numbers                                 403     403       403       201    201       409    401   401
    GET    /v1/numbers/{number}                        200     200       200       200    200       404    401   401
    PATCH  /v1/numbers/{number}                        403     403       403       200    200       404    401   401
    DELETE /v1/numbers/{number}                        403     403       403       204    204       404    401   401
    PUT    /v1/numbers/{number}/assignment             403     403       403       200    200       404    401   401
    DELETE /v1/numbers/{number}/assignment             403     403       403       200    200       404    401   401
    GET    /v1/numbers/{number}/assignments            200     200       200       200    200       404    401   401
    POST   /v1/numbers/{number}/provisioning           403     403       403       202    202       404    401   401
    GET    /v1/number-provisioning                     200     200       200       200    200       200    401   401
    POST   /v1/number-provisioning/repair              403     403       403       202    202       202    401   401
    GET    /v1/twilio/numbers                          403     403       403       200    200       200    401   401
    POST   /v1/numbers/import                          403     403       403       200    200       200    401   401
    GET    /v1/calls                                   200     200       200       200    200       200    401   401
    GET    /v1/calls/{call}                            200     200       200       200    200       404    401   401
    GET    /v1/calls/{call}/log                        200     200       200       200    200       404    401   401
    POST   /v1/calls/{call}/hangup                     403     202       403       202    202       404    401   401
    POST   /v1/calls/{call}/transfer                   403     202       403       202    202       404    401   401
    POST   /v1/calls/{call}/say                        403     202       403       202    202       404    401   401
    POST   /v1/calls/{call}/jump                       403     202       403       202    202       404    401   401
    GET    /v1/live                                    200     200       200       200    200       200    401   401
    POST   /v1/events/tickets                          201     201       201       201    201       201    401   401
    GET    /v1/recordings                              200     200       200       200    200       200    401   401
    GET    /v1/recordings/{recording}                  200     200       200       200    200       404    401   401
    GET    /v1/recordings/{recording}/audio            200     200       200       200    200       404    401   401
    DELETE /v1/recordings/{recording}                  403     403       403       204    204       404    401   401
    GET    /v1/usage                                   200     200       200       200    200       200    401   401
    GET    /v1/analytics                               200     200       200       200    200       200    401   401
"""
ROWS = {
    (method, path): dict(zip((*ROLES, "other", "none", "revoked"), map(int, statuses), strict=True))
    for method, path, *statuses in map(str.split, TABLE.strip().splitlines())
}

PARTS = {
    "tenant": "harbour",
    "flow": "plain",
    "name": "plain",
    "number": NUMBER,
    "call": CALL,
    "recording": RECORDING,
}
BODIES = {
    "POST /v1/tenants": {"id": "new", "name": "New"},
    "PATCH /v1/tenants/{tenant}": {"name": "Renamed"},
    "POST /v1/rates/defaults": {"tier": "azure", "micro_usd_per_minute": 7},
    "PATCH /v1/tenant": {"hold_message": "Hold on."},
    "PUT /v1/tenant/twilio": {"account_sid": ACCOUNT, "auth_token": TOKEN},
    "POST /v1/keys": {"role": "viewer"},
    "POST /v1/rates": {"tier": "azure", "micro_usd_per_minute": 7},
    "PUT /v1/flows/{flow}": make_flow("something else"),
    "POST /v1/flows/{flow}/promote": {"note": "again"},
    "POST /v1/flows/{flow}/rollback": {"version": 1, "note": "back"},
    "POST /v1/flows/{flow}/pause": {"message": "We are closed."},
    "PUT /v1/departments/{name}": {"numbers": ["+13105550111"]},
    "PUT /v1/secrets/{name}": {"value": "another"},
    "PUT /v1/sounds/{name}": silent_wav(),
    "POST /v1/numbers": {"number": "+13072249670"},
    "PATCH /v1/numbers/{number}": {"label": "Renamed"},
    "PUT /v1/numbers/{number}/assignment": {"flow": "plain"},
    "POST /v1/numbers/import": {"all": True},
    "POST /v1/calls/{call}/transfer": {"department": "plain"},
    "POST /v1/calls/{call}/say": {"text": "Hello."},
    "POST /v1/calls/{call}/jump": {"node": "greet"},
}
INSTEAD = {  # where the usual one would not do
    "DELETE /v1/flows/{flow}": {"flow": "plain-draft"},
    "POST /v1/flows/{flow}/promote": {"flow": "plain-draft"},
    "GET /v1/flows/{flow}/versions/{number}": {"number": "1"},
    "DELETE /v1/numbers/{number}": {"number": f"{NUMBER}0"},
    "GET /v1/calls/{call}/log": {"call": ENDED_CALL},
}
QUERIES = {
    "GET /v1/flows/{flow}/diff": "?from=1&to=draft",
    "GET /v1/usage": "?by=tenant,flow",
}
WORDLESS = (
    "/v1/live",
    "/metrics",
    "/v1/processes",
    "/v1/speech",
    "/v1/rates",
    "/v1/rates/defaults",
    "/v1/flows/{flow}/diff",
    "/v1/recordings",
    "/v1/recordings/{recording}",
)


PLATFORMS = ("/metrics", "/v1/processes", "/v1/tenants", "/v1/tenants/{tenant}", "/v1/rates/defaults")


class PopulatedDatabase:
    """A database file with both tenants' things, and the keys."""

    async def make(self, file):
        """Make the file."""
        database = Database(f"sqlite+aiosqlite:///{file}")
        await database.migrate()
        try:
            self.keys, self.victim, self.theirs = await create_two_tenants(database)
        finally:
            await database.aclose()
        self.file = file

    def client(self, api, who):
        """A client with that kind of key."""
        return ApiTestClient(api.app, self.keys[who], "harbour" if who == "platform" else "")


@pytest.fixture(scope="module")
def populated_database(tmp_path_factory):
    """Made once; each test has copies of it."""
    filled = PopulatedDatabase()
    asyncio.run(filled.make(tmp_path_factory.mktemp("filled") / "vocelio.db"))
    return filled


@pytest.fixture
async def make_api_copy(populated_database, tmp_path):
    """Makes an API on a fresh copy."""
    opened = []

    def fresh():
        file = tmp_path / f"{len(opened)}.db"
        shutil.copy(populated_database.file, file)
        opened.append(ApiEnv(Database(f"sqlite+aiosqlite:///{file}"), twilio=emulator.origin))
        return opened[-1]

    async with TwilioRestApi() as emulator:
        add_twilio_numbers(emulator)
        yield fresh
        for api in opened:
            await api.provisioner.aclose()
            await api.database.aclose()


async def request_as(api, filled, who, method, path):
    """The operation on the first tenant's thing."""
    add_live_call(api)
    await store_recording_audio(api)
    request, headers = request_for_victim(filled, method, path)
    return await filled.client(api, who).request(*request, **headers)


def request_for_victim(filled, method, path):
    """A request for the first tenant's thing, and its headers."""
    key = f"{method} {path}"
    where = path.format(**{**PARTS, "key": filled.victim, **INSTEAD.get(key, {})}) + QUERIES.get(key, "")
    media = "audio/wav" if "/sounds/" in path else "application/json"
    conditional = method == "PUT" and "/flows/" in path
    return (method, where, BODIES.get(key), media), {"If-Match": '"1"'} if conditional else {}


def test_the_table_has_every_operation():
    assert set(ROWS) == {(row.method, row.path) for row in OPERATIONS}


@pytest.mark.parametrize(("method", "path"), ROWS, ids=lambda part: part)
async def test_what_each_key_gets(make_api_copy, populated_database, method, path):
    unchanged, got = make_api_copy(), {}
    for who, expected in ROWS[method, path].items():
        api = unchanged if method == "GET" or expected >= 400 else make_api_copy()
        answer = await request_as(api, populated_database, who, method, path)
        got[who] = answer.status
        if (who, path) != ("platform", "/v1/tenants"):  # which is where the platform sees all
            unseen = "Harbour" if who == "other" else CANARY
            assert unseen not in f"{answer.headers}{answer.body}", who
    assert got == ROWS[method, path]


@pytest.mark.parametrize(
    "path", [path for (method, path), row in ROWS.items() if method == "GET" and row["none"] == 401]
)
async def test_the_canary_is_there_to_be_seen(make_api_copy, populated_database, path):
    """Or else that it is not seen would show nothing: it is in all that its own tenant, or the platform, asks for."""
    api = make_api_copy()
    parts = dict.fromkeys(("tenant", "flow", "name"), CANARY)
    parts |= {
        "number": "1" if "versions" in path else OTHER_NUMBER,
        "call": OTHER_CALL,
        "key": populated_database.theirs,
    }
    parts["recording"] = OTHER_RECORDING
    await store_recording_audio(api)
    who = "platform" if path in PLATFORMS else "other"
    answer = await populated_database.client(api, who).request(
        "GET", path.format(**parts) + QUERIES.get(f"GET {path}", "")
    )
    assert answer.status == 200, answer.body
    assert (CANARY in answer.body.decode(errors="replace")) == (path not in WORDLESS)


# A Twilio account moves to whoever proves to have its token: tests/integration/api/test_ownership.py.
NOT_MOVED_BY_A_TOKEN = [row for row in ROWS if row[0] != "GET" and row != ("PUT", "/v1/tenant/twilio")]


@pytest.mark.parametrize(("method", "path"), NOT_MOVED_BY_A_TOKEN, ids=lambda part: part)
async def test_another_tenants_admin_changes_nothing_of_ours(make_api_copy, populated_database, method, path):
    api = make_api_copy()
    before = await all_rows_of(api.database, "harbour")
    telephone = add_live_call(api)
    await store_recording_audio(api)
    sounds = dict(api.storage.objects)
    request, headers = request_for_victim(populated_database, method, path)
    answer = await populated_database.client(api, "other").request(*request, **headers)
    assert answer.status == ROWS[method, path]["other"]
    assert await all_rows_of(api.database, "harbour") == before
    assert api.storage.objects == sounds
    assert telephone.commands == []


@cache
def tenant_row_queries():
    """What to ask each table for the rows of ``:tenant``: SQL, which each new database's engine would make again."""
    made = {}
    for table in metadata.sorted_tables:
        if table.name != "processes":  # nobody's
            column = table.c.id if table.name == "tenants" else table.c.tenant_id
            made[table.name] = str(select(table).where(column == bindparam("tenant")))
    return made


async def all_rows_of(database, tenant):
    """Every row of a tenant's, whatever the table."""
    async with database.read() as connection:
        result = {
            name: (await connection.exec_driver_sql(question, {"tenant": tenant})).all()
            for name, question in tenant_row_queries().items()
        }
    assert all(result.values()), result  # there is something to lose in each
    return result


async def test_what_is_missing_and_what_is_another_tenants_look_the_same(make_api_copy):
    api = make_api_copy()
    admin = await api.create_client("harbour")
    for path, missing in (
        (f"/v1/flows/{CANARY}", "/v1/flows/nothing"),
        (f"/v1/departments/{CANARY}", "/v1/departments/nothing"),
        (f"/v1/numbers/{OTHER_NUMBER}", "/v1/numbers/+13072249999"),
        (f"/v1/calls/{OTHER_CALL}", f"/v1/calls/CA{9:032x}"),
        (f"/v1/recordings/{OTHER_RECORDING}", "/v1/recordings/9"),
        (f"/v1/recordings/{OTHER_RECORDING}/audio", "/v1/recordings/9/audio"),
    ):
        theirs, none = [await admin.request("GET", where, X_Request_Id="one") for where in (path, missing)]
        assert (theirs.status, theirs.body) == (404, none.body)


async def test_number_that_another_tenant_has_looks_like_one_that_nobody_has(make_api_copy):
    admin = await make_api_copy().create_client("harbour")
    nobodys = "+13072240000"
    theirs, none = [
        await admin.request("POST", "/v1/numbers", {"number": number}, X_Request_Id="one")
        for number in (OTHER_NUMBER, nobodys)
    ]
    assert (theirs.status, theirs.json["detail"].replace(OTHER_NUMBER, nobodys)) == (409, none.json["detail"])


async def test_a_tenants_key_cannot_name_another_tenant(make_api_copy):
    api = make_api_copy()
    admin = await api.create_client("harbour")
    admin.tenant = CANARY
    assert (await admin.request("GET", "/v1/tenant")).json["id"] == "harbour"


async def test_a_platform_key_names_one_tenant_that_there_is(make_api_copy):
    api = make_api_copy()
    platform = await api.platform_client()
    assert "Vocelio-Tenant" in (await platform.request("GET", "/v1/flows")).json["detail"]
    assert (await platform.request("GET", "/v1/flows")).status == 400
    assert (await platform.request("GET", "/v1/flows", Vocelio_Tenant="nobody")).status == 404
    assert (await platform.request("GET", "/v1/flows", Vocelio_Tenant=CANARY)).status == 200


async def test_a_suspended_tenants_keys_are_no_good_until_it_is_not(make_api_copy):
    api = make_api_copy()
    admin, platform = await api.create_client("harbour"), await api.platform_client()
    await platform.request("PATCH", "/v1/tenants/harbour", {"suspended": True})
    assert (await admin.request("GET", "/v1/me")).status == 401
    assert (await (await api.platform_client("harbour")).request("GET", "/v1/tenant")).json["suspended"] is True
    await platform.request("PATCH", "/v1/tenants/harbour", {"suspended": False})
    assert (await admin.request("GET", "/v1/me")).status == 200
