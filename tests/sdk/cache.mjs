// SPDX-License-Identifier: Apache-2.0
// Answers come from the cache until rows have come into the table.
import { admin, as, fill, ok, policy, rows, same, table, until, watched } from "./scenario.mjs";

await table("clicks", "id UInt32");
await table("other", "id UInt32");
await policy({ tables: { clicks: { select: { viewer: {}, few: { max_rows: 2 }, some: { filter: { id: { _lt: "2" } } } } } } });
await fill("clicks", [{ id: 1 }, { id: 2 }, { id: 3 }]);
await fill("other", [{ id: 1 }]);
await admin.pipes.set("all", { sql: "SELECT id FROM clicks ORDER BY id", allowed_roles: ["viewer"] });

// A role's client; its calls give [X-Cache, ids].
function reader(role) {
    const { options, calls } = watched();
    const client = as(role, {}, options);
    const take = async query => {
        const { data, error } = await query;
        return [calls.at(-1).headers.get("x-cache"), data?.map(r => r.id) ?? error];
    };
    return {
        query: () => take(client.from("clicks").select("id").orderBy("id")),
        pipe: () => take(client.pipe("all")),
    };
}
const viewer = reader("viewer");
// Once, about a second after tables were made, the daemon has seen which depend on which, and everything is void: behind that.
await viewer.query();
await until(async () => (await viewer.query())[0] === "MISS", 3000);
await rows("DROP TABLE IF EXISTS nothing"); // after SQL that may have written everything is void
for (const way of ["query", "pipe"]) {
    const read = viewer[way];
    same(await read(), ["MISS", [1, 2, 3]], `${way}: the first is executed`);
    same(await read(), ["HIT", [1, 2, 3]], `${way}: the second is not`);
}
same(await reader("few").query(), ["MISS", [1, 2]], "another role's limit is another answer");
same(await reader("some").query(), ["MISS", [1]], "another role's filter is another answer");
await fill("other", [{ id: 1 }, { id: 2 }]);
for (const way of ["query", "pipe"])
    same((await viewer[way]())[0], "HIT", `${way}: rows in another table change nothing`);

await admin.from("clicks").insert({ id: 4 });
const began = performance.now();
for (const way of ["query", "pipe"]) {
    let fresh, early = 0;
    await until(async () => {
        fresh = await viewer[way]();
        early += fresh[1].length === 3 && fresh[0] !== "HIT";
        return fresh[1].length === 4;
    });
    same(fresh, ["MISS", [1, 2, 3, 4]], `${way}: after the insert has landed the answer is executed again, with the new row`);
    ok(performance.now() - began < 8000, `${way}: that is not the ten seconds after which any answer is void`, performance.now() - began);
    same(early, 0, `${way}: until then the old one held`);
    same(await viewer[way](), ["HIT", [1, 2, 3, 4]], `${way}: and then it is kept`);
}
