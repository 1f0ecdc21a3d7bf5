"""What a loop of the line does when something has failed: tell of it, wait a little longer each time, and try again.

A loop that ended would leave its process deaf or mute until somebody starts it anew. So what is our own defect, or a
library's, is survived like a server that is away.

Redis as the line uses it: one server, or a cluster, whose channels live on one node each (sharded, since Redis 7).

A cluster's nodes fail one by one, so its channels are in parts, by the node that had them at first: what one part
suffers is no matter of the others'.

No error that leaves this module shows the URL, which may hold a password.
"""

import asyncio
import logging
from types import TracebackType
from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from vocelio.gateway.aio.backoff import Backoff

LOG = logging.getLogger(__name__)

BACKOFF = Backoff(initial_seconds=0.05, max_seconds=1.0)


class RetryLoop:
    """One loop's: within it a try may fail. ``failures`` are those in a row; the first of each sort is told."""

    def __init__(self, description: str) -> None:
        self.failures = 0
        self._description = description
        self._logged: set[bool] = set()

    async def __aenter__(self) -> None:
        """Begin a try."""

    async def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        """End it, and if it has failed wait for the next."""
        if not isinstance(error, Exception):
            return False
        defect = not isinstance(error, CONNECTION_ERRORS)
        if defect not in self._logged:
            self._logged.add(defect)
            LOG.warning("%s: %s", self._description, type(error).__name__, exc_info=defect)
        await asyncio.sleep(BACKOFF.delay_seconds(self.failures + 1))
        self.failures += 1
        return True

    def reset(self) -> None:
        """All is well again."""
        self.failures = 0
        self._logged.clear()


TIMEOUT_SECONDS = 2.0  # for a connection, a command or an answer
MAX_CONNECTIONS = 4  # besides those that listen
MAX_CONNECTIONS_PER_NODE = 100  # at most; parts that have moved together may each need one

Batch = list[tuple[str, bytes]]
"""Channels and messages, oldest first."""

# Nothing is tried again behind our back: whoever listens must learn of every break.
_CONNECTION_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "socket_connect_timeout": TIMEOUT_SECONDS,
    "socket_timeout": TIMEOUT_SECONDS,
}
CONNECTION_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class RedisBackend(Protocol):
    """Where messages go through, ``parts`` by name. All that waits raises one of TROUBLE."""

    sharded: bool
    shards: frozenset[str]

    def shard(self, channel: str) -> str:
        """The part that has the channel, always the same."""
        ...

    async def publish(self, batch: Batch) -> None:
        """Send them all, each channel's in order; they are of one part."""

    async def open_listener(self, channel: str) -> AbstractConnection:
        """A connected connection to listen to that channel on."""
        ...

    async def aclose(self) -> None:
        """Close what was opened here, but no listener."""


async def connect(url: str) -> RedisBackend:
    """The server behind the URL, once it answers. Raises one of TROUBLE."""
    single = Redis.from_url(url, max_connections=MAX_CONNECTIONS, retry=Retry(NoBackoff(), 0), **_CONNECTION_OPTIONS)
    try:
        facts = await single.info("cluster")
        if not facts.get("cluster_enabled"):
            return SingleNode(single, url)
        cluster = RedisCluster.from_url(
            url, max_connections=MAX_CONNECTIONS_PER_NODE, retry=Retry(NoBackoff(), 0), **_CONNECTION_OPTIONS
        )
        await cluster.initialize()
    except BaseException:
        await single.aclose()
        raise
    await single.aclose()
    return Cluster(cluster, url)


class SingleNode:
    """The Server port on one server."""

    sharded = False
    shards = frozenset({""})

    def __init__(self, redis: Redis, url: str) -> None:
        self._redis = redis
        self._pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **_CONNECTION_OPTIONS)

    def shard(self, channel: str) -> str:
        """See Server."""
        return ""

    async def publish(self, batch: Batch) -> None:
        """See Server."""
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message in batch:
            pipeline.execute_command("PUBLISH", channel, message)
        await pipeline.execute()

    async def open_listener(self, channel: str) -> AbstractConnection:
        """See Server."""
        return await _open_connection(self._pool.connection_class(**self._pool.connection_kwargs))

    async def aclose(self) -> None:
        """See Server."""
        await self._redis.aclose()


class Cluster:
    """The Server port on a cluster."""

    sharded = True

    def __init__(self, cluster: RedisCluster, url: str) -> None:
        self._cluster, self._url = cluster, url
        self._shard_of_slot = {slot: nodes[0].name for slot, nodes in cluster.nodes_manager.slots_cache.items()}
        self.shards = frozenset(self._shard_of_slot.values())
        self._suspect_shards: set[str] = set()  # parts that failed: their channels may have moved
        self._known_nodes: dict[int, ClusterNode] = {}  # by identity: all that there ever were, a few

    def shard(self, channel: str) -> str:
        """See Server. When slots move it stays, else a channel's messages might overtake each other: until the process
        is started anew, what fails together may then be more than one node's."""
        return self._shard_of_slot[self._cluster.keyslot(channel)]

    async def publish(self, batch: Batch) -> None:
        """See Server."""
        if not batch:
            return
        part = self.shard(batch[0][0])
        if part in self._suspect_shards:
            await self._refresh_slots()
        pipeline = self._cluster.pipeline()
        for channel, message in batch:
            pipeline.execute_command("SPUBLISH", channel, message)
        self._suspect_shards.add(part)
        await pipeline.execute()
        self._suspect_shards.discard(part)

    async def open_listener(self, channel: str) -> AbstractConnection:
        """See Server. Where the channel is, is asked each time: the last break may have come of its move."""
        await self._refresh_slots()
        node = self._cluster.get_node_from_key(channel)
        if node is None:
            raise RedisError("no node of the cluster has the channel")
        settings = {
            **ConnectionPool.from_url(self._url, **_CONNECTION_OPTIONS).connection_kwargs,
            "retry": Retry(NoBackoff(), 0),
        }
        return await _open_connection(node.connection_class(**{**settings, "host": node.host, "port": node.port}))

    async def aclose(self) -> None:
        """See Server."""
        self._remember_nodes()
        await self._cluster.aclose()
        await asyncio.gather(*(node.disconnect() for node in self._known_nodes.values()), return_exceptions=True)

    async def _refresh_slots(self) -> None:
        """Where the channels are now. The client forgets nodes that are gone, and with them connections in use."""
        self._remember_nodes()
        await self._cluster.nodes_manager.initialize()

    def _remember_nodes(self) -> None:
        nodes = self._cluster.nodes_manager
        self._known_nodes |= {id(node): node for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values())}


async def _open_connection(connection: Any) -> AbstractConnection:
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)  # redis-py leaves it open when it is cancelled in its first words
        raise
    made: AbstractConnection = connection
    return made
