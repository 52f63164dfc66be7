// The server, as every client sees it. The page is one folder below its API, wherever a proxy has put both.
export const API = new URL("../", document.baseURI);

// What went wrong, in the server's words; `field` is the request's field that is at fault, if one is.
export class Fault extends Error {
  constructor({ error, field, retry_after_s: retry }) {
    super(retry ? `${error}; try again in ${retry} s` : error);
    this.field = field;
  }
}

// Which models answer, and the fields of their requests (entry/page/about.py); of one model, only what is special to it.
export async function aboutServer(model) {
  const answer = await fetch(model ? `server.json?${new URLSearchParams({ model })}` : "server.json");
  if (!answer.ok) throw new Fault({ error: `the server answers ${answer.status}` });
  return answer.json();
}

// One picture: its result event. `tell` hears of each other event. Raises Fault, and AbortError once it is cancelled.
export async function make(path, body, signal, tell) {
  let result = null;
  for await (const [name, data] of events(path, body, signal)) {
    if (name === "error") throw new Fault(data);
    if (name === "result") result = data;
    else tell(name, data);
  }
  if (!result) throw new Fault({ error: "the connection to the server has ended" });
  tell("done");
  return result;
}

export function blobOf(result) {
  const bytes = Uint8Array.from(atob(result.picture), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: result.media_type });
}

// Server-Sent Events, each as [name, data]. `body` is a form, or an object that is sent as JSON.
async function* events(path, body, signal) {
  const isForm = body instanceof FormData;
  const answer = await reached(
    fetch(new URL(path, API), {
      method: "POST",
      headers: isForm ? {} : { "content-type": "application/json" },
      body: isForm ? body : JSON.stringify(body),
      signal,
    }),
  );
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ error: `the server answers ${answer.status}` }));
    throw new Fault({ ...told, retry_after_s: answer.headers.get("retry-after") });
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reached(reader.read());
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

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault({ error: "the connection to the server was lost" });
  }
}
