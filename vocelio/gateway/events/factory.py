"""Choice of the pub/sub implementation by the settings."""

from vocelio.gateway.events.pubsub import LocalPubSub, PubSub


def connect(url: str) -> PubSub:
    """The line that the settings ask for: through Redis, or with no URL none."""
    if not url:
        return LocalPubSub()
    # The client takes a third of a second to import, which a process without a Redis need not pay.
    from vocelio.gateway.events.redis.pubsub import RedisPubSub

    return RedisPubSub(url)
