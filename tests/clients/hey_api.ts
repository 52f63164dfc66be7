// The client that @hey-api/openapi-ts has made in ./made calls each endpoint. Arguments: the server's address, and a
// picture's file. It prints what it got as JSON.
import fs from "node:fs";
import { client } from "./made/client.gen";
import * as sdk from "./made/sdk.gen";
import type { PictureResult } from "./made/types.gen";

const [url, file] = process.argv.slice(2);
client.setConfig({ baseUrl: url, throwOnError: true });
const called = new Set<string>();
const api = new Proxy(sdk, {
  get(functions, name: keyof typeof sdk) {
    called.add(name);
    return functions[name];
  },
});
const told: Record<string, unknown> = {};
const prompt = "a green cone, white background";
const fields = { prompt, num_inference_steps: 8, seed: 1 };
const image = () => new Blob([fs.readFileSync(file)], { type: "image/png" });

function bytes(data: unknown): number {
  if (!(data instanceof Blob)) throw new Error(`no picture: ${JSON.stringify(data)}`);
  return data.size;
}

function seeds(data: unknown): Array<number | null | undefined> {
  return (data as PictureResult[]).map((result) => result.seed);
}

async function lastEvent(stream: AsyncIterable<unknown>): Promise<unknown> {
  let last: unknown;
  for await (const data of stream) last = data;
  return (last as { seed: number }).seed;
}

told.pictures = [
  bytes((await api.generate({ body: fields })).data),
  bytes((await api.refine({ body: { ...fields, image: image(), watermark: false } })).data),
  bytes((await api.edit({ body: { ...fields, image: image(), mask: image(), original_size: "128,128" } })).data),
];
told.several = [
  seeds((await api.generate({ body: { ...fields, n: 2 } })).data),
  seeds((await api.edit({ body: { ...fields, n: 2, image: image() } })).data),
  seeds((await api.generateBatch({ body: { requests: [fields, { ...fields, seed: 2 }] } })).data),
];
told.streams = [
  await lastEvent((await api.generateStream({ body: fields })).stream),
  await lastEvent((await api.refineStream({ body: { ...fields, image: image() } })).stream),
  await lastEvent((await api.editStream({ body: { ...fields, image: image() } })).stream),
];
told.size = (await api.provenance({ body: { image: image() } })).data?.width;

async function completed(task_id: string): Promise<void> {
  while ((await api.generateStatus({ query: { task_id } })).data?.status !== "completed")
    await new Promise((resolve) => setTimeout(resolve, 100));
}

const task = (await api.generateSubmit({ body: fields })).data!.task_id;
await completed(task);
told.task = bytes((await api.generateGet({ query: { task_id: task } })).data);
await completed((await api.generateRetry({ query: { task_id: task } })).data!.task_id);
const slow = (await api.generateSubmit({ body: { prompt, num_inference_steps: 150, width: 256, height: 256 } })).data!;
told.cancelled = (await api.generateCancel({ query: { task_id: slow.task_id } })).data?.status;

const made = (await api.createImage({ body: { ...fields, response_format: "url" } })).data!;
const name = (made as { data: Array<{ url?: string | null }> }).data[0].url!.split("/").pop()!;
told.fetched = bytes((await api.fetchPicture({ path: { name } })).data);
const changed = (await api.editImage({ body: { ...fields, image: image() } })).data as typeof made;
told.edited = (changed as { size: string }).size;
told.model = (await api.retrieveModel({ path: { name: "sdxl" } })).data?.id;
const drawn = (await api.txt2Img({ body: { prompt, steps: 8 } })).data!.images!;
told.images = drawn.length;
told.more_images = [
  (await api.img2Img({ body: { prompt, steps: 8, init_images: drawn } })).data?.images?.length,
  (await api.extraBatchImages({ body: { imageList: [{ data: drawn[0], name: "a.png" }] } })).data?.images?.length,
];
await api.extraSingleImage({ body: { image: drawn[0], upscaler_1: "Lanczos" } });
told.info = (await api.readPngInfo({ body: { image: drawn[0] } })).data?.info?.includes(prompt);
told.no_words = (await api.interrogate({ throwOnError: false })).response?.status;
await api.setOptions({ body: { sd_model_checkpoint: "mini" } });

for (const simple of [
  api.listModels, api.callerOptions, api.skip, api.upscalers, api.latentUpscaleModes, api.hypernetworks,
  api.faceRestorers, api.realesrganModels, api.promptStyles, api.scripts, api.scriptInfo, api.extensions, api.sdModules,
  api.cmdFlags, api.memory, api.ping, api.unloadCheckpoint, api.reloadCheckpoint, api.progress, api.interrupt, api.sdModels, api.loras, api.sdVae, api.embeddings,
  api.samplers, api.schedulers, api.refreshCheckpoints, api.refreshLoras, api.refreshVae, api.refreshEmbeddings,
  api.livez, api.readyz, api.healthz, api.metrics,
])
  await simple();

const refused = await api.generate({ body: { prompt, width: 100 }, throwOnError: false });
told.error = refused.error;
told.forgotten = Object.keys(sdk).filter((each) => !called.has(each));
console.log(JSON.stringify(told));
