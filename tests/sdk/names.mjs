// SPDX-License-Identifier: Apache-2.0
// Table names that are no identifiers: insert, query, schema, stream.
import { admin, landed, listen, policy, same, table } from "./scenario.mjs";

const names = ["with-hyphen", "with.dot", "with space", "with;semicolon", "with`tick", "with'quote", "with/slash", "with%percent", "grün", "?a=b&c"];
for (const name of names)
    await table(name, "id UInt32, `a-b` String");
await policy({ tables: {} });

for (const name of names) {
    const t = admin.from(name);
    const heard = await listen(t.stream());
    same((await t.insert({ id: 1, "a-b": name })).data, { ok: true }, `${name}: insert`);
    await landed(name, 1);
    same((await t.select("id", "a-b").where("a-b", "=", name)).data, [{ id: 1, "a-b": name }], `${name}: query`);
    same((await t.schema()).data?.columns?.map(c => c.name), ["id", "a-b"], `${name}: schema`);
    await heard.count(1);
    same(heard.events.map(e => [e.table, e.data]), [[name, { id: 1, "a-b": name }]], `${name}: stream`);
    heard.end();
}
same(Object.keys((await admin.schema.list()).data ?? {}).sort(), [...names].sort(), "all are listed");
