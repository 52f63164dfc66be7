// openapi-fetch with the types that openapi-typescript has made in ./made.d.ts. Arguments: the server's address, and a
// picture's file. It prints what it got as JSON.
import fs from "node:fs";
import createClient from "openapi-fetch";
import type { paths } from "./made";

const [url, file] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
const prompt = "a green cone, white background";
const fields = { prompt, num_inference_steps: 8, seed: 1 };

const picture = await client.POST("/generate", { body: fields, parseAs: "blob" });
const several = await client.POST("/generate_batch", { body: { requests: [fields] } });
const edited = await client.POST("/edit", {
  body: { ...fields, image: "" },
  bodySerializer() {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, String(value));
    form.append("image", new Blob([fs.readFileSync(file)], { type: "image/png" }), "a.png");
    return form;
  },
  parseAs: "blob",
});
const generated = await client.POST("/v1/images/generations", { body: fields });
const refused = await client.POST("/generate", { body: { prompt, width: 100 } });
const models = await client.GET("/v1/models/{name}", { params: { path: { name: "sdxl" } } });
const told = {
  picture: (picture.data as Blob).size,
  seed: several.data?.[0].seed,
  status: generated.response.status,
  edited: (edited.data as Blob).size,
  error: refused.error,
  model: models.data,
};
console.log(JSON.stringify(told));
