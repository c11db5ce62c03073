// SPDX-License-Identifier: Apache-2.0
// 503 with Retry-After: 1, which the daemon answers over a table's rate, is tried again by the client, unseen.
import { as, count, landed, ok, policy, same, table, watched } from "./scenario.mjs";

await table("narrow", "id UInt32");
await policy({ tables: {} });

// The rate is 1000 rows a second. A batch is taken whole and paid for afterwards: the next one waits for almost a second.
// On a machine that was too busy to be refused in time it is done again.
let sent = 0;
for (let time = 0; time < 10; time++) {
    const { options, calls } = watched();
    const narrow = as("admin", {}, options).from("narrow");
    const big = await narrow.insert(Array.from({ length: 1950 }, (_, i) => ({ id: i })));
    const one = await narrow.insert({ id: 5000 });
    sent += 1950 + 1;
    const attempts = calls.slice(-2);
    if (calls.length === 2 && calls[0].status === 200 && calls[1].status === 200)
        continue;
    same([big.data?.succeeded, one.data], [1950, { ok: true }], "both inserts succeed for the caller");
    same(attempts.map(c => c.status), [503, 200], "the second at its second attempt");
    same(attempts[0].headers.get("retry-after"), "1", "Retry-After: 1");
    const waited = attempts[1].began - attempts[0].began;
    ok(waited >= 950 && waited < 10000, "which the client waited for", waited);
    break;
}
await landed("narrow", sent);
same(await count("narrow"), sent, "what was refused was stored once");
