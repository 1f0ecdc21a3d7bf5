from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from vocelio.gateway.simulator.signing import HEADER, SETTINGS_HEADER, SharedKey, Signer

TOKEN = "a-token"
signer = Signer(TOKEN)
validator = RequestValidator(TOKEN)


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=30), max_size=6))
def test_every_form_is_valid_to_twilios_validator(fields):
    url = "https://gateway.example/twilio/voice?flow=1"
    assert validator.validate(url, fields, signer.form(url, fields)[HEADER])


def test_the_form_and_the_url_are_both_signed():
    signature = signer.form("https://gateway.example/a", {"To": "+1"})[HEADER]
    assert not validator.validate("https://gateway.example/b", {"To": "+1"}, signature)
    assert not validator.validate("https://gateway.example/a", {"To": "+2"}, signature)
    assert not RequestValidator("another").validate("https://gateway.example/a", {"To": "+1"}, signature)


def test_a_fragment_is_not_signed():
    signed = signer.form("https://gateway.example/a#rc=3&ct=500", {})
    assert signed == signer.form("https://gateway.example/a", {})


def test_an_upgrade_is_signed_without_parameters_and_without_a_port():
    url = "wss://gateway.example/twilio/media/AC1"
    signature = signer.upgrade(url)[HEADER]
    assert validator.validate(url, {}, signature)
    assert signature != validator.compute_signature("wss://gateway.example:80/twilio/media/AC1", {})


KEY = SharedKey("webhooks_sharedkey_1", "a-secret")


def test_with_a_shared_key_its_secret_and_the_stronger_hash_sign():
    url, shared = "https://gateway.example/a", RequestValidator(KEY.secret)
    headers = Signer(TOKEN, KEY).form(f"{url}#rc=3", {"To": "+1"})
    assert headers[SETTINGS_HEADER] == "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    assert shared.validate(url, {"To": "+1"}, headers[HEADER], "HMAC_SHA256")
    assert not shared.validate(url, {"To": "+1"}, headers[HEADER])
    assert KEY.secret not in repr(KEY)


def test_an_upgrade_is_signed_with_either_key():
    url = "wss://gateway.example/twilio/media/AC1"
    shared, token = Signer(TOKEN, KEY).upgrade(url), Signer(TOKEN, KEY, upgrades=False).upgrade(url)
    assert RequestValidator(KEY.secret).validate(url, {}, shared[HEADER], "HMAC_SHA256")
    assert SETTINGS_HEADER in shared
    assert token == signer.upgrade(url)
