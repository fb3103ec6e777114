import type { CodegenConfig } from "@graphql-codegen/cli";

// Types for each operation that stands in a call of `graphql(…)`.
const config: CodegenConfig = {
  schema: "generated/schema.graphql",
  documents: "examples/*.ts",
  importExtension: ".js",
  generates: {
    "generated/graphql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      // Operations are sent as text: nothing of the generator is needed when the program runs.
      config: { documentMode: "string", useTypeImports: true },
    },
  },
};

export default config;
