// SPDX-License-Identifier: Apache-2.0
// A record that comes twice is stored once, and the client is told.
import { admin, count, landed, policy, refused, rows, same, table } from "./scenario.mjs";

await table("orders", "event_id String, n UInt32");
await table("strict", "event_id String DEFAULT '', n UInt32");
await table("free", "event_id String, n UInt32");
await policy({ tables: {} });

const record = { event_id: "a", n: 1 };
same((await admin.from("orders").insert(record)).data, { ok: true }, "the first time a record is stored");
same((await admin.from("orders").insert(record)).data, { ok: true, duplicate: true }, "the second time it is a duplicate");
same((await admin.from("orders").insert({ event_id: "a", n: 2 })).data, { ok: true, duplicate: true }, "the id decides, not the rest");

const batch = await admin.from("orders").insert([{ event_id: "a", n: 3 }, { event_id: "b", n: 3 }, { event_id: "b", n: 4 }, { event_id: "c", n: 3 }]);
same([batch.data?.ok, batch.data?.total, batch.data?.succeeded, batch.data?.duplicates, batch.data?.failed], [true, 4, 2, 2, 0],
    "duplicates of earlier requests and within a batch are counted");
same(batch.data?.results, [{ index: 1, duplicate: true }, { index: 2, ok: true }, { index: 3, duplicate: true }, { index: 4, ok: true }],
    "and named");

refused(await admin.from("strict").insert({ n: 1 }), 400, 'missing dedupe id field "event_id"', "where an id is required it must be there");
for (let i = 0; i < 2; i++)
    same((await admin.from("free").insert(record)).data, { ok: true }, "a table without dedup takes it each time");

await landed("orders", 3);
await landed("free", 2);
same(await rows("SELECT event_id, n FROM orders ORDER BY event_id"),
    [{ event_id: "a", n: 1 }, { event_id: "b", n: 3 }, { event_id: "c", n: 3 }], "each is in ClickHouse once, as it came first");
same(await count("free"), 2, "and twice where nobody asked for dedup");
