// One field of a form: its control, its bounds and its default.

// For people: "64 to 8,192, step 8" or "0 < x ≤ 1".
export function bounds({ minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below, multipleOf }) {
  const shown = (number) => number.toLocaleString("en");
  if (above !== undefined) return `${shown(above)} < x ${below === undefined ? "≤" : "<"} ${shown(below ?? maximum)}`;
  return `${shown(minimum)} to ${shown(maximum)}${multipleOf ? `, step ${multipleOf}` : ""}`;
}

export class Control {
  constructor(form, place, schema) {
    this.place = place;
    this.labels = {}; // what to call the names that one chooses from
    this.isNumber = ["integer", "number"].includes(schema.type);
    this.default = schema.default;
    const { field: name, label, placeholder = "", rows } = place.dataset;
    this.input = rows ? textarea(rows) : schema.enum ? made("select", {}) : input(schema, this.isNumber);
    Object.assign(this.input, { id: `${form.dataset.kind}-${name}`, name, placeholder });
    this.input.setAttribute("aria-errormessage", "error");
    const caption = made("label", { htmlFor: this.input.id, textContent: label, title: schema.description ?? "" });
    place.classList.add(schema.type === "boolean" ? "check" : "field");
    place.append(...(schema.type === "boolean" ? [this.input, caption] : [caption, this.input]));
    if (this.isNumber) this.addBounds(caption);
    if ("slides" in place.dataset) this.addSlider(place, label, schema);
    this.setSchema(schema);
    this.value = this.default;
  }

  addBounds(caption) {
    this.shownBounds = made("span", { className: "bounds", id: `${this.input.id}-bounds` });
    this.input.setAttribute("aria-describedby", this.shownBounds.id);
    caption.append(this.shownBounds);
    this.input.addEventListener("change", () => {
      if (this.value === undefined && !this.isNoNumber) this.value = this.default; // emptied: the default again
    });
  }

  // Beside the number, for those who would rather slide.
  addSlider(place, label, { maximum }) {
    const slider = made("input", { type: "range", min: 0, max: maximum, step: 0.01 });
    slider.setAttribute("aria-label", `${label}, as a slider`);
    slider.addEventListener("input", () => (this.value = Math.max(Number(slider.value), 0.01)));
    this.input.addEventListener("input", () => (slider.value = this.value ?? this.default));
    place.append(slider);
  }

  // Its bounds, or what there is to choose from.
  setSchema(schema) {
    this.schema = schema;
    if (this.isNumber) {
      const { minimum = schema.exclusiveMinimum, maximum = schema.exclusiveMaximum } = schema;
      Object.assign(this.input, { min: minimum, max: maximum });
      this.shownBounds.textContent = this.bounds;
    } else if (schema.enum) this.setChoice(schema.enum);
  }

  setChoice(names) {
    const options = names.map((name) => made("option", { value: name, textContent: this.labels[name] ?? name }));
    this.input.replaceChildren(...options);
    if ("choice" in this.place.dataset) this.place.hidden = names.length < this.place.dataset.choice;
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

  // What of a value the server does not have.
  missing(value) {
    return this.schema.enum && value !== undefined && !this.schema.enum.includes(value) ? [value] : [];
  }

  get isChanged() {
    const { value } = this;
    return value !== undefined && value !== (this.default ?? "") && !(typeof value === "string" && value.trim() === "");
  }

  // What counts where nothing is said. What the user has changed stays, if it still can.
  learn(schema, value) {
    const kept = this.isChanged ? this.value : undefined;
    this.setSchema(schema);
    this.default = value ?? schema.default;
    this.value = kept ?? this.default;
  }
}

function input(schema, isNumber) {
  if (schema.type === "boolean") return made("input", { type: "checkbox" });
  if (!isNumber) return made("input", { type: "text" });
  const step = schema.multipleOf ?? (schema.type === "integer" ? 1 : (schema.maximum ?? 1) <= 1 ? 0.05 : 0.5);
  return made("input", { type: "number", step, inputMode: schema.type === "integer" ? "numeric" : "decimal" });
}

const textarea = (rows) => made("textarea", { rows, enterKeyHint: "go" });

export const made = (tag, properties) => Object.assign(document.createElement(tag), properties);
