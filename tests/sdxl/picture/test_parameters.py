"""AUTOMATIC1111's text: written so that its reader understands it, and read whoever wrote it."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdxl.picture.metadata import Metadata
from sdxl.picture.parameters import Parameters, parsed
from sdxl.picture.record import RefineRecord, record_of
from sdxl.request.requests import GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import SCHEDULES, ScheduleName
from sdxl.request.settled import Defaults
from sdxl.version import VERSION
from tests.sdxl.picture.test_metadata import picture, read, record


def read_by_automatic1111s_rules(text: str) -> dict[str, str]:
    """The last line's pairs; before it, lines of the prompt until one begins with "Negative prompt:"."""
    *lines, last = text.strip().split("\n")
    found = dict(pair.split(": ", 1) for pair in last.split(", "))
    starts = [i for i, line in enumerate(lines) if line.startswith("Negative prompt:")]
    until = starts[0] if starts else len(lines)
    negative = "\n".join(lines[until:]).removeprefix("Negative prompt:").strip()
    return {**found, "Prompt": "\n".join(lines[:until]), "Negative prompt": negative}


def test_the_line_of_parameters() -> None:
    text = Metadata.of(record(negative_prompt="ugly", num_inference_steps=20, guidance_scale=7.5)).parameters
    assert text == (
        "a red cube\nNegative prompt: ugly\nSteps: 20, Sampler: Euler, Schedule type: Uniform, CFG scale: 7.5, Seed: 7,"
        " Size: 64x64, Model hash: aaaaaaaaaa, Model: sdxl, RNG: CPU, Refiner: sdxl-refiner [bbbbbbbbbb],"
        f" Refiner switch at: 0.8, Version: SDXL Relay {VERSION}"
    )


@given(
    st.lists(st.text('abc ,:"\\()<>🟥é', min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=3),
    st.text('abc ,:"\\()<>🟥é\n', max_size=20),
)
def test_automatic1111_reads_the_prompts(lines: list[str], negative: str) -> None:
    text = Metadata.of(record("\n".join(lines), negative_prompt=negative)).parameters
    assert text is not None
    found = read_by_automatic1111s_rules(text)
    assert found["Prompt"].strip() == "\n".join(lines).strip()
    assert found["Negative prompt"] == negative.strip() or found["Negative prompt"].split() == negative.split()
    assert (found["Steps"], found["Seed"], found["Size"]) == ("30", "7", "64x64")


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_every_sampler_has_a_name(name: SamplerName) -> None:
    text = Metadata.of(record(scheduler=name)).parameters
    assert text is not None
    assert read_by_automatic1111s_rules(text)["Sampler"] == SAMPLERS[name].label


@pytest.mark.parametrize("schedule", get_args(ScheduleName))
def test_every_schedule_has_a_name(schedule: ScheduleName) -> None:
    text = Metadata.of(record(schedule=schedule)).parameters
    assert text is not None
    assert read_by_automatic1111s_rules(text)["Schedule type"] == SCHEDULES[schedule].label


def test_sdedit_base_alone_and_refine_say_so() -> None:
    sdedit = Metadata.of(record(refine="sdedit")).parameters or ""
    assert "Denoising strength: 0.3, Refiner: sdxl-refiner [bbbbbbbbbb], Version" in sdedit
    request = GenerationRequest(prompt="a", seed=1, refine="none")
    settled = request.with_defaults(Defaults()).model_dump()
    alone = Metadata.of(record_of(request, settled, (64, 64), {"base": "a" * 64})).parameters or ""
    assert "Refiner" not in alone
    refine = RefineRequest(prompt="a", seed=1)
    settled = refine.with_defaults(Defaults()).model_dump()
    refined = Metadata.of(record_of(refine, settled, (64, 64), {"refiner": "b" * 64}))
    assert "Model hash: bbbbbbbbbb, Model: sdxl-refiner, RNG: CPU, Denoising strength: 0.3" in (
        refined.parameters or ""
    )
    assert isinstance(refined.record, RefineRecord)
    assert read(picture(refined, "jpeg")) == refined


@pytest.mark.parametrize(("clip_skip", "written"), [(None, None), (0, "2"), (1, "3"), (4, "6")])
def test_clip_skip_counts_layers_from_the_end(clip_skip: int | None, written: str | None) -> None:
    """As AUTOMATIC1111 does; SDXL takes the second anyway."""
    text = Metadata.of(record(clip_skip=clip_skip)).parameters or ""
    assert read_by_automatic1111s_rules(text).get("Clip skip") == written


# Reading


def test_all_fields_are_read() -> None:
    text = (
        "a red cube, テスト\nin two lines\nNegative prompt: ugly, bad: x\nand (more:1.2)\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 4294967295, Size: 832x1216, "
        "Model hash: 0123456789, Model: my.model-v1 (a), Denoising strength: 0.4, Clip skip: 2, "
        'Lora hashes: "a: 1, b: 2", Template: "say \\"x\\", y", Hires upscale: 2, Version: v1.10.1'
    )
    assert parsed(text) == Parameters(
        prompt="a red cube, テスト\nin two lines",
        negative_prompt="ugly, bad: x\nand (more:1.2)",
        steps=20, sampler="DPM++ 2M", schedule_type="Karras", cfg_scale=6.5, seed=4294967295, width=832, height=1216,
        model_hash="0123456789", model="my.model-v1 (a)", denoising_strength=0.4, clip_skip=2, version="v1.10.1",
        others={"Lora hashes": "a: 1, b: 2", "Template": 'say "x", y', "Hires upscale": "2"},
    )  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), [
    ("Steps: 1, Seed: 2", Parameters(prompt="", steps=1, seed=2)),
    ("a\nSteps: 1", Parameters(prompt="a", steps=1)),
    ("a\nSeed: 1, Size: 2x3, Model: b", Parameters(prompt="a", seed=1, width=2, height=3, model="b")),
    ("Negative prompt: b\nSteps: 1", Parameters(prompt="", negative_prompt="b", steps=1)),
    ("a\nNegative prompt:\nSteps: 1", Parameters(prompt="a", negative_prompt="", steps=1)),
    ("a\nSteps: 1, Seed: 2\nTemplate: a", Parameters(prompt="a", steps=1, seed=2)),
    ("a\nSteps: x, Seed: 1.5, CFG scale: nan, Size: 5",
     Parameters(prompt="a", others={"Steps": "x", "Seed": "1.5", "CFG scale": "nan", "Size": "5"})),
    ("a\nSteps: 1, Clip skip: " + "9" * 5_000, Parameters(prompt="a", steps=1, others={"Clip skip": "9" * 5_000})),
    ("a\nSteps: 1, Template: \"open, Seed: 3", Parameters(prompt="a", steps=1, seed=3, others={"Template": '"open'})),
    ("a\nSteps: 1, Seed: -1,  Model: ", Parameters(prompt="a", steps=1, seed=-1, others={"Model": ""})),
], ids=lambda value: ascii(value)[:40])  # fmt: skip
def test_texts_of_others(text: str, wanted: Parameters) -> None:
    assert parsed(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "a red cube", "a holiday: by the sea", '{"sui_image_params": {"seed": 1}}', "\n\n"]
)
def test_a_text_of_another_form_has_no_fields(text: str) -> None:
    assert parsed(text) is None


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert parsed(text) is None or parsed(text)


@pytest.mark.parametrize("worst", [
    "a" * 100_000, " " * 100_000, 'a: "' * 25_000, "a:" * 50_000, "a: b," * 20_000, '"' * 100_000,
    'Steps: "' + "\\" * 99_990, "Steps: " + "a" * 99_990, "Steps: 1\n" * 11_000, "- " * 50_000,
], ids=lambda text: ascii(text[:10]))  # fmt: skip
def test_no_text_takes_long(worst: str) -> None:
    begun = time.monotonic()
    parsed(worst)
    assert time.monotonic() - begun < 5  # 0.1 s at most, on an idle machine
