"""Spans made by OpenTelemetry and sent by OTLP over HTTP. Imported only where traces are asked for: see `shared.telemetry`.

What else there is to set (headers, sampling, batches), OpenTelemetry reads from its own variables, `OTEL_…`.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import EditStudioError
from shared.telemetry import Kind, Note

_EXPORT_S = 5
_KINDS = {
    "server": SpanKind.SERVER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}
_HEADER = "traceparent"


class OpenTelemetry:
    """The tracing of one process."""

    def __init__(self, processor: SpanProcessor, *, process: str) -> None:
        names = {"service.name": f"edit-studio-{process}", "service.version": version("edit-studio")}
        self._provider = TracerProvider(resource=Resource.create(names), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("edit-studio")
        self._w3c = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, *, kind: Kind, parent: str | None, notes: Mapping[str, Note]) -> Iterator[None]:
        """See `shared.telemetry.span`. What an error says may be a caller's or a provider's words: only its code is kept."""
        context = None if parent is None else self._w3c.extract({_HEADER: parent}, context=Context())
        with self._tracer.start_as_current_span(
            name, context=context, kind=_KINDS[kind], record_exception=False, set_status_on_exception=False
        ) as made:
            for what, value in notes.items():
                self.note(what, value)
            try:
                yield
            except asyncio.CancelledError:
                self.note("canceled", True)
                raise
            except Exception as error:
                code = error.code if isinstance(error, EditStudioError) else type(error).__name__
                made.set_status(Status(StatusCode.ERROR, code))
                raise

    def note(self, name: str, value: Note) -> None:
        """See `shared.telemetry.note`."""
        trace.get_current_span().set_attribute(name if "." in name else f"edit_studio.{name}", value)

    def rename(self, name: str) -> None:
        """See `shared.telemetry.rename`."""
        trace.get_current_span().update_name(name)

    def traceparent(self) -> str:
        """See `shared.telemetry.traceparent`."""
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier)
        return carrier.get(_HEADER, "")

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def open_tracing(url: str, *, process: str) -> OpenTelemetry:
    """Traces that go to the collector at `url` in batches, from a thread of their own. If it does not answer, they are lost."""
    return OpenTelemetry(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_EXPORT_S)), process=process)
