// SPDX-License-Identifier: Apache-2.0
// Reads {"documents": {name: document}, "checks": [{"document","schema","values": [[value, fits], …]}]} from standard input.
// Validates each document with a public validator, and values against schemas in it; one line of JSON per finding.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";

const say = line => process.stdout.write(JSON.stringify(line) + "\n");
const { documents, checks } = JSON.parse(readFileSync(0, "utf8"));
for (const [name, document] of Object.entries(documents)) {
  const validator = new Validator();
  const { valid, errors } = await validator.validate(structuredClone(document));
  say({ document: name, valid, version: validator.version, errors });
}
for (const { document, schema, values } of checks) {
  const ajv = new Ajv.default({ strict: false });
  formats.default(ajv);
  ajv.addSchema(documents[document], "doc");
  const fits = ajv.getSchema("doc#/components/schemas/" + schema);
  say({ schema, wrong: values.filter(([value, want]) => fits(value) !== want) });
}
