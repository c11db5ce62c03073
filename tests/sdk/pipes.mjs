// SPDX-License-Identifier: Apache-2.0
// Pipes by the SDK: set, list, get, run with and without values, roles, delete.
import { admin, anonymous, as, fill, listen, policy, refused, same, table } from "./scenario.mjs";

await table("clicks", "id UInt32, page String");
await policy({ default_role: "public", tables: {} });
await fill("clicks", Array.from({ length: 20 }, (_, i) => ({ id: i, page: i % 2 ? "/odd" : "it's even" })));

same((await admin.pipes.list()).data, [], "no pipe yet");
const top = { sql: "SELECT id FROM clicks ORDER BY id LIMIT {{limit:10}}", description: "the first ones", allowed_roles: ["viewer"] };
const of_page = {
    sql: "SELECT count() AS n FROM clicks WHERE page = {{page}} AND id IN {{ids}}", allowed_roles: ["viewer"],
    parameters: [{ name: "page", type: "string", required: true }, { name: "ids", type: "array", required: true }],
};
same((await admin.pipes.set("top", top)).ok, true, "set()");
same((await admin.pipes.set("of page/50%", of_page)).ok, true, "set() of a name that must be escaped");
same((await admin.pipes.list()).data, [{ name: "of page/50%", ...of_page }, { name: "top", ...top }], "list() by name");
same((await admin.pipes.get("top")).data, { name: "top", ...top }, "get()");
same((await admin.pipes.get("of page/50%")).data?.name, "of page/50%", "get() of the other");
refused(await admin.pipes.get("nowhere"), 404, "pipe not found", "get() of one that is not there");
refused(await admin.pipes.set("bad", { sql: "" }), 400, "pipe SQL is required", "a pipe without SQL");

const viewer = as("viewer");
const ids = r => r.data?.map(row => row.id);
same(ids(await viewer.pipe("top")), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "{{limit:10}} without a value: 10 rows");
same(ids(await viewer.pipe("top", { limit: 3 })), [0, 1, 2], "{ limit: 3 }: 3 rows");
same(ids(await viewer.pipe("top", { limit: "4" })), [0, 1, 2, 3], "a text that is a number, too");
const injected = await viewer.pipe("top", { limit: "1; DROP TABLE clicks" });
same([injected.ok, injected.error?.status], [false, 400], "a text that is more than that is one text");
same(Number((await viewer.pipe("of page/50%", { page: "it's even", ids: [0, 1, 2] })).data?.[0]?.n), 2, "values with quotes, and arrays");
refused(await viewer.pipe("of page/50%", { ids: [1] }), 400, "missing required parameter: page", "a required value is missing");
refused(await viewer.pipe("of page/50%", { page: 5, ids: [1] }), 400, 'parameter "page": expected string, got number', "a value of the wrong type");
refused(await viewer.pipe("of page/50%", { page: "x", ids: [] }), 400, 'parameter "ids": array parameter must not be empty', "an empty array");

refused(await as("clerk").pipe("top"), 403, "forbidden", "a role that is not listed");
refused(await anonymous.pipe("top"), 403, "forbidden", "nor the public");
refused(await viewer.pipe("nowhere"), 404, "pipe not found", "a pipe that is not there");
same((await admin.pipe("top", { limit: 1 })).data, [{ id: 0 }], "admin may run any");

same((await admin.pipes.set("top", { ...top, sql: "SELECT max(id) AS id FROM clicks" })).ok, true, "set() replaces");
same(ids(await viewer.pipe("top")), [19], "and the next call runs the new one");
const heard = await listen(viewer.pipe("top").stream());
const clicks = await listen(admin.from("clicks").stream());
await admin.from("clicks").insert({ id: 99, page: "/" });
await clicks.count(1);
same([heard.stream.status, heard.events, clicks.events.length], ["live", [], 1], "pipe().stream() opens, and is silent: a pipe is no table");
heard.end();
clicks.end();
for (const time of ["once", "twice"])
    same((await admin.pipes.delete("top")).ok, true, `delete() ${time}`);
refused(await viewer.pipe("top"), 404, "pipe not found", "then it is gone");
same((await admin.pipes.list()).data?.map(p => p.name), ["of page/50%"], "the other is still there");
