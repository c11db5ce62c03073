#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Schemas that change under load: rows held until their column appears, columns that go away, types that change, tables that
are dropped and made again. Every acknowledged row is stored once, or is a dead letter, or is held where everybody can see it;
nothing stands still."""
import random
import threading
import time

from lib import audit, clickhouse, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok, same

SETTINGS = {"flush.interval": "100ms", "flush.retry_min": "50ms", "flush.retry_max": "500ms", "wal.retain": "1h",
            "schema.refresh_interval": "1h", "ingest.unknown_columns": "hold"}
HELD, ORIGIN = 2, 8  # flags of an events entry (wal/batch.h)


def create(s, db, table, columns="id String, n UInt32"):
    s.query(f"CREATE TABLE {db}.{table} ({columns}) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 10000")


def held(d, table):
    return d.metrics().get(f'wavehouse_ingest_held_records{{table="{table}"}}', 0)


def acked(clients):
    return {i for i, (_, f) in writers.fates(clients)[0].items() if f == writers.ACKED}


def balance(d, s, db, clients, what, dead=None):
    """Nothing lost, nothing twice, everything at rest."""
    def copies():
        return audit.merged(audit.in_tables(s, db), audit.in_dead_letters(audit.wal(d)))
    net.wait_for(lambda: d.pending() in (0, None) and acked(clients) <= copies().keys(), 60, 0.2)
    fate, count = writers.fates(clients)
    letters = audit.in_dead_letters(audit.wal(d))
    v = audit.audit(fate, copies())
    ok(v.good() and count[writers.ACKED] > 300, f"{what}: {count}, {len(letters)} dead letters; {v}",
       (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
    if dead is not None:
        same(len(letters), dead, f"{what}: so many dead letters")
    strange = [x for c in clients for x in c.strange]
    ok(not strange, f"{what}: every answer is one of the contract's", strange[:3])


def order_in_log(d):
    """Ids of the held rows as they came, and as they entered again."""
    came, entered = [], []
    for e in audit.wal(d):
        if e["type"] != "events":
            continue
        ids = [r["record"]["id"] for r in e["records"]]
        if e["batch_flags"] & HELD:
            came += ids
        elif e["batch_flags"] & ORIGIN:
            entered += ids
    return came, entered


def held_across_kills():
    """Rows are held, the daemon is killed now and then, the column appears, and it is killed while they are released."""
    r = random.Random(3)
    s = clickhouse.modern()
    db = s.database("e2e_drift_kills")
    create(s, db, "ev")
    with Daemon(s, db, name="drift", settings=SETTINGS) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 3, stop, ["ev"], lambda r, t, i: {"id": i, "n": 1, "late": r.random()})
                                 for i in range(2)])
        for _ in range(4):
            before = len(acked(clients))
            net.wait_for(lambda: len(acked(clients)) > before + 150, 20, 0.02)
            d.kill()
            d.start()
        stop.set()
        for c in clients:
            c.join(30)
        many = len(acked(clients))
        ok(net.wait_for(lambda: held(d, "ev") >= many, 20, 0.1), f"{many} rows are held across four kills",
           lambda: held(d, "ev"))
        same(s.one(f"SELECT count() FROM {db}.ev"), 0, "none is stored")
        s.query(f"ALTER TABLE {db}.ev ADD COLUMN late Nullable(Float64)")
        for _ in range(6):
            time.sleep(r.uniform(0, 0.5))  # not a wait: where the kill hits is what is random
            d.kill()
            d.start()
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") >= many and held(d, "ev") == 0, 60, 0.2),
           "all of them are stored, across six more", d.log_tail)
        balance(d, s, db, clients, "held", dead=0)
        same(s.one(f"SELECT countIf(late IS NULL) FROM {db}.ev"), 0, "with the value of the new column")
        came, entered = order_in_log(d)
        came = [i for i in came if i in set(entered)]
        ok(entered == came and len(set(entered)) == len(entered), "each entered once, in the order in which they came",
           (len(entered), len(came)))


def budget():
    """At ingest.held_max_bytes rows are refused, not dropped; those without the column go on."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_budget")
    create(s, db, "ev")
    with Daemon(s, db, name="drift", settings=dict(SETTINGS, **{"ingest.held_max_bytes": "1MiB"})) as d:
        d.start("/readyz")
        d.know("ev")
        taken = 0
        for n in range(400):
            a = d.ingest("ev", {"id": f"h{n}", "n": 1, "late": "x" * 10000})
            if a.status != 200:
                break
            taken += 1
        same(a.status, 503, f"after {taken} rows of 10 KB the next one is refused")
        ok("ingest.held_max_bytes" in a.body.decode() and a.fields.get("retry-after") == "30", "the answer says why", repr(a))
        same(d.ingest("ev", {"id": "plain", "n": 2}).json(), {"ok": True}, "a row without the column is taken")
        b = d.ingest("ev", [{"id": "plain2", "n": 2}, {"id": "late2", "n": 2, "late": "y" * 10000}])
        same((b.status, b.json()["succeeded"], b.json()["failed"]), (200, 1, 1), "in a batch only the one is refused")
        s.query(f"ALTER TABLE {db}.ev ADD COLUMN late Nullable(String)")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") == taken + 2, 30, 0.1),
           "with the column everything accepted is stored", d.log_tail)
        ok(net.wait_for(lambda: d.ingest("ev", {"id": "again", "n": 3, "late": "z"}).status == 200, 20, 0.1), "and there is room again")


def column_dropped(columns="id String, n UInt32, at DateTime64(6) DEFAULT now64(6), extra Nullable(String)"):
    """A column goes away under load and comes back: rows on their way are held, no dead letter is made."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_dropped")
    create(s, db, "ev", columns)
    with Daemon(s, db, name="drift", settings=SETTINGS) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 5, stop, ["ev"], lambda r, t, i: {"id": i, "n": 1, "extra": "e"},
                                                forms=("single",)) for i in range(2)])
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > 200, 20, 0.1), "rows arrive")
        s.query(f"ALTER TABLE {db}.ev DROP COLUMN extra")
        gone = s.one("SELECT toString(now64(6))")
        ok(net.wait_for(lambda: held(d, "ev") > 100, 30, 0.1), "after the DROP they are held", d.log_tail)
        s.query(f"ALTER TABLE {db}.ev ADD COLUMN extra Nullable(String)")
        ok(net.wait_for(lambda: held(d, "ev") == 0 and s.one(f"SELECT countIf(extra = 'e') FROM {db}.ev") > 100, 30, 0.1),
           "when it is back they are stored", d.log_tail)
        stop.set()
        for c in clients:
            c.join(30)
        balance(d, s, db, clients, "column dropped", dead=0)
        same(s.one(f"SELECT countIf(at > '{gone}' AND extra IS NULL) FROM {db}.ev"), 0, "none without its value")


def column_dropped_http():
    """The same for a table that travels as JSONEachRow, where ClickHouse would skip what it does not know."""
    column_dropped("id String, n UInt32, at DateTime64(6) DEFAULT now64(6), j JSON DEFAULT '{}', extra Nullable(String)")


def column_dropped_reject():
    """The same with `reject`: what was accepted before becomes dead letters with the reason, the others are refused."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_reject")
    create(s, db, "ev", "id String, n UInt32, extra Nullable(String)")
    with Daemon(s, db, name="drift", settings=dict(SETTINGS, **{"ingest.unknown_columns": "reject"})) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 6, stop, ["ev"], lambda r, t, i: {"id": i, "n": 1, "extra": "e"})
                                 for i in range(2)])
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > 400, 20, 0.1), "rows arrive")
        s.query(f"ALTER TABLE {db}.ev DROP COLUMN extra")
        ok(net.wait_for(lambda: d.call("POST", "/v1/ingest?table=ev&dry_run=1", b'{"id":"x","n":1,"extra":"e"}').status == 400,
                        20, 0.05), "the key is refused")
        stop.set()
        for c in clients:
            c.join(30)
        balance(d, s, db, clients, "column dropped, reject")


def type_changed():
    """A column changes its type under load, there and back, and to one that its values do not fit."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_type")
    create(s, db, "ev")
    with Daemon(s, db, name="drift", settings=SETTINGS) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 7, stop, ["ev"], lambda r, t, i: {"id": i, "n": r.randrange(1000)})
                                 for i in range(2)])
        for kind in ("String", "UInt64", "Nullable(Float64)"):
            before = s.one(f"SELECT count() FROM {db}.ev")
            s.query(f"ALTER TABLE {db}.ev MODIFY COLUMN n {kind}")
            ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > before + 200, 20, 0.1), f"as {kind}: rows go on",
               d.log_tail)
        s.query(f"ALTER TABLE {db}.ev MODIFY COLUMN n Nullable(UInt8) SETTINGS mutations_sync = 0")
        before = s.one(f"SELECT count() FROM {db}.ev")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > before + 200, 20, 0.1), "as UInt8: rows go on", d.log_tail)
        stop.set()
        for c in clients:
            c.join(30)
        balance(d, s, db, clients, "type changed")


def table_again():
    """DROP and CREATE with other columns under load, held rows included."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_again")
    create(s, db, "ev")
    with Daemon(s, db, name="drift", settings=dict(SETTINGS, **{"schema.refresh_interval": "1s"})) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = writers.start([
            writers.Writer(0, d.port, 8, stop, ["ev"], lambda r, t, i: {"id": i, "n": 1}),
            writers.Writer(1, d.port, 8, stop, ["ev"], lambda r, t, i: {"id": i, "n": 1, "late": 2})])
        ok(net.wait_for(lambda: held(d, "ev") > 200, 20, 0.1), "rows of one client are held")
        s.query(f"DROP TABLE {db}.ev")
        create(s, db, "ev", "id String, n UInt32, late Nullable(UInt8)")
        ok(net.wait_for(lambda: held(d, "ev") == 0 and s.one(f"SELECT countIf(late = 2) FROM {db}.ev") > 200, 30, 0.1),
           "the new table has the column: they are stored there", d.log_tail)
        stop.set()
        for c in clients:
            c.join(30)
        audit.undrop(s, db)
        balance(d, s, db, clients, "table made again", dead=0)


def large():
    """A record larger than a usual log entry reaches ClickHouse, and the dead letters when it is bad."""
    s = clickhouse.modern()
    db = s.database("e2e_drift_large")
    create(s, db, "ev", "id String, n UInt32, text String")
    with Daemon(s, db, name="drift", settings=SETTINGS) as d:
        d.start("/readyz")
        d.know("ev")
        text = "z" * (6 << 20)
        same(d.ingest("ev", {"id": "good", "n": 1, "text": text}).json(), {"ok": True}, "6 MiB are accepted")
        same(d.ingest("ev", {"id": "bad", "n": "one", "text": text}).json(), {"ok": True}, "with a bad value, too")
        same(d.ingest("ev", {"id": "small", "n": 2, "text": ""}).json(), {"ok": True}, "and a small one")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") == 2 and d.dlq()["total"] == 1, 30, 0.1),
           "two are stored, one is a dead letter", d.log_tail)
        same(s.one(f"SELECT length(text) FROM {db}.ev WHERE id = 'good'"), 6 << 20, "whole")
        same(d.ingest("ev", {"id": "later", "n": 1, "text": text, "late": 1}).json(), {"ok": True}, "6 MiB are held")
        s.query(f"ALTER TABLE {db}.ev ADD COLUMN late Nullable(UInt8)")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev WHERE late = 1") == 1, 30, 0.1), "and released", d.log_tail)


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(held_across_kills, budget, column_dropped, column_dropped_http, column_dropped_reject, type_changed, table_again, large)
