from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from vocelio.gateway.simulator.signing import HEADER, SETTINGS_HEADER, SharedKey, Signer

TOKEN = "a-token"
SIGNER = Signer(TOKEN)
VALIDATOR = RequestValidator(TOKEN)


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=30), max_size=6))
def test_twilios_validator_accepts_every_form(fields):
    url = "https://gateway.example/twilio/voice?flow=1"
    assert VALIDATOR.validate(url, fields, SIGNER.sign_form(url, fields)[HEADER])


def test_signature_covers_form_and_url():
    signature = SIGNER.sign_form("https://gateway.example/a", {"To": "+1"})[HEADER]
    assert not VALIDATOR.validate("https://gateway.example/b", {"To": "+1"}, signature)
    assert not VALIDATOR.validate("https://gateway.example/a", {"To": "+2"}, signature)
    assert not RequestValidator("another").validate("https://gateway.example/a", {"To": "+1"}, signature)


def test_fragment_is_not_signed():
    signed = SIGNER.sign_form("https://gateway.example/a#rc=3&ct=500", {})
    assert signed == SIGNER.sign_form("https://gateway.example/a", {})


def test_upgrade_is_signed_without_parameters_and_port():
    url = "wss://gateway.example/twilio/media/AC1"
    signature = SIGNER.sign_upgrade(url)[HEADER]
    assert VALIDATOR.validate(url, {}, signature)
    assert signature != VALIDATOR.compute_signature("wss://gateway.example:80/twilio/media/AC1", {})


SHARED_KEY = SharedKey("webhooks_sharedkey_1", "a-secret")


def test_shared_key_signs_with_hmac_sha256():
    url, shared = "https://gateway.example/a", RequestValidator(SHARED_KEY.secret)
    headers = Signer(TOKEN, SHARED_KEY).sign_form(f"{url}#rc=3", {"To": "+1"})
    assert headers[SETTINGS_HEADER] == "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    assert shared.validate(url, {"To": "+1"}, headers[HEADER], "HMAC_SHA256")
    assert not shared.validate(url, {"To": "+1"}, headers[HEADER])
    assert SHARED_KEY.secret not in repr(SHARED_KEY)


def test_upgrade_is_signed_with_either_key():
    url = "wss://gateway.example/twilio/media/AC1"
    shared, token = (
        Signer(TOKEN, SHARED_KEY).sign_upgrade(url),
        Signer(TOKEN, SHARED_KEY, shared_key_signs_upgrades=False).sign_upgrade(url),
    )
    assert RequestValidator(SHARED_KEY.secret).validate(url, {}, shared[HEADER], "HMAC_SHA256")
    assert SETTINGS_HEADER in shared
    assert token == SIGNER.sign_upgrade(url)
