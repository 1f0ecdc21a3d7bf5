"""Only what Twilio signed is believed. The reference is the twilio package's own validator."""

from twilio.request_validator import RequestValidator

from vocelio.gateway.carrier.signatures import Signatures

ACCOUNT, OTHER = "AC" + "1" * 32, "AC" + "2" * 32
FORM = {"AccountSid": ACCOUNT, "CallSid": "CA" + "3" * 32, "From": "+13105550142"}
SIGNATURES = Signatures("https://voice.example.com", {ACCOUNT: "token", OTHER: "another"})
TWILIO = RequestValidator("token")


def test_a_form():
    signature = TWILIO.compute_signature("https://voice.example.com/twilio/voice", FORM)
    assert SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM, signature)
    assert not SIGNATURES.signs_form(ACCOUNT, "/twilio/continue", FORM, signature)
    assert not SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM | {"From": "+1"}, signature)
    assert not SIGNATURES.signs_form(OTHER, "/twilio/voice", FORM, signature)
    assert not SIGNATURES.signs_form("AC" + "9" * 32, "/twilio/voice", FORM, signature)
    assert not SIGNATURES.signs_form("", "/twilio/voice", FORM, signature)


def test_a_form_with_a_query():
    signature = TWILIO.compute_signature("https://voice.example.com/twilio/dialed?n=1", FORM)
    assert SIGNATURES.signs_form(ACCOUNT, "/twilio/dialed?n=1", FORM, signature)
    assert not SIGNATURES.signs_form(ACCOUNT, "/twilio/dialed?n=2", FORM, signature)


def test_no_signature_and_odd_ones():
    for signature in ("", "x", "é", "A" * 10_000):
        assert not SIGNATURES.signs_form(ACCOUNT, "/twilio/voice", FORM, signature)
        assert not SIGNATURES.signs_upgrade(ACCOUNT, "/twilio/media/x", signature)


def test_an_upgrade_is_signed_over_the_wss_url():
    path = f"/twilio/media/{ACCOUNT}"
    signature = TWILIO.compute_signature(f"wss://voice.example.com{path}", {})
    assert SIGNATURES.signs_upgrade(ACCOUNT, path, signature)
    assert not SIGNATURES.signs_upgrade(OTHER, path, signature)
    assert not SIGNATURES.signs_upgrade(ACCOUNT, f"/twilio/media/{OTHER}", signature)
    https = TWILIO.compute_signature(f"https://voice.example.com{path}", {})
    assert not SIGNATURES.signs_upgrade(ACCOUNT, path, https)
