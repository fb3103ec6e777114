import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  input: "./generated/openapi.json",
  output: { path: "generated/rest", module: { extension: ".js" } },
  plugins: [
    // What is no success is thrown, so that an answer has its data.
    { name: "@hey-api/client-fetch", throwOnError: true },
    "@hey-api/sdk",
    "@hey-api/typescript",
  ],
});
