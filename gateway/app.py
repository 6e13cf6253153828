"""The gateway put together: connections opened, routes mounted. The only wiring."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache

from aiohttp import web

from gateway.admission import admit
from gateway.body import no_early_leave
from gateway.connections import CONNECTIONS, Connections, Links, memory_budget
from gateway.cors import allow_origins
from gateway.fields import json_kinds
from gateway.metrics import Metrics
from gateway.observed import observed
from gateway.openapi import openapi_route
from gateway.pressure import PressureWatch
from gateway.problems import problems, set_common_headers
from gateway.query import read_query
from gateway.route import ROUTE, Call, Route
from gateway.routes import (
    admin_keys,
    admin_tenants,
    batch_items,
    batches,
    docs,
    events,
    feed,
    health,
    job_pictures,
    jobs,
    models,
    openai_batches,
    openai_files,
    openai_images,
    openai_models,
    process,
    quotes,
    receipts,
    reference,
    studio,
    uploads,
    usage,
    webhook_endpoints,
    webhooks,
)
from shared.catalog.load import load_catalog
from shared.log import log_under_too
from shared.loop_lag import LoopLag
from shared.settings import Settings
from shared.storage import Storage
from shared.store.batches import Batches
from shared.store.changes import Changes
from shared.store.connection import Scripts, open_redis
from shared.store.durability import check_durability
from shared.store.endpoints import Endpoints
from shared.store.experience import Experiences
from shared.store.feed import Feed
from shared.store.files import Files
from shared.store.jobs import Jobs
from shared.store.login_codes import LoginCodes
from shared.store.overview import Overview
from shared.store.quotes import Quotes
from shared.store.repeats import Repeats
from shared.store.tenants import Tenants
from shared.store.uploads import Uploads
from shared.store.usage import Usage
from shared.store.webhooks import Outbox


@cache
def all_routes() -> tuple[Route, ...]:
    """Every route of the gateway. The document of them takes a while to make, so they are put together once in a process."""
    modules = (
        models,
        quotes,
        process,
        jobs,
        job_pictures,
        receipts,
        events,
        batches,
        batch_items,
        uploads,
        webhooks,
        webhook_endpoints,
        feed,
        usage,
        openai_images,
        openai_models,
        openai_files,
        openai_batches,
        reference,
        admin_tenants,
        admin_keys,
        studio,
        health,
    )
    routes = tuple(route for module in modules for route in module.ROUTES)
    return (*routes, openapi_route(routes))


def create_app(settings: Settings) -> web.Application:
    """The application. Connections are opened when it starts and closed when it stops."""
    app = web.Application(middlewares=[observed, problems])
    app.on_response_prepare.append(set_common_headers)
    health.prepare(app)
    studio.mount(app)
    docs.mount(app)
    for route in all_routes():
        app.router.add_route(route.method, route.path, _endpoint(route), expect_handler=no_early_leave)
        if route.body is not None and route.body.files and route.body.model is not None:
            json_kinds(route.body.model)  # now, lest the first form holds up all other requests
    if settings.cors_origins:
        allow_origins(app, settings.cors_origins)

    async def connect(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app[CONNECTIONS] = await open_connections(settings, stack)
            yield

    async def stop_holding(app: web.Application) -> None:
        app[CONNECTIONS].closing.set()

    app.cleanup_ctx.append(connect)
    app.on_shutdown.append(stop_holding)
    return app


async def open_connections(settings: Settings, stack: AsyncExitStack) -> Connections:
    """Everything the handlers work with; `stack` closes it.

    Raises StoreUnavailable, VolatileRedis, StorageUnavailable, CatalogInvalid.
    """
    catalog = load_catalog(settings.catalog_dir)
    redis = open_redis(settings)
    stack.push_async_callback(redis.aclose, close_connection_pool=True)
    await check_durability(redis, settings)
    scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
    stack.push_async_callback(scripts.close)
    storage = Storage(settings)
    await storage.ensure_bucket()
    tenants = Tenants(scripts, settings)
    changes = Changes(redis)
    changes.start()
    stack.push_async_callback(changes.close)
    pressure = PressureWatch(scripts, settings)
    pressure.start()
    stack.push_async_callback(pressure.close)
    lag = await stack.enter_async_context(LoopLag())
    return Connections(
        settings=settings,
        catalog=catalog,
        storage=storage,
        links=Links(storage, life_s=settings.link_life_s),
        jobs=Jobs(scripts, settings),
        login_codes=LoginCodes(scripts, tenants),
        batches=Batches(scripts, settings),
        uploads=Uploads(scripts, settings),
        files=Files(scripts, settings),
        experiences=Experiences(scripts, catalog),
        tenants=tenants,
        quotes=Quotes(scripts),
        repeats=Repeats(scripts),
        usage=Usage(scripts),
        pressure=pressure,
        outbox=Outbox(scripts),
        endpoints=Endpoints(scripts),
        feed=Feed(scripts),
        overview=Overview(scripts, settings),
        changes=changes,
        metrics=Metrics(lag),
        memory=memory_budget(settings),
    )


def _endpoint(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The route's handler behind its key, rate, scope and parameters."""
    no_query = route.query()

    async def handle(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = route
        connections = request.app[CONNECTIONS]
        caller = None
        if route.scope is not None:
            caller = await admit(request, connections.tenants, connections.pressure, scope=route.scope, rate=route.rate)
            log_under_too(tenant=caller.tenant)
        query = read_query(request, route.query) if request.query_string else no_query
        return await route.handler(Call(request, connections, query, caller))

    return handle
