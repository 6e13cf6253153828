"""A pool whose connections lead to whichever Redis the Sentinels call the master."""

from typing import Any

from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from shared.redis_address import SentinelAddress

# One that is down must not use up the time that the others need to answer within a call of ours.
_SENTINEL_S = 0.5


class MasterPool(SentinelConnectionPool):
    """Asks for the master whenever it opens a connection; after a failover idle connections to the old one are dropped.

    Source: redis-py, `SentinelConnectionPool`. Closing the pool closes the connections to the Sentinels too.
    """

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """As the base class: all connections, or the idle ones only."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose(close_connection_pool=True)


def master_pool(address: SentinelAddress, **options: Any) -> MasterPool:
    """`options`: of each connection to the master. Nothing is sent yet."""
    transport = {"ssl": True} if address.tls else {}
    asked = {"socket_timeout": _SENTINEL_S, "socket_connect_timeout": _SENTINEL_S, **transport}
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # redis-py has no hints here
    return MasterPool(  # type: ignore[no-untyped-call]  # as above
        address.service,
        sentinel,
        db=address.database,
        username=address.username,
        password=address.password,
        **transport,
        **options,
    )
