// One field of a form, by its JSON schema.
import { made } from "./made.js";

// For people: "64 to 8,192, step 8" or "0 < x ≤ 1".
export function bounds({ minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below, multipleOf }) {
  const shown = (number) => number.toLocaleString("en");
  if (above !== undefined) return `${shown(above)} < x ${below === undefined ? "≤" : "<"} ${shown(below ?? maximum)}`;
  return `${shown(minimum)} to ${shown(maximum)}${multipleOf ? `, step ${multipleOf}` : ""}`;
}

export class Control {
  constructor(form, place, schema, labels = {}) {
    this.schema = schema;
    this.isNumber = ["integer", "number"].includes(schema.type);
    this.default = schema.default;
    const { field: name, label, placeholder = "", rows } = place.dataset;
    this.input = rows ? textarea(rows) : schema.enum ? made("select", {}) : input(schema, this.isNumber);
    if (schema.enum) this.input.append(...options(schema.enum, labels));
    Object.assign(this.input, { id: `${form.dataset.kind}-${name}`, name, placeholder });
    this.input.setAttribute("aria-errormessage", "error");
    const caption = made("label", { htmlFor: this.input.id, textContent: label, title: schema.description ?? "" });
    place.classList.add(schema.type === "boolean" ? "check" : "field");
    place.append(...(schema.type === "boolean" ? [this.input, caption] : [caption, this.input]));
    if (!this.isNumber) return;
    this.input.setAttribute("aria-describedby", `${this.input.id}-bounds`);
    this.hint = made("span", { className: "bounds", id: `${this.input.id}-bounds`, textContent: this.bounds });
    caption.append(this.hint);
    this.input.addEventListener("change", () => {
      if (this.value === undefined && !this.isNoNumber) this.value = this.default; // emptied: the default again
    });
    if ("slides" in place.dataset) this.addSlider(place, label);
  }

  // Another model has other bounds, and other names to choose from. What is chosen stays, if it can.
  learn(schema, labels = {}) {
    this.schema = schema;
    if (this.isNumber) {
      Object.assign(this.input, span(schema));
      this.hint.textContent = this.bounds;
    }
    if (!schema.enum) return;
    const { value } = this.input;
    this.input.replaceChildren(...options(schema.enum, labels));
    this.input.value = value;
    if (this.input.selectedIndex < 0) this.value = value;
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
    this.gone = this.schema.enum && this.input.selectedIndex < 0 ? value : undefined;
    if (this.gone !== undefined) this.input.value = this.schema.enum.includes(this.default) ? this.default : this.schema.enum[0];
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
  return made("input", { type: "number", ...span(schema), step, inputMode: schema.type === "integer" ? "numeric" : "decimal" });
}

function span({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  return { min: minimum ?? exclusiveMinimum, max: maximum ?? exclusiveMaximum };
}

const options = (names, labels) => names.map((name) => made("option", { value: name, textContent: labels[name] ?? name }));

const textarea = (rows) => made("textarea", { rows, enterKeyHint: "go" });
