// The fields of one form. What they are, their bounds and their defaults come from the server; the HTML says where each is.
import { Fault } from "./server.js";

const TEXTS = new Set(["prompt", "negative_prompt"]);

// For people: "64 to 8,192, step 8" or "0 < x ≤ 1".
export function bounds({ minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below, multipleOf }) {
  const shown = (number) => number.toLocaleString("en");
  if (above !== undefined) return `${shown(above)} < x ${below === undefined ? "≤" : "<"} ${shown(below ?? maximum)}`;
  return `${shown(minimum)} to ${shown(maximum)}${multipleOf ? `, step ${multipleOf}` : ""}`;
}

export class Fields {
  // Makes a control in each of the form's places, and takes away those for which this request has no field.
  constructor(form, schemas, labels) {
    this.form = form;
    this.controls = new Map();
    this.defaults = {};
    for (const place of form.querySelectorAll("[data-field]")) {
      const name = place.dataset.field;
      if (name in schemas) this.controls.set(name, new Control(form, place, schemas[name], labels[name] ?? {}));
      else place.remove();
    }
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
    return Object.fromEntries([...this.controls].filter(([, each]) => each.isChanged).map(([name, each]) => [name, each.value]));
  }

  set changes(changes) {
    for (const [name, control] of this.controls) control.value = changes[name] ?? control.default;
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

class Control {
  constructor(form, place, schema, labels) {
    this.schema = schema;
    this.isNumber = ["integer", "number"].includes(schema.type);
    this.default = schema.default;
    const { field: name, label, placeholder = "", rows } = place.dataset;
    this.input = rows ? textarea(rows) : schema.enum ? select(schema.enum, labels) : input(schema, this.isNumber);
    Object.assign(this.input, { id: `${form.dataset.kind}-${name}`, name, placeholder });
    this.input.setAttribute("aria-errormessage", "error");
    const caption = made("label", { htmlFor: this.input.id, textContent: label, title: schema.description ?? "" });
    place.classList.add(schema.type === "boolean" ? "check" : "field");
    place.append(...(schema.type === "boolean" ? [this.input, caption] : [caption, this.input]));
    if (!this.isNumber) return;
    this.input.setAttribute("aria-describedby", `${this.input.id}-bounds`);
    caption.append(made("span", { className: "bounds", id: `${this.input.id}-bounds`, textContent: this.bounds }));
    this.input.addEventListener("change", () => {
      if (this.value === undefined && !this.isNoNumber) this.value = this.default; // emptied: the default again
    });
    if ("slides" in place.dataset) this.addSlider(place, label);
  }

  get bounds() {
    return bounds(this.schema);
  }

  get isNoNumber() {
    return this.isNumber && this.input.validity.badInput;
  }

  // Undefined for an empty field.
  get value() {
    if (this.schema.type === "boolean") return this.input.checked;
    const text = this.input.value;
    if (!this.isNumber) return text;
    return text === "" ? undefined : Number(text);
  }

  set value(value) {
    if (this.schema.type === "boolean") this.input.checked = value;
    else this.input.value = value ?? "";
    if (this.schema.enum && this.input.selectedIndex < 0) this.input.value = this.default; // what was kept is gone
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  get isChanged() {
    const { value } = this;
    return value !== undefined && value !== (this.default ?? "") && !(typeof value === "string" && value.trim() === "");
  }

  setDefault(value) {
    const isChanged = this.isChanged;
    this.default = value ?? this.schema.default;
    if (!isChanged) this.value = this.default;
  }

  // Beside the number, for those who would rather slide.
  addSlider(place, label) {
    const slider = made("input", { type: "range", min: 0, max: this.schema.maximum, step: 0.01 });
    slider.setAttribute("aria-label", `${label}, as a slider`);
    slider.addEventListener("input", () => (this.value = Math.max(Number(slider.value), 0.01)));
    this.input.addEventListener("input", () => (slider.value = this.value ?? this.default));
    place.append(slider);
  }
}

function input(schema, isNumber) {
  if (schema.type === "boolean") return made("input", { type: "checkbox" });
  if (!isNumber) return made("input", { type: "text" });
  const step = schema.multipleOf ?? (schema.type === "integer" ? 1 : (schema.maximum ?? 1) <= 1 ? 0.05 : 0.5);
  const { minimum = schema.exclusiveMinimum, maximum = schema.exclusiveMaximum } = schema;
  return made("input", { type: "number", min: minimum, max: maximum, step, inputMode: schema.type === "integer" ? "numeric" : "decimal" });
}

function select(names, labels) {
  const element = made("select", {});
  element.append(...names.map((name) => made("option", { value: name, textContent: labels[name] ?? name })));
  return element;
}

const textarea = (rows) => made("textarea", { rows, enterKeyHint: "go" });

export const made = (tag, properties) => Object.assign(document.createElement(tag), properties);
