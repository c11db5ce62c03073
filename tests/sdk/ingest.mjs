// SPDX-License-Identifier: Apache-2.0
// Inserts of every form, how soon they can be seen at the default pace (500 rows or 5 s), and what is refused.
import { admin, count, landed, ok, policy, refused, rows, same, table, until, watched, as } from "./scenario.mjs";

await table("one", "id UInt32, name String DEFAULT 'none'");
await table("many", "id UInt32, name String");
await table("some", "id UInt32, name String DEFAULT 'none'");
await policy({ tables: {} });

const began = performance.now();
const one = await admin.from("one").insert({ id: 1, name: "one" });
same([one.error, one.data], [null, { ok: true }], "insert() of one row");

const batch = Array.from({ length: 500 }, (_, i) => ({ id: i, name: `n${i}` }));
const sent = performance.now();
const many = await admin.from("many").insert(batch);
same([many.data?.ok, many.data?.total, many.data?.succeeded, many.data?.failed, many.data?.duplicates, many.data?.results?.length],
    [true, 500, 500, 0, 0, 500], "insert() of 500 rows");

const some = await admin.from("some").insert([{ id: 1, name: "a" }, { id: 2, nope: true }, { id: 3 }]);
same([some.error, some.data?.ok, some.data?.total, some.data?.succeeded, some.data?.failed], [null, false, 3, 2, 1],
    "one record of three has an unknown column: counts");
same(some.data?.results, [{ index: 1, ok: true }, { index: 2, error: 'unknown column "nope" for table "some"' }, { index: 3, ok: true }],
    "and results that say which and why");

ok(await landed("many", 500, 4000), "500 rows can be seen by sql() without waiting for the timer", await count("many"));
const early = performance.now() - sent;
ok(early < 4000, "that is well before 5 s", early);

const text = '{"id":10}\n{"id":11,"name":"eleven"}\n';
const sources = { text, bytes: new TextEncoder().encode(text), Blob: new Blob([text]), stream: new Blob([text]).stream() };
for (const [kind, source] of Object.entries(sources)) {
    const r = await admin.from("some").insertNDJSON(source);
    same([r.error, r.data?.ok, r.data?.succeeded], [null, true, 2], `insertNDJSON() of ${kind}`);
}
const lines = await admin.from("some").insertNDJSON('{"id":20}\r\n\r\n{"id":\n"text"\n{"id":21}');
same([lines.data?.total, lines.data?.failed, lines.data?.results?.filter(r => r.error)],
    [4, 2, [{ index: 2, error: "invalid json" }, { index: 3, error: "record must be a JSON object" }]], "lines that are no records");
const { options, calls } = watched();
const none = await as("admin", {}, options).from("some").insert([]);
same([none.data?.ok, none.data?.total, calls.length], [true, 0, 0], "insert([]) is no request");

refused(await admin.from("nowhere").insert({ id: 1 }), 404, "unknown table: nowhere", "a table that is not there");
refused(await admin.from("one").insert({ name: "x" }), 400, 'missing required column "id" for table "one"', "a required column is missing");
refused(await admin.from("one").insert({ id: [1] }), 400, 'type mismatch for column "id": cannot store array in UInt32', "a wrong kind");
refused(await admin.from("one").insert({ id: null }), 400, 'null value for non-nullable column "id"', "null where there can be none");
refused(await admin.from("one").insert({ id: 1, nope: 1 }), 400, 'unknown column "nope" for table "one"', "an unknown column");
refused(await admin.from("").insert({ id: 1 }), 400, "missing table", "no table");
const gone = await admin.from("nowhere").insert([{ id: 1 }]);
same([gone.ok, gone.data, gone.error?.code, gone.error?.retryable], [false, null, "HTTP_404", false], "the shape of an error");

ok(await landed("one", 1, began + 6000 - performance.now()), "a single row can be seen by sql() within 6 s", performance.now() - began);
await landed("some", 12);
same(await rows("SELECT id, name FROM some WHERE id < 10 ORDER BY id"), [{ id: 1, name: "a" }, { id: 3, name: "none" }],
    "the other two records of the three are stored");
same(await rows("SELECT id, count() = 4 AS n FROM some WHERE id IN (10, 11) GROUP BY id ORDER BY id"),
    [{ id: 10, n: 1 }, { id: 11, n: 1 }], "insertNDJSON() stored each line, each time");
same(await until(async () => [await count("one"), await count("many")]), [1, 500], "what was refused is not stored");
