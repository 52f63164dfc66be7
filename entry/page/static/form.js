// The form of one tab: what is asked for. It knows nothing of what becomes of it.
import { made } from "./control.js";
import { Fields } from "./fields.js";
import { aboutServer } from "./server.js";
import { Upload } from "./upload.js";

const WIDE = matchMedia("(min-width: 860px)");

export class Form {
  // `server` is what the server says of itself.
  constructor(form, server) {
    this.form = form;
    this.kind = form.dataset.kind;
    form.append(document.getElementById("form").content.cloneNode(true));
    for (const part of form.querySelectorAll("[data-in]")) if (!part.dataset.in.split(" ").includes(this.kind)) part.remove();
    this.part(".primary").textContent = form.dataset.verb;
    this.part(".settings").open = WIDE.matches; // on a telephone, the picture is to be near
    this.fields = new Fields(form, server.fields[this.kind], server);
    const place = form.querySelector(".upload");
    this.upload = place && new Upload(place, () => this.setDefaults());
    this.know(server);
    this.part(".reset").addEventListener("click", () => this.choose(this.fields.texts));
    this.part(".random-seed").addEventListener("click", () => this.fields.set("seed", undefined));
    form.addEventListener("change", ({ target }) => {
      if (target.name === "model") this.learnOf(target.value);
      if (target.name === "refiner_model") this.setDefaults();
    });
    form.addEventListener("keydown", submitByEnter);
  }

  part(selector) {
    return this.form.querySelector(selector);
  }

  // What the server says of itself; again, once it is ready.
  know(server) {
    this.server = server;
    this.fields.know(server.fields[this.kind], server);
    this.learn(server);
  }

  // What it says of the model that counts here.
  learn(told) {
    this.told = told;
    this.setDefaults();
    this.form.dispatchEvent(new Event("learned", { bubbles: true }));
    const about = this.part(".about");
    if (!about) return;
    this.part(".compares").hidden = !this.server.has_refiner;
    const { description, examples } = told.about;
    about.hidden = !description && examples.length === 0;
    this.part(".name").textContent = told.models.base ?? "it";
    this.part(".description").textContent = description ?? "";
    this.part(".examples").replaceChildren(...examples.map((prompt) => this.example(prompt)));
    this.fields.controls.get("prompt").input.placeholder = examples[0] ?? "";
  }

  // The same of another model, which has defaults and examples of its own. Until that has come, the old ones count.
  async learnOf(model) {
    this.wanted = model;
    const isDefault = model === this.fields.controls.get("model").schema.default;
    const told = isDefault ? this.server : await aboutServer(model).catch(() => null);
    if (told && this.wanted === model) this.learn(told);
  }

  example(prompt) {
    const item = made("li", {});
    const button = made("button", { type: "button", textContent: prompt });
    button.addEventListener("click", () => {
      this.fields.set("prompt", prompt);
      this.fields.focus();
    });
    item.append(button);
    return item;
  }

  setDefaults() {
    const isMasked = this.upload?.mask && !this.upload.mask.isEmpty;
    const defaults = { ...this.told.defaults[isMasked ? "inpaint" : this.kind] };
    if (this.fields.value("refiner_model")) defaults.refine = "ensemble"; // who names one wants it
    this.fields.learn(this.told.bounds[this.kind], defaults);
  }

  // The fields with what differs from their defaults, which are those of the model in `changes`.
  async choose(changes) {
    const missing = this.told.models.base ? this.fields.missing(changes) : []; // before it is ready, everything is
    const line = `No longer on this server: ${missing.join(", ")}. The defaults count instead.`;
    this.part(".gone").textContent = missing.length ? line : "";
    for (const name of ["model", "refiner_model"]) if (this.fields.controls.has(name)) this.fields.set(name, changes[name]);
    await this.learnOf(this.fields.value("model"));
    this.fields.changes = changes;
  }

  // What the models are called that this form asks for.
  get models() {
    const { base, refiner, refine } = this.told.models;
    if (this.kind === "refine") return { base: refine };
    const named = this.fields.controls.get("refiner_model");
    return { base, refiner: named.value ? named.input.selectedOptions[0].textContent : refiner };
  }

  // {kind, request, image, mask}. Raises Fault.
  async job() {
    this.part(".gone").textContent = "";
    const request = this.fields.request();
    request.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
    const job = { kind: this.kind, request };
    if (this.upload) job.image = this.upload.file;
    if (this.upload?.mask) job.mask = await this.upload.mask.file();
    return job;
  }

  // Everything as it was for a job. A field that it leaves out had its default.
  async restore({ request, image, mask }) {
    if (image) await this.upload.take(image, mask);
    await this.choose(request);
  }
}

// As on pages where one writes to a model: Enter sends, Shift+Enter is a new line. Ctrl or Cmd with Enter sends, too.
function submitByEnter(event) {
  if (event.key !== "Enter" || event.isComposing) return;
  const isText = event.target.tagName === "TEXTAREA" && !event.shiftKey;
  if (!isText && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  event.currentTarget.requestSubmit();
}
