// A mask, painted over a picture with the mouse, a finger, a pen or the keyboard.
// It is kept as strokes in the picture's own pixels, so that undo is easy and every size is drawn sharp.
const MAX_SHOWN_PX = 1024;
const PAINT = "rgb(79 70 229)"; // the style makes it transparent

export class Mask {
  // `changed` is called when the mask has become another one.
  constructor(canvas, brush, changed) {
    Object.assign(this, { canvas, brush, changed, strokes: [], kept: null, cursor: null, size: [1, 1] });
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => this.point(null));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.end());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("keyup", (event) => event.key === " " && this.end());
    canvas.addEventListener("focus", () => canvas.matches(":focus-visible") && this.point(this.middle));
    canvas.addEventListener("blur", () => this.point(null));
    brush.addEventListener("input", () => this.draw());
  }

  // For another picture of (width, height) px. `kept` is a mask from before, or null.
  start(width, height, kept) {
    const scale = Math.min(1, MAX_SHOWN_PX / Math.max(width, height));
    Object.assign(this, { strokes: [], kept, cursor: null, size: [width, height] });
    Object.assign(this.canvas, { width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
    this.change();
  }

  get isEmpty() {
    return this.strokes.length === 0 && !this.kept;
  }

  undo() {
    this.stroke = null;
    this.strokes.pop();
    this.change();
  }

  clear() {
    this.start(...this.size, null);
  }

  // A PNG of the picture's size, white where it is to be repainted; null if nothing is painted.
  async file() {
    if (this.isEmpty) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width: this.size[0], height: this.size[1] });
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, ...this.size);
    if (this.kept) context.drawImage(this.kept, 0, 0, ...this.size);
    this.strokes.forEach((stroke) => trace(context, stroke, "white"));
    const blob = await new Promise((resolve) => canvas.toBlob(resolve));
    return new File([blob], "mask.png", { type: "image/png" });
  }

  // The brush's diameter in the picture's pixels: its setting is in percent of the picture's shorter side.
  get brushSize() {
    return Math.max(1, (Number(this.brush.value) / 100) * Math.min(...this.size));
  }

  begin(event) {
    if (event.button !== 0 || !event.isPrimary) return; // one finger paints
    event.preventDefault(); // else the picture's text is selected
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.open(this.at(event));
  }

  move(event) {
    if (!event.isPrimary) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.stroke?.points.push(this.at(each));
    this.point(event.pointerType === "mouse" ? this.at(event) : null);
  }

  open(point) {
    this.stroke = { size: this.brushSize, points: [point] };
    this.strokes.push(this.stroke);
    this.change();
  }

  end() {
    if (!this.stroke) return;
    this.stroke = null;
    this.change();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (event.key === " ") {
      if (!this.stroke) this.open(this.cursor ?? this.middle);
    } else if (step) {
      const from = this.cursor ?? this.middle;
      const length = this.brushSize / 2;
      const to = this.size.map((size, axis) => Math.min(size, Math.max(0, from[axis] + step[axis] * length)));
      this.stroke?.points.push(to);
      this.point(to);
    } else {
      return;
    }
    event.preventDefault(); // the page would scroll
  }

  get middle() {
    return this.size.map((size) => size / 2);
  }

  at(event) {
    const shown = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - shown.left) / shown.width) * this.size[0],
      ((event.clientY - shown.top) / shown.height) * this.size[1],
    ];
  }

  point(cursor) {
    this.cursor = cursor;
    this.draw();
  }

  change() {
    this.draw();
    this.changed();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const scale = this.canvas.width / this.size[0];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.scale(scale, scale);
    if (this.kept) tint(context, this.kept, this.size);
    this.strokes.forEach((stroke) => trace(context, stroke, PAINT));
    if (this.cursor) ring(context, this.cursor, this.brushSize / 2, 1 / scale);
  }
}

function trace(context, { size, points }, colour) {
  context.strokeStyle = context.fillStyle = colour;
  Object.assign(context, { lineWidth: size, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  context.arc(...points[0], size / 2, 0, 2 * Math.PI);
  context.fill();
  context.beginPath();
  points.forEach((point) => context.lineTo(...point));
  context.stroke();
}

// A mask from before: its white in the paint's colour, its black not at all.
function tint(context, kept, [width, height]) {
  const layer = new OffscreenCanvas(context.canvas.width, context.canvas.height);
  const inner = layer.getContext("2d");
  inner.drawImage(kept, 0, 0, layer.width, layer.height);
  const pixels = inner.getImageData(0, 0, layer.width, layer.height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at];
  inner.putImageData(pixels, 0, 0);
  inner.globalCompositeOperation = "source-in";
  inner.fillStyle = PAINT;
  inner.fillRect(0, 0, layer.width, layer.height);
  context.drawImage(layer, 0, 0, width, height);
}

// Where the brush is: white within black, to be seen over every picture.
function ring(context, [x, y], radius, pixel) {
  for (const [colour, width] of [["black", 3 * pixel], ["white", pixel]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}
