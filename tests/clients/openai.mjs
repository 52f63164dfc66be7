// OpenAI's package for Node. Arguments: the server's address, and a picture's file. It prints what it got as JSON.
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const prompt = "a green cone, white background";
const quick = { prompt, num_inference_steps: 6, seed: 1 };
const told = {};

const several = await client.images.generate({ ...quick, model: "sdxl", n: 2 });
told.pictures = several.data.map((image) => image.b64_json);
told.usage = several.usage.total_tokens;

const linked = await client.images.generate({ ...quick, model: "dall-e-3", size: "128x128" });
told.url = linked.data[0].url;
told.fetched = (await (await fetch(told.url)).arrayBuffer()).byteLength;

const image = async () => toFile(fs.createReadStream(file), "picture.png", { type: "image/png" });
const edited = await client.images.edit({ image: [await image(), await image()], prompt, model: "sdxl" });
told.edited = edited.data[0].b64_json;
told.warnings = edited.warnings;

told.events = [];
for await (const event of await client.images.generate({ ...quick, stream: true, partial_images: 2 }))
  told.events.push(event.type);

try {
  await client.images.generate({ ...quick, model: "flux" });
} catch (error) {
  told.error = [error.constructor.name, error.status, error.code];
}
told.models = (await client.models.list()).data.map((model) => model.id);
console.log(JSON.stringify(told));
