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
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from entry.answer import PictureFile
from entry.http.route import Leave
from runners.noted import note_error
from sdxl.config.settings import Settings
from sdxl.errors import LATE, RelayError, invalid_field, invalid_request
from sdxl.request.limits import GRACE_S, LIMITS
from sdxl.request.requests import GenerationRequest

logger = logging.getLogger("bentoml.sdxl_relay")

BATCH_ROUTE = "/generate_batch"
CLIENT: ContextVar[Client] = ContextVar("CLIENT")  # set for as long as a request of a batch lasts


def max_at_once(settings: Settings) -> int:
    """Items at work of all lists together: half of what a runner holds, so that /generate finds room beside them."""
    return max(1, settings.max_jobs // 2)


def max_items(settings: Settings) -> int:
    """Items of one list, and of one call of BentoML's, at most; it wants to allow two at least."""
    return max(2, min(32, max_at_once(settings)))


def batch_body(settings: Settings) -> type[BaseModel]:
    """What a body must be as a whole; its items are checked one by one, as `BatchItem`."""
    requests = Annotated[list[Any], Field(min_length=1, max_length=max_items(settings))]
    return create_model("BatchBody", __config__=ConfigDict(extra="forbid"), requests=(requests, ...))


class BatchError(BaseModel):
    """The body of /generate's answer to a bad request, with its status."""

    error: str
    code: str
    status: int
    field: str | None = None
    got: Any = None
    retry_after_s: int | None = None


class BatchResult(BaseModel):
    """What became of an item: a picture (its file in base64) or an error."""

    picture: str | None = None
    media_type: str | None = None
    seed: int | None = None
    warnings: dict[str, str] = {}
    models: dict[str, str] = {}  # that made it, by stage
    loras: str | None = None  # which were applied where, if any were asked for
    timings: dict[str, float] = {}  # ms; `queue` counts from the client's coming
    error: BatchError | None = None


Work = asyncio.Task[BatchResult]


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

    request: GenerationRequest | RelayError
    context: contextvars.Context

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A GenerationRequest to the schema, but one whose validation cannot fail."""
        return core_schema.no_info_wrap_validator_function(cls._checked, handler(GenerationRequest))

    @classmethod
    def _checked(cls, value: object, validate: ValidatorFunctionWrapHandler) -> BatchItem:
        request: GenerationRequest | RelayError
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


class Batches:
    """Makes the items of all lists. Those that find no place wait in the order of their coming."""

    def __init__(self, make: Callable[[GenerationRequest], Awaitable[PictureFile]], settings: Settings) -> None:
        self._make = make
        self._places = asyncio.Semaphore(max_at_once(settings))
        self._max_lists = settings.max_jobs
        self._lists = 0  # waiting for BentoML's call, or in it

    @contextmanager
    def waiting(self) -> Iterator[Leave]:
        """Holds a list's place while its client waits. Raises RelayError (429): BentoML's own queue has no bound.

        The request is not cancelled when the client leaves: to BentoML that is an overload, logged with a
        traceback, and the items would be made all the same. So the items are, each by itself.
        """
        if self._lists >= self._max_lists:
            raise RelayError(
                429, "queue_full", f"the queue is full: {self._lists} requests wait for a batch", retry_after_s=5
            )
        client = Client()
        CLIENT.set(client)
        self._lists += 1
        try:
            yield client.leave
        finally:
            self._lists -= 1

    def start(self, items: Sequence[BatchItem]) -> list[Work]:
        """Puts the items to work, in their order. Never raises."""
        return [self._start(item) for item in items]

    def _start(self, item: BatchItem) -> Work:
        work = asyncio.create_task(self._result(item), context=item.context)
        item.client.waits_for(work)
        return work

    async def _result(self, item: BatchItem) -> BatchResult:
        try:
            if isinstance(item.request, RelayError):
                raise item.request
            async with asyncio.timeout_at(LIMITS.get().deadline + GRACE_S), self._places:
                waited_ms = 1_000 * (asyncio.get_running_loop().time() - item.client.arrived_s)
                return _made(await self._make(item.request), waited_ms)
        except TimeoutError:
            return _failed(LATE)
        except RelayError as error:
            return _failed(error)
        except Exception:
            logger.exception("an item of a batch failed")
            return _failed(RelayError(500, "internal", "the picture could not be made; the server is at fault"))


async def results_of(works: Sequence[Work]) -> list[BatchResult]:
    """The results of started items, in their order. Never raises."""
    results = await asyncio.gather(*works, return_exceptions=True)
    return [result if isinstance(result, BatchResult) else _LEFT for result in results]


def _made(picture: PictureFile, waited_ms: float) -> BatchResult:
    result = BatchResult.model_validate(picture.as_json())
    result.timings["queue"] += waited_ms
    return result


def _failed(error: RelayError) -> BatchResult:
    note_error(error)
    return BatchResult(error=BatchError.model_validate(error.as_frame()))


_LEFT = _failed(RelayError(499, "client_left", "the client left"))  # nobody reads it
