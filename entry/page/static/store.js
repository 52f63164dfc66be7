// What this browser keeps: settings in localStorage, pictures in IndexedDB. One that keeps nothing does no harm.
import { API } from "./server.js";

const NAME = `sdxl-relay ${API.pathname}`; // several servers may share a host
const MAX_PICTURES = 30;
const MAX_BYTES = 100e6;

export function load() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

export function save(state) {
  try {
    localStorage.setItem(NAME, JSON.stringify(state));
  } catch {
    // Nothing is kept.
  }
}

// The last pictures, the newest first: each what it was made from, and its files. In memory, if there is no database.
export class Pictures {
  static async open() {
    const pictures = new Pictures();
    const opening = globalThis.indexedDB?.open(NAME, 1);
    if (opening) opening.onupgradeneeded = () => opening.result.createObjectStore("pictures", { keyPath: "id" });
    pictures.database = opening && (await done(opening).catch(() => null));
    pictures.all = (await pictures.read()).reverse();
    return pictures;
  }

  // Puts one first, and drops those that are too many.
  async add(picture) {
    picture.id = Math.max(Date.now(), (this.all[0]?.id ?? 0) + 1);
    this.all.unshift(picture);
    const dropped = [];
    while (this.all.length > 1 && (this.all.length > MAX_PICTURES || this.bytes > MAX_BYTES)) dropped.push(this.all.pop());
    await this.write((store) => {
      store.put(picture);
      dropped.forEach(({ id }) => store.delete(id));
    });
  }

  async clear() {
    this.all = [];
    await this.write((store) => store.clear());
  }

  get bytes() {
    const files = this.all.flatMap(({ file, before, job }) => [file, before, job.mask]);
    return files.reduce((sum, file) => sum + (file?.size ?? 0), 0);
  }

  async read() {
    if (!this.database) return [];
    return done(this.database.transaction("pictures").objectStore("pictures").getAll()).catch(() => []);
  }

  async write(change) {
    try {
      const transaction = this.database.transaction("pictures", "readwrite");
      change(transaction.objectStore("pictures"));
      await new Promise((resolve) => (transaction.oncomplete = transaction.onabort = resolve)); // aborted: the disk is full
    } catch {
      // There is no database, or not any more: they are kept until the page is left.
    }
  }
}

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
