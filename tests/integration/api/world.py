"""Two tenants with one of everything. All that the second one has is full of a word that only it may ever see."""

import io
import json
import wave

from tests.integration.api.client import START, Api, Client, tenant
from tests.integration.store.history import keep, made
from vocelio.codecs.wav import mulaw_header
from vocelio.engine.validation.loader import load
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.store.recordings import DatabaseCatalogue, Kept

CANARY = "canary"
EARLIER = START - 3_600_000_000  # when the calls were
NUMBER, OTHER_NUMBER = "+13072249663", "+13072249664"
CALL, ENDED, OTHER_CALL = f"CA{1:032x}", f"CA{2:032x}", f"CA{3:032x}"
ACCOUNT, OTHER_ACCOUNT = "AC" + "1" * 32, "AC" + "2" * 32
TOKEN = "0123456789abcdef-token"
MESSAGE, OTHER_MESSAGE = "a1", "b2"  # recordings
MESSAGES = (("harbour", MESSAGE, CALL), (CANARY, OTHER_MESSAGE, OTHER_CALL))


def flow(text="Good day."):
    """A flow document."""
    return {
        "name": f"A flow that says {text}",
        "start": "greet",
        "nodes": {"greet": {"type": "say", "text": text, "exits": {"next": "bye"}}, "bye": {"type": "hangup"}},
    }


def sound(seconds=0.1):
    """A WAV file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        out.writeframes(bytes(round(8_000 * seconds) * 2))
    return file.getvalue()


async def fill(database):
    """Both tenants' things; gives the keys that ask for them, by who has them, and the two to be asked for."""
    api = Api(database)
    victim = await _of(api, "harbour", "plain", NUMBER, ACCOUNT)
    theirs = await _of(api, CANARY, CANARY, OTHER_NUMBER, OTHER_ACCOUNT)
    api.speaker.failing = {word: SpeechError(word) for word in ("plain", CANARY)}
    await api.renderer.keeper.reconcile()
    await api.renderer.run_due()
    await keep(database, *_calls(), known=("harbour", CANARY))
    for message in MESSAGES:
        await DatabaseCatalogue(database).add(recorded(*message))
    found = {role: (await api.client("harbour", role)).key for role in ("viewer", "operator", "designer", "admin")}
    found["revoked"] = (await api.client("harbour")).key
    admin = Client(api.app, found["admin"])
    assert (await admin.ask("DELETE", f"/v1/keys/{found['revoked'].split('_')[1]}")).status == 204
    found |= {"platform": (await api.platform()).key, "other": (await api.client(CANARY)).key, "none": ""}
    return found, victim, theirs


def _calls():
    parts = {"flow_id": "plain", "number": NUMBER}
    yield made(1, "harbour", EARLIER, ended=None, outcome="", **parts)
    yield made(2, "harbour", EARLIER, [("azure", 60_000_000)], _events("plain"), b"{}\n", **parts)
    whole = {"disposition": CANARY, "department": CANARY, "flow_id": CANARY, "number": OTHER_NUMBER}
    yield made(3, CANARY, EARLIER, [("azure", 60_000_000)], _events(CANARY), CANARY.encode(), **whole)


def _events(word):
    return [("node.entered", EARLIER, {"node": word, "type": "say"}), ("caller.heard", EARLIER + 1, {"text": word})]


async def _of(api, name, word, number, account):
    """One of everything, through the API."""
    key, admin = "", await tenant(api, name, apology=word, variables={word: word}, blocked=["+13105550199"])
    for method, path, body in (
        ("POST", "/v1/keys", {"role": "viewer", "label": word}),
        ("PUT", "/v1/tenant/twilio", {"account": account, "token": TOKEN}),
        ("PUT", f"/v1/flows/{word}", flow(word)),
        ("POST", f"/v1/flows/{word}/promote", {"note": word}),
        ("PUT", f"/v1/flows/{word}-draft", flow(word)),
        ("PUT", f"/v1/departments/{word}", {"numbers": ["+13105550111"], "whisper": word}),
        ("PUT", f"/v1/secrets/{word}", {"value": f"the secret {word}"}),
        ("PUT", f"/v1/sounds/{word}", sound()),
        ("POST", "/v1/rates", {"tier": "azure", "micro_usd_per_minute": 1_234_567 if word == CANARY else 5}),
        ("POST", "/v1/numbers", {"number": number, "label": word}),
        ("PUT", f"/v1/numbers/{number}/assignment", {"flow": word}),
        ("POST", "/v1/numbers", {"number": f"{number}0", "label": word}),
    ):
        media = "audio/wav" if isinstance(body, bytes) else "application/json"
        answer = await admin.ask(method, path, body, media=media)
        assert answer.status < 300, (method, path, answer.body)
        key = answer.json["id"] if path == "/v1/keys" else key
    return key


def twilio(emulator):
    """What both tenants' accounts have at Twilio."""
    for account, number, word in ((ACCOUNT, NUMBER, "plain"), (OTHER_ACCOUNT, OTHER_NUMBER, CANARY)):
        there = emulator.account(account, TOKEN)
        there.add(number, friendly_name=word)
        there.add(f"{number}1", friendly_name=word)


def recorded(whose, name, call, **parts):
    """A message that a caller left, of half a second."""
    facts = {
        "kind": "voicemail",
        "channels": 1,
        "started": EARLIER,
        "seconds": 0.5,
        "state": "complete",
        "bytes": 4058,
        "object": f"recordings/{whose}/{call}/{name}/audio.wav",
    }
    return Kept(tenant=whose, id=name, call=call, **facts | parts)


async def hold(api):
    """The sound of the recordings is in the storage; the second tenant's is full of its word."""
    for whose, name, call in MESSAGES:
        sound = (whose.encode() * 4000)[:4000]
        await api.storage.put(recorded(whose, name, call).object, mulaw_header(4000, 1, 8000) + sound)


def ring(api):
    """The first tenant's call is on the line."""
    departments = {"plain": Department(("+13105550111",))}
    version = load(json.dumps(flow()).encode())
    parts = {"number": NUMBER, "tenant": Tenant(id="harbour", name="Harbour"), "flow": "plain"}
    return api.live(CALL, Assignment(**parts, version=version, departments=departments))
