// The form of one tab: what is asked for. It knows nothing of what becomes of it.
import { Fields } from "./fields.js";
import { made } from "./made.js";
import { aboutServer } from "./server.js";
import { Upload } from "./upload.js";

const MODELS = ["model", "refiner_model"];
const WIDE = matchMedia("(min-width: 860px)");

export class Form {
  // `server` is what the server says of itself. `changed` is called when something is to be kept.
  constructor(form, server, kept, changed) {
    this.form = form;
    this.kind = form.dataset.kind;
    form.append(document.getElementById("form").content.cloneNode(true));
    for (const part of form.querySelectorAll("[data-in]")) if (!part.dataset.in.split(" ").includes(this.kind)) part.remove();
    this.part(".primary").textContent = form.dataset.verb;
    this.part(".settings").open = WIDE.matches; // on a telephone, the picture is to be near
    this.fields = new Fields(form);
    this.asked = "";
    const place = form.querySelector(".upload");
    this.upload = place && new Upload(place, () => this.setDefaults());
    this.learn(server);
    form.addEventListener("input", ({ target }) => MODELS.includes(target.name) && this.learnOfChosen());
    this.fields.changes = kept ?? {};
    this.part(".reset").addEventListener("click", () => this.fields.reset());
    this.part(".random-seed").addEventListener("click", () => this.fields.set("seed", undefined));
    form.addEventListener("input", changed);
    form.addEventListener("keydown", submitByEnter);
  }

  part(selector) {
    return this.form.querySelector(selector);
  }

  // What the server says of its default models, or of those that are chosen.
  learn(server) {
    this.server = server;
    this.fields.learn(server.fields[this.kind], server.labels);
    this.setDefaults();
    this.form.dispatchEvent(new Event("learned", { bubbles: true }));
    const about = this.part(".about");
    if (!about) return;
    this.part(".compares").hidden = !server.has_refiner;
    const { description, examples } = server.about;
    about.hidden = !description && examples.length === 0;
    this.part(".name").textContent = server.models.base ?? "it";
    this.part(".description").textContent = description ?? "";
    this.part(".examples").replaceChildren(...examples.map((prompt) => this.example(prompt)));
    if (examples.length) this.fields.controls.get("prompt").input.placeholder = examples[0];
  }

  // Other models have other defaults, bounds and examples.
  async learnOfChosen() {
    const [model, refiner] = MODELS.map((name) => this.fields.chosen(name));
    const named = Object.entries(this.kind === "refine" ? { refiner: model } : { base: model, refiner });
    const models = Object.fromEntries(named.filter(([, name]) => name));
    const asked = new URLSearchParams(models).toString();
    if (asked === this.asked) return;
    this.asked = asked;
    const told = await aboutServer(models).catch(() => null);
    if (told && asked === this.asked) this.learn(told);
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
    this.fields.setDefaults(this.server.defaults[isMasked ? "inpaint" : this.kind]);
  }

  // {kind, request, image, mask}. Raises Fault.
  async job() {
    const request = this.fields.request();
    request.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
    const job = { kind: this.kind, request };
    if (this.upload) job.image = this.upload.file;
    if (this.upload?.mask) job.mask = await this.upload.mask.file();
    return job;
  }

  // Whether a request is also the refiner's work.
  refines({ refine, refiner_model: refiner }) {
    return (refine ?? (refiner ? "ensemble" : this.server.defaults[this.kind].refine)) !== "none";
  }

  // Everything as it was for a job. A field that it leaves out had its default.
  async restore({ request, image, mask }) {
    if (image) await this.upload.take(image, mask);
    this.fields.changes = request;
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
