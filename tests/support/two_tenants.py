"""Two tenants with one resource of each kind. Everything of the second tenant contains a canary word."""

import io
import json
import wave

from tests.support.api_client import START, ApiEnv, ApiTestClient, create_tenant
from tests.support.generated_calls import insert_calls, make_call
from vocelio.codecs.wav import mulaw_header
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.simulator.rest_api.server import TwilioRestApi
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.store.recordings import DatabaseRecordingCatalog, StoredRecording

CANARY = "canary"
CALLS_STARTED_AT = START - 3_600_000_000
NUMBER, OTHER_NUMBER = "+13072249663", "+13072249664"
CALL, ENDED_CALL, OTHER_CALL = f"CA{1:032x}", f"CA{2:032x}", f"CA{3:032x}"
ACCOUNT, OTHER_ACCOUNT = "AC" + "1" * 32, "AC" + "2" * 32
NEW_NUMBERS = {ACCOUNT: "+13072249670", OTHER_ACCOUNT: "+13072249671"}  # that no tenant has claimed yet
TOKEN = "0123456789abcdef-token"
RECORDING, OTHER_RECORDING = "a1", "b2"
RECORDINGS = (("harbour", RECORDING, CALL), (CANARY, OTHER_RECORDING, OTHER_CALL))


def make_flow(text="Good day."):
    """Return a flow document."""
    return {
        "name": f"A flow that says {text}",
        "start": "greet",
        "nodes": {"greet": {"type": "say", "text": text, "exits": {"next": "bye"}}, "bye": {"type": "hangup"}},
    }


def silent_wav(seconds=0.1):
    """Return a silent WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(bytes(round(8_000 * seconds) * 2))
    return file.getvalue()


async def create_two_tenants(database):
    """Create both tenants' resources; return API keys by role, and the ids of one key of each tenant."""
    async with TwilioRestApi() as emulator:
        add_twilio_numbers(emulator)
        return await _create_two_tenants(ApiEnv(database, twilio=emulator.origin))


async def _create_two_tenants(api):
    database = api.database
    victim = await _create_one_of_everything(api, "harbour", "plain", NUMBER, ACCOUNT)
    other = await _create_one_of_everything(api, CANARY, CANARY, OTHER_NUMBER, OTHER_ACCOUNT)
    api.synthesizer.failing = {word: SpeechError(word) for word in ("plain", CANARY)}
    await api.renderer.reconciler.reconcile()
    await api.renderer.process_due()
    await insert_calls(database, *_call_rows(), known=("harbour", CANARY))
    for message in RECORDINGS:
        await DatabaseRecordingCatalog(database).add(make_recording(*message))
    keys = {
        role: (await api.create_client("harbour", role)).key for role in ("viewer", "operator", "designer", "admin")
    }
    keys["revoked"] = (await api.create_client("harbour")).key
    admin = ApiTestClient(api.app, keys["admin"])
    assert (await admin.request("DELETE", f"/v1/keys/{keys['revoked'].split('_')[1]}")).status == 204
    keys |= {"platform": (await api.platform_client()).key, "other": (await api.create_client(CANARY)).key, "none": ""}
    await api.provisioner.aclose()
    return keys, victim, other


def _call_rows():
    parts = {"flow_id": "plain", "number": NUMBER}
    yield make_call(1, "harbour", CALLS_STARTED_AT, ended_at=None, outcome="", **parts)
    yield make_call(2, "harbour", CALLS_STARTED_AT, [("azure", 60_000_000)], _event_rows("plain"), b"{}\n", **parts)
    fields = {"disposition": CANARY, "department": CANARY, "flow_id": CANARY, "number": OTHER_NUMBER}
    yield make_call(
        3, CANARY, CALLS_STARTED_AT, [("azure", 60_000_000)], _event_rows(CANARY), CANARY.encode(), **fields
    )


def _event_rows(word):
    return [
        ("node.entered", CALLS_STARTED_AT, {"node": word, "type": "say"}),
        ("transcript.final", CALLS_STARTED_AT + 1, {"text": word}),
    ]


async def _create_one_of_everything(api, name, word, number, account):
    """Create one resource of each kind through the API; return the id of the key."""
    key = ""
    settings = {"error_message": word, "variables": {word: word}, "blocked_callers": ["+13105550199"]}
    admin = await create_tenant(api, name, **settings)
    for method, path, body in (
        ("POST", "/v1/keys", {"role": "viewer", "label": word}),
        ("PUT", "/v1/tenant/twilio", {"account_sid": account, "auth_token": TOKEN}),
        ("PUT", f"/v1/flows/{word}", make_flow(word)),
        ("POST", f"/v1/flows/{word}/promote", {"note": word}),
        ("PUT", f"/v1/flows/{word}-draft", make_flow(word)),
        ("PUT", f"/v1/departments/{word}", {"numbers": ["+13105550111"], "whisper": word}),
        ("PUT", f"/v1/secrets/{word}", {"value": f"the secret {word}"}),
        ("PUT", f"/v1/sounds/{word}", silent_wav()),
        ("POST", "/v1/rates", {"tier": "azure", "micro_usd_per_minute": 1_234_567 if word == CANARY else 5}),
        ("POST", "/v1/numbers", {"number": number, "label": word}),
        ("PUT", f"/v1/numbers/{number}/assignment", {"flow": word}),
        ("POST", "/v1/numbers", {"number": f"{number}0", "label": word}),
    ):
        media = "audio/wav" if isinstance(body, bytes) else "application/json"
        response = await admin.request(method, path, body, media=media)
        assert response.status < 300, (method, path, response.body)
        key = response.json["id"] if path == "/v1/keys" else key
    return key


def add_twilio_numbers(emulator):
    """Add both tenants' accounts and numbers to the emulated Twilio API."""
    for account, number, word in ((ACCOUNT, NUMBER, "plain"), (OTHER_ACCOUNT, OTHER_NUMBER, CANARY)):
        twilio_account = emulator.add_account(account, TOKEN)
        twilio_account.add_number(number, friendly_name=word)
        twilio_account.add_number(f"{number}0", friendly_name=word)
        twilio_account.add_number(f"{number}1", friendly_name=word)
        twilio_account.add_number(NEW_NUMBERS[account])


def make_recording(tenant, name, call, **parts):
    """Create a voicemail message of half a second."""
    fields = {
        "kind": "voicemail",
        "channels": 1,
        "started_at": CALLS_STARTED_AT,
        "duration_seconds": 0.5,
        "state": "complete",
        "size_bytes": 4058,
        "object_path": f"recordings/{tenant}/{call}/{name}/audio.wav",
    }
    return StoredRecording(tenant=tenant, id=name, call=call, **fields | parts)


async def store_recording_audio(api):
    """Store the audio of the recordings; that of the second tenant consists of the canary word."""
    for tenant, name, call in RECORDINGS:
        sound = (tenant.encode() * 4000)[:4000]
        await api.storage.put(make_recording(tenant, name, call).object_path, mulaw_header(4000, 1, 8000) + sound)


def add_live_call(api):
    """Register a live call of the first tenant."""
    departments = {"plain": Department(("+13105550111",))}
    version = load_flow(json.dumps(make_flow()).encode())
    parts = {"number": NUMBER, "tenant": Tenant(id="harbour", name="Harbour"), "flow": "plain"}
    return api.add_live_call(CALL, CallConfig(**parts, version=version, departments=departments))
