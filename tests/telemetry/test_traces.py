"""One trace for an edit, from its request through the queue to its call and its webhook; and nothing where none is asked for."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from shared import telemetry
from shared.settings import Settings, SettingsInvalid
from shared.tracing import OpenTelemetry
from tests.gateway.conftest import Api
from tests.simulator_fixtures import serving
from tests.telemetry.whole_service import PROMPT, PROVIDER_KEY, Hook, gateway_settings, hook, run_edit

__all__ = ["gateway_settings", "hook"]

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Where the spans of this process go."""
    memory = InMemorySpanExporter()
    telemetry.use(OpenTelemetry(SimpleSpanProcessor(memory), process="test"))
    yield memory
    telemetry.stop_tracing()


async def finished(exporter: InMemorySpanExporter, trace_id: str, *names: str) -> dict[str, ReadableSpan]:
    """The spans of a trace by name, once those of these names are there."""
    async with asyncio.timeout(10):
        while True:
            found = {span.name: span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == trace_id}
            if set(names) <= set(found):
                return found
            await asyncio.sleep(0.02)


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


async def test_an_edit_is_one_trace_from_its_request_to_its_webhook(api: Api, exporter: InMemorySpanExporter, hook: Hook) -> None:
    job = await run_edit(api, hook, PROMPT, headers={"traceparent": CALLER}, model="qwen-edit")
    assert job["status"] == "succeeded"
    _, trace_id, caller_span, _ = CALLER.split("-")
    request = "POST /api/image-studio/edit/process"
    spans = await finished(exporter, trace_id, request, "edit", "webhook")
    assert set(spans) == {request, "edit", "fetch", "choose", "call", "receive", "check", "store", "webhook"}
    assert parent_of(spans[request]) == caller_span
    assert {name for name, span in spans.items() if parent_of(span) == id_of(spans[request])} == {"edit", "webhook"}
    steps = ("fetch", "choose", "call", "receive", "check", "store")
    assert all(parent_of(spans[name]) == id_of(spans["edit"]) for name in steps)
    kinds = {name: span.kind for name, span in spans.items() if span.kind is not SpanKind.INTERNAL}
    assert kinds == {
        request: SpanKind.SERVER,
        "edit": SpanKind.CONSUMER,
        "call": SpanKind.CLIENT,
        "webhook": SpanKind.CLIENT,
    }
    (headers,) = hook.headers
    assert headers["traceparent"] == f"00-{trace_id}-{id_of(spans['webhook'])}-01"
    for name in (request, "edit", "webhook"):
        notes = spans[name].attributes or {}
        assert (notes["edit_studio.job_id"], notes["edit_studio.tenant"]) == (job["id"], "t1"), name
    assert (spans[request].attributes or {})["http.response.status_code"] == 200
    assert (spans["edit"].attributes or {})["edit_studio.outcome"] == "succeeded"
    assert (spans["call"].attributes or {})["edit_studio.model"] == "qwen-edit"
    written = " ".join(span.to_json() for span in exporter.get_finished_spans())
    for secret in (PROMPT, "teapot", api.key, PROVIDER_KEY, hook.url, "X-Amz"):
        assert secret not in written, secret


async def test_a_call_that_fails_says_so_by_its_code_only(api: Api, exporter: InMemorySpanExporter, hook: Hook) -> None:
    job = await run_edit(api, hook, f"{PROMPT} [[sim: moderated]]", headers={"traceparent": CALLER}, model="qwen-edit")
    assert job["error"]["code"] == "moderated"
    spans = await finished(exporter, CALLER.split("-")[1], "edit", "webhook")
    assert (spans["call"].status.status_code, spans["call"].status.description) == (StatusCode.ERROR, "moderated")
    assert not spans["call"].events
    assert (spans["edit"].attributes or {})["edit_studio.outcome"] == "moderated"
    assert "teapot" not in " ".join(span.to_json() for span in spans.values())


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", CALLER + "\u00e9"])
async def test_without_a_good_traceparent_a_request_begins_a_trace(api: Api, exporter: InMemorySpanExporter, header: str) -> None:
    await api.get("/jobs", headers={"traceparent": header} if header else {})
    await api.get("//metrics")
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.parent) == ("GET /api/image-studio/edit/jobs", None)


async def test_spans_reach_a_collector_over_http(settings: Settings) -> None:
    received: list[ExportTraceServiceRequest] = []

    async def collect(request: web.Request) -> web.Response:
        received.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with serving(app) as url:
        telemetry.start_tracing(settings.model_copy(update={"traces_url": f"{url}/v1/traces"}), process="worker")
        with telemetry.span("edit", notes={"job_id": "edit_1"}):
            assert telemetry.traceparent()
        await asyncio.to_thread(telemetry.stop_tracing)
    (resource,) = received[0].resource_spans
    names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert names["service.name"] == "edit-studio-worker"
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.attributes[0].key) == ("edit", "edit_studio.job_id")
    assert not telemetry.is_tracing()


def test_where_no_traces_are_asked_for_nothing_of_it_is_imported() -> None:
    program = "import sys, gateway.serve, worker.app; print([name for name in sys.modules if 'opentelemetry' in name])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"
    assert telemetry.traceparent() == ""


def test_without_the_extra_the_setting_is_refused_in_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shared.tracing", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'edit-studio\[otel\]'"):
        telemetry.start_tracing(settings.model_copy(update={"traces_url": "http://collector/v1/traces"}), process="gateway")
