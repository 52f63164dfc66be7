// Vercel's AI SDK with its provider for OpenAI. Arguments: the server's address, and a picture's file.
import fs from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";

const [url, file] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const prompt = "a green cone, white background";
const told = {};

for (const model of ["sdxl", "dall-e-3", "gpt-image-1"]) {
  const made = await generateImage({ model: openai.image(model), prompt, size: "128x128", maxRetries: 0 });
  told[model] = made.image.base64;
}
const edited = await generateImage({
  model: openai.image("gpt-image-1"),
  prompt: { text: prompt, images: [fs.readFileSync(file)] },
  maxRetries: 0,
});
told.edited = edited.image.base64;
try {
  await generateImage({ model: openai.image("flux"), prompt, maxRetries: 0 });
} catch (error) {
  told.error = [error.statusCode, error.data?.error?.code];
}
console.log(JSON.stringify(told));
