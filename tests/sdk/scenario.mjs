// SPDX-License-Identifier: Apache-2.0
// What every scenario of the SDK gets: a client, its arguments, and assertions that tests/e2e/sdk.py counts.
//
// A scenario is a program tests/sdk/NAME.mjs that imports this file; each assertion is a line of JSON on its output.
import { isDeepStrictEqual } from "node:util";
import { createClient } from "@wavehouse/sdk";

const [url, given] = process.argv.slice(2);
export const baseURL = url;
// server ("26.7" or "18.16"), database, and what the scenario's own setup adds.
export const about = JSON.parse(given);
export const client = createClient({ baseURL });

const say = line => process.stdout.write(JSON.stringify(line, (_, v) => typeof v === "bigint" ? `${v}` : v) + "\n");
export const ok = (holds, name, detail) => { say({ ok: Boolean(holds), name, detail }); return Boolean(holds); };
export const same = (got, want, name) => ok(isDeepStrictEqual(got, want), name, { got, want });
export const skip = (name, why) => say({ skip: why, name });
