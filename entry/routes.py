"""What the gate checks of requests to our own endpoints, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from entry.batch import BATCH_ROUTE, Batches, batch_body, batch_request, max_items
from entry.http.route import FORM, JSON, Answer, Leave, Route
from entry.http.schemas import EVENTS, PICTURE
from entry.provenance import PROVENANCE_ROUTE, NoFields, Provenance
from entry.results import PictureResult
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

SEVERAL = Answer(description="Of more than one picture (`n`), what became of each", kind=list[PictureResult])
PICTURES = {200: Answer(description="The picture's file", content=PICTURE), 207: SEVERAL}
TOLD = {200: Answer(description="Server-Sent Events: queued, progress, preview, result, error", content=EVENTS)}
LIST = {200: Answer(description="What became of each picture", kind=list[PictureResult])}


def own_routes(settings: Settings, batches: Batches) -> Mapping[str, Route]:
    """Each checked route by its path."""
    form = partial(Route, FORM, max_bytes=settings.max_upload_bytes)
    one = {"image": True}
    with_mask = {"image": True, "mask": False}
    return {
        TASK_ROUTE: Route(JSON, GeneratePictures, MAX_REQUEST_BYTES, answers=PICTURES),
        SUBMIT_ROUTE: Route(JSON, GeneratePictures, MAX_REQUEST_BYTES, holding=_to_its_end),
        RETRY_ROUTE: Route(holding=_to_its_end),
        "/generate_stream": Route(JSON, GenerateStreamRequest, MAX_REQUEST_BYTES, answers=TOLD),
        BATCH_ROUTE: Route(
            JSON,
            batch_body(settings),
            max_items(settings) * MAX_REQUEST_BYTES,
            holding=batches.waiting,
            answers=LIST,
            described=batch_request(settings),
        ),
        "/refine": form(RefinePictures, files=one, answers=PICTURES),
        "/refine_stream": form(RefineStreamRequest, files=one, answers=TOLD),
        "/edit": form(EditPictures, files=with_mask, answers=PICTURES),
        "/edit_stream": form(EditStreamRequest, files=with_mask, answers=TOLD),
        PROVENANCE_ROUTE: form(
            NoFields, files=one, answers={200: Answer(description="What the picture says", kind=Provenance)}
        ),
    }


def _to_its_end() -> nullcontext[Leave]:
    """A task goes on without its client."""
    return nullcontext(lambda: None)
