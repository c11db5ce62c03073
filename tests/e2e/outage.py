#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ClickHouse stops for a minute under load: every POST is still answered 200, and everything arrives, once."""
import json
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

OUTAGE_S = 8 if env.FAST else 60


class Load(threading.Thread):
    def __init__(self, number, port, stop):
        super().__init__(daemon=True)
        self.number, self.port, self.stop = number, port, stop
        self.sent, self.bad, self.slowest = 0, [], 0.0

    def run(self):
        client = net.Client(self.port)
        while not self.stop.is_set():
            batch = [{"id": f"{self.number}-{self.sent + i}", "text": "while it was away"} for i in range(20)]
            began = time.monotonic()
            try:
                a = client.call("POST", "/v1/ingest?table=ev", "\n".join(map(json.dumps, batch)).encode(),
                                {"Content-Type": "application/x-ndjson"})
                good = a.status == 200 and a.json()["succeeded"] == len(batch)
            except Exception as e:
                a, good = e, False
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.sent += len(batch)
            if not good:
                self.bad.append(repr(a))
            self.stop.wait(0.01)
        client.close()


def outage():
    s = clickhouse.modern()
    db = s.database("e2e_outage")
    s.query(f"CREATE TABLE {db}.ev (id String, text String) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 10000")
    with Daemon(s, db, name="outage", settings={"flush.retry_max": "2s", "flush.interval": "500ms"}) as d:
        d.start("/readyz")
        d.know("ev")
        stop = threading.Event()
        clients = [Load(i, d.port, stop) for i in range(2)]
        for c in clients:
            c.start()
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") > 0, 10), "load arrives before the outage")
        s.control("/engine/stop")
        began = time.monotonic()
        try:
            ok(net.wait_for(lambda: d.call("GET", "/readyz").status == 503, 10), "/readyz says 503 during the outage")
            a = d.call("GET", "/readyz")
            ok((a.json() or {}).get("status") == "not ready" and a.error, "/readyz names the cause", a)
            same((d.call("GET", "/livez").status, d.call("GET", "/v1/health").status), (200, 200),
                 "/livez and /v1/health stay 200")
            time.sleep(max(0, OUTAGE_S - (time.monotonic() - began)))
        finally:
            s.control("/engine/start")
        tap.note(f"outage of {time.monotonic() - began:.1f} s")
        ok(net.wait_for(lambda: d.call("GET", "/readyz").status == 200, 15), "/readyz recovers")
        stop.set()
        for c in clients:
            c.join(30)
        sent, bad = sum(c.sent for c in clients), [b for c in clients for b in c.bad]
        ok(not bad, "every POST was answered 200", f"{len(bad)} of {sent // 20}: {bad[:3]}")
        tap.note(f"{sent} records, slowest answer {max(c.slowest for c in clients) * 1000:.0f} ms")
        net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") >= sent, 60, 0.2)
        same([int(x) for x in s.rows(f"SELECT count(), uniqExact(id) FROM {db}.ev")[0]], [sent, sent],
             "everything arrived, once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")
        if tap.failed():
            tap.note(d.log_tail(40))


def backlog(s, d, tables, first, rows, keys, faults):
    """So many rows come while ClickHouse is away, to each table; then it is back, with these faults on the way to it."""
    batch = 1000
    s.control("/engine/stop")
    try:
        for at in range(first, first + rows, batch):
            body = "\n".join(f'{{"k":{i % keys},"v":{i},"filler":"{"x" * 100}"}}' for i in range(at, at + batch))
            for table in tables:
                if d.ingest(table, body, kind="application/x-ndjson").status != 200:
                    ok(False, "a batch is taken while ClickHouse is away")
        ok(net.wait_for(lambda: d.pending() == rows * len(tables), 10), "all of it waits")
        for fault in faults:
            s.control("/fault", fault)
    finally:
        s.control("/engine/start")
    ok(net.wait_for(lambda: not d.pending(), 60), "a backlog in pieces is drained")


def order():
    """A backlog goes in several INSERTs, of which two are under way at a time: of equal keys the last row wins, and no row comes
    twice, also when answers are lost, blocks are cut, and ClickHouse refuses for a while."""
    s = clickhouse.modern()
    db = s.database("e2e_outage_order")
    for table, engine in (("last", "ReplacingMergeTree"), ("all", "MergeTree")):
        s.query(f"CREATE TABLE {db}.{table} (k UInt32, v UInt32, filler String) ENGINE = {engine} ORDER BY k"
                " SETTINGS non_replicated_deduplication_window = 10000")
    rows, keys = 60000, 50
    with Daemon(s, db, name="order", settings={"flush.retry_min": "50ms", "flush.retry_max": "50ms", "flush.max_rows": 2000}) as d:
        d.start("/readyz")
        d.know("last", "all")
        backlog(s, d, ("last", "all"), 0, rows, keys, ())
        early = d.metrics()["wavehouse_clickhouse_inserts_early_total"]
        ok(early > 10, "blocks travelled while the one before was written", early)

        def whole(total):
            same([int(x) for x in s.rows(f"SELECT count(), min(v), max(v) FROM {db}.last FINAL")[0]], [keys, total - keys, total - 1],
                 "of each key the last row is there")
            same([int(x) for x in s.rows(f"SELECT count(), uniqExact(v) FROM {db}.all")[0]], [total, total], "each row is there once")
        whole(rows)
        for n, faults in enumerate((
                [{"at": "ack", "kind": "drop", "times": 4}],
                [{"at": "data", "kind": "drop", "after": 100000, "times": 4}],
                [{"at": "ack", "kind": "exception", "code": 252, "times": 3}, {"at": "query", "kind": "drop", "times": 2}])):
            try:
                backlog(s, d, ("last", "all"), rows * (n + 1), rows, keys, faults)
            finally:
                s.control("/clear")
            whole(rows * (n + 2))
        again = d.metrics()["wavehouse_clickhouse_inserts_early_total"]
        ok(again > early, "blocks travelled early between the faults too", again - early)
        same((d.dlq() or {}).get("total"), 0, "no dead letters")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(outage, order)
