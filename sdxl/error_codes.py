"""The codes of all errors: stable words for programs. To add one: its name in `ErrorCode`, and what it means below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ErrorCode = Literal[
    "body_too_large", "cancelled", "client_left", "internal", "invalid_field", "invalid_form",
    "invalid_frame", "invalid_handoff", "invalid_image", "invalid_json", "invalid_mask", "invalid_request",
    "job_failed", "missing_field", "model_not_found",
    "models_do_not_fit", "no_memory", "no_page", "no_refiner", "no_step", "no_such_task",
    "non_finite", "not_found", "not_local", "not_signed", "pickle_refused", "queue_full", "runner_unavailable",
    "sampler_mismatch", "slow_body", "stages_do_not_fit", "stopping", "stuck", "timeout", "unknown_field",
    "unknown_path", "unsupported_encoding", "unsupported_media_type", "wrong_key", "wrong_method", "wrong_token",
]  # fmt: skip
MEANINGS: Mapping[ErrorCode, str] = {
    "body_too_large": "The request's body is larger than this endpoint takes.",
    "cancelled": "The job was cancelled.",
    "client_left": "The client left before its answer was there (499). Only the log shows it.",
    "internal": "The server is at fault; its log says more.",
    "invalid_field": "A field has a value that is not allowed. The message says what came and what is allowed.",
    "invalid_form": "The body is not a well-formed multipart form.",
    "invalid_frame": "A runner got something other than a frame.",
    "invalid_handoff": "A refiner got a hand-off that is not valid.",
    "invalid_image": "The picture is of another format (415), too large (413) or broken (400).",
    "invalid_json": "The body is not JSON.",
    "invalid_mask": "The mask is of another format (415), too large (413) or broken (400).",
    "invalid_request": "The request is not what this path takes (400). The message says why.",
    "job_failed": "The work raised an error; the server is at fault.",
    "missing_field": "A required field is missing.",
    "model_not_found": "There is no model of this name.",
    "models_do_not_fit": "The model and the refiner that the request names cannot work together.",
    "no_memory": "A picture of this size, or the model, does not fit into the memory of a runner.",
    "no_page": "This server has no page.",
    "no_refiner": "This server has no refiner.",
    "no_step": "It asks for both stages, of which one would have nothing to do with these steps and this cutoff.",
    "no_such_task": "No task under way has this identifier.",
    "non_finite": "The model gave NaN or infinity; the server is at fault.",
    "not_found": "There is no such thing.",
    "not_local": "A runner without a token serves only its own machine.",
    "not_signed": "The picture could not be signed; the server is at fault.",
    "pickle_refused": "Pickled bodies are refused.",
    "queue_full": "The server has as much work as it holds. Retry-After says when to come again.",
    "runner_unavailable": "No runner of a stage could take the job. Retry-After says when to come again.",
    "sampler_mismatch": "The base and the refiner configure their samplers in different ways.",
    "slow_body": "The body came too slowly.",
    "stages_do_not_fit": "The refiner cannot go on where the base stops: their configurations differ.",
    "stopping": "The server is stopping. Retry-After says when to come again.",
    "stuck": "The engine has been at one piece of work for too long.",
    "timeout": "The request was not done in time.",
    "unknown_field": "There is no field of this name.",
    "unknown_path": "There is no such path.",
    "unsupported_encoding": "The body is compressed (Content-Encoding), which no endpoint takes.",
    "unsupported_media_type": "The body is of another type than this endpoint takes.",
    "wrong_key": "The server asks for an API key.",
    "wrong_method": "The path takes another method. The header Allow names those that it takes.",
    "wrong_token": "A runner asks for SDXL_RUNNER_TOKEN.",
}
