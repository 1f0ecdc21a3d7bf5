"""Secrets at rest."""

import pytest

from vocelio.gateway.crypto.encryption import DecryptionError, SecretCipher


def test_what_is_locked_opens_for_its_purpose_only():
    vault = SecretCipher(["a key"])
    locked = vault.encrypt("hush", "harbour/twilio")
    assert "hush" not in locked
    assert vault.decrypt(locked, "harbour/twilio") == "hush"
    for purpose in ("another/twilio", "harbour/twili", "harbour/twilio\0hush", ""):
        with pytest.raises(DecryptionError):
            vault.decrypt(locked, purpose)


def test_a_secret_may_hold_anything():
    vault = SecretCipher(["a key"])
    for secret in ("", "\0", "a\0b", "é\n"):
        assert vault.decrypt(vault.encrypt(secret, "x"), "x") == secret


def test_older_keys_open_and_the_newest_locks():
    old, both, new = SecretCipher(["old"]), SecretCipher(["new", "old"]), SecretCipher(["new"])
    locked = old.encrypt("hush", "x")
    assert both.decrypt(locked, "x") == "hush"
    assert both.rotate(both.encrypt("hush", "x")) is None
    renewed = both.rotate(locked)
    assert new.decrypt(renewed, "x") == "hush"
    for opened in (lambda: new.decrypt(locked, "x"), lambda: new.rotate(locked), lambda: old.decrypt(renewed, "x")):
        with pytest.raises(DecryptionError):
            opened()
