"""Shared keys: the newer way in which Twilio signs, HMAC-SHA256 with a key of its own instead of the auth token.

A rule in Twilio's webhook configuration says which URLs are signed so; such a request names its key and algorithm in
a header. Documented (twilio.com/docs/usage/webhooks/webhook-shared-keys, twilio.request_validator): the header's form,
that without it the auth token and HMAC-SHA1 count, and that only key and hash differ: the signed text is the same.

The documentation is silent on what follows, and this is what is assumed:

- UNKNOWN FIELDS of the header mean nothing to the signature. They are passed over: a signature that they did change
  would not match.
- HMAC_SHA1 with a shared key is nothing that anybody needs. It is refused.
- AN EMPTY HEADER, or one without an algorithm, is not "no header". Twilio's library would take the auth token and
  HMAC-SHA1 for it; here it is refused, so that nobody can talk the gateway down to the weaker way.
- A SOCKET'S UPGRADE may be signed in either way, since it is not said whether a rule covers ``wss`` URLs: its own
  headers decide, as for a webhook.
"""

from collections.abc import Mapping

SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"
ALGORITHM = "HMAC_SHA256"


class SharedKeys:
    """The secrets of the platform's shared keys, by the key's id. Never shown."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def secret(self, settings: str) -> str | None:
        """The secret that signs by this header; None for what is malformed, and for an unknown key or algorithm."""
        fields = _fields(settings)
        if fields.get("algorithm") != ALGORITHM:
            return None
        return self._secrets.get(fields.get("key", ""))


def _fields(settings: str) -> dict[str, str]:
    """``key=...,algorithm=...`` as a dictionary; empty if a part has no name, or a name comes twice."""
    fields: dict[str, str] = {}
    for part in settings.split(","):
        name, equals, value = part.partition("=")
        if not equals or name.strip() in fields:
            return {}
        fields[name.strip()] = value.strip()
    return fields
