"""Pictures from lists of requests, taken in by BentoML's adaptive batching.

BentoML's dispatcher gathers the lists of several clients into one call, and makes the next call when that one
has returned. If calls returned the pictures, every list would wait for the longest item of the batch before it.
Worse, the dispatcher learns from waits and durations how long to wait for company: after a busy time it would
hold a lone list back for seconds, and a longer forecast than max_latency_ms is a 503. So a call only starts its
items; the engines batch them at every step, and each list waits for its own (`results_of`).

The dispatcher does not tell a call whose items it holds, works on for clients that have left, and fails all of
a batch with one exception. So each item remembers its client, ends by its own time limit or when its client
leaves, and what goes wrong with it is its result.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    create_model,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from entry.answer import PictureFile
from entry.http.route import Leave
from entry.places import Places, max_at_once
from entry.results import PictureResult, failed
from entry.several import one_by_one
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field, invalid_request
from sdxl.request.asked import MAX_PICTURES, GeneratePictures
from sdxl.request.requests import GenerationRequest

BATCH_ROUTE = "/generate_batch"
CLIENT: ContextVar[Client] = ContextVar("CLIENT")  # set for as long as a request of a batch lasts


def max_items(settings: Settings) -> int:
    """Items of one list, and of one call of BentoML's, at most; it wants to allow two at least."""
    return max(2, min(32, max_at_once(settings)))


def batch_body(settings: Settings) -> type[BaseModel]:
    """What a body must be as a whole; its items are checked one by one, as `BatchItem`."""
    most = max_items(settings)

    def check(items: list[Any]) -> list[Any]:
        if (pictures := sum(map(_count, items))) > most:
            raise PydanticCustomError("too_many", f"at most {most} pictures together, not {pictures}")
        return items

    requests = Annotated[list[Any], Field(min_length=1, max_length=most), AfterValidator(check)]
    return create_model("BatchBody", __config__=ConfigDict(extra="forbid"), requests=(requests, ...))


def batch_request(settings: Settings) -> type[BaseModel]:
    """What clients are told that a body is."""
    requests = Annotated[list[GeneratePictures], Field(min_length=1, max_length=max_items(settings))]
    doc = "Requests for pictures, all of them made at the same time."
    return create_model("BatchRequest", __doc__=doc, __config__=ConfigDict(extra="forbid"), requests=(requests, ...))


Work = asyncio.Task[list[PictureResult]]


@dataclass(eq=False)
class Client:
    """Who sent a list: when it came, and the items at work for it."""

    arrived_s: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    has_left: bool = False
    _work: set[Work] = field(default_factory=set)

    def waits_for(self, work: Work) -> None:
        """Lets `work` be cancelled when the client leaves; at once, if it has."""
        if self.has_left:
            work.cancel()
        else:
            self._work.add(work)
            work.add_done_callback(self._work.discard)  # the client may be remembered for longer than its pictures

    def leave(self) -> None:
        """Frees the rows of all of its items; items that still wait for their batch will not start."""
        self.has_left = True
        for work in list(self._work):
            work.cancel()


@dataclass(frozen=True)
class BatchItem:
    """A checked request, or what is wrong with it, and the context of its client: CLIENT, and the trace."""

    request: GeneratePictures | RelayError
    context: contextvars.Context

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """`GeneratePictures` to the schema, but one whose validation cannot fail."""
        return core_schema.no_info_wrap_validator_function(cls._checked, handler(GeneratePictures))

    @classmethod
    def _checked(cls, value: object, validate: ValidatorFunctionWrapHandler) -> BatchItem:
        request: GeneratePictures | RelayError
        try:
            request = validate(value)
        except ValidationError as error:
            is_object = isinstance(value, dict)
            request = invalid_request(error) if is_object else invalid_field("request", value, "an object")
        return cls(request, contextvars.copy_context())

    @property
    def client(self) -> Client:
        """The client that sent it."""
        return self.context[CLIENT]


def _count(item: Any) -> int:
    """The pictures of an item that may be none; one whose `n` is not allowed has one result."""
    count = item.get("n", 1) if isinstance(item, dict) else 1
    return count if type(count) is int and 1 <= count <= MAX_PICTURES else 1


class Batches:
    """Makes the items of all lists."""

    def __init__(self, make: Callable[[GenerationRequest], Awaitable[PictureFile]], places: Places) -> None:
        self._make, self._places = make, places

    @contextmanager
    def waiting(self) -> Iterator[Leave]:
        """Holds a list's place while its client waits. Raises RelayError (429): BentoML's own queue has no bound.

        The request is not cancelled when the client leaves: to BentoML that is an overload, logged with a
        traceback, and the items would be made all the same. So the items are, each by itself.
        """
        client = Client()
        with self._places.request():
            CLIENT.set(client)
            yield client.leave

    def start(self, items: Sequence[BatchItem]) -> list[Work]:
        """Puts the items to work, in their order. Never raises."""
        return [self._start(item) for item in items]

    def _start(self, item: BatchItem) -> Work:
        work = asyncio.create_task(self._results(item), context=item.context)
        item.client.waits_for(work)
        return work

    async def _results(self, item: BatchItem) -> list[PictureResult]:
        """Of one item: a result for each of its pictures, or one if it is no request."""
        if isinstance(item.request, RelayError):
            return [failed(item.request)]
        wanted = [partial(self._make, request) for request in one_by_one(item.request, GenerationRequest)]
        return await asyncio.gather(*(self._places.result(make, item.client.arrived_s) for make in wanted))


async def results_of(works: Sequence[Work]) -> list[PictureResult]:
    """The results of started items, in their order. Never raises."""
    found = await asyncio.gather(*works, return_exceptions=True)
    return [result for results in found if isinstance(results, list) for result in results]  # else the client has left
