#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Accepts then forgets: the block was sent, and then nobody says what became of it.

It happens when a load balancer closes the connection, a network hangs, or ClickHouse is killed before it could answer.
Who sends again stores twice; who does not loses rows. The daemon sends again, the same rows under the same token.
"""
import threading

from lib import audit, clickhouse, inserts, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok, same

SETTINGS = {"flush.interval": "100ms", "flush.retry_min": "50ms", "flush.retry_max": "500ms", "wal.retain": "1h",
            "clickhouse.query_timeout": "2s"}
COLUMNS = "(id String, text String, at DateTime64(6) DEFAULT now64(6))"


def make(name):
    """Server, database with a table, and a daemon that knows it."""
    s = clickhouse.modern()
    s.control("/clear")
    db = s.database("e2e_" + name)
    s.query(f"CREATE TABLE {db}.ev {COLUMNS} ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 1000")
    d = Daemon(s, db, name=name, settings=SETTINGS)
    d.start("/readyz")
    d.know("ev")
    return s, db, d


def injected(s):
    return sum(s.state()["stats"]["injected"].values())


def balanced(s, db, d, clients, what):
    """Every acked record once, nothing else, no dead letters."""
    fate, count = writers.fates(clients)
    acked = {i for i, (_, f) in fate.items() if f == writers.ACKED}
    net.wait_for(lambda: acked <= audit.in_tables(s, db).keys() and d.pending() in (0, None), 30, 0.2)
    v = audit.audit(fate, audit.in_tables(s, db))
    ok(v.good() and count["acked"] > 100, f"{what}: {count['acked']} acked; {v}", (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
    same((d.dlq() or {}).get("total"), 0, f"{what}: no dead letters")


def record(r, table, ident):
    return {"id": ident, "text": "x" * r.randrange(200)}


def connection_cut():
    """The connection ends after any number of bytes of the block, or when all is stored and only the answer is missing."""
    s, db, d = make("forgets_cut")
    with d:
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 1, stop, ["ev"], record) for i in range(2)])
        places = [{"at": "ack", "kind": "drop"}, {"at": "ack", "kind": "drop", "rst": False}, {"at": "ack", "kind": "hang"}] + [
            {"at": "data", "kind": "drop", "after": n} for n in (1, 40, 100, 500, 2000)]
        for fault in places:
            before = injected(s)
            s.control("/fault", {**fault, "times": 2, "match": "insert into"})
            ok(net.wait_for(lambda: injected(s) >= before + 2, 20), f"happened twice: {fault}")
            s.control("/clear")
        stop.set()
        for c in clients:
            c.join(30)
        balanced(s, db, d, clients, "connections cut after the block was sent")
        reasons = [k for k, n in d.metrics().items() if k.startswith("wavehouse_ingest_retries_total") and "unknown_fate" in k and n]
        ok(reasons, "the daemon knew that it did not know, and counted it", d.metrics())


def killed_before_the_answer():
    """ClickHouse has written the block, is killed before it says so, and has synced nothing itself."""
    s, db, d = make("forgets_kill")
    with d:
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 2, stop, ["ev"], record) for i in range(2)])
        for n in range(5):
            rows = s.one(f"SELECT count() FROM {db}.ev")
            before = injected(s)
            s.control("/fault", {"at": "ack", "kind": "hang", "times": 1, "match": "insert into"})
            ok(net.wait_for(lambda: injected(s) > before and s.one(f"SELECT count() FROM {db}.ev") > rows, 20),
               f"kill {n + 1}: rows are in the table, their answer is held back")
            s.control("/engine/kill")
            s.control("/clear")
            s.control("/engine/start")
        stop.set()
        for c in clients:
            c.join(30)
        balanced(s, db, d, clients, "ClickHouse killed between storing and answering")


def daemon_killed_as_well():
    """Nobody remembers: the answer is held back, and the daemon dies too. Its plan is in the log."""
    s, db, d = make("forgets_both")
    with d:
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, d.port, 3, stop, ["ev"], record) for i in range(2)])
        for n in range(3):
            rows = s.one(f"SELECT count() FROM {db}.ev")
            before = injected(s)
            s.control("/fault", {"at": "ack", "kind": "hang", "times": 1, "match": "insert into"})
            ok(net.wait_for(lambda: injected(s) > before and s.one(f"SELECT count() FROM {db}.ev") > rows, 20),
               f"kill {n + 1}: rows are in the table, their answer is held back")
            d.kill()
            s.control("/engine/kill")
            s.control("/clear")
            s.control("/engine/start")
            d.start("/livez")
        stop.set()
        for c in clients:
            c.join(30)
        balanced(s, db, d, clients, "daemon and ClickHouse killed between storing and answering")


def refused_when_sent_again():
    """The block was stored, nobody said so, and its repetition is refused for its data, twice: halves would be stored again."""
    s, db, d = make("forgets_refused")
    with d:
        inserts.seen(s, clear=True)
        s.control("/fault", [{"at": "ack", "kind": "drop", "times": 1, "match": "insert into"},
                             {"at": "data", "kind": "exception", "code": 117, "after": 100, "skip": 1, "times": 2, "match": "insert into"}])
        rows = "".join(f'{{"id": "r{n}", "text": "{"x" * 50}"}}\n' for n in range(200))
        same(d.ingest("ev", rows, "application/x-ndjson").status, 200, "200 rows are accepted")
        ok(net.wait_for(lambda: len(inserts.seen(s)) >= 4 and d.pending() in (0, None), 30), "and drained")
        sent = inserts.seen(s)
        same([n["fault"] for n in sent], ["ack.drop", "data.exception 117", "data.exception 117", None], "in four INSERTs")
        same(len({n["token"] for n in sent}), 1, "under one token")
        same(s.rows(f"SELECT count(), uniqExact(id) FROM {db}.ev"), [[200, 200]], "each row is there once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")
        s.control("/clear")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(connection_cut, killed_before_the_answer, daemon_killed_as_well, refused_when_sent_again)
