// The strip of the last pictures: small, the newest first.
import { made } from "./control.js";
import { roving } from "./tabs.js";

const THUMB_PX = 144;
const element = (id) => document.getElementById(id);

// A small file of a picture, to be kept with it.
export async function thumbOf(file) {
  const bitmap = await createImageBitmap(file);
  const scale = THUMB_PX / Math.max(bitmap.width, bitmap.height);
  const canvas = made("canvas", { width: Math.max(1, bitmap.width * scale), height: Math.max(1, bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}

export function showStrip(pictures, current, choose) {
  element("history").hidden = pictures.length === 0;
  for (const image of element("strip").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  element("strip").replaceChildren(
    ...pictures.map((picture) => {
      const { prompt } = picture.job.request;
      const button = made("button", { type: "button", title: prompt });
      if (picture === current) button.setAttribute("aria-current", "true");
      button.append(made("img", { src: URL.createObjectURL(picture.thumb), alt: `${prompt}, seed ${picture.seed}` }));
      button.addEventListener("click", () => choose(picture));
      const item = made("li", {});
      item.append(button);
      return item;
    }),
  );
  roving(element("strip"), "button", "[aria-current]");
}
