"""Who gets in, and how often: key, rate and scope of each request."""

import math

from aiohttp import web
from multidict import CIMultiDict

from gateway.auth import bearer_key, check_scope
from gateway.pressure import PressureWatch
from gateway.route import Scope
from shared.errors import RateLimited
from shared.store.tenants import ApiKey, Bucket, Kind, Tenants

RATE = web.RequestKey("rate", tuple[Kind, Bucket])


async def admit(request: web.Request, tenants: Tenants, pressure: PressureWatch, *, scope: Scope, rate: Kind) -> ApiKey:
    """The caller's key. Raises Unauthorized, RateLimited, Forbidden, Overloaded, StoreUnavailable."""
    entry = await tenants.enter(bearer_key(request), rate)
    request[RATE] = (rate, entry.bucket)
    if not entry.bucket.allowed:
        raise RateLimited(f"more than {entry.bucket.limit} {rate} requests a minute", retry_after_s=entry.bucket.reset_s)
    check_scope(entry.key, scope)
    if rate == "submit":
        pressure.check(entry.key.tenant)
    return entry.key


def add_rate_headers(headers: CIMultiDict[str], rate: Kind, bucket: Bucket) -> None:
    """What is left of the caller's rate. Source: draft-ietf-httpapi-ratelimit-headers-10."""
    headers["RateLimit-Policy"] = f'"{rate}";q={bucket.limit};w=60'
    headers["RateLimit"] = f'"{rate}";r={bucket.remaining};t={math.ceil(bucket.reset_s)}'
