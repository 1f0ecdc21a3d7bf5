"""WebSocket close codes that the gateway sends: those of RFC 6455, section 7.4.1, and its own from 4000 on."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a socket was closed. The codes of the API are documented in docs/monitoring.md."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002  # a message that is not allowed in the present state
    UNSUPPORTED_DATA = 1003  # audio in another format than agreed, or a binary message
    INVALID_PAYLOAD = 1007  # not JSON, not base64, not a message
    POLICY_VIOLATION = 1008  # not authorized, or too many messages
    INTERNAL_ERROR = 1011  # a failure of the gateway
    SERVICE_RESTART = 1012  # the process exits (registered with IANA by the WebSocket mailing list)

    # The API's own
    KEY_REVOKED = 4001
    SEND_TIMEOUT = 4002
    IDLE_TIMEOUT = 4003
    CALL_ENDED = 4004
