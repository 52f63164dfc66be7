// What the page does: it asks the API, as every client does, and shows what it hears.
// `document.body.dataset.relay` says what is to be seen (page.css): working, single, compared, or nothing yet.
window.relay = (() => {
  "use strict";

  const API = new URL("../", document.baseURI); // the page is at /ui/ of it
  const PREVIEWS = 12;
  const TEXTS = new Set(["prompt", "negative_prompt", "scheduler", "refine", "output_format"]);
  const NO_PICTURES = null;
  let running = null; // the AbortController of what is being made
  let shown = { state: "", slider: NO_PICTURES, urls: [] }; // the last picture, which stays until there is another

  const element = (id) => document.getElementById(`relay-${id}`);

  class Fault extends Error {
    constructor({ error, field, retry_after_s: retry }) {
      super(retry ? `${error}; try again in ${retry} s` : error);
      this.field = field;
    }
  }

  // The request, without what was left untouched. What is not a number goes as the text that it is: the API says why not.
  function requestOf(names, values) {
    const request = {};
    names.forEach((name, at) => {
      const value = values[at];
      if (name === "watermark") {
        if (!value) request[name] = false;
      } else if (name === "prompt" || String(value ?? "").trim() !== "") {
        request[name] = TEXTS.has(name) ? value : numberOf(value);
      }
    });
    return request;
  }

  function numberOf(text) {
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }

  const drawnSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

  // The events of /generate_stream, each as [name, data]. Raises Fault.
  async function* events(request, signal) {
    const answer = await fetch(new URL("generate_stream", API), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
      signal,
    });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({ error: `the server answers ${answer.status}` }));
      throw new Fault({ ...told, retry_after_s: answer.headers.get("retry-after") });
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const [, name, data] = part.match(/^event: (.*)\ndata: (.*)$/) ?? [];
        if (name) yield [name, JSON.parse(data)];
      }
    }
  }

  // One picture: its result event. `tell` hears of its progress.
  async function make(request, signal, tell) {
    let result = null;
    for await (const [name, data] of events(request, signal)) {
      if (name === "error") throw new Fault(data);
      if (name === "result") result = data;
      else tell(name, data);
    }
    if (!result) throw new Fault({ error: "the connection to the server has ended" });
    tell("done");
    return result;
  }

  function describe(name, data) {
    if (name === "queued") {
      return `waiting for the ${data.stage}: ${data.place ? `${data.place} go first` : "next"}`;
    }
    const eta = data.eta_s === null ? "" : `, about ${Math.ceil(data.eta_s)} s left`;
    return `${data.stage}: step ${data.step} of ${data.of}${eta}`;
  }

  // Shows the progress of the picture, and of the base alone once that is all there is to wait for.
  function follower(count) {
    const shares = new Array(count).fill(0);
    return (which) => (name, data) => {
      if (name === "preview") {
        element("preview").src = `data:${data.media_type};base64,${data.picture}`;
        element("preview").dataset.count = Number(element("preview").dataset.count ?? 0) + 1;
        return;
      }
      if (name !== "queued") shares[which] = name === "done" ? 1 : data.share;
      element("bar").value = shares.reduce((sum, share) => sum + share) / count;
      const isLast = shares.every((share, at) => at === which || share === 1);
      if (name !== "done" && (which === 0 || isLast)) {
        element("status").textContent = (which ? "the base alone, for comparison: " : "") + describe(name, data);
      }
    };
  }

  // For the slider and the seed's field: what they are to show now.
  async function generate(names, values) {
    if (running) return [shown.slider, values[names.indexOf("seed")]];
    const [isRandom, compares] = values.slice(names.length);
    const request = requestOf(names, values);
    if (isRandom) request.seed = drawnSeed();
    begin();
    try {
      const [result, alone] = await makeAll(request, compares && request.refine !== "none");
      request.seed = result.seed;
      present(request, result, alone);
    } catch (fault) {
      running.abort(); // of two pictures, the other one may still be at work
      if (fault.name === "AbortError") element("idle").textContent = "Cancelled.";
      else complain(fault instanceof Fault ? fault : new Fault({ error: "the connection to the server was lost" }));
    } finally {
      end();
    }
    return [shown.slider, String(request.seed ?? "")];
  }

  // The picture, and the base alone. That is asked for once the first is accepted, so that a fault comes but once;
  // with the same seed they share the base's ticks.
  function makeAll(request, compares) {
    const { signal } = running;
    const tell = follower(compares ? 2 : 1);
    if (!compares) return Promise.all([make({ ...request, previews: PREVIEWS }, signal, tell(0))]);
    let accept;
    const accepted = new Promise((resolve) => (accept = resolve));
    const tellFirst = (name, data) => (accept(), tell(0)(name, data));
    return Promise.all([
      make({ ...request, previews: PREVIEWS }, signal, tellFirst),
      accepted.then(() => make({ ...request, refine: "none" }, signal, tell(1))),
    ]);
  }

  // Under the slider if there is a base alone, else by itself.
  function present(request, result, alone) {
    shown.urls.forEach((url) => URL.revokeObjectURL(url));
    const [url, urlAlone] = [result, alone].filter(Boolean).map(urlOf);
    const asFile = (each) => ({ path: each, url: each, orig_name: "picture" });
    shown = alone
      ? { state: "compared", slider: [asFile(urlAlone), asFile(url)], urls: [url, urlAlone] }
      : { state: "single", slider: NO_PICTURES, urls: [url] };
    element("single").src = url;
    element("download").href = url;
    element("download").download = `sdxl-${result.seed}.${result.media_type.split("/")[1]}`;
    element("curl").textContent = asCurl(request, element("download").download);
    showFacts(result);
  }

  function urlOf(result) {
    const bytes = Uint8Array.from(atob(result.picture), (character) => character.charCodeAt(0));
    return URL.createObjectURL(new Blob([bytes], { type: result.media_type }));
  }

  function showFacts(result) {
    const spent = Object.entries(result.timings).filter(([, ms]) => ms >= 0.5);
    const whole = spent.reduce((sum, [, ms]) => sum + ms, 0);
    const facts = [
      ["Seed", result.seed],
      ["Time", `${(whole / 1000).toFixed(2)} s: ${spent.map(([phase, ms]) => `${phase} ${Math.round(ms)} ms`).join(", ")}`],
      ...Object.entries(result.warnings).map(([name, warning]) => [`Note: ${name}`, warning]),
    ];
    const rows = facts.flatMap(([term, text]) => [["dt", term], ["dd", text]]);
    element("facts").replaceChildren(
      ...rows.map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })),
    );
  }

  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`; // for a POSIX shell

  function asCurl(request, file) {
    const body = JSON.stringify(request);
    const key = document.querySelector("meta[name=relay-keys]") ? ' -H "authorization: Bearer $SDXL_API_KEY"' : "";
    return `curl -X POST ${quoted(new URL("generate", API).href)}${key} -H 'content-type: application/json' -d ${quoted(body)} -o ${file}`;
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
    }
    element("copy").textContent = "Copied";
    setTimeout(() => (element("copy").textContent = "Copy as curl"), 1500);
  }

  function begin() {
    running = new AbortController();
    complain(null);
    element("bar").value = 0;
    element("status").textContent = "sending the request";
    element("preview").removeAttribute("src");
    delete element("preview").dataset.count;
    element("generate").disabled = true;
    element("copy").onclick = copy;
    document.body.dataset.relay = "working";
  }

  function end() {
    running = null;
    document.body.dataset.relay = shown.state;
    element("generate").disabled = false;
  }

  // Shows a fault in red, at its field if it has one; null takes it away.
  function complain(fault) {
    document.querySelectorAll(".relay-wrong").forEach((each) => each.classList.remove("relay-wrong"));
    document.querySelectorAll("[aria-invalid]").forEach((each) => each.removeAttribute("aria-invalid"));
    element("error").textContent = fault?.message ?? "";
    const field = fault?.field && document.getElementById(`field-${fault.field}`);
    if (!field) return;
    const folded = field.closest("#relay-more")?.querySelector("button:not(.open)");
    if (folded && !field.offsetParent) folded.click();
    field.classList.add("relay-wrong");
    field.querySelector("input, textarea")?.setAttribute("aria-invalid", "true");
    field.scrollIntoView({ block: "nearest" });
  }

  return { generate, cancel: () => running?.abort() };
})();
