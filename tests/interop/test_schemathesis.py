"""Schemathesis reads our OpenAPI document and tries every operation: no 5xx, no answer outside of the document."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.app import all_routes, create_app
from gateway.connections import CONNECTIONS
from gateway.openapi import openapi_document
from gateway.serve import Listener
from shared.edit import EditSpec
from shared.job import Course, JobFailure, JobState, StoredOutput
from shared.settings import Settings
from shared.store.batches import NewBatch, NewItem
from shared.store.leases import Leases
from tests.conftest import fresh_id, make_job, take_one
from tests.servers import RedisServer, S3Server

CONFORMANCE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = openapi_document(all_routes())
OPERATIONS = [f"{route.method} {route.path}" for route in all_routes()]
_CALL_S = 20.0


@dataclass
class Served:
    """A running gateway, a key with all scopes, an edit that has ended, a batch with an item that failed and one that waits."""

    url: str
    headers: dict[str, str]
    job_id: str
    batch_id: str


@pytest.fixture
def schema() -> BaseSchema:
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Served]:
    """The gateway on a loop of its own, because Schemathesis calls it with blocking requests."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis_server:
        made = Settings(
            allow_volatile_redis=True,
            secret="a-master-secret-that-only-tests-use-0123456789",
            port=0,
            submits_per_minute=1_000_000,
            reads_per_minute=1_000_000,
            operator_tenant="t1",
            **redis_server.settings,
            **s3_server.settings,
        )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        app = create_app(made)
        listener = Listener(app, host="127.0.0.1", port=0)

        async def start() -> Served:
            url = await listener.start()
            connections = app[CONNECTIONS]
            scopes = frozenset({"read", "submit", "admin"})
            key, _ = await connections.tenants.create_key("t1", tier="pro", scopes=scopes, name="test")
            # Held requests answer at once, as while the process stops.
            connections.closing.set()
            leases = Leases(connections.jobs._scripts, made)
            await connections.jobs.accept(make_job())
            record = await take_one(leases)
            key_of_result = f"out/t1/{record.id}/1/0.png"
            for name in (key_of_result, f"{key_of_result}.webp", "in/t1/edit/image-0.png"):
                await connections.storage.put(name, b"x" * 99, content_type="image/webp" if "webp" in name else "image/png")
            output = StoredOutput(
                key=key_of_result,
                width=1,
                height=1,
                format="png",
                bytes=99,
                sha256="a" * 64,
                thumbnails={"320": f"{key_of_result}.webp"},
            )
            await leases.finish(record, JobState.SUCCEEDED, Course(model="local-adjust", output=output))
            batch_id, item = fresh_id("batch"), make_job()
            await connections.batches.open(NewBatch(batch_id, "t1"))
            error = JobFailure(code="invalid_json", message="no", retryable=False, by="caller", stage="reading", billed=False)
            items = [
                NewItem(fresh_id(), "none", EditSpec(), 900, failed=Course(error=error)),
                NewItem(item.id, "a", item.spec, 900),
            ]
            await connections.batches.stage(batch_id, items, first_index=0, bulk=True, request_id="req", key_id="k1")
            await connections.batches.commit(batch_id, fingerprint="f")
            return Served(url, {"Authorization": f"Bearer {key}"}, record.id, batch_id)

        try:
            yield asyncio.run_coroutine_threadsafe(start(), loop).result(_CALL_S)
        finally:
            asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(_CALL_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.mark.parametrize("label", OPERATIONS)
def test_no_operation_answers_outside_of_the_document(schema: BaseSchema, label: str, served: Served) -> None:
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=served.url, headers=served.headers, checks=[*CONFORMANCE, negative_data_rejection], timeout=_CALL_S
        )

    try_all(schema, label, check)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "/jobs/{id}" in label and not label.startswith("DELETE")])
def test_operations_on_an_edit_that_exists_keep_to_the_document(schema: BaseSchema, label: str, served: Served) -> None:
    def check(case: schemathesis.Case) -> None:
        case.path_parameters["id"] = served.job_id
        case.call_and_validate(base_url=served.url, headers=served.headers, checks=CONFORMANCE, timeout=_CALL_S)

    try_all(schema, label, check)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "/batches/{id}" in label])
def test_operations_on_a_batch_that_exists_keep_to_the_document(schema: BaseSchema, label: str, served: Served) -> None:
    def check(case: schemathesis.Case) -> None:
        case.path_parameters["id"] = served.batch_id
        case.call_and_validate(base_url=served.url, headers=served.headers, checks=CONFORMANCE, timeout=_CALL_S)

    try_all(schema, label, check)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "/api/" in label or "/openai/" in label])
def test_no_operation_forgets_to_ask_for_a_key(schema: BaseSchema, label: str, served: Served) -> None:
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=served.url, headers=served.headers, checks=[ignored_auth], timeout=_CALL_S)

    # Whether a key is asked for does not hang on where the boundaries of a field are: random cases, right and wrong ones.
    schema.config.phases.update(phases=["fuzzing"])
    try_all(schema, label, check)


def try_all(schema: BaseSchema, label: str, check: Callable[[schemathesis.Case], None]) -> None:
    """`check` on the operation's boundary cases and on a few random ones.

    What `schema.parametrize` of Schemathesis' pytest plugin does, but when the test runs: the plugin makes the cases while it
    collects, for seconds in each test process.
    """
    operation = schema.find_operation_by_label(label)
    assert operation is not None
    load_all_checks()
    limits = settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    build_operation_test(
        config=schema.config,
        operation=operation,
        test_func=check,
        given_kwargs={},
        feedback=FeedbackSources(),
        explicit_settings=limits,
    )()
