"""What the gate checks of requests to our own endpoints, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from entry.batch import BATCH_ROUTE, Batches, batch_body, max_items
from entry.http.route import FORM, JSON, Leave, Route
from entry.provenance import PROVENANCE_ROUTE, NoFields
from entry.tasks import RETRY_ROUTE, SUBMIT_ROUTE, TASK_ROUTE
from sdxl.config.settings import Settings
from sdxl.request.fields import MAX_REQUEST_BYTES
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest, StreamRequest


def own_routes(settings: Settings, batches: Batches) -> Mapping[str, Route]:
    """Each checked route by its path."""
    lists = max_items(settings) * MAX_REQUEST_BYTES
    return {
        TASK_ROUTE: Route(JSON, GenerationRequest, MAX_REQUEST_BYTES),
        SUBMIT_ROUTE: Route(JSON, GenerationRequest, MAX_REQUEST_BYTES, holding=_to_its_end),
        RETRY_ROUTE: Route(holding=_to_its_end),
        "/generate_stream": Route(JSON, StreamRequest, MAX_REQUEST_BYTES),
        BATCH_ROUTE: Route(JSON, batch_body(settings), lists, holding=batches.waiting),
        "/refine": Route(FORM, RefineRequest, settings.max_upload_bytes, {"image": True}),
        "/edit": Route(FORM, EditRequest, settings.max_upload_bytes, {"image": True, "mask": False}),
        PROVENANCE_ROUTE: Route(FORM, NoFields, settings.max_upload_bytes, {"image": True}),
    }


def _to_its_end() -> nullcontext[Leave]:
    """A task goes on without its client."""
    return nullcontext(lambda: None)
