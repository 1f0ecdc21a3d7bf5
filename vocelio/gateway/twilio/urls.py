"""The gateway's public URLs, as Twilio knows them: under VOCELIO_PUBLIC_URL, whatever forwarded headers say."""

from vocelio.gateway.store.number_provisioning import Webhooks


class PublicUrls:
    """Builds URLs from paths; a path may have a query."""

    def __init__(self, public_url: str) -> None:
        self._origin = public_url.rstrip("/")

    def url(self, path: str) -> str:
        """Return the HTTP URL of a path."""
        return self._origin + path

    def stream_url(self, path: str) -> str:
        """Return the WebSocket URL of a path."""
        return "wss://" + self._origin.partition("://")[2] + path

    def number_webhooks(self) -> Webhooks:
        """Return the webhooks that route a number's calls to this gateway."""
        return Webhooks(
            voice_url=self.url("/twilio/voice"),
            voice_fallback_url=self.url("/twilio/fallback"),
            status_callback=self.url("/twilio/status"),
        )
