#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""X-Ack: clickhouse waits for the rows to be in ClickHouse and tells each dead letter; X-WaveHouse-Offset and
GET /v1/offset say how far the log has come."""
import json
import re
import subprocess
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same


def send(d, rows, **headers):
    """One record, or a list as NDJSON."""
    if isinstance(rows, list):
        return d.ingest("ev", "\n".join(map(json.dumps, rows)), kind="application/x-ndjson", **headers)
    return d.ingest("ev", rows, **headers)


def position(a):
    return int(a.fields.get("x-wavehouse-offset", "0"))


def offset(d, table="ev"):
    return d.call("GET", "/v1/offset" + (f"?table={table}" if table else "")).json()


def count(s, db):
    return s.one(f"SELECT count() FROM {db}.ev")


def start(s, name, **settings):
    db = s.database(name)
    s.query(f"CREATE TABLE {db}.ev (id UInt32, n Int8) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 1000")
    d = Daemon(s, db, name=name, settings={"flush.interval": "60s", "flush.retry_min": "100ms",
                                           "flush.retry_max": "300ms", **settings})
    return db, d


def levels():
    s = clickhouse.modern()
    db, d = start(s, "e2e_ack")
    with d:
        d.start("/readyz")
        d.know("ev")
        a = send(d, {"id": 1, "n": 1})
        same((a.status, a.json()), (200, {"ok": True}), "without X-Ack: as ever")
        first = position(a)
        ok(first > 0, "with the log position", a.fields)
        same(send(d, {"id": 2, "n": 2}, X_Ack="committed").json(), {"ok": True}, "X-Ack: committed is the same")
        for level in ("disk", "clickhouse, committed", ""):
            a = send(d, {"id": 3, "n": 3}, X_Ack=level)
            ok(a.status == 400 and "X-Ack must be" in a.error, f"X-Ack: {level!r} is refused", a)
        for wait in ("soon", "0", "0s", "601s", "1h", "99999999999999999999s"):
            a = send(d, {"id": 3, "n": 3}, X_Ack="clickhouse", X_Ack_Timeout=wait)
            ok(a.status == 400 and "X-Ack-Timeout must be" in a.error, f"X-Ack-Timeout: {wait} is refused", a)
        same(offset(d)["pending_records"], 2, "the two wait for the interval of a minute")

        began = time.monotonic()
        a = send(d, {"id": 4, "n": 4}, X_Ack="clickhouse")
        same((a.status, a.json()), (200, {"ok": True, "ack": "clickhouse"}), "X-Ack: clickhouse, one record")
        ok(time.monotonic() - began < 10, "does not wait for the interval", time.monotonic() - began)
        same(count(s, db), 3, "the row is there when the answer is, and those before it")
        ok(position(a) > first, "positions grow", (first, position(a)))
        ok(offset(d)["flushed"] >= position(a), "flushed is past it", offset(d))

        rows = [{"id": 10 + i, "n": i} for i in range(100)]
        a = send(d, rows, X_Ack="clickhouse")
        same((a.status, a.json()["succeeded"], a.json()["failed"], a.json()["ack"]), (200, 100, 0, "clickhouse"), "a batch")
        same(count(s, db), 103, "its rows are there")

        a = send(d, {"id": 200, "n": "many"}, X_Ack="clickhouse")
        j = a.json()
        same((a.status, j.get("code"), j.get("retryable"), j.get("dead_letter")),
             (400, "clickhouse.rejected", False, True), "a dead letter, one record")
        ok(j.get("exception_code") in (26, 27, 6, 72) and j["error"], "with ClickHouse's number and text", j)
        same(d.dlq("ev")["total"] if net.wait_for(lambda: d.dlq("ev")["total"] == 1, 10) else None, 1, "it is kept")

        rows = [{"id": 300 + i, "n": "bad" if i in (0, 7, 49) else i} for i in range(50)]
        rows.insert(5, {"id": 1, "nope": 1})
        a = send(d, rows, X_Ack="clickhouse")
        j = a.json()
        same((a.status, j["total"], j["succeeded"], j["failed"], j["ack"]), (200, 51, 47, 4, "clickhouse"),
             "a batch with three dead letters and a refused record")
        same([r["index"] for r in j["results"]], list(range(1, 52)), "every record has its entry, in order")
        same([r["index"] for r in j["results"] if "error" in r], [1, 6, 9, 51], "the right ones are errors")
        same([r["index"] for r in j["results"] if "exception_code" in r], [1, 9, 51], "dead letters have a number")
        ok(all("ok" in r for r in j["results"] if "error" not in r), "all others are ok")
        same(count(s, db), 150, "the others are stored")

        a = d.ingest("ev", "[]", X_Ack="clickhouse")
        same((a.status, a.json()["total"]), (200, 0), "an empty batch waits for nothing")
        ok("x-wavehouse-offset" not in a.fields, "and has no position", a.fields)
        m = d.metrics()
        same((m['wavehouse_ingest_ack_total{ack="committed"}'], m["wavehouse_ingest_ack_waiting"]), (0, 0), "counted")
        ok(m['wavehouse_ingest_ack_total{ack="clickhouse"}'] >= 5, "as acknowledged by ClickHouse", m)
        same(d.stop(), 0, "clean stop")


def together():
    """Many at a time: coalesced into few inserts, each answered after its row is there."""
    s = clickhouse.modern()
    db, d = start(s, "e2e_ack_many")
    with d:
        d.start("/readyz")
        d.know("ev")
        bad, lock = [], threading.Lock()

        def work(number):
            client = net.Client(d.port)
            for i in range(5):
                row = number * 1000 + i
                a = client.call("POST", "/v1/ingest?table=ev", json.dumps({"id": row, "n": 1}).encode(),
                                {"X-Ack": "clickhouse"})
                seen = s.one(f"SELECT count() FROM {db}.ev WHERE id = {row}")
                if a.status != 200 or a.json().get("ack") != "clickhouse" or seen != 1:
                    with lock:
                        bad.append((a.status, a.body, seen))
            client.close()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        same(bad, [], "24 senders, 5 records each: every answer after its row")
        parts = s.one("SELECT max(max_block_number) FROM system.parts"  # one number an insert
                      f" WHERE database = '{db}' AND table = 'ev'")
        ok(parts < 60, "several to an insert", parts)
        tap.note(f"120 records in {parts} inserts")


def outage():
    s = clickhouse.modern()
    db, d = start(s, "e2e_ack_outage")
    with d:
        d.start("/readyz")
        d.know("ev")
        s.control("/engine/stop")
        try:
            began = time.monotonic()
            a = send(d, {"id": 1, "n": 1}, X_Ack="clickhouse", X_Ack_Timeout="700ms")
            took = time.monotonic() - began
            same((a.status, a.json()), (202, {"ok": True, "ack": "committed"}), "time is up: 202, committed")
            ok(0.6 < took < 5, "after the time asked for", took)
            a = send(d, [{"id": 2, "n": 2}, {"id": 3, "n": 3}], X_Ack="clickhouse", X_Ack_Timeout="1")
            same((a.status, a.json()["ack"], a.json()["succeeded"]), (202, "committed", 2), "a batch likewise")
            before = offset(d)
            ok(before["flushed"] < position(a) <= before["committed"] <= before["accepted"], "flushed stays behind", before)
            same(before["pending_records"], 3, "three wait")
            got = []
            waiter = threading.Thread(target=lambda: got.append(send(d, {"id": 4, "n": 4}, X_Ack="clickhouse")))
            waiter.start()
            ok(net.wait_for(lambda: d.metrics()["wavehouse_ingest_ack_waiting"] == 1, 10), "one waits")
        finally:
            s.control("/engine/start")
        waiter.join(60)
        same([(a.status, a.json()) for a in got], [(200, {"ok": True, "ack": "clickhouse"})],
             "the one that waited through the outage is told when ClickHouse is back")
        same(count(s, db), 4, "all are there")
        ok(offset(d)["flushed"] >= position(got[0]), "flushed has caught up", offset(d))


def stop_and_restart():
    s = clickhouse.modern()
    db, d = start(s, "e2e_ack_restart")
    with d:
        d.start("/readyz")
        d.know("ev")
        last, grows = 0, True
        for i in range(20):
            p = position(send(d, {"id": i, "n": i}))
            grows, last = grows and p > last, p
        ok(grows, "positions grow from record to record")
        seen = offset(d, None)
        ok(seen["accepted"] >= seen["committed"] >= last, "the whole log", seen)
        s.control("/engine/stop")
        try:
            got = []
            waiter = threading.Thread(target=lambda: got.append(send(d, {"id": 100, "n": 1}, X_Ack="clickhouse")))
            waiter.start()
            ok(net.wait_for(lambda: d.metrics()["wavehouse_ingest_ack_waiting"] == 1, 10), "one waits")
            began = time.monotonic()
            same(d.stop(), 0, "SIGTERM while one waits")
            waiter.join(30)
            same([(a.status, a.json().get("ack")) for a in got], [(202, "committed")], "it is told: committed")
            ok(time.monotonic() - began < 9, "well within the shutdown time", time.monotonic() - began)
        finally:
            s.control("/engine/start")
        dump = subprocess.run([env.program("wavehousectl"), "wal", "dump", f"{d.dir}/data/wal"], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        indexes = [int(x) for x in re.findall(r"(?m)^\s*(?:index=)?(\d+)\b.*events", dump)]
        ok(last in indexes and position(got[0]) in indexes, "the positions are those that wal dump shows",
           f"{last} {position(got[0])}\n{dump[:2000]}")
        d.start("/readyz")
        ok(net.wait_for(lambda: offset(d)["flushed"] >= position(got[0]), 30, 0.1), "flushed after the restart", offset(d))
        same(count(s, db), 21, "everything is there")
        after = position(send(d, {"id": 101, "n": 1}))
        ok(after > position(got[0]), "positions go on growing", (after, position(got[0])))
        a = d.call("GET", "/v1/offset?table=nope")
        same((a.status, a.error), (404, "unknown table: nope"), "an unknown table has none")
        same(d.call("POST", "/v1/offset").status, 405, "GET only")
        if tap.failed():
            tap.note(d.log_tail(40))


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(levels, together, outage, stop_and_restart)
