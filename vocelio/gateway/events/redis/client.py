"""Redis as pub/sub uses it: a single node, or a cluster whose sharded channels live on one node each (Redis 7).

The nodes of a cluster fail one by one, so channels are grouped into shards by the node that had them at first: the
failure of one shard must not affect the others. No error that leaves this module shows the URL, which may contain a
password.
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

RECONNECT_BACKOFF = Backoff(initial_seconds=0.05, max_seconds=1.0)
TIMEOUT_SECONDS = 2.0  # for a connection, a command or an answer
MAX_CONNECTIONS = 4  # besides those that subscribe
MAX_CONNECTIONS_PER_NODE = 100  # shards that have moved to one node may each need a connection

Batch = list[tuple[str, bytes]]
"""Channels and messages, oldest first."""

# The client must not retry by itself: subscribers have to learn of every broken connection.
_CONNECTION_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "socket_connect_timeout": TIMEOUT_SECONDS,
    "socket_timeout": TIMEOUT_SECONDS,
}
CONNECTION_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class RetryLoop:
    """Context manager for one attempt of an endless loop: an error is logged and followed by an increasing pause.

    A loop that ended would leave its process without pub/sub until a restart. So defects, ours or a library's, are
    survived like connection errors. ``failures`` counts consecutive failures; the first of each kind is logged.
    """

    def __init__(self, description: str) -> None:
        self.failures = 0
        self._description = description
        self._logged: set[bool] = set()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        is_defect = not isinstance(error, CONNECTION_ERRORS)
        if is_defect not in self._logged:
            self._logged.add(is_defect)
            LOG.warning("%s: %s; retrying", self._description, type(error).__name__, exc_info=is_defect)
        self.failures += 1
        await asyncio.sleep(RECONNECT_BACKOFF.delay_seconds(self.failures))
        return True

    def reset(self) -> None:
        """Forget the failures after a success."""
        self.failures = 0
        self._logged.clear()


class RedisBackend(Protocol):
    """A Redis deployment with its shards by name. Whatever is awaited raises one of CONNECTION_ERRORS."""

    sharded: bool
    shards: frozenset[str]

    def shard(self, channel: str) -> str:
        """Return the shard of a channel, always the same."""
        ...

    async def publish(self, batch: Batch) -> None:
        """Send messages of one shard; each channel keeps its order."""

    async def open_listener(self, channel: str) -> AbstractConnection:
        """Open a connection that can subscribe to the channel."""
        ...

    async def aclose(self) -> None:
        """Close the connections that were opened here, except listeners."""


async def connect(url: str) -> RedisBackend:
    """Connect to the server, single node or cluster. Raises one of CONNECTION_ERRORS."""
    single = Redis.from_url(url, max_connections=MAX_CONNECTIONS, retry=Retry(NoBackoff(), 0), **_CONNECTION_OPTIONS)
    try:
        info = await single.info("cluster")
        if not info.get("cluster_enabled"):
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
    """One server, one shard."""

    sharded = False
    shards = frozenset({""})

    def __init__(self, redis: Redis, url: str) -> None:
        self._redis = redis
        self._pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), **_CONNECTION_OPTIONS)

    def shard(self, channel: str) -> str:
        return ""

    async def publish(self, batch: Batch) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message in batch:
            pipeline.execute_command("PUBLISH", channel, message)
        await pipeline.execute()

    async def open_listener(self, channel: str) -> AbstractConnection:
        return await _open_connection(self._pool.connection_class(**self._pool.connection_kwargs))

    async def aclose(self) -> None:
        await self._redis.aclose()


class Cluster:
    """A cluster with one shard for each master that it had at first."""

    sharded = True

    def __init__(self, cluster: RedisCluster, url: str) -> None:
        self._cluster, self._url = cluster, url
        self._shard_of_slot = {slot: nodes[0].name for slot, nodes in cluster.nodes_manager.slots_cache.items()}
        self.shards = frozenset(self._shard_of_slot.values())
        self._suspect_shards: set[str] = set()  # shards that failed: their slots may have moved
        self._known_nodes: dict[int, ClusterNode] = {}  # by identity: all nodes since the start, a few

    def shard(self, channel: str) -> str:
        """Return the shard of a channel.

        It stays the same when slots move, because a channel's messages could overtake each other otherwise. Until the
        process restarts, a shard may then consist of more than one node.
        """
        return self._shard_of_slot[self._cluster.keyslot(channel)]

    async def publish(self, batch: Batch) -> None:
        if not batch:
            return
        shard = self.shard(batch[0][0])
        if shard in self._suspect_shards:
            await self._refresh_slots()
        pipeline = self._cluster.pipeline()
        for channel, message in batch:
            pipeline.execute_command("SPUBLISH", channel, message)
        self._suspect_shards.add(shard)
        await pipeline.execute()
        self._suspect_shards.discard(shard)

    async def open_listener(self, channel: str) -> AbstractConnection:
        await self._refresh_slots()  # the previous connection may have broken because the channel moved
        node = self._cluster.get_node_from_key(channel)
        if node is None:
            raise RedisError("no node of the cluster has the channel")
        settings = {
            **ConnectionPool.from_url(self._url, **_CONNECTION_OPTIONS).connection_kwargs,
            "retry": Retry(NoBackoff(), 0),
        }
        return await _open_connection(node.connection_class(**{**settings, "host": node.host, "port": node.port}))

    async def aclose(self) -> None:
        self._remember_nodes()
        await self._cluster.aclose()
        await asyncio.gather(*(node.disconnect() for node in self._known_nodes.values()), return_exceptions=True)

    async def _refresh_slots(self) -> None:
        """Read the slot map again. The client forgets removed nodes and, with them, connections in use."""
        self._remember_nodes()
        await self._cluster.nodes_manager.initialize()

    def _remember_nodes(self) -> None:
        nodes = self._cluster.nodes_manager
        self._known_nodes |= {id(node): node for node in (*nodes.nodes_cache.values(), *nodes.startup_nodes.values())}


async def _open_connection(connection: Any) -> AbstractConnection:
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)  # redis-py leaves it open when it is cancelled during the handshake
        raise
    opened: AbstractConnection = connection
    return opened
