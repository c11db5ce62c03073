// SPDX-License-Identifier: Apache-2.0
// The policy by the SDK: none, the first, get → spread → set, refusals, and at once for requests and open streams.
import { admin, anonymous, as, listen, operator, refused, same, table, until } from "./scenario.mjs";

const closed = "forbidden: request has no role and no public default_role is configured";
await table("clicks", "id UInt32, page String, secret String DEFAULT ''");
await table("orders", "id UInt32");

same((await operator.policy.get()).data, { tables: {} }, "no policy: get() is an empty one");
refused(await admin.policy.get(), 403, "forbidden", "no policy: an admin's token opens nothing");
refused(await admin.from("clicks").insert({ id: 1, page: "/" }), 403, "forbidden", "no data either");
refused(await anonymous.from("clicks").fetch(), 403, closed, "nor for those without a role");

const first = {
    default_role: "", admin_role: "admin", tables: {
        clicks: {
            select: { viewer: { deny_columns: ["secret"], max_rows: 100, max_execution_time: "5s", max_memory_usage: "1GiB" } },
            insert: { writer: { check: { page: { _in: "{{ jwt.pages }}" } } } },
        },
    },
};
same((await operator.policy.validate(first)).data?.valid, true, "validate() of a good policy");
same((await operator.policy.get()).data, { tables: {} }, "which changes nothing");
same((await operator.policy.set(first)).ok, true, "set()");
refused(await anonymous.from("clicks").fetch(), 403, closed, "without default_role there is no public");

// As a script does: get, add a table, set.
const before = (await admin.policy.get()).data;
same(before?.tables?.clicks?.select?.viewer, { deny_columns: ["secret"], max_rows: 100, max_execution_time: 5000, max_memory_usage: 1073741824 },
    "get(): operation first, limits as numbers");
same(before?.tables?.clicks?.insert?.writer, first.tables.clicks.insert.writer, "and checks as they were written");
same((await admin.policy.set(before)).ok, true, "what get() gave is taken by set()");
same((await admin.policy.get()).data, before, "and comes back the same");
refused(await as("clerk").from("orders").fetch(), 403, "forbidden", "a role without a grant");
same((await admin.policy.set({ ...before, tables: { ...before.tables, orders: { select: { clerk: {} } } } })).ok, true, "spread and set");
same((await as("clerk").from("orders").fetch()).data, [], "the next request obeys");
same((await admin.policy.get()).data?.tables?.clicks, before?.tables?.clicks, "the rest is as it was");

// What is refused leaves what is there.
const good = (await admin.policy.get()).data;
for (const [what, role, finding] of [
    ["a check that is none", { check: { page: { _gt: "1" } } }, /^table "orders", op "insert", role "r": /],
    ["a template that is not closed", { check: { page: { _eq: "{{ jwt.x" } } }, /^table "orders", op "insert", role "r": /],
    ["a limit below nothing", { max_rows: -1 }, /^table "orders", op "select", role "r": /],
    ["a duration that is none", { max_execution_time: "soon" }, /^table "orders", op "select", role "r": /],
    ["a filter without an operator", { filter: { id: {} } }, /^table "orders", op "select", role "r": /],
]) {
    const bad = { tables: { orders: { [role.check ? "insert" : "select"]: { r: role } } } };
    for (const call of ["validate", "set"]) {
        const r = await admin.policy[call](bad);
        same([r.ok, r.error?.status, finding.test(r.error?.message)], [false, 400, true], `${what}: ${call}() says where`);
    }
}
same((await admin.policy.get()).data, good, "after all that the policy is as before");

// An open stream obeys, too.
const heard = await listen(as("viewer").from("clicks").stream());
const all = await listen(admin.from("clicks").stream()); // what it has seen has been delivered under the policy of then
const put = id => admin.from("clicks").insert({ id, page: "/", secret: "s" });
await put(1);
await heard.count(1);
await admin.policy.set({ ...good, tables: { ...good.tables, clicks: { select: { viewer: { allow_columns: ["id"] } } } } });
await put(2);
await heard.count(2);
await admin.policy.set({ ...good, tables: { orders: good.tables.orders } });
await put(3);
await all.count(3);
await admin.policy.set(good);
await put(4);
await heard.count(3);
same(heard.data(), [{ id: 1, page: "/" }, { id: 2 }, { id: 4, page: "/" }], "an open stream: fewer columns, nothing, and all again");
same([heard.errors, heard.statuses.at(-1)], [[], "live"], "without being cut");
heard.end();
all.end();

same((await admin.policy.set({ ...good, admin_role: "root" })).ok, true, "another admin role");
refused(await admin.policy.get(), 403, "forbidden", "the old one is none any more");
same(await until(async () => (await as("root").policy.get()).data?.admin_role), "root", "the new one is");
