"""Signature verification, compared with the twilio package's own validator."""

import hashlib
import json

import pytest
from starlette.datastructures import FormData
from twilio.request_validator import RequestValidator

from vocelio.gateway.twilio.signatures import SignatureVerifier
from vocelio.gateway.twilio.urls import PublicUrls

ACCOUNT, OTHER, TENANT = "AC" + "1" * 32, "AC" + "2" * 32, "AC" + "7" * 32
FORM = {"AccountSid": ACCOUNT, "CallSid": "CA" + "3" * 32, "From": "+13105550142"}
ORIGIN, PATH = "https://voice.example.com", "/twilio/voice"
MEDIA_PATH = f"/twilio/media/{ACCOUNT}"
SHARED_KEYS = {"webhooks_sharedkey_a": "the secret of key a", "webhooks_sharedkey_b": "the secret of key b"}
SETTINGS = "key=webhooks_sharedkey_a,algorithm=HMAC_SHA256"


async def token_lookup(account):
    return "token of the tenant" if account == TENANT else None


def make_verifier(origin=ORIGIN):
    return SignatureVerifier(PublicUrls(origin), {ACCOUNT: "token", OTHER: "another"}, token_lookup, SHARED_KEYS)


def sign(url, form, algorithm, secret=None):
    """Sign as Twilio does; `algorithm` is a parameter of most tests below."""
    secret = secret or ("token" if algorithm == "HMAC_SHA1" else SHARED_KEYS["webhooks_sharedkey_a"])
    return RequestValidator(secret).compute_signature(url, form, algorithm)


def signature_settings(algorithm):
    return None if algorithm == "HMAC_SHA1" else SETTINGS


@pytest.fixture(params=["HMAC_SHA1", "HMAC_SHA256"])
def algorithm(request):
    return request.param


async def is_accepted(algorithm, url, *, form=FORM, of=None, path=PATH, account=ACCOUNT, origin=ORIGIN, secret=None):
    """Whether a POST of `form` to `path` that was signed as a POST of `of` to `url` is accepted."""
    signature = sign(url, form if of is None else of, algorithm, secret)
    return await make_verifier(origin).verify_form(account, path, form, signature, signature_settings(algorithm))


async def test_form_is_accepted_only_with_its_own_signature(algorithm):
    assert await is_accepted(algorithm, ORIGIN + PATH)
    assert not await is_accepted(algorithm, ORIGIN + PATH, path="/twilio/continue"), "the signature of another path"
    assert not await is_accepted(algorithm, ORIGIN + PATH, of=FORM | {"From": "+1"})
    assert not await is_accepted(algorithm, ORIGIN + PATH, of={**FORM, "More": ""})
    assert not await is_accepted(algorithm, ORIGIN + PATH, account="")
    assert not await is_accepted(algorithm, ORIGIN + PATH, account="AC" + "9" * 32)
    assert not await is_accepted(algorithm, ORIGIN + PATH, secret="something else")


@pytest.mark.parametrize(
    ("origin", "url", "accepted"),
    [
        (ORIGIN, ORIGIN, True),
        (ORIGIN, f"{ORIGIN}:443", True),
        (ORIGIN, f"{ORIGIN}:8443", False),
        (ORIGIN, f"{ORIGIN}:80", False),
        (ORIGIN, "http://voice.example.com", False),
        (ORIGIN, "https://other.example.com", False),
        (f"{ORIGIN}/", ORIGIN, True),
        (f"{ORIGIN}:443", ORIGIN, True),
        (f"{ORIGIN}:443", f"{ORIGIN}:443", True),
        (f"{ORIGIN}:8443", f"{ORIGIN}:8443", True),
        (f"{ORIGIN}:8443", ORIGIN, True),
        (f"{ORIGIN}:8443", f"{ORIGIN}:443", False),
        ("http://localhost:8080", "http://localhost:8080", True),
        ("http://localhost", "http://localhost:80", True),
        ("http://[::1]:8080", "http://[::1]:8080", True),
    ],
)
async def test_signed_scheme_and_port_must_match(algorithm, origin, url, accepted):
    assert await is_accepted(algorithm, url + PATH, origin=origin) is accepted


@pytest.mark.parametrize(
    ("requested_path", "signed_as", "accepted"),
    [
        ("/twilio/dialed?n=1", "/twilio/dialed?n=1", True),
        ("/twilio/dialed?n=1&n=2", "/twilio/dialed?n=1&n=2", True),
        ("/twilio/dialed?n=", "/twilio/dialed?n=", True),
        ("/twilio/dialed?n=caf%C3%A9+x", "/twilio/dialed?n=caf%C3%A9+x", True),
        ("/twilio/dialed?n=1", "/twilio/dialed?n=2", False),
        ("/twilio/dialed?n=1", "/twilio/dialed", False),
        ("/twilio/dialed", "/twilio/dialed?n=1", False),
        ("/twilio/dialed?n=1&m=2", "/twilio/dialed?m=2&n=1", False),
        ("/twilio/voice/", "/twilio/voice/", True),
        ("/twilio/voice/", "/twilio/voice", False),
        ("/twilio/voice", "/twilio/voice/", False),
        ("/twilio/voice", "/twilio/voice#ct=500&rc=3", False),
        ("/twilio/voice", "/Twilio/voice", False),
    ],
)
async def test_signed_path_and_query_must_match(algorithm, requested_path, signed_as, accepted):
    assert await is_accepted(algorithm, ORIGIN + signed_as, path=requested_path) is accepted


@pytest.mark.parametrize(
    "fields",
    [
        [("Digits", "1"), ("Digits", "2")],
        [("Digits", "2"), ("Digits", "1"), ("Digits", "1")],
        [("Digits", "")],
        [("SpeechResult", "Straße, 東京, 🙂, e\u0301")],
        [("SpeechResult", " a+b & c=d \r\n")],
        [("", "nameless")],
        [],
    ],
)
async def test_all_form_fields_are_signed(algorithm, fields):
    form = FormData([*FORM.items(), *fields])
    assert await is_accepted(algorithm, ORIGIN + PATH, form=form)
    assert not await is_accepted(algorithm, ORIGIN + PATH, form=form, of=FormData([*FORM.items(), *fields, ("Z", "z")]))


async def test_repeated_field_with_another_value_is_rejected(algorithm):
    sent, of = ([*FORM.items(), ("Digits", "1"), ("Digits", second)] for second in "23")
    assert not await is_accepted(algorithm, ORIGIN + PATH, form=FormData(sent), of=FormData(of))


async def test_missing_and_malformed_signatures_are_rejected(algorithm):
    for signature in ("", "x", "é", "A" * 10_000, " "):
        assert not await make_verifier().verify_form(ACCOUNT, PATH, FORM, signature, signature_settings(algorithm))
        assert not await make_verifier().verify_body(ACCOUNT, PATH, b"", signature, signature_settings(algorithm))
        assert not await make_verifier().verify_upgrade(ACCOUNT, MEDIA_PATH, signature, signature_settings(algorithm))


def make_json_request(body=None, **more):
    body = body or json.dumps({"AccountSid": ACCOUNT, "Text": "Straße"}).encode()
    return f"{PATH}?bodySHA256={hashlib.sha256(body).hexdigest()}", body


async def test_json_body_is_accepted_only_with_its_hash(algorithm):
    path, body = make_json_request()
    signature, verifier = sign(ORIGIN + path, {}, algorithm), make_verifier()
    signed_by = (signature, signature_settings(algorithm))
    assert await verifier.verify_body(ACCOUNT, path, body, *signed_by)
    assert not await verifier.verify_body(ACCOUNT, path, body + b" ", *signed_by)
    assert not await verifier.verify_body(ACCOUNT, path, b"", *signed_by)
    assert not await verifier.verify_body(OTHER, path, body, "x", signature_settings(algorithm))
    assert not await verifier.verify_body("AC" + "9" * 32, path, body, *signed_by)
    assert not await verifier.verify_body(ACCOUNT, path.replace("voice", "continue"), body, *signed_by)


@pytest.mark.parametrize("query", ["", "?n=1", "?bodySHA256=", "?bodySHA256=é", "?bodysha256={hash}"])
async def test_json_body_without_its_hash_is_rejected(algorithm, query):
    body = b"{}"
    path = PATH + query.format(hash=hashlib.sha256(body).hexdigest())
    signature = sign(ORIGIN + path, {}, algorithm)
    assert not await make_verifier().verify_body(ACCOUNT, path, body, signature, signature_settings(algorithm))


async def test_json_body_with_two_hashes_is_rejected(algorithm):
    path, body = make_json_request()
    path = f"{path}&bodySHA256={hashlib.sha256(b'other').hexdigest()}"
    signature = sign(ORIGIN + path, {}, algorithm)
    for sent in (body, b"other"):
        assert not await make_verifier().verify_body(ACCOUNT, path, sent, signature, signature_settings(algorithm))


@pytest.mark.parametrize(
    ("origin", "url", "accepted"),
    [
        (ORIGIN, f"wss://voice.example.com{MEDIA_PATH}", True),
        (f"{ORIGIN}:443", f"wss://voice.example.com{MEDIA_PATH}", True),
        (f"{ORIGIN}:443", f"wss://voice.example.com:443{MEDIA_PATH}", True),
        (f"{ORIGIN}:8443", f"wss://voice.example.com:8443{MEDIA_PATH}", True),
        (ORIGIN, f"wss://voice.example.com:80{MEDIA_PATH}", False),
        (ORIGIN, f"wss://voice.example.com:8443{MEDIA_PATH}", False),
        (ORIGIN, f"https://voice.example.com{MEDIA_PATH}", False),
        (ORIGIN, f"ws://voice.example.com{MEDIA_PATH}", False),
        (ORIGIN, f"wss://other.example.com{MEDIA_PATH}", False),
        (ORIGIN, f"wss://voice.example.com{MEDIA_PATH}/", False),
        (ORIGIN, f"wss://voice.example.com{MEDIA_PATH}?token=1", False),
        (ORIGIN, f"wss://voice.example.com{MEDIA_PATH}#rc=1", False),
        (ORIGIN, f"wss://voice.example.com/twilio/media/{OTHER}", False),
    ],
)
async def test_upgrade_is_accepted_only_with_its_wss_url(algorithm, origin, url, accepted):
    signature = sign(url, {}, algorithm)
    assert (
        await make_verifier(origin).verify_upgrade(ACCOUNT, MEDIA_PATH, signature, signature_settings(algorithm))
        is accepted
    )


async def test_upgrade_signed_with_form_fields_is_rejected(algorithm):
    signature = sign(f"wss://voice.example.com{MEDIA_PATH}", FORM, algorithm)
    assert not await make_verifier().verify_upgrade(ACCOUNT, MEDIA_PATH, signature, signature_settings(algorithm))


@pytest.mark.parametrize("account", [OTHER, TENANT, "AC" + "8" * 32])
async def test_signature_of_another_account_is_rejected(account):
    signature = sign(f"wss://voice.example.com{MEDIA_PATH}", {}, "HMAC_SHA1")
    assert not await make_verifier().verify_upgrade(account, MEDIA_PATH, signature)
    assert not await is_accepted("HMAC_SHA1", ORIGIN + PATH, account=account)


async def test_account_of_a_tenant_signs_with_its_own_token():
    form = FORM | {"AccountSid": TENANT}
    own = {"form": form, "account": TENANT, "secret": "token of the tenant"}
    assert await is_accepted("HMAC_SHA1", ORIGIN + PATH, **own)
    assert not await is_accepted("HMAC_SHA1", ORIGIN + PATH, **own | {"account": ACCOUNT})
    assert not await is_accepted("HMAC_SHA1", ORIGIN + PATH, **own | {"account": "AC" + "8" * 32})
    assert make_verifier().is_platform(ACCOUNT)
    assert not make_verifier().is_platform(TENANT)


async def test_shared_keys_sign_only_for_platform_accounts():
    form = FORM | {"AccountSid": TENANT}
    assert not await is_accepted("HMAC_SHA256", ORIGIN + PATH, form=form, account=TENANT)
    assert not await is_accepted("HMAC_SHA256", ORIGIN + PATH, form=form, account=TENANT, secret="token of the tenant")
    assert not await is_accepted("HMAC_SHA256", ORIGIN + PATH, secret="token"), "the auth token is not a shared key"


@pytest.mark.parametrize(
    "header",
    [
        SETTINGS,
        "algorithm=HMAC_SHA256,key=webhooks_sharedkey_a",
        " key = webhooks_sharedkey_a , algorithm = HMAC_SHA256 ",
        "key=webhooks_sharedkey_a,algorithm=HMAC_SHA256,added=later",
    ],
)
async def test_valid_settings_header_is_accepted(header):
    signature = sign(ORIGIN + PATH, FORM, "HMAC_SHA256")
    assert await make_verifier().verify_form(ACCOUNT, PATH, FORM, signature, header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        ",",
        "key",
        "key=webhooks_sharedkey_a",
        "key=webhooks_sharedkey_a,",
        "key=webhooks_sharedkey_a,algorithm=",
        "key=webhooks_sharedkey_a,algorithm=HMAC_SHA1",
        "key=webhooks_sharedkey_a,algorithm=hmac_sha256",
        "key=webhooks_sharedkey_a,algorithm=HMAC_SHA512",
        "key=webhooks_sharedkey_a,algorithm=none",
        "key=webhooks_sharedkey_a;algorithm=HMAC_SHA256",
        "key=webhooks_sharedkey_b,algorithm=HMAC_SHA256",
        "key=webhooks_sharedkey_c,algorithm=HMAC_SHA256",
        "key=,algorithm=HMAC_SHA256",
        "algorithm=HMAC_SHA256",
        "algorithm=HMAC_SHA1",
        f"{SETTINGS},{SETTINGS}",
        f"{SETTINGS},key=webhooks_sharedkey_b",
        f"{SETTINGS},algorithm=HMAC_SHA1",
        "é=é," + SETTINGS + ",x",
    ],
)
async def test_invalid_settings_header_is_rejected_with_any_signature(header):
    """In particular, an invalid header does not fall back to the auth token's signature."""
    for secret in ("token", *SHARED_KEYS.values()):
        for name in ("HMAC_SHA1", "HMAC_SHA256"):
            if secret == SHARED_KEYS["webhooks_sharedkey_b"] and header.startswith("key=webhooks_sharedkey_b"):
                continue
            form = sign(ORIGIN + PATH, FORM, name, secret)
            assert not await make_verifier().verify_form(ACCOUNT, PATH, FORM, form, header)
            upgrade = sign(f"wss://voice.example.com{MEDIA_PATH}", {}, name, secret)
            assert not await make_verifier().verify_upgrade(ACCOUNT, MEDIA_PATH, upgrade, header)


async def test_algorithm_must_match_the_settings_header():
    strong, weak = (sign(ORIGIN + PATH, FORM, name) for name in ("HMAC_SHA256", "HMAC_SHA1"))
    assert not await make_verifier().verify_form(ACCOUNT, PATH, FORM, strong)
    assert not await make_verifier().verify_form(ACCOUNT, PATH, FORM, weak, SETTINGS)


async def test_shared_key_signature_is_rejected_if_none_is_configured():
    none = SignatureVerifier(PublicUrls(ORIGIN), {ACCOUNT: "token"})
    for secret in ("token", "", "None"):
        signature = RequestValidator(secret).compute_signature(ORIGIN + PATH, FORM, "HMAC_SHA256")
        assert not await none.verify_form(ACCOUNT, PATH, FORM, signature, SETTINGS)


def test_secrets_do_not_appear_in_repr():
    verifier = make_verifier()
    assert all(secret not in f"{verifier!r} {verifier._shared_keys!r}" for secret in (*SHARED_KEYS.values(), "token"))
