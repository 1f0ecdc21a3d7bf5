"""Settings: values, error messages, and that no secret is shown."""

import stat

import pytest

from vocelio.gateway.config import SIMULATOR_ACCOUNT_SID, AzureSettings, ElevenLabsSettings, load_settings
from vocelio.gateway.errors import SettingsError

ACCOUNT = "AC" + "a1" * 16


def test_defaults_accept_only_the_simulator(tmp_path):
    settings = load_settings({}, tmp_path / "folder" / "secret")
    assert settings.public_url == "http://localhost:8080"
    assert settings.storage_url == ".vocelio/storage"
    assert list(settings.platform_tokens) == [SIMULATOR_ACCOUNT_SID]
    assert len(settings.platform_tokens[SIMULATOR_ACCOUNT_SID]) == 64
    assert load_settings({}, tmp_path / "folder" / "secret") == settings, "both processes read the same secret"
    assert stat.S_IMODE((tmp_path / "folder" / "secret").stat().st_mode) == 0o600


def test_twilio_account_is_read(tmp_path):
    settings = load_settings(
        {
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": "hush",
            "VOCELIO_PUBLIC_URL": "https://voice.example.com/",
            "PORT": "9000",
        },
        tmp_path / "secret",
    )
    assert settings.platform_tokens == {ACCOUNT: "hush"}
    assert (settings.public_url, settings.port) == ("https://voice.example.com", 9000)
    assert "hush" not in repr(settings)
    assert len(settings.secret_keys[0]) == 64, "there is always a key for secrets at rest"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Voice.Example:443", "https://voice.example"),
        ("http://Voice.Example:80/", "http://voice.example"),
        ("HTTPS://voice.example:8443", "https://voice.example:8443"),
        ("http://voice.example:443", "http://voice.example:443"),
        ("https://name:Hush@voice.example", "https://voice.example"),
        ("https://[2001:DB8::443]:443", "https://[2001:db8::443]"),
    ],
)
def test_origin_is_serialized_as_browsers_do(tmp_path, url, origin):
    settings = load_settings({"VOCELIO_PUBLIC_URL": url}, tmp_path / "secret")
    assert settings.origin == origin
    scheme, _, place = url.rstrip("/").partition("://")
    assert settings.public_url == f"{scheme.lower()}://{place}", "Twilio signs what was set"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"VOCELIO_PUBIC_URL": "https://x.example"}, "VOCELIO_PUBIC_URL"),
        ({"VOCELIO_PUBLIC_URL": "voice.example.com"}, "VOCELIO_PUBLIC_URL must be an origin"),
        ({"VOCELIO_PUBLIC_URL": "https://voice.example.com/path"}, "VOCELIO_PUBLIC_URL must be an origin"),
        ({"PORT": "http"}, "PORT"),
        ({"PORT": "99999"}, "PORT"),
        ({"TWILIO_AUTH_TOKEN": "hush"}, "go together"),
        ({"VOCELIO_SECRET_KEYS": "hush"}, "at least 16"),
        ({"VOCELIO_SECRET_KEYS": "a-key-that-is-long-enough, hush"}, "at least 16"),
        ({"VOCELIO_SECRET_KEYS": " , "}, "at least 16"),
        ({"TWILIO_ACCOUNT_SID": ACCOUNT}, "go together"),
        ({"AZURE_SPEECH_KEY": "hush"}, "AZURE_SPEECH_REGION"),
        ({"AZURE_SPEECH_KEY": "hush", "AZURE_SPEECH_REGION": "West Europe"}, "short name"),
        ({"AZURE_SPEECH_KEY": "hush", "AZURE_SPEECH_HOST": "speech.example.com"}, "wss://"),
        ({"AZURE_SPEECH_KEY": "hush", "AZURE_SPEECH_HOST": "wss://x.example", "AZURE_SPEECH_REGION": "x"}, "or else"),
        ({"ELEVENLABS_API_KEY": "hush", "ELEVENLABS_BASE_URL": "x.example"}, "https://"),
        ({"VOCELIO_REDIS_URL": "hush@redis.example.com"}, "VOCELIO_REDIS_URL must be a URL"),
        ({"VOCELIO_REDIS_URL": "redis://:hush@redis.example.com:port"}, "VOCELIO_REDIS_URL must be a URL"),
        ({"VOCELIO_MAX_CALLS": "many"}, "VOCELIO_MAX_CALLS must be a number"),
        ({"VOCELIO_MAX_CALLS": "0"}, "VOCELIO_MAX_CALLS must be a number"),
        ({"VOCELIO_MAX_CALLS": "200000"}, "VOCELIO_MAX_CALLS must be a number"),
        ({"VOCELIO_MAX_CONNECTIONS_PER_ADDRESS": "0"}, "VOCELIO_MAX_CONNECTIONS_PER_ADDRESS must be a number"),
        ({"VOCELIO_MAX_CONNECTIONS_PER_ADDRESS": "9" * 5_000}, "VOCELIO_MAX_CONNECTIONS_PER_ADDRESS must be a number"),
        ({"VOCELIO_TRUSTED_PROXIES": "proxy.example.com"}, "VOCELIO_TRUSTED_PROXIES must be networks"),
        ({"VOCELIO_TRUSTED_PROXIES": "10.0.0.1/8"}, "VOCELIO_TRUSTED_PROXIES must be networks"),
        ({"VOCELIO_BLOCKED_NETWORKS": "10.0.0.0/8,*"}, "VOCELIO_BLOCKED_NETWORKS must be networks"),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "hush"}, "32 hexadecimal"),
    ],
)
def test_invalid_setting_is_named_without_secrets(environment, says, tmp_path):
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings(environment, tmp_path / "secret")
    assert "hush" not in str(caught.value)


def test_redis_url_is_not_shown(tmp_path):
    settings = load_settings({"VOCELIO_REDIS_URL": "rediss://:hush@redis.example.com:6380/1"}, tmp_path / "secret")
    assert settings.redis_url == "rediss://:hush@redis.example.com:6380/1"
    assert "hush" not in repr(settings)
    assert load_settings({}, tmp_path / "secret").redis_url == ""


def test_several_secret_keys_are_read_newest_first(tmp_path):
    old, new = "the old key of long ago", "the-new-key-of-today"
    settings = load_settings({"VOCELIO_SECRET_KEYS": f"{new},{old.replace(' ', '-')}"}, tmp_path / "secret")
    assert settings.secret_keys == (new, "the-old-key-of-long-ago")
    assert new not in repr(settings)
    assert new not in settings.platform_tokens[SIMULATOR_ACCOUNT_SID]
    assert not (tmp_path / "secret").exists()


def test_variables_injected_by_kubernetes_are_ignored(tmp_path):
    load_settings(
        {
            "VOCELIO_SERVICE_HOST": "10.0.0.1",
            "VOCELIO_SERVICE_PORT_HTTP": "80",
            "VOCELIO_PORT": "tcp://10.0.0.1:80",
            "VOCELIO_PORT_80_TCP_ADDR": "10.0.0.1",
            "VOCELIO_WEB_SERVICE_HOST": "10.0.0.2",
        },
        tmp_path / "secret",
    )


OWN_SETTINGS = {
    "TWILIO_ACCOUNT_SID": ACCOUNT,
    "TWILIO_AUTH_TOKEN": "hush",
    "VOCELIO_PUBLIC_URL": "https://voice.example",
}


@pytest.mark.parametrize("url", ["", "http://localhost:8080", "http://voice.example", "http://127.0.0.1:1"])
def test_real_account_needs_an_https_url(tmp_path, url):
    with pytest.raises(SettingsError, match="VOCELIO_PUBLIC_URL must be the https origin") as caught:
        load_settings({**OWN_SETTINGS, "VOCELIO_PUBLIC_URL": url}, tmp_path / "secret")
    assert "\n" not in str(caught.value)
    assert load_settings({"VOCELIO_PUBLIC_URL": url}, tmp_path / "secret").public_url.startswith("http://"), "simulator"


def test_webhook_keys_are_read(tmp_path):
    keys = "webhooks_sharedkey_1:secret-of-the:first+/=, webhooks_sharedkey_2:secret-of-the-second"
    settings = load_settings({**OWN_SETTINGS, "TWILIO_WEBHOOK_KEYS": keys}, tmp_path / "secret")
    assert settings.webhook_keys == {
        "webhooks_sharedkey_1": "secret-of-the:first+/=",
        "webhooks_sharedkey_2": "secret-of-the-second",
    }
    assert "secret-of" not in f"{settings!r} {settings}"
    assert load_settings({**OWN_SETTINGS, "TWILIO_WEBHOOK_KEYS": ""}, tmp_path / "secret").webhook_keys == {}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("hush-hush-hush-hush", "entry 1 is not"),
        ("a:hush-hush-hush-hush,b", "entry 2 is not"),
        ("a:hush", "at least 16"),
        (":hush-hush-hush-hush", "entry 1 is not"),
        ("a:hush hush hush hush hush", "entry 1 is not"),
        ("a:hush-hush-hush-hush,", "entry 2 is not"),
        ("a:hush-hush-hush-hush,a:hush-hush-hush-hash", "entry 2 twice"),
        ("a b:hush-hush-hush-hush", "entry 1 is not"),
    ],
)
def test_invalid_webhook_key_is_named_by_its_position(keys, says, tmp_path):
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({**OWN_SETTINGS, "TWILIO_WEBHOOK_KEYS": keys}, tmp_path / "secret")
    assert "hush" not in str(caught.value)


def test_webhook_keys_need_an_account(tmp_path):
    with pytest.raises(SettingsError, match="TWILIO_ACCOUNT_SID is missing"):
        load_settings({"TWILIO_WEBHOOK_KEYS": "a:hush-hush-hush-hush"}, tmp_path / "secret")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_redis_url_and_max_calls_are_read(tmp_path, scheme):
    environment = {"VOCELIO_REDIS_URL": f"{scheme}://:hush@localhost:6379/0", "VOCELIO_MAX_CALLS": "350"}
    settings = load_settings(environment, tmp_path / "secret")
    assert (settings.redis_url, settings.max_calls) == (environment["VOCELIO_REDIS_URL"], 350)
    assert "hush" not in repr(settings)
    assert (load_settings({}, tmp_path / "secret").redis_url, load_settings({}, tmp_path / "secret").max_calls) == (
        "",
        200,
    )


def test_networks_are_read(tmp_path):
    environment = {
        "VOCELIO_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1 2001:db8::/32",
        "VOCELIO_BLOCKED_NETWORKS": "203.0.113.0/24",
    }
    settings = load_settings(environment, tmp_path / "secret")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    assert [str(network) for network in settings.blocked_networks] == ["203.0.113.0/24"]
    settings = load_settings({}, tmp_path / "secret")
    assert (settings.trusted_proxies, settings.blocked_networks) == ((), ())


@pytest.mark.parametrize(
    ("environment", "connections"),
    [
        ({}, 1_000),
        ({"VOCELIO_MAX_CALLS": "2000"}, 6_000),
        ({"VOCELIO_MAX_CALLS": "2000", "VOCELIO_MAX_CONNECTIONS_PER_ADDRESS": "50"}, 50),
    ],
)
def test_an_address_has_connections_for_all_calls_by_default(tmp_path, environment, connections):
    assert load_settings(environment, tmp_path / "secret").max_connections_per_address == connections


def test_speech_providers_are_read(tmp_path):
    environment = {
        "AZURE_SPEECH_KEY": "hush",
        "AZURE_SPEECH_REGION": "westeurope",
        "ELEVENLABS_API_KEY": "hush",
        "ELEVENLABS_BASE_URL": "https://speech.example.com/",
    }
    settings = load_settings(environment, tmp_path / "secret")
    assert settings.azure == AzureSettings("hush", "westeurope")
    assert settings.elevenlabs == ElevenLabsSettings("hush", "https://speech.example.com")
    assert "hush" not in f"{settings!r} {settings.azure!r} {settings.elevenlabs!r}"
    assert load_settings({}, tmp_path / "secret").azure is None
