// The page: three forms, one picture at a time, and the last ones. What is to be seen says #show's data-state.
import { bodyOf } from "./curl.js";
import { Form } from "./form.js";
import { Progress } from "./progress.js";
import { present } from "./result.js";
import { aboutServer, blobOf, Fault, make } from "./server.js";
import { load, Pictures, save } from "./store.js";
import { showStrip, thumbOf } from "./strip.js";
import { Tabs } from "./tabs.js";
import { takeDropped } from "./upload.js";

const PREVIEWS = 12;
const NOT_READY_MS = 2000;
const element = (id) => document.getElementById(id);
const server = await aboutServer().catch((fault) => {
  element("error").textContent = fault.message;
  throw fault;
});
if (!server.has_refiner) ["tab-refine", "panel-refine", "to-refine"].forEach((id) => element(id).remove());
const kept = load();
const pictures = await Pictures.open();
const progress = new Progress();
const forms = Object.fromEntries([...document.forms].map((form) => [form.dataset.kind, new Form(form, server)]));
const tabs = new Tabs(document.querySelector("[role=tablist]"), () => (keep(), tellModel()));
let running = null; // the AbortController of what is being made
let shown = null; // the picture

function keep() {
  if (!server.models.base) return; // the choice of a model would be lost
  const changes = Object.entries(forms).map(([kind, { fields }]) => [kind, fields.changes]);
  save({ tab: tabs.kind, compares: element("compares").checked, ...Object.fromEntries(changes) });
}

async function run(form) {
  if (running) return;
  begin(form);
  try {
    const job = await form.job();
    if (form.upload && !job.image) throw new Fault({ error: "image: choose a picture first", field: "image" });
    await show(await makeBoth(job), { isNew: true });
  } catch (fault) {
    running.abort(); // of two pictures, the other one may still be at work
    if (fault.name === "AbortError") tell("Cancelled.");
    else complain(form, fault);
  } finally {
    end(form);
  }
}

// The picture, and what it is to be compared with: an edit's own original, or the base alone. That is asked for once
// the picture is accepted, so that a fault comes but once; with the same seed they share the base's ticks.
async function makeBoth(job) {
  const { signal } = running;
  const compares = job.kind === "generate" && element("compares").checked && refineOf(job) !== "none";
  progress.begin(compares ? 2 : 1);
  const path = `${job.kind}_stream`;
  let accept;
  const accepted = new Promise((resolve) => (accept = resolve));
  const hear = progress.follower(0);
  const [result, alone] = await Promise.all([
    make(path, bodyOf(job, { previews: PREVIEWS }), signal, (...event) => (accept(), hear(...event))),
    compares && accepted.then(() => make(path, bodyOf(job, { refine: "none" }), signal, progress.follower(1))),
  ]);
  const { seed, warnings, timings } = result;
  const [file, before] = [blobOf(result), alone ? blobOf(alone) : (job.image ?? null)];
  return { job, file, before, seed, warnings, timings, thumb: await thumbOf(file) };
}

const refineOf = ({ request }) => request.refine ?? forms.generate.fields.controls.get("refine").default;

function begin(form) {
  running = new AbortController();
  complain(form, null);
  tell("");
  form.part(".primary").setAttribute("aria-disabled", "true"); // not disabled, which would lose the focus
  form.part(".cancel").hidden = false;
  element("show").dataset.state = "working";
  element("show").scrollIntoView({ block: "nearest" });
}

function end(form) {
  running = null;
  progress.end();
  if (document.activeElement.matches(".cancel")) form.part(".primary").focus({ preventScroll: true });
  form.part(".primary").removeAttribute("aria-disabled");
  form.part(".cancel").hidden = true;
  element("show").dataset.state = shown ? "picture" : "idle";
}

// What has come to its end, and what is to be seen now.
function tell(what) {
  const below = shown ? `The picture below is the one before, with seed ${shown.seed}.` : "There is no picture yet.";
  element("note").textContent = what && `${what} ${below}`;
}

// A fault, at its field if it has one; null takes it away.
function complain(form, fault) {
  element("error").textContent = fault?.message ?? "";
  form.fields.complain(fault?.field);
  if (!fault) return;
  if (!(fault instanceof Fault)) console.error(fault);
  if (fault.field === "image") form.part(".choose:not([hidden])").focus();
  tell("No picture was made.");
}

async function show(picture, { isNew = false } = {}) {
  shown = picture;
  await present(picture, server.asks_for_keys);
  if (isNew) await pictures.add(picture);
  if (!running || isNew) element("show").dataset.state = "picture";
  element("said").textContent = `The picture is there, with seed ${picture.seed}.`;
  showStrip(pictures.all, picture, choose);
}

function choose(picture) {
  if (running) return;
  tell("");
  show(picture);
}

async function bringBack(kind, job) {
  tabs.open(kind);
  await forms[kind].restore(job);
  forms[kind].fields.focus();
}

// The picture that is shown as the one to edit or refine.
function passOn(kind) {
  const name = element("download").download;
  const image = new File([shown.file], name, { type: shown.file.type });
  const { prompt, negative_prompt } = shown.job.request;
  bringBack(kind, { request: { ...forms[kind].fields.changes, prompt, negative_prompt }, image });
}

function tellModel() {
  const { base, refiner } = forms[tabs.kind].models;
  const both = base === refiner ? `${base}, base and refiner` : `${base}, refined by ${refiner}`;
  element("model").textContent = base ? `Model: ${refiner ? both : base}` : "The model is not ready yet.";
}

// Brings the fields back that were kept; as soon as the server says which models there are, those with their choice.
async function bringFieldsBack() {
  await Promise.all(Object.values(forms).map((form) => form.choose({ ...kept[form.kind], ...form.fields.changes })));
  if (server.models.base) return;
  setTimeout(async () => {
    Object.assign(server, await aboutServer().catch(() => ({})));
    if (server.models.base) Object.values(forms).forEach((form) => form.know(server));
    bringFieldsBack();
  }, NOT_READY_MS);
}

for (const form of Object.values(forms)) {
  form.form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form);
  });
  form.part(".last-seed").addEventListener("click", () => shown && form.fields.set("seed", shown.seed));
}
for (const button of document.querySelectorAll(".cancel")) button.addEventListener("click", () => running?.abort());
addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
element("use-settings").addEventListener("click", () => bringBack(shown.job.kind, shown.job));
element("to-edit").addEventListener("click", () => passOn("edit"));
element("to-refine")?.addEventListener("click", () => passOn("refine"));
element("clear-history").addEventListener("click", async () => {
  await pictures.clear();
  showStrip([], null, choose);
});
takeDropped(() => forms[tabs.kind].upload);
element("compares").checked = kept.compares ?? true;
await bringFieldsBack();
tabs.open(kept.tab ?? "generate");
for (const { form } of Object.values(forms)) {
  form.addEventListener("input", keep);
  for (const event of ["learned", "change"]) form.addEventListener(event, tellModel);
}
if (pictures.all.length) await show(pictures.all[0]);
else forms.generate.part(".about").open = true;
document.body.dataset.ready = "";
