// The fields of one form. What they are, their bounds and their defaults come from the server; the HTML says where each is.
import { Control } from "./control.js";
import { Loras } from "./loras.js";
import { Fault } from "./server.js";

const TEXTS = new Set(["prompt", "negative_prompt"]);

export class Fields {
  constructor(form) {
    this.form = form;
    this.controls = new Map();
    this.waiting = {}; // kept values of fields that there are not, or not yet
  }

  // The schemas of a model's fields. Makes a control in each of the form's places that has one, and hides the others.
  learn(schemas, labels) {
    for (const place of this.form.querySelectorAll("[data-field]")) {
      const { field: name } = place.dataset;
      const schema = schemas[name];
      place.hidden = !schema;
      if (!schema) continue;
      if (this.controls.has(name)) this.controls.get(name).learn(schema, labels[name]);
      else this.add(name, new (schema.type === "array" ? Loras : Control)(this.form, place, schema, labels[name]));
    }
  }

  add(name, control) {
    this.controls.set(name, control);
    const { [name]: value, ...others } = this.waiting;
    this.waiting = others;
    if (value !== undefined) control.value = value;
  }

  // What counts where nothing is said. What the user has changed stays.
  setDefaults(defaults) {
    for (const [name, control] of this.controls) control.setDefault(defaults[name]);
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
    const changed = [...this.controls].filter(([, each]) => each.isChanged).map(([name, each]) => [name, each.value]);
    return { ...this.waiting, ...Object.fromEntries(changed) };
  }

  set changes(changes) {
    for (const [name, control] of this.controls) control.value = changes[name] ?? control.default;
    this.waiting = Object.fromEntries(Object.entries(changes).filter(([name]) => !this.controls.has(name)));
  }

  // What was to be set last, but is not there any more: the default counts instead.
  get gone() {
    const gone = [...this.controls].filter(([, each]) => each.gone);
    return gone.map(([name, each]) => `${name}: ${each.gone} is not there any more.`);
  }

  // The value of a field that has one beside its default.
  chosen(name) {
    const control = this.controls.get(name);
    return control?.isChanged ? control.value : undefined;
  }

  // Everything but the prompts.
  reset() {
    for (const [name, control] of this.controls) if (!TEXTS.has(name)) control.value = control.default;
  }

  set(name, value) {
    this.controls.get(name).value = value;
  }

  focus(name = "prompt") {
    this.controls.get(name).input.focus();
  }

  // Marks the field at fault, and brings it into view; null takes the mark away.
  complain(name) {
    for (const each of this.controls.values()) each.input.removeAttribute("aria-invalid");
    const input = this.controls.get(name)?.input;
    if (!input) return;
    input.setAttribute("aria-invalid", "true");
    for (let folded = input.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
    input.scrollIntoView({ block: "nearest" });
    input.focus({ preventScroll: true });
  }
}
