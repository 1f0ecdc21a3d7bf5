"""What a request may look like, and what a refusal says."""

import json
import logging
from urllib.parse import unquote

import pytest

from tests.support.api_client import ApiEnv, ApiTestClient, create_tenant
from tests.support.two_tenants import make_flow
from vocelio.gateway.api.framework.endpoint import PathEndpoint
from vocelio.gateway.logs import JsonFormatter
from vocelio.gateway.store.db.database import API_POOL, Database


@pytest.fixture
async def admin(api):
    return await create_tenant(api, "harbour")


async def test_every_wrong_field_is_told_with_its_path(admin):
    body = {
        "numbers": ["+13105550111", "home"],
        "ring_timeout_seconds": 1,
        "ring": "sequental",
        "hours": {"time_zone": 5, "weekly": {}},
        "whispr": "Hello.",
    }
    answer = await admin.request("PUT", "/v1/departments/sales", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (problem["title"], problem["status"], problem["type"]) == ("Unprocessable Content", 422, "about:blank")
    assert [error["path"] for error in problem["errors"]] == [
        "hours.time_zone",
        "numbers[1]",
        "ring",
        "ring_timeout_seconds",
        "whispr",
    ]
    assert "sequential" in problem["errors"][2]["hint"]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"\xff", 400),
        (b'"\\ud800"', 400),
        (b"[" * 30_000, 400),
        (b'{"numbers": NaN}', 400),
        (b"null", 422),
        (b"[]", 422),
        (b'{"numbers": ["+13105550111"], "whisper": "a\\u0000b"}', 422),
        (b'{"numbers": ["+13105550111\\n"]}', 422),
        (b'{"numbers": 1e400}', 400),
        (b'{"numbers": ' + b"[" * 60 + b"]" * 60 + b"}", 422),
    ],
)
async def test_a_body_that_cannot_be(admin, raw, status):
    assert (await admin.request("PUT", "/v1/departments/sales", raw)).status == status


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_a_body_of_another_type_is_not_taken(admin, media):
    answer = await admin.request("PUT", "/v1/departments/sales", {"numbers": ["+13105550111"]}, media=media)
    assert answer.status == 415
    assert "application/json" in answer.json["detail"]


async def test_a_type_may_name_its_characters(admin):
    body = {"numbers": ["+13105550111"]}
    answer = await admin.request("PUT", "/v1/departments/sales", body, media="Application/JSON; charset=utf-8")
    assert answer.status == 200


async def test_a_body_is_refused_as_soon_as_it_is_too_large(api, admin):
    sent = 0

    async def receive():
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    answers = []

    async def send(message):
        answers.append(message)

    headers = [(b"authorization", f"Bearer {admin.key}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "PUT", "path": "/v1/departments/sales", "query_string": b"", "headers": headers}
    await api.app({**scope, "client": ("10.0.0.1", 1), "server": ("localhost", 80), "scheme": "http"}, receive, send)
    assert answers[0]["status"] == 413
    assert sent == 7  # of an endless body: the piece that was too much is the last


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("lmit=1", "lmit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=WzFd", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "a" * 501, "cursor"),
    ],
)
async def test_a_query_that_cannot_be(admin, query, path):
    answer = await admin.request("GET", f"/v1/keys?{query}")
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, path)


async def test_all_that_is_wrong_with_a_query_is_told(admin):
    answer = await admin.request("GET", "/v1/keys?limit=0&lmit=1&cursor=" + "a" * 501)
    assert [error["path"] for error in answer.json["errors"]] == ["cursor", "limit", "lmit"]
    assert answer.json["errors"][2]["hint"] == "did you mean `limit`?"


async def test_what_takes_no_query_says_so(admin):
    assert (await admin.request("GET", "/v1/me?x=1")).status == 422


@pytest.mark.parametrize("name", ["A", "-a", "a" * 65, "a%0A", "%00", "a.b", "%2e%2e"])
async def test_a_name_that_cannot_be_is_not_there(admin, name):
    assert (await admin.request("GET", f"/v1/departments/{unquote(name)}")).status == 404


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/nothing", "GET", 404),
        ("/v1/keys/", "GET", 404),
        ("/v1/", "GET", 404),
        ("/v1/keys", "DELETE", 405),
        ("/v1/keys", "TRACE", 405),
        ("/v1/keys", "BREW", 405),
        ("/v1/flows/schema", "PUT", 405),
    ],
)
async def test_what_there_is_not_is_a_problem_too(api, path, method, status):
    answer = await ApiTestClient(api.app).request(method, path)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json["request_id"]


async def test_a_405_names_every_method_there_is(api):
    assert (await ApiTestClient(api.app).request("PATCH", "/v1/flows/desk")).headers["allow"] == "DELETE, GET, PUT"


async def test_a_head_is_answered_as_a_get(admin):
    assert (await admin.request("HEAD", "/v1/keys")).status == 200


@pytest.mark.parametrize(
    ("given", "taken"),
    [("abc-123_x.y", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("a\r\nSet-Cookie: x", False)],
)
async def test_a_requests_id_is_taken_where_it_is_plain_and_short(admin, given, taken):
    answer = await admin.request("GET", "/v1/me", X_Request_Id=given)
    assert (answer.headers["x-request-id"] == given) is taken
    assert len(answer.headers["x-request-id"]) >= 11


async def test_answers_to_a_key_are_kept_by_nobody(api, admin):
    assert (await admin.request("GET", "/v1/me")).headers["cache-control"] == "no-store"
    assert (await ApiTestClient(api.app).request("GET", "/v1/me")).headers["cache-control"] == "no-store"


async def test_a_request_is_on_the_trail_by_its_id(admin):
    await admin.request("PUT", "/v1/departments/sales", {"numbers": ["+13105550111"]}, X_Request_Id="this-one")
    entry = (await admin.request("GET", "/v1/audit?target=sales")).json["items"][0]
    assert (entry["request_id"], entry["action"]) == ("this-one", "department.updated")


async def test_our_mistakes_tell_the_client_nothing(api, caplog):
    class Broken:
        async def handle(self, request, identifier):
            raise RuntimeError("the password is swordfish")

    caplog.handler.setFormatter(JsonFormatter())
    with caplog.at_level(logging.ERROR):
        answer = await ApiTestClient(PathEndpoint({"GET": Broken()})).request("GET", "/v1/me", X_Request_Id="this-one")
    assert answer.status == 500
    assert "swordfish" not in answer.body.decode()
    logged = json.loads(caplog.text)
    assert "swordfish" in logged["error"]
    assert logged["request_id"] == "this-one"


async def test_without_a_database_the_answer_is_503_and_when_to_ask_again(admin, tmp_path):
    away = Database(f"sqlite+aiosqlite:///{tmp_path}")  # a folder is no database
    answer = await ApiTestClient(ApiEnv(away).app, admin.key).request("GET", "/v1/me")
    await away.aclose()
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"


async def test_request_without_a_free_connection_is_answered_with_503_and_retry_after(api, admin):
    url = api.database._url.render_as_string(hide_password=False)
    database = Database(url, API_POOL | {"pool_size": 1, "pool_timeout": 0.05})
    client = ApiTestClient(ApiEnv(database).app, admin.key)
    async with database.read():
        answer = await client.request("GET", "/v1/me")
    assert (answer.status, answer.json["title"]) == (503, "Service Unavailable")
    assert "Too many requests are in progress" in answer.json["detail"]
    assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("5", "application/problem+json")
    assert (await client.request("GET", "/v1/me")).status == 200
    await database.aclose()


async def test_instants_are_rfc_3339_texts_of_any_offset_and_are_answered_in_utc(admin):
    body = {"role": "viewer", "expires_at": "2030-01-01T01:00:00.5+01:00"}
    made = (await admin.request("POST", "/v1/keys", body)).json
    assert made["expires_at"] == "2030-01-01T00:00:00.500000Z"
    assert made["revoked_at"] is None
    entry = (await admin.request("GET", "/v1/audit?action=api_key.created")).json["items"][0]
    assert entry["after"]["expires_at"] == made["expires_at"]
    calls = await admin.request("GET", "/v1/calls?since=2030-01-01T01:00:00%2B01:00&until=2030-01-02T00:00:00Z")
    assert (calls.status, calls.json["items"]) == (200, [])


@pytest.mark.parametrize(
    "instant",
    [1_900_000_000_000_000, "1900000000000000", "2030-01-01", "2030-01-01T00:00:00", "1969-12-31T23:59:59Z", ""],
)
async def test_instant_in_another_form_is_invalid(admin, instant):
    made = await admin.request("POST", "/v1/keys", {"role": "viewer", "expires_at": instant})
    assert (made.status, made.json["errors"][0]["path"]) == (422, "expires_at")
    result = await admin.request("GET", f"/v1/calls?since={instant}")
    assert (result.status, result.json["errors"][0]["path"]) == (422, "since")


async def test_two_designers_cannot_overwrite_each_other(api, admin):
    first, second = await api.create_client("harbour", "designer"), await api.create_client("harbour", "designer")
    made = await first.request("PUT", "/v1/flows/desk", make_flow("one"))
    assert (made.status, made.headers["etag"], made.headers["location"]) == (201, '"1"', "/v1/flows/desk")
    seen = [(await client.request("GET", "/v1/flows/desk")).headers["etag"] for client in (first, second)]
    kept = await first.request("PUT", "/v1/flows/desk", make_flow("two"), If_Match=seen[0])
    late = await second.request("PUT", "/v1/flows/desk", make_flow("three"), If_Match=seen[1])
    assert (kept.status, late.status) == (200, 412)
    assert (await second.request("PUT", "/v1/flows/desk", make_flow("three"))).status == 428
    now = await second.request("GET", "/v1/flows/desk")
    assert "two" in json.dumps(now.json["document"])
    weak = f"W/{now.headers['etag']}"  # as a proxy that compresses may have made of it
    assert (await second.request("PUT", "/v1/flows/desk", make_flow("three"), If_Match=weak)).status == 200


@pytest.mark.parametrize("header", ["*", "1", '"0"', '"1", "2"', '"' + "9" * 10 + '"', '"a"'])
async def test_an_if_match_that_names_no_revision_is_refused(admin, header):
    await admin.request("PUT", "/v1/flows/desk", make_flow())
    assert (await admin.request("PUT", "/v1/flows/desk", make_flow("two"), If_Match=header)).status == 400
