// The picture that is shown: beside what it was made from, with its facts, its file and the command that makes it again.
import { asCurl, imageName } from "./curl.js";

const element = (id) => document.getElementById(id);
const BEFORE = { generate: "the base alone", edit: "before", refine: "before" };
const AFTER = { generate: "base and refiner", edit: "edited", refine: "refined" };

let urls = []; // of the files that are shown, to be revoked with the next picture

// `picture` is {job, file, before, seed, warnings, timings}: `job` as in curl.js, the files are Blobs.
export async function present(picture, asksForKeys) {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  const after = element("after");
  after.src = urlOf(picture.file);
  after.alt = `${AFTER[picture.job.kind]}: ${picture.job.request.prompt}`;
  await after.decode().catch(() => {});
  element("show").style.setProperty("--ratio", after.naturalWidth / after.naturalHeight || 1);
  compare(picture);
  const name = `sdxl-${picture.seed}.${picture.file.type.split("/")[1]}`;
  Object.assign(element("download"), { href: after.src, download: name });
  element("curl").textContent = asCurl(picture.job, name, asksForKeys);
  offer("curl-image", picture.job.image, picture.job.image && imageName(picture.job.image));
  offer("curl-mask", picture.job.mask, "mask.png");
  showFacts(picture, after);
}

function urlOf(file) {
  const url = URL.createObjectURL(file);
  urls.push(url);
  return url;
}

// Both pictures lie on each other, and the divider says how much of the upper one is to be seen.
function compare({ job, before }) {
  const [image, divider] = [element("before"), element("divider")];
  image.hidden = divider.hidden = element("sides").hidden = !before;
  if (!before) return;
  image.src = urlOf(before);
  divider.setAttribute("aria-label", `How much is to be seen: ${BEFORE[job.kind]} on the left, ${AFTER[job.kind]} on the right`);
  divider.value = 50;
  divide();
  element("side-before").textContent = BEFORE[job.kind];
  element("side-after").textContent = AFTER[job.kind];
}

function divide() {
  const { value } = element("divider");
  element("divider").setAttribute("aria-valuetext", `${value}% on the left`);
  element("show").style.setProperty("--divider", `${value}%`);
}

function offer(id, file, name) {
  element(id).hidden = !file;
  if (file) Object.assign(element(id), { href: urlOf(file), download: name });
}

function showFacts({ job, seed, warnings, timings }, { naturalWidth, naturalHeight }) {
  const spent = Object.entries(timings).filter(([, ms]) => ms >= 0.5);
  const whole = spent.reduce((sum, [, ms]) => sum + ms, 0);
  const facts = [
    ["Prompt", job.request.prompt],
    ...(job.request.model ? [["Model", job.request.model]] : []),
    ["Seed", seed],
    ["Size", `${naturalWidth} x ${naturalHeight}`],
    ["Time", `${(whole / 1000).toFixed(2)} s: ${spent.map(([phase, ms]) => `${phase} ${Math.round(ms)} ms`).join(", ")}`],
    ...Object.entries(warnings).map(([name, warning]) => [`Note: ${name}`, warning]),
  ];
  const rows = facts.flatMap(([term, text]) => [["dt", term], ["dd", text]]);
  element("facts").replaceChildren(
    ...rows.map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })),
  );
}

async function copy() {
  const text = element("curl").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard but this.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    element("copy").focus();
  }
  element("copy").textContent = element("said").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy as curl"), 1500);
}

element("divider").addEventListener("input", divide);
element("copy").addEventListener("click", copy);
