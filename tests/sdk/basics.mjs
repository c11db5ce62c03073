// SPDX-License-Identifier: Apache-2.0
// The SDK reaches the daemon, and finds its tables.
import { createClient } from "@wavehouse/sdk";
import { about, baseURL, operator, ok, refused, same, table } from "./scenario.mjs";

const health = await operator.sys.health();
same([health.ok, health.error], [true, null], "sys.health() is well");
for (const more of ["//", "/?a=b#c"])
    same((await createClient({ baseURL: baseURL + more }).sys.health()).ok, true, `so it is at an address with ${more}`);

same((await operator.schema.list()).data, {}, "no table: schema.list() is empty");
await table("clicks", "id UInt32, page String DEFAULT '/', score Nullable(Float64), at DateTime MATERIALIZED now()");
await table("orders", "id UInt32");

const all = await operator.schema.list();
same(Object.keys(all.data ?? {}).sort(), ["clicks", "orders"], "schema.list() has the tables that were created");
const column = ({ name, type, is_nullable, has_default }) => ({ name, type, is_nullable, has_default });
same(all.data?.clicks?.columns?.map(column), [
    { name: "id", type: "UInt32", is_nullable: false, has_default: false },
    { name: "page", type: "String", is_nullable: false, has_default: true },
    { name: "score", type: "Nullable(Float64)", is_nullable: true, has_default: false },
    { name: "at", type: "DateTime", is_nullable: false, has_default: true },
], "with their columns, in order, with type, null and default");

const one = await operator.from("orders").schema();
ok(Array.isArray(one.data?.columns), "schema() of a table has an array of columns", one);
same([one.data?.name, one.data?.columns?.map(column)],
    ["orders", [{ name: "id", type: "UInt32", is_nullable: false, has_default: false }]], "and they are right");
refused(await operator.from("nowhere").schema(), 404, "table not found", "schema() of a table that is not there");

same((await operator.sql("SELECT 1 + 1 AS two, 'x' AS x")).data, [{ two: 2, x: "x" }], "sql() answers rows");
same((await operator.sql("SELECT 1 AS n WHERE 0")).data, [], "sql() without rows is an empty array");
same((await operator.sql("DROP TABLE orders")).data, [], "so is a statement that has no answer");
const bad = await operator.sql("SELECT nonsense FROM");
same([bad.error?.status, bad.error?.retryable], [400, false], "a mistake in sql() is the caller's, and is not tried again");
ok(bad.error?.message.includes("DB::Exception"), "in ClickHouse's words", bad.error);
ok(!JSON.stringify(bad.error).includes(about.key), "without the caller's key");
