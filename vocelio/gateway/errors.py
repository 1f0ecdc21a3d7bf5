"""What can go wrong in the gateway.

GatewayError
├── SettingsError     the environment; the process does not start
├── SiteError         the site's files; the process does not start
├── Forbidden         a webhook that Twilio did not sign
└── BadRequest        a webhook without what Twilio always sends
"""


class GatewayError(Exception):
    """The root. Messages are for people, and never hold a secret."""


class SettingsError(GatewayError):
    """A setting is missing, wrong or unknown."""


class SiteError(GatewayError):
    """A file of the site cannot be used; the message has a line for each problem."""


class Forbidden(GatewayError):
    """The request is not signed as Twilio signs."""


class BadRequest(GatewayError):
    """The request lacks what it must have."""
