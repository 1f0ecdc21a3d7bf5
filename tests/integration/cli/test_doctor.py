"""`vocelio doctor` against a running gateway with an emulated Twilio."""

import json
from contextlib import asynccontextmanager

import pytest

from tests.integration.api.test_provisioning import NUMBER, PREVIOUS_VOICE_URL, assign_number, create_tenant_with_number
from tests.support.api_client import PLATFORM_ACCOUNT, PLATFORM_TOKEN, ApiEnv
from tests.support.command_runner import run_vocelio
from tests.support.redis_server import RedisServer
from vocelio.gateway.app import create_app
from vocelio.gateway.config import Settings
from vocelio.gateway.server.server import serve_embedded
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.simulator.rest_api.server import TwilioRestApi
from vocelio.gateway.store.db.database import Database


@pytest.fixture
async def gateway_environment(tmp_path):
    """The emulated Twilio of a gateway with an assigned number, the gateway's origin, and the command's environment."""
    url = f"sqlite+aiosqlite:///{tmp_path}/vocelio.db"
    database = Database(url)
    await database.migrate()
    (tmp_path / "vocelio.db").chmod(0o600)
    async with TwilioRestApi() as twilio:
        twilio.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN).add_number(NUMBER, voice_url=PREVIOUS_VOICE_URL)
        api = ApiEnv(database, twilio=twilio.origin)
        await assign_number(await create_tenant_with_number(api))
        await api.provisioner.process_due()
        key = (await api.platform_client()).key
        settings = Settings("https://voice.example", {PLATFORM_ACCOUNT: PLATFORM_TOKEN})
        async with _serve_api(api, settings) as origin:
            environment = {
                "VOCELIO_KEY": key,
                "VOCELIO_DATABASE_URL": url,
                "VOCELIO_PUBLIC_URL": "https://voice.example",
                "TWILIO_ACCOUNT_SID": PLATFORM_ACCOUNT,
                "TWILIO_AUTH_TOKEN": PLATFORM_TOKEN,
            }
            yield twilio, origin, environment
    await database.aclose()


@asynccontextmanager
async def _serve_api(api, settings):
    app = create_app(settings, api.calls, api_routes=api.app.routes, background_services=[api.provisioner])
    async with serve_embedded(app, bind_socket()) as origin:
        yield origin


async def run_doctor(tmp_path, environment, *options):
    """Run the command; return the exit code, and verdict and detail of each check by its name."""
    code, out, err = await run_vocelio("doctor", "--json", *options, cwd=tmp_path, environment=environment)
    assert err == ""
    report = json.loads(out)
    return code, {check["name"]: (check["verdict"], check["detail"]) for check in report["checks"]}


async def test_drift_is_found_and_repaired(gateway_environment, tmp_path):
    twilio, origin, environment = gateway_environment
    account = twilio.add_account(PLATFORM_ACCOUNT, PLATFORM_TOKEN)
    code, result = await run_doctor(tmp_path, environment, "--server", origin)
    assert (code, {verdict for verdict, _ in result.values()}) == (0, {"ok"}), result
    speech = {"recognition of local", "synthesis of local", "speech of azure", "speech of elevenlabs"}
    assert (
        set(result)
        == {"settings", "files", "database", "public URL", "gateway", "Twilio account of harbour", NUMBER} | speech
    )
    account.get_number(NUMBER)["voice_url"] = PREVIOUS_VOICE_URL
    code, result = await run_doctor(tmp_path, environment, "--server", origin, "--tenant", "harbour")
    assert (code, result[NUMBER][0]) == (1, "failed")
    assert "voice_url" in result[NUMBER][1]
    code, result = await run_doctor(tmp_path, environment, "--server", origin, "--repair")
    assert (code, result[NUMBER][0]) == (0, "ok"), result
    assert NUMBER in result["repair of harbour"][1]
    assert account.get_number(NUMBER)["voice_url"] == "https://voice.example/twilio/voice"


async def test_rejected_credentials_fail_and_output_has_no_secrets(gateway_environment, tmp_path):
    twilio, origin, environment = gateway_environment
    twilio.add_account(PLATFORM_ACCOUNT, "another token")
    code, result = await run_doctor(tmp_path, environment, "--server", origin)
    assert (code, result["Twilio account of harbour"][0], result[NUMBER][0]) == (1, "failed", "unknown")
    code, out, err = await run_vocelio("doctor", "--server", origin, cwd=tmp_path, environment=environment)
    assert (code, err) == (1, "")
    assert "rejects the account's credentials" in " ".join(out.split())
    assert PLATFORM_TOKEN not in out


async def test_impossible_checks_are_unknown(gateway_environment, tmp_path):
    _, origin, environment = gateway_environment
    code, result = await run_doctor(tmp_path, environment, "--server", "http://127.0.0.1:9")
    assert (code, result["gateway"][0], result["database"][0]) == (2, "unknown", "ok")
    code, result = await run_doctor(tmp_path, {**environment, "VOCELIO_KEY": ""}, "--server", origin)
    assert (code, result["gateway"][0]) == (2, "unknown")
    assert "VOCELIO_KEY" in result["gateway"][1]


async def test_redis_is_checked_if_configured(gateway_environment, tmp_path):
    _, origin, environment = gateway_environment
    with RedisServer() as redis:
        at_redis = {**environment, "VOCELIO_REDIS_URL": redis.url}
        code, result = await run_doctor(tmp_path, at_redis, "--server", origin)
        assert (code, result["redis"]) == (0, ("ok", "reachable"))
        redis.pause()
        code, result = await run_doctor(tmp_path, at_redis, "--server", origin)
        assert (code, result["redis"][0]) == (1, "failed")
    nowhere = {**environment, "VOCELIO_REDIS_URL": "redis://:hunter2@127.0.0.1:9/0"}
    code, result = await run_doctor(tmp_path, nowhere, "--server", origin)
    assert (code, result["redis"][0]) == (1, "failed")
    assert "not reachable" in result["redis"][1]
    assert "hunter2" not in str(result)


async def test_local_problems_fail(gateway_environment, tmp_path):
    _, origin, environment = gateway_environment
    wrong = {**environment, "VOCELIO_KEY": "voc_0_0"}
    wrong["VOCELIO_DATABASE_URL"] = f"sqlite+aiosqlite:///{tmp_path}/none.db"
    code, result = await run_doctor(tmp_path, wrong, "--server", origin)
    assert code == 1
    assert {what: verdict for what, (verdict, _) in result.items()} == {
        "settings": "ok",
        "files": "ok",
        "database": "failed",
        "public URL": "ok",
        "gateway": "failed",
    }
    assert not (tmp_path / "none.db").exists()
    for invalid in ({"VOCELIO_NONSENSE": "1"}, {"VOCELIO_PUBLIC_URL": "http://voice.example"}):
        code, result = await run_doctor(tmp_path, environment | invalid, "--server", origin)
        assert (code, result["settings"][0]) == (1, "failed")
