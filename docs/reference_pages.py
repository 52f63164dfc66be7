"""Fills the tables of docs/ that the code says by itself: `python -m docs.reference_pages`.

A page marks where a table goes by `<!-- table: NAME -->` and `<!-- end -->`; the names are those in `TABLES`.
With `--check` nothing is written: the pages that differ from the code are named, and the status is 1 if there are any.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sdxl.config.settings import PREFIX, Settings
from sdxl.error_codes import MEANINGS
from sdxl.request.asked import GeneratePictures, GenerateStreamRequest
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS
from sdxl.request.schedules import ALL, SCHEDULES
from sdxl.request.settled import Defaults

DOCS = Path(__file__).parent
ROOT = DOCS.parent
SOURCES = ("service.py", "entry/**/*.py", "runners/**/*.py", "sdxl/**/*.py")
MARKED = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
OF_ALL = [name for name in GenerationRequest.model_fields if name in RefineRequest.model_fields]
STAR = "\\*"  # after a default that the checkpoint may set
LEFT_OUT = {"seed": "drawn", "width": f"native size{STAR}", "height": f"native size{STAR}"}
OF_EDITS = {
    "num_inference_steps": f"as in `/generate`{STAR}",
    "strength": f"{Defaults().edit_strength:g}{STAR}; with a mask {Defaults().inpaint_strength:g}{STAR}",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    cells = [tuple(head), *map(tuple, rows)]
    cells.insert(1, ("---",) * len(cells[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def shown(value: object) -> str:
    """A default as a reader would write it."""
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return f"({value[0]}, {value[1]})" if isinstance(value, tuple) else str(value).removeprefix(f"{ROOT}/")


def span(schema: Mapping[str, Any]) -> str:
    """The bounds of a number."""
    low, high = schema.get("minimum"), schema.get("maximum")
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if over is not None:
        most = f" < {under:g}" if under is not None else "" if high is None else f" ≤ {high:g}"
        return f"{over:g} < x{most}" if most else f"more than {over:g}"
    text = f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
    return text + (f", multiples of {schema['multipleOf']}" if "multipleOf" in schema else "")


def allowed(schema: Mapping[str, Any]) -> str:
    """The values that a JSON schema allows; nothing if only the description can say it."""
    (option,) = (each for each in schema.get("anyOf", [schema]) if each.get("type") != "null")
    match option:
        case {"enum": values}:
            return ", ".join(values)
        case {"type": "boolean"}:
            return "true, false"
        case {"type": "integer" | "number"}:
            return span(option)
        case {"maxLength": most}:
            return f"{option.get('minLength', 0)} to {most:,} characters"
        case {"minLength": least}:
            return f"{least} characters or more"
        case {"format": "path"}:
            return "a path"
        case {"items": {"type": "integer"}}:
            return f"two integers, {span(option['items'])}"
        case {"items": {"properties": {"scale": scale}}}:
            return f"up to {option['maxItems']} of `{{name, scale}}`, scales {span(scale)}"
    return ""


def fields(model: type[BaseModel], names: Iterable[str] = (), prefix: str = "") -> str:
    """The table of a model's fields; without names, of those that not all requests have."""
    schemas = model.model_json_schema()["properties"]
    own = OF_EDITS if model is EditRequest else {}
    rows = []
    for name in names or [name for name in model.model_fields if name not in OF_ALL or name in own]:
        field = model.model_fields[name]
        default = "required" if field.is_required() else shown(field.default)
        if field.default is None and model not in (Settings, Defaults):
            settled = getattr(Defaults(), name, None)
            default = default if settled is None else f"{shown(settled)}{STAR}"
            default = {**LEFT_OUT, **own}.get(name, default)
        variable = f"`{prefix}{name.upper() if prefix else name}`"
        rows.append((variable, default, allowed(schemas[name]), " ".join((field.description or "").split())))
    return table(("variable" if prefix else "field", "default", "allowed", "what it is"), rows)


def endpoints(tag: str) -> str:
    """What is served under one tag of the OpenAPI document."""
    import service

    rows = []
    relay: Any = service.SDXLRelay
    for path, operations in relay.openapi_spec.asdict()["paths"].items():
        for method, operation in operations.items():
            text = re.sub(r"</?code>", "`", operation["description"]).split(". ")[0].rstrip(".")
            if tag in operation["tags"]:
                rows.append((f"`{method.upper()} {path}`", f"{text}."))
    return table(("request", "what it does"), rows)


def samplers() -> str:
    """The samplers, by the names that requests use."""
    rows = []
    for name, each in SAMPLERS.items():
        rows.append((f"`{name}`", each.diffusers_class, _options(each.options), each.label, each.comfyui or "—"))
    return table(("name", "diffusers' class", "options", "AUTOMATIC1111's name", "ComfyUI's name"), rows)


def schedules() -> str:
    """The schedules, by the names that requests use."""
    rows = []
    for name, each in SCHEDULES.items():
        on = {key: value for key, value in each.options.items() if value is not False}
        rows.append((f"`{name}`", _options(on), each.label, each.comfyui))
    return table(("name", "diffusers' options", "AUTOMATIC1111's name", "ComfyUI's name"), rows)


def pairs() -> str:
    """Which sampler can have which schedule."""
    rows = []
    for name, each in SAMPLERS.items():
        rows.append((f"`{name}`", *("yes" if schedule in each.schedules else "—" for schedule in ALL)))
    return table(("scheduler", *(f"`{schedule}`" for schedule in ALL)), rows)


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in options.items())


def samplers_automatic1111() -> str:
    """Which of our samplers is which of AUTOMATIC1111's, and what its Automatic means with it."""
    rows = []
    for name, each in SAMPLERS.items():
        labels = ", ".join(SCHEDULES[schedule].label for schedule in each.schedules)
        rows.append((each.label, f"`{name}`", SCHEDULES[each.automatic].label, labels))
    return table(("sampler_name", "ours", "Automatic is", "scheduler"), rows)


@cache
def make_metrics() -> None:
    """Every metric of the services, with all label values that are there from the start, and one request."""
    from entry.fleet.metrics import CallMetrics
    from entry.http.metrics import RequestMetrics
    from runners.metrics import StageMetrics
    from runners.noted import Noted

    StageMetrics("base")
    CallMetrics(["base"]).ready("base", 1)
    requests, scope = RequestMetrics(()), {"method": "GET", "path": "/"}
    with requests.at_work(scope):
        requests.answered(scope, Noted(request_id=""), 200, 0.0)


def metrics() -> str:
    """The metrics, as a registry has them in a process that has counted nothing yet."""
    from prometheus_client import REGISTRY

    make_metrics()
    rows = []
    for family in REGISTRY.collect():
        values: dict[str, dict[str, None]] = defaultdict(dict)
        for label, value in (pair for sample in family.samples for pair in sample.labels.items() if pair[0] != "le"):
            values[label][value] = None
        of_any = ("stage", "endpoint", "status", "key")  # their values are told in the text
        labels = [f"`{label}`" if label in of_any else f"`{label}`: {', '.join(values[label])}" for label in values]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("sdxl_relay_"):
            rows.append((f"`{name}`", family.type, "; ".join(labels), family.documentation))
    return table(("metric", "type", "labels", "what it counts"), sorted(rows))


def errors() -> str:
    """The codes of errors. Their statuses are read from the calls in the sources, and from the meanings."""
    statuses: dict[object, set[str]] = defaultdict(set)
    for path in (found for pattern in SOURCES for found in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name("RelayError"), args=[ast.Constant(status), ast.Constant(code), *_]):
                    statuses[code].add(str(status))
    for code, meaning in MEANINGS.items():
        statuses[code].update(re.findall(r"\((\d{3})\)", meaning))
    rows = ((f"`{code}`", ", ".join(sorted(statuses[code])), meaning) for code, meaning in MEANINGS.items())
    return table(("code", "status", "meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "endpoints": partial(endpoints, "Service APIs"),
    "endpoints-openai": partial(endpoints, "OpenAI"),
    "endpoints-automatic1111": partial(endpoints, "AUTOMATIC1111"),
    "samplers-automatic1111": samplers_automatic1111,
    "fields": partial(fields, GenerationRequest, OF_ALL),
    "fields-generate": partial(fields, GenerationRequest),
    "fields-several": partial(fields, GeneratePictures, ["n"]),
    "fields-stream": partial(fields, GenerateStreamRequest, ["previews"]),
    "fields-edit": partial(fields, EditRequest),
    "defaults": partial(fields, Defaults, [name for name in Defaults.model_fields if name not in ("bounds", "about")]),
    "settings": partial(fields, Settings, list(Settings.model_fields), PREFIX),
    **{each.__name__: each for each in (samplers, schedules, pairs, metrics, errors)},
}


def main(*, checks: bool) -> int:
    """Fills all pages, or only says which would change."""
    warnings.simplefilter("ignore")  # what BentoML says of its own schemas
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]  # the defaults are wanted, not this machine's
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        filled = MARKED.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", text)
        if filled != text:
            stale.append(str(page.relative_to(ROOT)))
            page.write_text(text if checks else filled)
    sys.stdout.write("".join(f"{name}\n" for name in stale))
    return int(checks and bool(stale))


if __name__ == "__main__":
    sys.exit(main(checks="--check" in sys.argv[1:]))
