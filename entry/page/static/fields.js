// The fields of one form. What they are, their bounds and their defaults come from the server; the HTML says where each is.
import { Control } from "./control.js";
import { Loras } from "./loras.js";
import { Fault } from "./server.js";

const TEXTS = new Set(["prompt", "negative_prompt"]);

export class Fields {
  // Makes a control in each of the form's places, and takes away those for which this request has no field.
  constructor(form, schemas, server) {
    this.form = form;
    this.controls = new Map();
    for (const place of form.querySelectorAll("[data-field]")) {
      const name = place.dataset.field;
      const Kind = name === "loras" ? Loras : Control;
      if (name in schemas) this.controls.set(name, new Kind(form, place, schemas[name]));
      else place.remove();
    }
    this.know(schemas, server);
    form.addEventListener("change", ({ target }) => target.name === "scheduler" && this.learnSchedules());
  }

  // What there is on this server; again, once it is ready.
  know(schemas, { labels, schedules }) {
    this.schemas = schemas;
    this.schedules = schedules;
    for (const [name, control] of this.controls) control.labels = labels[name] ?? {};
  }

  // What counts for a model: its bounds, which go over those of any, and its defaults.
  learn(bounds, defaults) {
    for (const [name, control] of this.controls) {
      if (name !== "schedule") control.learn({ ...this.schemas[name], ...bounds[name] }, defaults[name]);
    }
    this.ofSchedule = { ...this.schemas.schedule, ...bounds.schedule, default: defaults.schedule };
    this.learnSchedules();
  }

  // Each sampler has some of them only. The model's own default goes with the model's own sampler, and with no other.
  learnSchedules() {
    const sampler = this.controls.get("scheduler");
    const there = this.schedules[sampler.value] ?? this.ofSchedule.enum; // there is no sampler yet while nothing is ready
    const names = this.ofSchedule.enum.filter((name) => there.includes(name));
    const own = sampler.isChanged ? "default" : this.ofSchedule.default;
    this.controls.get("schedule").learn({ ...this.ofSchedule, enum: names }, own);
  }

  // The request: the prompt, and all that differs from the default. Raises Fault for what is not a number.
  request() {
    const request = {};
    for (const [name, control] of this.controls) {
      if (control.isNoNumber) throw new Fault({ error: `${name}: got what is not a number; allowed: ${control.bounds}`, field: name });
      if (name === "prompt" || control.isChanged) request[name] = control.value;
    }
    // Left out, the refiner's guidance would follow the base's, and not be what the page shows.
    if ("guidance_scale" in request && this.controls.has("refiner_guidance_scale")) {
      request.refiner_guidance_scale = this.controls.get("refiner_guidance_scale").value;
    }
    return request;
  }

  // What the user has changed, to be kept; and the way back.
  get changes() {
    return Object.fromEntries([...this.controls].filter(([, each]) => each.isChanged).map(([name, each]) => [name, each.value]));
  }

  set changes(changes) {
    for (const [name, control] of this.controls) {
      if (name === "schedule") this.learnSchedules(); // the sampler comes before it
      control.value = changes[name] ?? control.default;
    }
  }

  // What of kept changes the server does not have, as "old v1 (model)".
  missing(changes) {
    return [...this.controls].flatMap(([name, each]) => each.missing(changes[name]).map((value) => `${value} (${name})`));
  }

  // What stays when all else is reset.
  get texts() {
    return Object.fromEntries(Object.entries(this.changes).filter(([name]) => TEXTS.has(name)));
  }

  value(name) {
    return this.controls.get(name)?.value;
  }

  set(name, value) {
    this.controls.get(name).value = value;
  }

  focus(name = "prompt") {
    this.controls.get(name).input.focus();
  }

  // Marks the field at fault, and brings it into view; null takes the mark away.
  complain(name) {
    for (const each of this.form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
    const [field, at] = name?.split(".") ?? []; // the scale of the second LoRA is loras.1.scale
    const control = this.controls.get(field);
    const input = control?.scales?.[at] ?? control?.input;
    if (!input) return;
    input.setAttribute("aria-invalid", "true");
    for (let folded = input.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
    input.scrollIntoView({ block: "nearest" });
    input.focus({ preventScroll: true });
  }
}
