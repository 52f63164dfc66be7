// The picture to edit or refine: chosen, dropped or pasted; and for edits, the mask over it.
import { Mask } from "./mask.js";

export class Upload {
  // `changed` is called when there is another picture or mask.
  constructor(place, changed) {
    place.append(document.getElementById("upload").content.cloneNode(true));
    this.place = place;
    this.file = null;
    this.changed = changed;
    this.image = place.querySelector("img");
    this.input = place.querySelector("input[type=file]");
    const paints = "paints" in place.dataset;
    const canvas = place.querySelector("canvas");
    if (paints) this.mask = new Mask(canvas, place.querySelector(".brush"), changed);
    else for (const each of [canvas, ...place.querySelectorAll(".paints")]) each.remove();
    this.wire();
  }

  wire() {
    const { place, input } = this;
    for (const button of place.querySelectorAll(".choose")) button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files[0]) this.take(input.files[0]);
      input.value = ""; // so that the same file can be chosen again
    });
    place.querySelector(".undo")?.addEventListener("click", () => this.mask.undo());
    place.querySelector(".clear")?.addEventListener("click", () => this.mask.clear());
    place.addEventListener("keydown", (event) => {
      if (this.mask && event.key === "z" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        this.mask.undo();
      }
    });
  }

  // Shows a picture, and a mask from before if there is one. What no browser can show may still be one for the server,
  // which says what is wrong with it.
  async take(file, mask = null) {
    this.file = file;
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.src = URL.createObjectURL(file);
    for (const part of this.place.querySelectorAll(".canvas, .tools, .hint")) part.hidden = false;
    this.place.querySelector(".drop").hidden = true;
    const isShown = await this.image.decode().then(() => true, () => false);
    const [width, height] = isShown ? [this.image.naturalWidth, this.image.naturalHeight] : [1, 1];
    this.place.style.setProperty("--ratio", width / height);
    if (this.mask) {
      this.mask.canvas.hidden = !isShown;
      this.mask.start(width, height, mask && (await createImageBitmap(mask)));
    }
    this.changed();
  }
}

// Lets pictures be dropped anywhere on the page, and pasted, for as long as `current` gives an Upload.
export function takeDropped(current) {
  const take = (event, items) => {
    const file = [...(items?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file || !current()) return;
    event.preventDefault();
    current().take(file);
  };
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault(); // else the browser would leave the page for the picture
    document.body.classList.toggle("dragging", Boolean(current()));
  });
  for (const end of ["dragleave", "drop"]) addEventListener(end, () => document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
    take(event, event.dataTransfer);
  });
  addEventListener("paste", (event) => take(event, event.clipboardData));
}
