from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from vocelio.gateway.simulator.signing import HEADER, Signer

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
