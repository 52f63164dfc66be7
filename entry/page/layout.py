"""What is on the page: Gradio's components. What they do is page.js's; it asks the API as every client does."""

from __future__ import annotations

import json
from typing import Any, get_args

import gradio as gr

from entry.page.bounds import bounds
from sdxl.request.fields import OutputFormat, RefineMode
from sdxl.request.samplers import SamplerName

UNTOUCHED = ("default", "")  # a field that is left out: the checkpoint's default counts
VIEW = """
<div id="relay-view">
  <p id="relay-error" role="alert"></p>
  <div id="relay-running">
    <img id="relay-preview" alt="What the picture looks like so far">
    <progress id="relay-bar" max="1" value="0" aria-label="Progress"></progress>
    <p id="relay-status" role="status"></p>
  </div>
  <p id="relay-idle">The picture will be here.</p>
  <img id="relay-single" alt="The picture">
</div>
"""
RESULT = """
<div id="relay-result">
  <p id="relay-sides"><span>the base alone</span><span>base and refiner</span></p>
  <p><a id="relay-download" class="relay-button" download>Download</a>
  <button id="relay-copy" class="relay-button" type="button">Copy as curl</button></p>
  <dl id="relay-facts"></dl>
  <details><summary>The same picture from the command line</summary><pre id="relay-curl" tabindex="0"></pre></details>
</div>
"""


def make_blocks() -> Any:
    """The page."""
    with gr.Blocks(title="SDXL Relay", analytics_enabled=False) as blocks:
        gr.HTML("<h1>SDXL Relay</h1>", elem_id="relay-title")
        with gr.Row(elem_id="relay-page"):
            with gr.Column(elem_id="relay-ask"):
                fields, generate, cancel = _ask()
            with gr.Column(elem_id="relay-settings"):
                settings, questions = _settings()
            with gr.Column(elem_id="relay-show"):
                slider = _show()
        fields |= settings
        gr.on(
            [generate.click, fields["prompt"].submit],
            fn=None,
            js=f"(...values) => relay.generate({json.dumps(list(fields))}, values)",
            inputs=[*fields.values(), *questions],
            outputs=[slider, fields["seed"]],
            api_visibility="private",
        )
        cancel.click(fn=None, js="() => relay.cancel()", api_visibility="private")
    return blocks


def _ask() -> tuple[dict[str, Any], Any, Any]:
    """The prompts, and the two buttons."""
    fields = {
        "prompt": _text("prompt", "Prompt", lines=3, placeholder="a red cube on top of a blue sphere"),
        "negative_prompt": _text("negative_prompt", "Negative prompt", lines=1, max_lines=6),
    }
    with gr.Row():
        generate = gr.Button("Generate", variant="primary", min_width=120, elem_id="relay-generate")
        cancel = gr.Button("Cancel", min_width=120, elem_id="relay-cancel")
    return fields, generate, cancel


def _settings() -> tuple[dict[str, Any], list[Any]]:
    """The other fields of the request by their names, and the page's own two questions."""
    fields: dict[str, Any] = {}
    with gr.Row():
        fields |= {"width": _number("width", "Width, px"), "height": _number("height", "Height, px")}
    with gr.Row():
        fields["num_inference_steps"] = _number("num_inference_steps", "Steps")
        fields["guidance_scale"] = _number("guidance_scale", "Guidance")
    with gr.Row():
        fields["seed"] = _number("seed", "Seed", placeholder="drawn")
        with gr.Column(min_width=120, elem_id="relay-questions"):
            is_random = gr.Checkbox(True, label="New seed each time", container=False, elem_id="relay-random")
            compares = gr.Checkbox(True, label="Compare with base alone", container=False, elem_id="relay-compare")
    with gr.Accordion("More settings", open=False, elem_id="relay-more"):
        fields |= _more()
    return fields, [is_random, compares]


def _show() -> Any:
    """Progress and result; the slider."""
    gr.HTML(VIEW)
    slider = gr.ImageSlider(
        label="The base alone, and base and refiner",
        show_label=False,
        interactive=False,
        buttons=["fullscreen"],
        elem_id="relay-slider",
        max_height=560,
    )
    gr.HTML(RESULT)
    return slider


def _more() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    with gr.Row():
        fields["scheduler"] = _choice("scheduler", "Sampler", get_args(SamplerName))
        fields["refine"] = _choice("refine", "Refine", get_args(RefineMode))
    with gr.Row():
        fields["high_noise_frac"] = _number("high_noise_frac", "Base's share (ensemble)")
        fields["strength"] = _number("strength", "Strength (sdedit)")
    with gr.Row():
        fields["refiner_guidance_scale"] = _number("refiner_guidance_scale", "Refiner's guidance")
        fields["guidance_rescale"] = _number("guidance_rescale", "Guidance rescale", placeholder="0")
        fields["guidance_end"] = _number("guidance_end", "Guidance end", placeholder="1")
    with gr.Row():
        fields["output_format"] = _choice("output_format", "File format", get_args(OutputFormat), ("png", ""))
        fields["quality"] = _number("quality", "Quality (jpeg, webp)", placeholder="90")
    fields["watermark"] = gr.Checkbox(True, label="Invisible watermark", elem_id="field-watermark")
    return fields


def _text(name: str, label: str, **options: Any) -> Any:
    return gr.Textbox(label=label, elem_id=f"field-{name}", **options)


def _number(name: str, label: str, placeholder: str = UNTOUCHED[0]) -> Any:
    """A text, because Gradio's number has no empty: what is not a number is for the API to refuse."""
    return gr.Textbox(
        label=label,
        info=bounds(name),
        placeholder=placeholder,
        max_lines=1,
        min_width=120,
        elem_id=f"field-{name}",
        elem_classes="relay-number",
        html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
    )


def _choice(name: str, label: str, names: tuple[str, ...], untouched: tuple[str, str] = UNTOUCHED) -> Any:
    others = [(each, each) for each in names if each != untouched[0]]
    return gr.Dropdown([untouched, *others], value="", label=label, min_width=120, elem_id=f"field-{name}")
