#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Story: six new columns at 03:00.

A team ships a new version of its client at night; it sends six columns that the table does not have. Elsewhere such rows
vanished, or the whole pipeline stood still until somebody woke up. Here, with `reject` (the default), each of them is
refused by name, the old clients do not notice, and a minute after nobody's sleep was lost an ALTER TABLE makes the new rows
welcome at once. With `hold` they are accepted and kept, the missing columns are listed with the statement that adds them, and
the rows are stored by themselves when it has run: nothing lost, nothing twice, in the order in which they came."""
import json
import threading
import time

from lib import audit, clickhouse, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok, same

NEW = {"plan": "free", "ab_bucket": 7, "consent": True, "session_seconds": 12.5, "tags": ["a", "b"], "seen_at": "2026-11-21T03:00:00.5Z"}
# A refresh interval that does not help: what is quick here is quick because a refused key asks for it.
SETTINGS = {"flush.interval": "100ms", "schema.refresh_interval": "1h", "wal.retain": "1h"}


def create(s, db, table):
    s.query(f"CREATE TABLE {db}.{table} (id String, text String) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 10000")


def old_client(r, table, ident):
    return {"id": ident, "text": "x" * r.randrange(100)}


def new_client(r, table, ident):
    return dict(old_client(r, table, ident), **NEW)


def alter(s, db, table):
    s.query(f"ALTER TABLE {db}.{table} ADD COLUMN plan Nullable(String), ADD COLUMN ab_bucket Nullable(UInt64), ADD COLUMN consent"
            " Nullable(Bool), ADD COLUMN session_seconds Nullable(Float64), ADD COLUMN tags Array(String) DEFAULT [],"
            " ADD COLUMN seen_at Nullable(DateTime64(9, 'UTC'))")


def settled(d, s, db, clients):
    """Journals against tables and dead letters, once everything has arrived."""
    fate, count = writers.fates(clients)
    acked = {i for i, (_, f) in fate.items() if f == writers.ACKED}

    def copies():
        return audit.merged(audit.in_tables(s, db), audit.in_dead_letters(audit.wal(d)))
    net.wait_for(lambda: d.pending() in (0, None) and acked <= copies().keys(), 30, 0.2)
    v = audit.audit(fate, copies())
    ok(v.good() and count[writers.ACKED] > 500, f"{count}; {v}", (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
    same((d.dlq() or {}).get("total"), 0, "no dead letters")
    strange = [x for c in clients for x in c.strange]
    ok(not strange, "every answer is one of the contract's", strange[:3])
    return fate


def reject():
    s = clickhouse.modern()
    db = s.database("e2e_six_reject")
    create(s, db, "ev")
    with Daemon(s, db, name="six", settings=SETTINGS) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        old = writers.start([writers.Writer(0, d.port, 1, stop, ["ev"], old_client)])
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > 100, 20, 0.1), "old clients store rows")
        new = writers.start([writers.Writer(1, d.port, 1, stop, ["ev"], new_client)])
        ok(net.wait_for(lambda: len(new[0].fate) > 200, 20, 0.05), "03:00, the new ones send")
        a = d.ingest("ev", dict(NEW, id="by-hand", text=""))
        same((a.status, a.json()), (400, {"error": 'unknown column "plan" for table "ev"'}), "refused, by name")
        ok(not any(f == writers.ACKED for _, f in new[0].fate.values()), "none of them is taken and lost")
        rejected = [v for k, v in d.metrics().items() if k.startswith("wavehouse_ingest_rejected") and v > 0]
        ok(rejected, "and they are counted", d.metrics)
        ok('ingest.unknown_column unknown column "plan" for table "ev"' in d.log(), "the log says so", d.log_tail)
        before = s.one(f"SELECT count() FROM {db}.ev")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > before + 50, 20, 0.1), "the old ones go on")
        began = time.monotonic()
        alter(s, db, "ev")
        taken = net.wait_for(lambda: any(f == writers.ACKED for _, f in list(new[0].fate.values())), 20, 0.02)
        took = time.monotonic() - began
        ok(taken and took < 5, f"after the ALTER they are taken: {took:.2f} s, with a refresh interval of an hour")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev WHERE plan = 'free'") > 100, 20, 0.1), "and stored")
        stop.set()
        for c in old + new:
            c.join(30)
        settled(d, s, db, old + new)


def hold():
    s = clickhouse.modern()
    db = s.database("e2e_six_hold")
    create(s, db, "ev")
    settings = dict(SETTINGS, **{"ingest.tables": {"ev": {"unknown_columns": "hold"}}})
    with Daemon(s, db, name="six", settings=settings) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        old = writers.start([writers.Writer(0, d.port, 2, stop, ["ev"], old_client)])
        new = writers.start([writers.Writer(1, d.port, 2, stop, ["ev"], new_client)])
        ok(net.wait_for(lambda: sum(f == writers.ACKED for _, f in list(new[0].fate.values())) > 500, 20, 0.05),
           "03:00, the new ones send, and are taken")
        refused = [i for i, (_, f) in list(new[0].fate.items()) if f != writers.ACKED]
        same(refused, [], "every one of them")
        same(s.one(f"SELECT count() FROM {db}.ev WHERE startsWith(id, '1-')"), 0, "none is stored without its columns")
        ok(net.wait_for(lambda: d.metrics().get('wavehouse_ingest_held_records{table="ev"}', 0) > 500, 20, 0.1),
           "the metric says how many wait")
        ok(net.wait_for(lambda: all(f"column={c}:" in d.log() for c in NEW), 20, 0.1), "the log names each column",
           d.log_tail)
        same(d.log().count("column=plan:"), 1, "once")
        drift = d.call("GET", "/v1/ops/drift").json()
        table = drift["tables"][0]
        same({c["name"]: c["suggested_type"] for c in table["columns"]},
             {"plan": "Nullable(String)", "ab_bucket": "Nullable(UInt64)", "consent": "Nullable(Bool)",
              "session_seconds": "Nullable(Float64)", "tags": "Array(String) DEFAULT []",
              "seen_at": "Nullable(DateTime64(9, 'UTC'))"}, "the drift suggests a type for each")
        d.kill()
        d.start("/readyz")
        began = time.monotonic()
        s.query(table["alter"], database=db)
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev WHERE plan = 'free'") > 500, 30, 0.1),
           "the suggested ALTER runs as it is, and the held rows are stored", d.log_tail)
        tap.note(f"after {time.monotonic() - began:.2f} s")
        stop.set()
        for c in old + new:
            c.join(30)
        ok(net.wait_for(lambda: d.call("GET", "/v1/ops/drift").json()["total"] == 0, 30, 0.1), "none is held any more",
           lambda: d.call("GET", "/v1/ops/drift").body)
        settled(d, s, db, old + new)
        row = json.loads(s.query(f"SELECT * EXCEPT (id, text) FROM {db}.ev WHERE plan = 'free' LIMIT 1 FORMAT JSONEachRow"))
        same((row["ab_bucket"], row["consent"], row["session_seconds"], row["tags"], row["seen_at"]),
             (7, True, 12.5, ["a", "b"], "2026-11-21 03:00:00.500000000"), "with all six values")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(reject, hold)
