"""What our own endpoints take: a request, for one picture or for several, and what is to be told meanwhile."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sdxl.request.fields import Integer, StrictModel
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest

MAX_PICTURES = 16  # of one request


class _Several(StrictModel):
    n: Annotated[Integer, Field(ge=1, le=MAX_PICTURES)] = 1
    """How many pictures to make; each has the seed after that of the one before it."""


class GeneratePictures(GenerationRequest, _Several):
    """A `GenerationRequest` for one picture or several (`POST /generate`, and the items of `/generate_batch`)."""


class RefinePictures(RefineRequest, _Several):
    """A `RefineRequest` for one picture or several (`POST /refine`)."""


class EditPictures(EditRequest, _Several):
    """An `EditRequest` for one picture or several (`POST /edit`)."""


class _Streamed(StrictModel):
    previews: Annotated[Integer, Field(ge=0, le=20)] = 0
    """How many previews of each picture to send, spread evenly over all steps."""


class GenerateStreamRequest(GeneratePictures, _Streamed):
    """`GeneratePictures` with what is to be told meanwhile (`POST /generate_stream`)."""


class RefineStreamRequest(RefinePictures, _Streamed):
    """`RefinePictures` with what is to be told meanwhile (`POST /refine_stream`)."""


class EditStreamRequest(EditPictures, _Streamed):
    """`EditPictures` with what is to be told meanwhile (`POST /edit_stream`)."""


Pictures = GeneratePictures | RefinePictures | EditPictures
