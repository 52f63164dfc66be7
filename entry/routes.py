"""What the gate checks of requests to our own endpoints, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from entry.batch import BATCH_ROUTE, Batches, batch_body, max_items
from entry.http.route import FORM, JSON, Leave, Route
from entry.provenance import PROVENANCE_ROUTE, NoFields
from entry.tasks import RETRY_ROUTE, SUBMIT_ROUTE, TASK_ROUTE
from sdxl.config.settings import Settings
from sdxl.request.asked import (
    EditPictures,
    EditStreamRequest,
    GeneratePictures,
    GenerateStreamRequest,
    RefinePictures,
    RefineStreamRequest,
)
from sdxl.request.fields import MAX_REQUEST_BYTES


def own_routes(settings: Settings, batches: Batches) -> Mapping[str, Route]:
    """Each checked route by its path."""
    lists = max_items(settings) * MAX_REQUEST_BYTES
    form = partial(Route, FORM, max_bytes=settings.max_upload_bytes)
    return {
        TASK_ROUTE: Route(JSON, GeneratePictures, MAX_REQUEST_BYTES),
        SUBMIT_ROUTE: Route(JSON, GeneratePictures, MAX_REQUEST_BYTES, holding=_to_its_end),
        RETRY_ROUTE: Route(holding=_to_its_end),
        "/generate_stream": Route(JSON, GenerateStreamRequest, MAX_REQUEST_BYTES),
        BATCH_ROUTE: Route(JSON, batch_body(settings), lists, holding=batches.waiting),
        "/refine": form(RefinePictures, files={"image": True}),
        "/refine_stream": form(RefineStreamRequest, files={"image": True}),
        "/edit": form(EditPictures, files={"image": True, "mask": False}),
        "/edit_stream": form(EditStreamRequest, files={"image": True, "mask": False}),
        PROVENANCE_ROUTE: form(NoFields, files={"image": True}),
    }


def _to_its_end() -> nullcontext[Leave]:
    """A task goes on without its client."""
    return nullcontext(lambda: None)
