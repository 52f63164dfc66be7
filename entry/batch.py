"""Pictures from many requests in one call, which BentoML gathers from the lists of several clients (adaptive batching).

BentoML's dispatcher runs one batch at a time, does not tell it whose items it holds, works on for clients that
have left, and fails the whole batch with one exception. So each item remembers its client, ends by itself, by
its own time limit or when its client leaves, and what goes wrong with it is its result.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
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
from sdxl.config import Settings
from sdxl.errors import RelayError, invalid_field, invalid_request
from sdxl.limits import GRACE_S, LIMITS
from sdxl.request import GenerationRequest

logger = logging.getLogger("sdxl_relay")

BATCH_ROUTE = "/generate_batch"
CLIENT: ContextVar[Client] = ContextVar("CLIENT")  # the gate sets it for as long as a request of a batch lasts


def max_items(settings: Settings) -> int:
    """Items of one batch, and of one client's list, at most.

    Half of what a runner holds, so that a batch alone cannot fill its queue and /generate finds room beside
    it; the next batch starts when the last has ended. BentoML wants at least two.
    """
    return max(2, min(32, settings.max_jobs // 2))


def max_latency_ms(settings: Settings) -> int:
    """A limit that the dispatcher never reaches: it would answer 503 to requests that only have to wait.

    It predicts a request's time as its waiting + slope * requests waiting + offset, by a line through the sizes
    and durations of past batches. But a batch takes as long as its longest item, whatever its size. Every item
    ends `timeout_s` after its client came, and the order is that of coming; so a request waits at most
    `timeout_s`, a batch lasts no longer either, and that bounds slope (timeout_s for each request) and offset
    (timeout_s for each request of a batch, and one more). The gate lets `max_jobs` requests wait.
    """
    return int(1_000 * settings.timeout_s * (settings.max_jobs + max_items(settings) + 10))


def batch_body(settings: Settings) -> type[BaseModel]:
    """What a body must be as a whole; its items are checked one by one, as `BatchItem`."""
    requests = Annotated[list[Any], Field(min_length=1, max_length=max_items(settings))]
    return create_model("BatchBody", __config__=ConfigDict(extra="forbid"), requests=(requests, ...))


@dataclass(eq=False)
class Client:
    """Who sent a list: when it came, and the items at work for it."""

    arrived_s: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    has_left: bool = False
    _work: set[asyncio.Task[BatchResult]] = field(default_factory=set)

    def waits_for(self, work: asyncio.Task[BatchResult]) -> None:
        """Lets `work` be cancelled when the client leaves; at once, if it has."""
        if self.has_left:
            work.cancel()
        else:
            self._work.add(work)

    def leave(self) -> None:
        """Frees the rows of all of its items; items that still wait for their batch will not start."""
        self.has_left = True
        for work in self._work:
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
    timings: dict[str, float] = {}  # ms; `queue` counts from the client's coming
    error: BatchError | None = None


Make = Callable[[GenerationRequest], Awaitable[PictureFile]]


async def answer_batch(items: Sequence[BatchItem], make: Make) -> list[BatchResult]:
    """The items' results in their order. All are at work at once; the engines batch them step by step."""
    work = [asyncio.create_task(_answer(item, make), context=item.context) for item in items]
    for item, task in zip(items, work, strict=True):
        item.client.waits_for(task)
    results = await asyncio.gather(*work, return_exceptions=True)
    return [result if isinstance(result, BatchResult) else _LEFT for result in results]


async def _answer(item: BatchItem, make: Make) -> BatchResult:
    waited_ms = 1_000 * (asyncio.get_running_loop().time() - item.client.arrived_s)
    try:
        if isinstance(item.request, RelayError):
            return _failed(item.request)
        async with asyncio.timeout_at(LIMITS.get().deadline + GRACE_S):
            return _made(await make(item.request), waited_ms)
    except TimeoutError:
        return _failed(RelayError(504, "timeout", "the request was not done in time"))
    except RelayError as error:
        return _failed(error)
    except Exception:
        logger.exception("an item of a batch failed")
        return _failed(RelayError(500, "internal", "the picture could not be made; the server is at fault"))


def _made(picture: PictureFile, waited_ms: float) -> BatchResult:
    return BatchResult(
        picture=base64.b64encode(picture.data).decode("ascii"),
        media_type=picture.media_type,
        seed=picture.seed,
        warnings=picture.warnings,
        timings={**picture.spent_ms, "queue": picture.spent_ms["queue"] + waited_ms},
    )


def _failed(error: RelayError) -> BatchResult:
    return BatchResult(error=BatchError.model_validate(error.as_frame()))


_LEFT = _failed(RelayError(503, "client_left", "the client left"))  # nobody reads it
