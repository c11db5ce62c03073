// SPDX-License-Identifier: Apache-2.0
// A row that ClickHouse cannot take is set aside, and nothing else with it.
import { admin, as, listen, ok, policy, rows, same, table, until } from "./scenario.mjs";

await table("readings", "id UInt32, value Int32");
await table("other", "id UInt32");
await policy({ tables: { readings: { select: { viewer: {} } } } });
same((await admin.dlq.list()).data, { tables: {}, total: 0 }, "nothing is set aside");

const letters = await listen(admin.dlq.stream());
const stranger = await listen(as("viewer").dlq.stream());
const began = performance.now();
const sent = await admin.from("readings").insert(Array.from({ length: 10 }, (_, i) => ({ id: i, value: i === 4 ? "definitely-not-a-number" : i })));
same([sent.data?.ok, sent.data?.succeeded], [true, 10], "ten rows are accepted, one of them bad");

const total = await until(async () => (await admin.dlq.list()).data?.total);
same(total, 1, "dlq.list() has one more");
ok(performance.now() - began < 15000, "within 15 s", performance.now() - began);
same((await admin.dlq.list()).data, { tables: { readings: 1 }, total: 1 }, "under its table");
same((await admin.dlq.table("readings")).data, { tables: { readings: 1 }, total: 1 }, "dlq.table() of it");
same((await admin.dlq.table("other")).data, { tables: {}, total: 0 }, "and of another");
same(await until(async () => (await rows("SELECT groupArray(id) AS ids FROM (SELECT id FROM readings ORDER BY id)"))[0].ids.length), 9, "nine are stored");
same((await rows("SELECT id FROM readings ORDER BY id")).map(r => r.id), [0, 1, 2, 3, 5, 6, 7, 8, 9], "the right ones");

await letters.count(1);
const [letter] = letters.events;
same([letters.events.length, letter?.table, letter?.data?.data], [1, "readings", { id: 4, value: "definitely-not-a-number" }],
    "dlq.stream() has it, under its table");
ok(letter?.data?.error && letter?.data?.error_code > 0 && letter?.data?.received_timestamp && letter?.timestamp >= letter?.data?.received_timestamp,
    "with the error, its number and both times", letter);
same([stranger.stream.status, stranger.events], ["live", []], "for others than admins it is silent");
letters.end();
stranger.end();
