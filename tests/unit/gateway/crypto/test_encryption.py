"""Encryption of secrets at rest."""

import pytest

from vocelio.gateway.crypto import DecryptionError, SecretCipher


def test_secret_decrypts_only_for_its_purpose():
    cipher = SecretCipher(["a key"])
    token = cipher.encrypt("hush", "harbour/twilio")
    assert "hush" not in token
    assert cipher.decrypt(token, "harbour/twilio") == "hush"
    for purpose in ("another/twilio", "harbour/twili", "harbour/twilio\0hush", ""):
        with pytest.raises(DecryptionError):
            cipher.decrypt(token, purpose)


def test_secret_may_contain_any_text():
    cipher = SecretCipher(["a key"])
    for secret in ("", "\0", "a\0b", "é\n"):
        assert cipher.decrypt(cipher.encrypt(secret, "x"), "x") == secret


def test_older_keys_decrypt_and_the_newest_encrypts():
    old, both, new = SecretCipher(["old"]), SecretCipher(["new", "old"]), SecretCipher(["new"])
    token = old.encrypt("hush", "x")
    assert both.decrypt(token, "x") == "hush"
    assert both.rotate(both.encrypt("hush", "x")) is None
    rotated = both.rotate(token)
    assert new.decrypt(rotated, "x") == "hush"
    for decrypt_again in (
        lambda: new.decrypt(token, "x"),
        lambda: new.rotate(token),
        lambda: old.decrypt(rotated, "x"),
    ):
        with pytest.raises(DecryptionError):
            decrypt_again()
