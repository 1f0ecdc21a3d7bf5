"""Secrets at rest."""

import pytest

from vocelio.gateway.crypto.encryption import Vault, VaultError


def test_what_is_locked_opens_for_its_purpose_only():
    vault = Vault(["a key"])
    locked = vault.lock("hush", "harbour/twilio")
    assert "hush" not in locked
    assert vault.open(locked, "harbour/twilio") == "hush"
    for purpose in ("another/twilio", "harbour/twili", "harbour/twilio\0hush", ""):
        with pytest.raises(VaultError):
            vault.open(locked, purpose)


def test_a_secret_may_hold_anything():
    vault = Vault(["a key"])
    for secret in ("", "\0", "a\0b", "é\n"):
        assert vault.open(vault.lock(secret, "x"), "x") == secret


def test_older_keys_open_and_the_newest_locks():
    old, both, new = Vault(["old"]), Vault(["new", "old"]), Vault(["new"])
    locked = old.lock("hush", "x")
    assert both.open(locked, "x") == "hush"
    assert both.renewed(both.lock("hush", "x")) is None
    renewed = both.renewed(locked)
    assert new.open(renewed, "x") == "hush"
    for opened in (lambda: new.open(locked, "x"), lambda: new.renewed(locked), lambda: old.open(renewed, "x")):
        with pytest.raises(VaultError):
            opened()
