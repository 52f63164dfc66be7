// A job as a curl command for a POSIX shell, and as the body of a request.
import { API } from "./server.js";

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// `job` is {kind, request, image, mask}: image and mask are files, of edits and refinements alone.
export function bodyOf(job, more = {}) {
  const fields = { ...job.request, ...more };
  if (job.kind === "generate") return fields;
  const form = new FormData();
  form.append("image", job.image, job.image.name ?? "picture.png");
  if (job.mask) form.append("mask", job.mask, "mask.png");
  for (const [name, value] of Object.entries(fields)) form.append(name, asText(value));
  return form;
}

// As a form has it: lists are JSON there.
const asText = (value) => (typeof value === "object" ? JSON.stringify(value) : value);

// What makes the picture that is in `file`. The key stays in the shell's environment.
export function asCurl(job, file, asksForKeys) {
  const url = quoted(new URL(job.kind, API).href);
  const key = asksForKeys ? ' -H "authorization: Bearer $SDXL_API_KEY"' : "";
  return `curl -X POST ${url}${key} ${job.kind === "generate" ? asJSON(job) : asForm(job)} -o ${file}`;
}

function asJSON({ request }) {
  return `-H 'content-type: application/json' -d ${quoted(JSON.stringify(request))}`;
}

function asForm({ request, image, mask }) {
  const files = [`-F ${quoted(`image=@"${imageName(image)}"`)}`, ...(mask ? ["-F mask=@mask.png"] : [])];
  // Not -F: a text may begin with @ or <.
  const texts = Object.entries(request).map(([name, value]) => `--form-string ${quoted(`${name}=${asText(value)}`)}`);
  return [...files, ...texts].join(" ");
}

// Curl has quotes and backslashes of its own in a file's name.
export const imageName = (image) => (image.name ?? "picture.png").replaceAll(/["\\]/g, "_");
