"""What a process makes of a Redis that breaks off in the middle of an exchange."""

from collections.abc import Callable

import pytest

from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from tests.end_to_end.lossy_proxy import lossy_proxy
from tests.servers import RedisServer


@pytest.mark.parametrize("lost", [b"EVALSHA", b"LOAD"])
async def test_a_script_is_repeated_whichever_of_its_answers_is_lost(
    own_redis: RedisServer, make_settings: Callable[..., Settings], lost: bytes
) -> None:
    async with lossy_proxy(own_redis.port, lambda request, answer: lost in request) as proxy:
        settings = make_settings(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        redis = open_redis(settings)
        try:
            assert await Scripts(redis, timeout_s=1.0).run("outbox_take", "outbox", 10, 1_000) == []
        finally:
            await redis.aclose(close_connection_pool=True)
        assert proxy.lost.is_set()
