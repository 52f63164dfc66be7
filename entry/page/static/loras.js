// The LoRAs of a request: a list to choose from, and a row with a scale for each that was chosen.
import { made } from "./made.js";

const STEP = 0.05;

export class Loras {
  // `schema` has the `names` that there are, how many one may choose, and the bounds of a scale.
  constructor(form, place, schema) {
    const { kind } = form.dataset;
    this.rows = made("ul", { className: "rows" });
    this.input = made("select", { id: `${kind}-loras`, name: "loras" });
    this.input.setAttribute("aria-errormessage", "error");
    const caption = made("label", { htmlFor: this.input.id, textContent: place.dataset.label, title: schema.description ?? "" });
    place.classList.add("field");
    place.append(caption, this.rows, this.input);
    this.input.addEventListener("change", () => this.choose(this.input.value));
    this.learn(schema);
  }

  learn(schema) {
    this.schema = schema;
    this.showChoice();
  }

  get scales() {
    return [...this.rows.querySelectorAll("input")];
  }

  get bounds() {
    const { minimum, maximum } = this.schema.items.properties.scale;
    return `scales from ${minimum} to ${maximum}`;
  }

  get isNoNumber() {
    return this.scales.some(({ value }) => value === ""); // also for what is none
  }

  // Undefined for none.
  get value() {
    const chosen = this.scales.map(({ dataset, value }) => ({ name: dataset.lora, scale: Number(value) }));
    return chosen.length ? chosen : undefined;
  }

  set value(loras) {
    const wanted = loras ?? [];
    this.gone = wanted.map(({ name }) => name).filter((name) => !this.schema.names.includes(name)).join(", ");
    this.rows.replaceChildren(...wanted.filter(({ name }) => this.schema.names.includes(name)).map((lora) => this.row(lora)));
    this.tell();
  }

  get isChanged() {
    return this.scales.length > 0;
  }

  setDefault() {} // it is none, with every model

  choose(name) {
    const row = this.row({ name });
    this.rows.append(row);
    this.tell();
    row.querySelector("input").focus();
  }

  row({ name, scale = 1 }) {
    const row = made("li", {});
    const { minimum, maximum } = this.schema.items.properties.scale;
    const input = made("input", { type: "number", min: minimum, max: maximum, step: STEP, value: scale, inputMode: "decimal" });
    input.dataset.lora = name;
    input.setAttribute("aria-label", `Scale of ${name}`);
    const remove = made("button", { type: "button", className: "quiet", textContent: "Remove", title: `Remove ${name}` });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => {
      row.remove();
      this.tell();
      this.input.focus();
    });
    row.append(made("span", { textContent: name, title: name }), input, remove);
    return row;
  }

  tell() {
    this.showChoice();
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  showChoice() {
    const chosen = this.scales.map(({ dataset }) => dataset.lora);
    const left = this.schema.names.filter((name) => !chosen.includes(name));
    const names = left.map((name) => made("option", { value: name, textContent: name }));
    this.input.replaceChildren(made("option", { value: "", textContent: "Add a LoRA" }), ...names);
    this.input.disabled = chosen.length >= this.schema.maxItems || !left.length;
  }
}
