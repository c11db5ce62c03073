// SPDX-License-Identifier: Apache-2.0
// Live events: soon, one's own only, without hidden columns, gapless over a reconnect, from an instant on.
import { admin, anonymous, ask, as, bearing, fill, landed, listen, modern, ok, policy, same, table, until, watched } from "./scenario.mjs";

await table("events", "id UInt32, tenant String, page String DEFAULT '/', secret String DEFAULT ''");
await table("open", "id UInt32, note String DEFAULT ''");
await table("lately", "id UInt32");
await policy({
    default_role: "public",
    tables: {
        events: {
            select: {
                tenant: { filter: { tenant: { _eq: "{{ jwt.tenant }}" } }, deny_columns: ["secret"] },
                blind: { allow_columns: ["nothing"] },
            },
        },
        open: { select: { public: { deny_columns: ["note"] } }, insert: { public: {} } },
    },
});
const ids = heard => heard.events.map(e => e.data.id);

// The public sees an insert at once.
const open = await listen(anonymous.from("open").stream());
const sent = performance.now();
same((await anonymous.from("open").insert({ id: 1, note: "hidden" })).data, { ok: true }, "an insert by the public");
await open.count(1);
const [event] = open.events;
ok(event && event.at - sent < 1000, "its stream has it in less than a second", event && event.at - sent);
same([event?.table, event?.data], ["open", { id: 1 }], "with its table, without the hidden column");
ok(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/.test(event?.timestamp), "and the instant of its acceptance", event);

// Each sees what its claims show.
const red = await listen(as("tenant", { tenant: "red" }).from("events").stream());
const blue = await listen(as("tenant", { tenant: "blue" }).from("events").stream());
const none = await listen(as("tenant").from("events").stream());
const public_ = await listen(anonymous.from("events").stream());
const garbage = await listen(bearing("garbage").from("events").stream());
await admin.from("events").insert([
    { id: 1, tenant: "red", secret: "s" }, { id: 2, tenant: "blue", page: "/b", secret: "s" }, { id: 3, tenant: "red", page: "/c" },
    { id: 4, tenant: "green" },
]);
await red.count(2);
await blue.count(1);
same(red.data(), [{ id: 1, tenant: "red" }, { id: 3, tenant: "red", page: "/c" }], "red's rows for red, as they were sent, without the secret");
same(blue.data(), [{ id: 2, tenant: "blue", page: "/b" }], "blue's for blue");

// Filters of the client.
const filtered = await listen(admin.from("events").select("id").where("tenant", "=", "red").where("id", ">", 10).stream());
await admin.from("events").insert([{ id: 9, tenant: "red" }, { id: 11, tenant: "red" }, { id: 12, tenant: "blue" }]);
await filtered.count(1);
await blue.count(2);
same(filtered.data(), [{ id: 11 }], "select().where().stream() filters and projects in the client");
for (const [who, heard] of Object.entries({ "no claim": none, "no grant": public_, "a garbage token": garbage }))
    same([heard.stream.status, heard.events, heard.errors], ["live", [], []], `${who}: a stream, and silent`);
const dark = await listen(as("blind").from("events").stream());
await admin.from("events").insert({ id: 13, tenant: "red" });
await dark.count(1);
same(dark.data(), [{}], "no column that may be read: an empty event");

// since replays; the instant itself is included.
const [, second] = red.events;
const replayed = await listen(as("tenant", { tenant: "red" }).from("events").stream({ since: second.timestamp }));
await replayed.count(4);
same(ids(replayed), [3, 9, 11, 13], "since: what came at that instant and after, in order");
const unread = await listen(as("tenant", { tenant: "red" }).from("events").stream({ since: "nonsense" }));
await admin.from("events").insert({ id: 14, tenant: "red" });
await replayed.count(5);
same(ids(replayed), [3, 9, 11, 13, 14], "and then what comes");
await unread.count(1);
same(ids(unread), [14], "since that is no instant: no replay");
const nowhere = await listen(admin.from("nowhere").stream());

// A reconnect: the daemon goes away and comes back, more comes in before the client has dialled again.
const { options, calls } = watched();
const again = await listen(as("tenant", { tenant: "red" }, options).from("events").stream({ since: second.timestamp }));
await again.count(5);
const last = again.events.at(-1).timestamp;
await ask("kill");
await until(() => again.stream.status === "reconnecting");
same(again.stream.status, "reconnecting", "the daemon is killed: the client dials again");
await ask("start");
await admin.from("events").insert([{ id: 15, tenant: "red" }, { id: 16, tenant: "blue" }, { id: 17, tenant: "red" }]);
await again.count(7);
await until(() => again.stream.status === "live");
same(ids(again), [3, 9, 11, 13, 14, 15, 17], "Last-Event-ID: nothing lost, nothing twice, though since is sent again");
const dials = calls.filter(c => c.path === "/v1/stream" && c.status === 200);
same([dials.length, dials.at(-1).sent["Last-Event-ID"]], [2, last], "the second dial had the last id");
await landed("events", 10);
await until(() => nowhere.stream.status === "live");
same([nowhere.stream.status, nowhere.events], ["live", []], "a table that is not there: a stream, and silent");

// A live query: the rows there are, then what comes, none twice.
let initial, live = [];
await fill("lately", [{ id: 1 }]);
const query = admin.from("lately").select("id").orderBy("id").liveQuery({
    initial: r => { initial = r.data; }, next: e => live.push(e.data.id),
});
await until(() => initial);
await admin.from("lately").insert([{ id: 2 }, { id: 3 }]);
await until(() => live.length >= 2);
same([initial, live], [[{ id: 1 }], [2, 3]], "liveQuery(): the rows there are, then what comes");
query.close();

// A row that comes while it fetches is both in what it fetched and in its stream: by its instant it is told only once.
const type = modern ? "DateTime64(9)" : "DateTime";
await table("timed", `id UInt32, at ${type}, received_timestamp ${type}`);
const late = watched();
const timed = as("admin", {}, {
    fetch: async (address, init) => {
        if (new URL(address).pathname === "/v1/query") {
            await admin.from("timed").insert({ id: 1, at: "2026-03-29 00:59:00.5" });
            await landed("timed", 1);
        }
        return late.options.fetch(address, init);
    },
});
let fetched, after = [];
const both = await listen(admin.from("timed").stream());
const told = timed.from("timed").selectAll().orderBy("received_timestamp").liveQuery({
    initial: r => { fetched = r.data; }, next: e => after.push(e),
});
await until(() => fetched);
await both.count(1);
same(fetched, both.data(), "a row as it is read is the row as it was streamed");
const [{ timestamp }] = both.events;
same(fetched?.[0]?.received_timestamp, modern ? timestamp.replace(/(\.\d*?)0+Z$/, "$1Z").replace(".Z", "Z") : timestamp.slice(0, 19) + "Z",
    "and has the event's instant, as exactly as its column can");
await admin.from("timed").insert({ id: 2, at: 0, received_timestamp: "2106-01-01T00:00:00Z" });
await until(() => after.length);
same(after.map(e => e.data.id), [2], "liveQuery(): a row that comes while it fetches is told once");
told.close();
both.end();

// The iterator, and the end.
const iterated = [];
await anonymous.from("open").insert([{ id: 2 }, { id: 3 }]);
const stream = anonymous.from("open").stream({ since: event.timestamp });
for await (const e of stream) {
    iterated.push(e.data.id);
    if (iterated.length === 3)
        break;
}
same([iterated, stream.status], [[1, 2, 3], "closed"], "for await over a stream, and its end");
for (const heard of [open, red, blue, none, public_, garbage, filtered, dark, replayed, unread, nowhere, again])
    heard.stream.close();
