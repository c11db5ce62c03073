// SPDX-License-Identifier: Apache-2.0
// The daemon is restarted while ClickHouse is down: what was accepted survives and lands, streams come back.
import { admin, as, ask, landed, listen, modern, ok, operator, policy, rows, same, settled, table, until } from "./scenario.mjs";

await table("events", "id UInt32, name String",
    "ENGINE = MergeTree ORDER BY id" + (modern ? " SETTINGS non_replicated_deduplication_window = 100" : ""));
await policy({ tables: {} });
const heard = await listen(admin.from("events").stream());
const record = id => ({ id, name: `n${id}` });

await admin.from("events").insert([record(1), record(2)]);
await landed("events", 2);
await settled("events");
await ask("clickhouse down");
same((await admin.from("events").insert([record(3), record(4)])).data?.succeeded, 2, "ClickHouse is down: inserts are accepted");
await ask("kill");
await ask("start");
same((await admin.sys.health()).ok, true, "after kill -9 and a start without ClickHouse the daemon is well");
same((await admin.from("events").insert(record(5))).data, { ok: true }, "and accepts");
const away = await as("admin", {}, { maxRetries: 0 }).from("events").fetch();
same([away.ok, away.error?.status, away.error?.retryable], [false, 503, true], "a query says that ClickHouse is away");
await heard.count(5);
same(heard.data(), [1, 2, 3, 4, 5].map(record), "the stream has dialled again and has all of it");
ok(heard.statuses.includes("reconnecting") && heard.stream.status === "live", "by itself", heard.statuses);

await ask("clickhouse up");
await until(async () => !(await operator.sql("SELECT 1")).error);
ok(await landed("events", 5), "when ClickHouse is back the records land", await rows("SELECT count() AS n FROM events"));
same(await rows("SELECT id, name FROM events ORDER BY id"), [1, 2, 3, 4, 5].map(record), "each once");

const { status, seconds } = await ask("stop");
ok(status === 0 && seconds < 5, "SIGTERM: it ends at once, though a stream is open", { status, seconds });
await ask("start");
same((await admin.from("events").insert(record(6))).data, { ok: true }, "and starts again");
await heard.count(6);
same(heard.data().slice(5), [record(6)], "the stream goes on");
heard.end();
