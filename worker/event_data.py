"""What a webhook tells: the Job or the Batch as it stands when it is sent."""

import time

from shared.batch_view import batch_view
from shared.job_view import job_view
from shared.settings import Settings
from shared.storage import Storage
from shared.store.batches import Batches
from shared.store.jobs import Jobs
from shared.store.webhooks import Delivery


class EventData:
    """Renders the `data` of deliveries."""

    def __init__(self, *, jobs: Jobs, batches: Batches, storage: Storage, settings: Settings) -> None:
        self._jobs = jobs
        self._batches = batches
        self._storage = storage
        self._base_url = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")

    async def of(self, delivery: Delivery) -> bytes:
        """JSON, the links in it fresh. Raises NotFound, Gone: there is nothing left to tell; StoreUnavailable."""
        match delivery.event.partition(".")[0]:
            case "edit":
                record = await self._jobs.get(delivery.tenant, delivery.job_id)
                output = record.course.output
                link = await self._storage.link(output.key) if output else None
                return job_view(record, base_url=self._base_url, output_link=link).model_dump_json().encode()
            case "batch":
                batch = await self._batches.get(delivery.tenant, delivery.job_id)
                return batch_view(batch, base_url=self._base_url, now_ms=int(time.time() * 1000)).model_dump_json().encode()
        return b"{}"
