// SPDX-License-Identifier: Apache-2.0
// next() goes through a table without repeats or gaps, whatever the type of its order, on a server that is not in UTC.
import { about, admin, fill, modern, ok, policy, refused, same, skip, table } from "./scenario.mjs";

// All pages: [[rows…]…], and whether the client thought so.
async function pages(query) {
    const got = [];
    for (let page = await query; ; page = await page.next()) {
        if (page.error)
            throw new Error(`page ${got.length}: ${JSON.stringify(page.error)}`);
        got.push(page.data);
        if (!page.next || got.length > 20)
            return { got, more: page.hasMore };
    }
}

const types = {
    event_id: "UInt32", text: "String", day: "Date", at: "DateTime", away: "DateTime('America/New_York')", price: "Decimal(10, 2)",
    half: "Float64",
    ...(modern ? { ts: "DateTime64(3)", ts9: "DateTime64(9)", ts_away: "DateTime64(3, 'America/New_York')", big: "Int128" } : {}),
};
await table("events", Object.entries(types).map(([name, type]) => `${name} ${type}`).join(", "));
await table("gaps", "id UInt32, maybe Nullable(UInt32)");
await policy({ tables: {} });

const N = 10;
const two = i => String(i).padStart(2, "0");
const records = Array.from({ length: N }, (_, i) => ({
    event_id: i + 1, text: `it's \\ ${two(i)}`, day: `2026-03-${two(i + 1)}`, at: `2026-03-29 00:59:${two(5 * i)}`,
    away: `2026-03-29 00:59:${two(5 * i)}`, price: `${i}.${two(i)}`, half: i / 8,
    ...(modern ? {
        ts: `2026-03-29 00:59:59.${two(i)}7`, ts9: `2026-03-29 00:59:59.0000000${two(i)}`, ts_away: `2026-03-29 00:59:59.${two(i)}7`,
        big: `17014118346046923173168730371588410${i}`,
    } : {}),
}));
await fill("events", records.sort((a, b) => (a.event_id * 7) % 11 - (b.event_id * 7) % 11));
const ids = Array.from({ length: N }, (_, i) => i + 1);

const events = () => admin.from("events");
const first = await events().select("event_id").limit(3).orderBy("event_id");
same([first.data, first.hasMore, typeof first.next], [[{ event_id: 1 }, { event_id: 2 }, { event_id: 3 }], true, "function"],
    "limit(3).orderBy('event_id'): three rows, and more");
same((await first.next()).data, [{ event_id: 4 }, { event_id: 5 }, { event_id: 6 }], "next() goes on behind them");

for (const name of Object.keys(types)) {
    if (name === "big")
        continue; // digits beyond 2^53 are lost in JavaScript: see below
    for (const dir of ["asc", "desc"]) {
        const { got, more } = await pages(events().select("event_id", name).limit(3).orderBy(name, dir));
        const want = dir === "asc" ? ids : [...ids].reverse();
        same([got.flat().map(r => r.event_id), got.map(p => p.length), more], [want, [3, 3, 3, 1], false],
            `every row once, by ${types[name]} ${dir} (${about.zone})`);
    }
}
// Asia/Kathmandu is 5:45 ahead of UTC.
const at = (await events().select("at", "away").where("event_id", "=", 1)).data?.[0];
same(at, { at: "2026-03-28T19:14:00Z", away: "2026-03-29T04:59:00Z" }, "times are UTC, and were read in the zone of the column, else of the server");
if (modern) {
    const r = (await events().select("ts", "ts9", "ts_away").where("event_id", "=", 2)).data?.[0];
    same(r, { ts: "2026-03-28T19:14:59.017Z", ts9: "2026-03-28T19:14:59.000000001Z", ts_away: "2026-03-29T04:59:59.017Z" },
        "the same of DateTime64");
    same((await events().select("event_id").where("ts", "=", "2026-03-29T00:59:59.017+05:45")).data, [{ event_id: 2 }],
        "an instant is compared, not a text");
    const big = await events().select("big").limit(3).orderBy("big");
    same((await big.next()).error, null, "numbers that JavaScript cannot hold go on as they can");
} else {
    skip("pages by newer columns", "ClickHouse 18.16 has no DateTime64 and no Int128: pages by DateTime and Decimal instead");
}

const whole = await events().select("event_id").limit(N).orderBy("event_id");
same([whole.hasMore, (await whole.next()).data], [true, []], "a page that ends with the table has an empty one after it");
const unordered = await events().select("event_id").limit(3);
same([unordered.hasMore, unordered.next], [true, undefined], "without orderBy() there is no next()");
const blind = await events().select("text").limit(3).orderBy("event_id");
same((await blind.next()).data, [], "without the ordered column the client stops");

await fill("gaps", [{ id: 1, maybe: 1 }, { id: 2, maybe: 2 }, { id: 3, maybe: null }, { id: 4, maybe: null }]);
const last = await admin.from("gaps").select("id", "maybe").limit(3).orderBy("maybe");
ok(last.data?.[2]?.maybe === null, "NULL comes last", last);
refused(await last.next(), 400, 'building WHERE clause: filter on column "maybe": filter value must not be null', "NULL is no place to go on from");
