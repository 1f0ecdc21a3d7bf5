"""A stream's socket, opened as Twilio opens it: signed, without redirects, and with Twilio's code for what fails."""

import ssl
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.signing import Signer

CLOSE_TIMEOUT_SECONDS = 1.0
"""How long the server may take to answer a close frame before the socket is dropped."""

MAX_MESSAGE_BYTES = 1 << 20
"""Bytes of one message: more than two minutes of audio in base64."""

MAX_WRITE_BUFFER_BYTES = 128 * 1024
"""Unsent bytes at which a send waits: twice what a stream takes for a server that is too slow."""


class _ConnectWithoutRedirects(connect):
    """Twilio does not follow redirects of an upgrade: anything but 101 is a failed handshake."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(server_url: str, url: str, signer: Signer, timeout_seconds: float) -> ClientConnection:
    """Open ``url`` (wss, as in the TwiML) at ``server``'s host and port, with TLS if that is an https origin.

    Raises CarrierError with Twilio's code, also when that takes longer than ``seconds``.
    """
    at = urlsplit(server_url)
    secure = at.scheme == "https"
    try:
        return await _ConnectWithoutRedirects(
            url if secure else "ws" + url.removeprefix("wss"),
            host=at.hostname,
            port=at.port or (443 if secure else 80),
            additional_headers=signer.sign_upgrade(url),
            user_agent_header="Twilio.TmeWs/1.0",
            compression=None,
            proxy=None,
            open_timeout=timeout_seconds,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=MAX_WRITE_BUFFER_BYTES,
        )
    except TimeoutError as error:
        raise TwilioSimError(error_codes.STREAM_TIMEOUT, "the upgrade was not answered in time") from error
    except InvalidHandshake as error:
        raise TwilioSimError(error_codes.STREAM_HANDSHAKE, f"the upgrade failed: {error}") from error
    except InvalidURI as error:
        raise TwilioSimError(error_codes.STREAM_URL, str(error)) from error
    except ssl.SSLError as error:
        raise TwilioSimError(error_codes.STREAM_TLS, f"TLS failed: {error}") from error
    except OSError as error:
        raise TwilioSimError(error_codes.STREAM_REFUSED, f"the connection was refused: {error}") from error
