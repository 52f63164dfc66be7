// The field of the LoRAs: a list of those that are chosen, each with its scale. To its form, it is a control as others.
import { bounds, made } from "./control.js";

export class Loras {
  default = [];

  constructor(form, place, schema) {
    this.place = place;
    this.list = made("ul", { className: "loras" });
    this.input = made("select", { id: `${form.dataset.kind}-${place.dataset.field}`, name: place.dataset.field });
    this.input.setAttribute("aria-errormessage", "error");
    const caption = made("label", { htmlFor: this.input.id, textContent: place.dataset.label, title: schema.description });
    this.shownBounds = made("span", { className: "bounds" });
    caption.append(this.shownBounds);
    place.classList.add("field");
    place.append(caption, this.list, this.input);
    this.input.addEventListener("change", () => {
      this.value = [...this.value, { name: this.input.value, scale: 1 }];
      this.list.querySelector("li:last-child input").select();
    });
    this.learn(schema);
  }

  learn(schema) {
    this.schema = schema;
    this.place.hidden = schema.enum.length === 0;
    this.shownBounds.textContent = `scale ${this.bounds}`;
    this.value = this.value;
  }

  get bounds() {
    return bounds(this.schema.items.properties.scale);
  }

  get isNoNumber() {
    return this.scales.some((input) => input.validity.badInput);
  }

  get scales() {
    return [...this.list.querySelectorAll("input")];
  }

  get value() {
    return this.scales.map((input) => ({ name: input.dataset.lora, scale: Number(input.value || 0) }));
  }

  set value(wanted) {
    const there = (wanted ?? []).filter(({ name }) => this.schema.enum.includes(name));
    this.list.replaceChildren(...there.map((lora) => this.row(lora)));
    const left = this.schema.enum.filter((name) => !there.some((lora) => lora.name === name));
    const first = made("option", { value: "", textContent: "Add a LoRA…", disabled: true, selected: true });
    this.input.replaceChildren(first, ...left.map((name) => made("option", { value: name, textContent: name })));
    this.input.hidden = left.length === 0 || there.length >= this.schema.maxItems;
    this.list.dispatchEvent(new Event("input", { bubbles: true }));
  }

  row({ name, scale }) {
    const { minimum, maximum } = this.schema.items.properties.scale;
    const number = made("input", { type: "number", min: minimum, max: maximum, step: 0.05, value: scale ?? 1 });
    number.dataset.lora = name;
    number.setAttribute("aria-errormessage", "error");
    const caption = made("label", { textContent: name, title: name });
    const button = made("button", { type: "button", textContent: "×" });
    button.setAttribute("aria-label", `Without ${name}`);
    button.addEventListener("click", () => {
      this.value = this.value.filter((lora) => lora.name !== name);
      (this.input.hidden ? this.scales[0] : this.input).focus();
    });
    caption.append(number);
    const item = made("li", {});
    item.append(caption, button);
    return item;
  }

  missing(value) {
    return (value ?? []).map(({ name }) => name).filter((name) => !this.schema.enum.includes(name));
  }

  get isChanged() {
    return this.value.length > 0;
  }
}
