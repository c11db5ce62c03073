// SPDX-License-Identifier: Apache-2.0
// Who may do what: roles, tokens, hidden columns, rows of one's own, checks on insert.
import {
    admin, anonymous, as, bearing, fill, landed, operator, policy, refused, rows, same, table, token,
} from "./scenario.mjs";

await table("events", "id UInt32, tenant String, page String, secret String DEFAULT 'hush'");
await table("other", "id UInt32");
await table("open", "id UInt32");
await policy({
    default_role: "public",
    tables: {
        events: {
            select: {
                viewer: { deny_columns: ["secret"] },
                tenant: { filter: { tenant: { _eq: "{{ jwt.tenant }}" } }, allow_columns: ["id", "tenant"] },
                member: { filter: { tenant: { _in: "{{ jwt.tenants }}" } }, allow_columns: ["id"] },
            },
            insert: {
                writer: {},
                agent: { check: { tenant: { _eq: "{{ jwt.tenant }}" } }, deny_columns: ["secret"] },
            },
        },
        open: { select: { public: {} }, insert: { public: {} } },
    },
});
await fill("events", [
    { id: 1, tenant: "red", page: "/a" }, { id: 2, tenant: "blue", page: "/b" }, { id: 3, tenant: "red", page: "/c" },
]);

// Insert.
const record = { id: 4, tenant: "red", page: "/d" };
same((await as("writer").from("events").insert(record)).data, { ok: true }, "writer may insert");
refused(await as("viewer").from("events").insert(record), 403, "forbidden", "a role without insert may not");
refused(await anonymous.from("events").insert(record), 403, "forbidden", "nor may anybody without a token");
refused(await bearing("garbage").from("events").insert(record), 401, "invalid token", "a garbage bearer on a protected table");
refused(await bearing(token({ role: "writer" }, "another secret that is just as long as ours")).from("events").insert(record),
    401, "invalid token", "a token of somebody else");
refused(await bearing(token({ role: "writer", exp: 1 })).from("events").insert(record), 401, "token expired", "an expired token");
refused(await as("writer").from("events").select("id"), 403, "forbidden", "who may write may not read by that");
same((await bearing("garbage").from("open").insert({ id: 1 })).data, { ok: true }, "on a public table a garbage bearer is as good as none");

const agent = as("agent", { tenant: "green" });
same((await agent.from("events").insert({ id: 5, page: "/e" })).data, { ok: true }, "a check stamps what is not there");
refused(await agent.from("events").insert({ id: 6, page: "/f", tenant: "red" }), 403, 'check failed for column "tenant"', "and refuses another's");
refused(await agent.from("events").insert({ id: 6, page: "/f", secret: "x" }), 403, 'column "secret" not allowed for insert', "a column that is denied");
refused(await as("agent").from("events").insert({ id: 6, page: "/f" }), 403, 'check failed for column "tenant"', "a token without the claim");
const mixed = await agent.from("events").insert([{ id: 7, page: "/g", tenant: "green" }, { id: 8, page: "/h", tenant: "red" }]);
same(mixed.data?.results, [{ index: 1, ok: true }, { index: 2, error: 'check failed for column "tenant"' }], "in a batch, record by record");

// Read.
await landed("events", 6);
const viewer = as("viewer");
const asked = await viewer.from("events").select("id", "page").where("id", "<=", 3).orderBy("id");
same(asked.data, [{ id: 1, page: "/a" }, { id: 2, page: "/b" }, { id: 3, page: "/c" }], "viewer reads a granted table");
refused(await viewer.from("other").select("id"), 403, "forbidden", "not one that is not granted");
refused(await viewer.from("nowhere").select("id"), 404, "unknown table: nowhere", "one that is not there");
const all = await viewer.from("events").fetch();
same([all.data?.length, Object.keys(all.data?.[0] ?? {})], [6, ["id", "tenant", "page"]], "fetch() leaves out hidden columns");
same(Object.keys((await admin.from("events").fetch()).data?.[0] ?? {}), ["id", "tenant", "page", "secret"], "admin's fetch() has them");
const hidden = 'column "secret" not allowed';
const events = viewer.from("events");
for (const [where, query] of Object.entries({
    select: events.select("id", "secret"),
    where: events.select("id").where("secret", "like", "h%"),
    orderBy: events.select("id").orderBy("secret"),
    groupBy: events.select().count().groupBy("secret"),
    max: events.select().max("secret"),
    count: events.select().count("secret"),
    timeRange: events.select("id").timeRange("secret", "1h"),
}))
    refused(await query, 403, hidden, `a hidden column in ${where}`);
refused(await events.select("id", "nowhere"), 400, "unknown column: nowhere", "a column that is not there");

const own = await as("tenant", { tenant: "red" }).from("events").fetch();
same(own.data?.map(r => r.id).sort(), [1, 3, 4], "a row filter shows the rows of the caller");
same((await as("tenant", { tenant: "red" }).from("events").select("id").where("tenant", "=", "blue")).data, [], "and no trick shows others");
same((await as("tenant").from("events").fetch()).data, [], "without the claim: none");
const both = await as("member", { tenants: ["blue", "green"] }).from("events").select("id").orderBy("id");
same(both.data, [{ id: 2 }, { id: 5 }, { id: 7 }], "_in with a claim that is a list");
same((await as("member", { tenants: [] }).from("events").select("id")).data, [], "an empty list: none");
same((await anonymous.from("open").fetch()).data instanceof Array, true, "anybody reads the public table");

// Operate.
for (const [who, client, status, message] of [
    ["viewer", viewer, 403, "forbidden"], ["anybody", anonymous, 403, "forbidden"], ["garbage", bearing("garbage"), 401, "invalid token"],
]) {
    for (const [what, call] of Object.entries({
        "sql()": c => c.sql("SELECT 1"), "schema.list()": c => c.schema.list(), "schema.refresh()": c => c.schema.refresh(),
        "policy.get()": c => c.policy.get(), "policy.set()": c => c.policy.set({ tables: {} }), "pipes.list()": c => c.pipes.list(),
        "pipes.delete()": c => c.pipes.delete("x"), "dlq.list()": c => c.dlq.list(),
    }))
        refused(await call(client), status, message, `${what} is not for ${who}`);
}
same((await admin.sql("SELECT 1 AS n")).data, [{ n: 1 }], "admin may");
same((await operator.sql("SELECT 1 AS n")).data, [{ n: 1 }], "so may the operator's key, sent as the client's header");
same(await rows("SELECT tenant, count() AS n FROM events GROUP BY tenant ORDER BY tenant").then(r => r.map(x => [x.tenant, Number(x.n)])),
    [["blue", 1], ["green", 2], ["red", 3]], "nothing of what was refused is stored");
