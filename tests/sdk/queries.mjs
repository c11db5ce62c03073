// SPDX-License-Identifier: Apache-2.0
// What the query builder can say, what it gets, and the limits of a role.
import { admin, as, fill, modern, ok, policy, refused, rows, same, table } from "./scenario.mjs";

await table("clicks", "id UInt32, page String, score Float64, at DateTime, big UInt64, maybe Nullable(Int32), list Array(String), kind Enum8('a' = 1, 'b' = 2)");
await table("slow", "id UInt64", "ENGINE = MergeTree ORDER BY tuple()");
await policy({
    tables: {
        clicks: {
            select: {
                few: { max_rows: 2 },
                scanner: { max_rows_to_read: 2 },
                counter: { allowed_aggregations: ["count", "max"] },
                summer: { denied_aggregations: ["SUM"] },
            },
        },
        slow: { select: { hasty: { max_execution_time: 1 }, patient: { max_execution_time: "30s" } } },
    },
});
const now = Math.floor(Date.now() / 1000);
await fill("clicks", [
    { id: 1, page: "/a", score: 1.5, at: now - 60, big: "18446744073709551615", maybe: -1, list: ["x", "y"], kind: "a" },
    { id: 2, page: "/b", score: 2.5, at: now - 7200, big: 2, maybe: null, list: [], kind: "b" },
    { id: 3, page: "/a", score: 3, at: now - 86400 * 3, big: 3, list: ["it's"], kind: 1 },
    { id: 4, page: "/A", score: 4, at: now - 86400 * 30, big: 4, maybe: 7, list: [], kind: "b" },
]);
const clicks = () => admin.from("clicks");
const iso = s => new Date(s * 1000).toISOString().replace(".000", "");

same((await clicks().fetch({ limit: 1 })).data?.length, 1, "fetch({ limit })");
same((await clicks().select().where("id", "=", 1)).data, [{
    id: 1, page: "/a", score: 1.5, at: iso(now - 60), big: 18446744073709552000, maybe: -1, list: ["x", "y"], kind: "a",
}], "a row: numbers, times, lists, enums");
same((await clicks().select("maybe", "id").where("id", "=", 2)).data, [{ maybe: null, id: 2 }], "null, and columns in the order that was asked for");

const find = async (...where) => (await clicks().select("id").where(...where).orderBy("id")).data?.map(r => r.id);
for (const [where, want] of [
    [["id", "=", 2], [2]], [["id", "!=", 2], [1, 3, 4]], [["id", ">", 2], [3, 4]], [["id", ">=", 2], [2, 3, 4]], [["id", "<", 2], [1]],
    [["id", "<=", 2], [1, 2]], [["id", "in", [1, 4, 9]], [1, 4]], [["page", "like", "/a%"], [1, 3]], [["page", "not_like", "/a%"], [2, 4]],
    [["page", "in", ["/b", "it's"]], [2]], [["score", ">", 2.5], [3, 4]], [["kind", "=", "b"], [2, 4]], [["maybe", "=", null], [2, 3]],
    [["maybe", "!=", null], [1, 4]], [["big", "=", "18446744073709551615"], [1]], [["at", ">", iso(now - 3600)], [1]],
])
    same(await find(...where), want, `where(${JSON.stringify(where).slice(1, -1)})`);

const sums = await clicks().select("page").count().sum("score").min("id").max("id").countDistinct("kind").avg("score", "mean")
    .aggregate("uniqExact", "page", "pages").groupBy("page").orderBy("count", "desc").orderBy("page");
same(sums.data, [
    { page: "/a", count: 2, sum_score: 4.5, min_id: 1, max_id: 3, count_distinct_kind: 1, mean: 2.25, pages: 1 },
    { page: "/A", count: 1, sum_score: 4, min_id: 4, max_id: 4, count_distinct_kind: 1, mean: 4, pages: 1 },
    { page: "/b", count: 1, sum_score: 2.5, min_id: 2, max_id: 2, count_distinct_kind: 1, mean: 2.5, pages: 1 },
], "every aggregation of the builder");
const since = async (...range) => (await clicks().select("id").timeRange("at", ...range).orderBy("id")).data?.map(r => r.id);
same(await since("1h"), [1], "timeRange: the last hour");
same(await since("1w", "1d"), [3], "from a week ago to a day ago");
same(await since(iso(now - 86400)), [1, 2], "since an instant");
refused(await clicks().select("id").timeRange("at", "yesterday"), 400,
    'building WHERE clause: time_range since: invalid time value "yesterday": want an RFC3339 timestamp or a relative duration such as "1h", "30m", "7d", "2w"',
    "a time that is none");
refused(await clicks().select().selectAll().count(), 400, "select_all cannot be combined with aggregations", "selectAll() with aggregations");
same((await clicks().select("id").selectAll().orderBy("id").limit(1)).data?.map(r => Object.keys(r).length), [8],
    "selectAll() after columns: the client asks for all");
refused(await clicks().select().aggregate("sleep", "id", "x"), 400, "unsupported aggregation function: sleep", "a function that is none of the list");
refused(await clicks().select("id").where("id", "in", []), 400,
    "building WHERE clause: filter on column \"id\": invalid value for 'in' operator", "in() of nothing");

// Limits of roles.
const few = await as("few").from("clicks").select("id").orderBy("id").limit(10);
same([few.data, few.hasMore], [[{ id: 1 }, { id: 2 }], false], "max_rows caps");
const scanned = await as("scanner").from("clicks").select("id");
same([scanned.ok, scanned.error?.status, scanned.error?.details?.code], [false, 400, "clickhouse.limit_exceeded"], "max_rows_to_read");
same((await as("counter").from("clicks").select().count().max("id", "top")).data, [{ count: 4, top: 4 }], "an aggregation that is allowed");
refused(await as("counter").from("clicks").select().sum("id"), 403, 'aggregation "sum" not allowed', "one that is not");
refused(await as("summer").from("clicks").select().sum("id"), 403, 'aggregation "sum" not allowed', "one that is denied");

await rows("DROP TABLE slow");
await rows("CREATE VIEW slow AS SELECT number AS id FROM system.numbers LIMIT 300000000");
await admin.schema.refresh();
const hasty = await as("hasty").from("slow").select().max("id");
same([hasty.ok, hasty.data, hasty.error?.status, hasty.error?.details?.code], [false, null, 400, "clickhouse.limit_exceeded"],
    "max_execution_time of 1 ms: an error, no rows");
ok(modern ? hasty.error?.details?.exception_code === 159 : true, "by ClickHouse's own clock", hasty.error);
