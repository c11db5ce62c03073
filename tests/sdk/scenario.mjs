// SPDX-License-Identifier: Apache-2.0
// What every scenario of the SDK gets: clients, ways to wait, and assertions that tests/e2e/sdk.py counts.
//
// A scenario is a program tests/sdk/NAME.mjs that imports this file and does everything by the SDK, tables and policy
// included. Each assertion is a line of JSON on its output; ask() asks the runner for what a client cannot do.
import { createHmac } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createClient } from "@wavehouse/sdk";

const [url, given] = process.argv.slice(2);
export const baseURL = url;
// server ("26.7" or "18.16"), secret and key of the daemon, node_modules.
export const about = JSON.parse(given);
export const modern = about.server !== "18.16";

const say = line => process.stdout.write(JSON.stringify(line, (_, v) => typeof v === "bigint" ? `${v}` : v) + "\n");
export const ok = (holds, name, detail) => { say({ ok: Boolean(holds), name, detail }); return Boolean(holds); };
export const same = (got, want, name) => ok(isDeepStrictEqual(got, want), name, { got, want });
export const skip = (name, why) => say({ skip: why, name });

// Clients -----------------------------------------------------------------------------------------------------------
const b64 = text => Buffer.from(text).toString("base64url");

export function token(claims, secret = about.secret) {
    const body = { exp: Math.floor(Date.now() / 1000) + 600, ...claims };
    const text = `${b64('{"alg":"HS256","typ":"JWT"}')}.${b64(JSON.stringify(body))}`;
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

// A client with that text as its token.
export const bearing = (text, options) => createClient({ baseURL, auth: () => text, options });
export const as = (role, claims, options) => bearing(token({ role, ...claims }), options);
export const anonymous = createClient({ baseURL });
export const admin = as("admin");
export const operator = createClient({ baseURL, options: { headers: { "X-Operator-Key": about.key } } });

// Options for a client, and its calls: one entry per answer, also per attempt and per dial of a stream.
export function watched() {
    const calls = [];
    const watching = async (address, init) => {
        const began = performance.now();
        const answer = await fetch(address, init);
        calls.push({ path: new URL(address).pathname, status: answer.status, headers: answer.headers, began, sent: init.headers });
        return answer;
    };
    return { options: { fetch: watching }, calls };
}

// Answers -----------------------------------------------------------------------------------------------------------
// The data of an answer that is not the point of the test.
export function must(result) {
    if (result.error)
        throw new Error(`${result.error.code}: ${result.error.message} ${JSON.stringify(result.error.details)}`);
    return result.data;
}

// [status, message] of an answer that should be an error.
export const refusal = result => [result.error?.status ?? 200, result.error?.message ?? result.data];
export const refused = (result, status, message, name) => same(refusal(result), [status, message], name);

// Polls; the last value that check gave, true or not.
export async function until(check, ms = 20000) {
    const end = performance.now() + ms;
    for (;;) {
        const value = await check();
        if (value || performance.now() >= end)
            return value;
        await pause(30);
    }
}

// Tables ------------------------------------------------------------------------------------------------------------
export const quoted = name => "`" + name.replace(/[\\`]/g, "\\$&") + "`";

export async function table(name, columns, more = "ENGINE = MergeTree ORDER BY tuple()") {
    must(await operator.sql(`CREATE TABLE ${quoted(name)} (${columns}) ${more}`));
    must(await operator.schema.refresh());
}

export const policy = async document => must(await operator.policy.set(document));
export const rows = async query => must(await operator.sql(query));
export const count = async name => Number((await rows(`SELECT count() AS n FROM ${quoted(name)}`))[0].n);
export const landed = (name, n, ms) => until(async () => await count(name) >= n, ms);

// Inserts and waits until it is in ClickHouse.
export async function fill(name, records) {
    const sum = must(await admin.from(name).insert(records));
    if (!sum.ok)
        throw new Error(`fill ${name}: ${JSON.stringify(sum)}`);
    if (!await landed(name, records.length))
        throw new Error(`fill ${name}: the rows do not land`);
}

// Waits until nothing of the table is left to be inserted, as the planner knows it (metrics may be of a moment ago). What is on its way when ClickHouse or the daemon dies may be inserted again
// where the table does not look for repeated inserts (doc/flush.md), as none of 18.16 does.
export const settled = name => until(async () => {
    const a = await fetch(new URL(`/v1/offset?table=${name}`, baseURL), { headers: { "X-Operator-Key": about.key } });
    return (await a.json()).pending_records === 0;
});

// Streams -----------------------------------------------------------------------------------------------------------
// Open, live, and what came so far.
export async function listen(stream) {
    const heard = { stream, events: [], errors: [], statuses: [] };
    heard.end = stream.subscribe({
        next: e => heard.events.push({ ...e, at: performance.now() }),
        error: e => heard.errors.push(e),
        status: s => heard.statuses.push(s),
    });
    heard.data = () => heard.events.map(e => e.data);
    heard.count = (n, ms) => until(() => heard.events.length >= n, ms);
    await stream.connected();
    return heard;
}

// The runner --------------------------------------------------------------------------------------------------------
let answers;

// "kill", "stop", "start", "clickhouse down", "clickhouse up": done when this returns.
export async function ask(what) {
    answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    process.stdin.ref();
    say({ ask: what });
    const { value } = await answers.next();
    process.stdin.unref();
    const answer = JSON.parse(value);
    if (answer.error)
        throw new Error(`${what}: ${answer.error}`);
    return answer;
}
