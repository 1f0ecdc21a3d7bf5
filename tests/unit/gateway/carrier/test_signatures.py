"""Only what Twilio signed is believed. The reference is the twilio package's own validator."""

from twilio.request_validator import RequestValidator

from vocelio.gateway.carrier.signatures import Signatures

ACCOUNT, OTHER = "AC" + "1" * 32, "AC" + "2" * 32
FORM = {"AccountSid": ACCOUNT, "CallSid": "CA" + "3" * 32, "From": "+13105550142"}
SIGNATURES = Signatures("https://voice.example.com", {ACCOUNT: "token", OTHER: "another"})
TWILIO = RequestValidator("token")


async def test_a_form():
    signature = TWILIO.compute_signature("https://voice.example.com/twilio/voice", FORM)
    assert await SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM, signature)
    assert not await SIGNATURES.signs_form(ACCOUNT, "/twilio/continue", FORM, signature)
    assert not await SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM | {"From": "+1"}, signature)
    assert not await SIGNATURES.signs_form(OTHER, "/twilio/voice", FORM, signature)
    assert not await SIGNATURES.signs_form("AC" + "9" * 32, "/twilio/voice", FORM, signature)
    assert not await SIGNATURES.signs_form("", "/twilio/voice", FORM, signature)


async def test_a_form_with_a_query():
    signature = TWILIO.compute_signature("https://voice.example.com/twilio/dialed?n=1", FORM)
    assert await SIGNATURES.signs_form(ACCOUNT, "/twilio/dialed?n=1", FORM, signature)
    assert not await SIGNATURES.signs_form(ACCOUNT, "/twilio/dialed?n=2", FORM, signature)


async def test_no_signature_and_odd_ones():
    for signature in ("", "x", "é", "A" * 10_000):
        assert not await SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM, signature)
        assert not await SIGNATURES.signs_upgrade(ACCOUNT, "/twilio/media/x", signature)


async def test_an_upgrade_is_signed_over_the_wss_url():
    path = f"/twilio/media/{ACCOUNT}"
    signature = TWILIO.compute_signature(f"wss://voice.example.com{path}", {})
    assert await SIGNATURES.signs_upgrade(ACCOUNT, path, signature)
    assert not await SIGNATURES.signs_upgrade(OTHER, path, signature)
    assert not await SIGNATURES.signs_upgrade(ACCOUNT, f"/twilio/media/{OTHER}", signature)
    https = TWILIO.compute_signature(f"https://voice.example.com{path}", {})
    assert not await SIGNATURES.signs_upgrade(ACCOUNT, path, https)


async def test_a_tenants_own_account():
    async def tokens(account):
        return "token of the tenant" if account == "AC" + "7" * 32 else None

    signatures = Signatures("https://voice.example.com", {ACCOUNT: "token"}, tokens)
    tenant = FORM | {"AccountSid": "AC" + "7" * 32}
    signed = RequestValidator("token of the tenant").compute_signature("https://voice.example.com/twilio/voice", tenant)
    assert await signatures.signs_form(tenant["AccountSid"], "/twilio/voice", tenant, signed)
    assert not await signatures.signs_form(ACCOUNT, "/twilio/voice", FORM, signed)
    assert not await signatures.signs_form("AC" + "8" * 32, "/twilio/voice", tenant, signed)
    assert signatures.is_platform(ACCOUNT)
    assert not signatures.is_platform(tenant["AccountSid"])
