#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Repeated records: by id field, by table, by Idempotency-Key; concurrent; across crashes; when the log is full."""
import json
import os
import re
import shutil
import subprocess
import threading

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

NDJSON = "application/x-ndjson"
FAST = {"flush.interval": "200ms", "flush.retry_max": "1s"}


def lines(rows):
    return "\n".join(json.dumps(r) for r in rows)


def prepare(s, name, *tables):
    db = s.database(name)
    window = " SETTINGS non_replicated_deduplication_window = 10000" if s.modern else ""
    for t in tables:
        s.query(f"CREATE TABLE {db}.{t} (event_id Nullable(String), n UInt64, text String DEFAULT '',"
                f" order_no Nullable(UInt64))"
                f" ENGINE = MergeTree ORDER BY n{window}")
    return db


def counts(s, db, table, column="n"):
    return tuple(int(x) for x in s.rows(f"SELECT count(), uniqExact({column}) FROM {db}.{table}")[0])


def arrive(s, db, table, rows, seconds=30):
    net.wait_for(lambda: counts(s, db, table)[0] >= rows, seconds, 0.1)


def know(d, *tables):
    """Tables are discovered and the ids of earlier runs are read."""
    d.start("/readyz")
    d.know(*tables)


def batch(a):
    j = a.json() or {}
    return tuple(j.get(k) for k in ("total", "succeeded", "failed", "duplicates"))


def fields(s):
    """Each server: the id field, tables with settings of their own, what is no id."""
    name = "e2e_dedupe_" + s.name.replace(".", "_")
    db = prepare(s, name, "ev", "orders", "plain")
    with Daemon(s, db, name=name, settings={**FAST, "dedupe": {"enabled": True, "tables": {
            "orders": {"id_field": "order_no", "require_id": True}, "plain": {"enabled": False}}}}) as d:
        know(d, "ev", "orders", "plain")
        w = s.name

        def post(table, row, **headers):
            return d.ingest(table, row, **headers)

        same(post("ev", {"event_id": "a", "n": 1}).json(), {"ok": True}, f"{w}: the first is stored")
        same(post("ev", {"event_id": "a", "n": 1}).json(), {"duplicate": True}, f"{w}: the second is a duplicate")
        same(post("ev", {"event_id": "a", "n": 2}).json(), {"duplicate": True}, f"{w}: whatever else it says")
        same(post("ev", {"event_id": "A", "n": 3}).json(), {"ok": True}, f"{w}: another id")
        same(post("ev", {"event_id": 7, "n": 4}).json(), {"ok": True}, f"{w}: a number is an id")
        same(post("ev", '{"event_id":"7","n":4}').json(), {"duplicate": True}, f"{w}: the same as text")
        same(post("ev", {"event_id": "\u00e9/\n", "n": 5}).json(), {"ok": True}, f"{w}: an id with escapes")
        same(post("ev", '{"event_id":"\\u00e9\\/\\n","n":5}').json(), {"duplicate": True}, f"{w}: spelt otherwise")
        same(post("ev", '{"\\u0065vent_id":"a","n":5}').json(), {"duplicate": True}, f"{w}: its key spelt otherwise")
        same(post("ev", '{"event_id":"new","event_id":"a","n":5}').json(), {"duplicate": True}, f"{w}: the last of two counts")
        long = "x" * 3000
        same(post("ev", {"event_id": long + "1", "n": 6}).json(), {"ok": True}, f"{w}: a long id")
        same(post("ev", {"event_id": long + "2", "n": 7}).json(), {"ok": True}, f"{w}: another one, by its last letter")
        same(post("ev", {"event_id": long + "2", "n": 7}).json(), {"duplicate": True}, f"{w}: and its repeat")
        for none in ('{"n":8}', '{"event_id":null,"n":9}', '{"event_id":"","n":10}'):
            same([post("ev", none).json() for _ in range(2)], [{"ok": True}] * 2, f"{w}: no id, stored each time: {none}")
        same(post("ev", {"event_id": "bad", "n": 1, "oops": 1}).status, 400, f"{w}: a refused record")
        same(post("ev", {"event_id": "bad", "n": 11}).json(), {"ok": True}, f"{w}: leaves its id free")
        a = d.ingest("ev", lines([{"event_id": "r1", "n": 12}, {"event_id": "r1", "n": 12}, {"event_id": "a", "n": 13},
                                  {"n": 14, "q": 1}, {"event_id": "r2", "n": 15}]), NDJSON)
        same(a.json(), {"total": 5, "succeeded": 2, "failed": 1, "duplicates": 2, "results": [
            {"index": 1, "ok": True}, {"index": 2, "duplicate": True}, {"index": 3, "duplicate": True},
            {"index": 4, "error": 'unknown column "q" for table "ev"'}, {"index": 5, "ok": True}]}, f"{w}: repeats in one batch")
        same(batch(d.ingest("ev", [{"event_id": "r1", "n": 1}, {"event_id": "r2", "n": 1}])), (2, 0, 0, 2), f"{w}: nothing but duplicates")

        for body in ({"n": 20}, {"order_no": None, "n": 20}):
            a = post("orders", body)
            same((a.status, a.error), (400, 'missing dedupe id field "order_no"'), f"{w}: require_id: {body}")
        same(post("orders", {"n": 20, "event_id": "a", "order_no": 5}).json(), {"ok": True}, f"{w}: ids are of a table")
        same(post("orders", {"n": 21, "order_no": 5}).json(), {"duplicate": True}, f"{w}: a table's own id field")
        same(post("orders", {"n": 21, "order_no": 6, "x": 1}).error, 'unknown column "x" for table "orders"', f"{w}: other faults come first")
        same([post("plain", {"event_id": "a", "n": 30}).json() for _ in range(2)], [{"ok": True}] * 2, f"{w}: off for a table")

        m = d.metrics()
        same(m.get('wavehouse_dedupe_hits_total{table="ev"}'), 11.0, f"{w}: duplicates are counted")
        same(m.get('wavehouse_ingest_dedupe_missing_id_total{table="ev"}'), 7.0, f"{w}: records without id")
        same(m.get('wavehouse_ingest_dedupe_missing_id_total{table="orders"}'), 2.0, f"{w}: also those refused for it")
        arrive(s, db, "ev", 15)
        arrive(s, db, "orders", 1)
        arrive(s, db, "plain", 2)
        same([counts(s, db, t)[0] for t in ("ev", "orders", "plain")], [15, 1, 2], f"{w}: so many rows are stored")


def keys():
    """The Idempotency-Key of a request, with dedup off."""
    s = clickhouse.modern()
    db = prepare(s, "e2e_dedupe_key", "ev", "withid")
    with Daemon(s, db, name="dedupe_key", settings={**FAST, "dedupe.tables": {"withid": {"enabled": True}}}) as d:
        know(d, "ev", "withid")
        same([d.ingest("ev", {"n": 1}, Idempotency_Key="k1").json() for _ in range(3)],
             [{"ok": True}] + [{"duplicate": True}] * 2, "a request sent three times is stored once")
        same(d.ingest("ev", {"n": 2}, Idempotency_Key="k2").json(), {"ok": True}, "another key")
        same(d.ingest("withid", {"n": 2}, Idempotency_Key="k2").json(), {"ok": True}, "the same key for another table")
        same([d.ingest("ev", {"n": 3}).json() for _ in range(2)], [{"ok": True}] * 2, "no key: stored each time")
        body = lines([{"n": 10}, {"n": "x", "oops": 1}, {"n": 11}]) + "\nnot json\n" + json.dumps({"n": 12})
        same(batch(d.ingest("ev", body, NDJSON, Idempotency_Key="k3")), (5, 3, 2, 0), "a batch under a key")
        same(batch(d.ingest("ev", body, NDJSON, Idempotency_Key="k3")), (5, 0, 2, 3), "its repeat")
        more = body.replace(', "oops": 1', "").replace('"x"', "13")
        same(batch(d.ingest("ev", more, NDJSON, Idempotency_Key="k3")), (5, 1, 1, 3), "with one record mended: only that one is stored")
        a = d.ingest("ev", {"n": 1}, Idempotency_Key="")
        same((a.status, a.error), (400, "Idempotency-Key is empty"), "an empty key")
        same(d.ingest("ev", {"n": 14}, Idempotency_Key="k" * 1024).json(), {"ok": True}, "a key of 1024 bytes")
        a = d.ingest("ev", {"n": 1}, Idempotency_Key="k" * 1025)
        same((a.status, a.error), (400, "Idempotency-Key is longer than 1024 bytes"), "a longer one")
        # the record's own id first
        same(d.ingest("withid", {"event_id": "i", "n": 20}, Idempotency_Key="k5").json(), {"ok": True}, "id and key")
        same(d.ingest("withid", {"event_id": "i", "n": 20}, Idempotency_Key="k6").json(), {"duplicate": True}, "the id under another key")
        same(d.ingest("withid", {"event_id": "j", "n": 21}, Idempotency_Key="k5").json(), {"ok": True}, "another id under the same key")
        same([d.ingest("withid", {"n": 22}, Idempotency_Key="k7").json() for _ in range(2)], [{"ok": True}, {"duplicate": True}],
             "without an id the key counts")
        arrive(s, db, "ev", 9)
        arrive(s, db, "withid", 4)
        same((counts(s, db, "ev")[0], counts(s, db, "withid")[0]), (9, 4), "so many rows are stored")


def concurrent():
    """Many senders with the same ids at once, on several loops, in another order each."""
    s = clickhouse.modern_direct()
    db = prepare(s, "e2e_dedupe_many", "ev")
    senders, batches, size = 8, 12 if env.FAST else 40, 25
    with Daemon(s, db, name="dedupe_many", settings={**FAST, "server.threads": 3, "dedupe.enabled": True}) as d:
        know(d, "ev")
        told, others = [0] * senders, []

        def send(me):
            client = net.Client(d.port)
            for b in range(batches):
                rows = [{"event_id": f"{b}-{i}", "n": b * size + i} for i in range(size)]
                rows = rows[me * 3:] + rows[:me * 3]
                if me % 2:
                    rows.reverse()
                a = client.call("POST", "/v1/ingest?table=ev", lines(rows).encode(), {"Content-Type": NDJSON})
                while a.status == 503:
                    others.append(a.error)
                    a = client.call("POST", "/v1/ingest?table=ev", lines(rows).encode(), {"Content-Type": NDJSON})
                t = batch(a)
                told[me] += t[1]
                if t[1] + t[3] != size or t[2]:
                    others.append(repr(a))
            client.close()

        threads = [threading.Thread(target=send, args=(i,)) for i in range(senders)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        same(others, [], "each record was stored or a duplicate")
        same(sum(told), batches * size, "each id was told to be stored exactly once")
        arrive(s, db, "ev", batches * size)
        same(counts(s, db, "ev", "event_id"), (batches * size, batches * size), "and is")
        tap.note(f"waits: {d.metrics().get('wavehouse_dedupe_waits_total')}")


def restarts():
    """Ids outlive a stop, a kill, and the folder of the index."""
    s = clickhouse.modern()
    db = prepare(s, "e2e_dedupe_again", "ev")
    with Daemon(s, db, name="dedupe_again", settings={**FAST, "dedupe.enabled": True}) as d:
        know(d, "ev")
        total = 0

        def fill(n):
            nonlocal total
            a = d.ingest("ev", lines({"event_id": f"i{total + i}", "n": total + i} for i in range(n)), NDJSON)
            same(batch(a), (n, n, 0, 0), f"{n} new ids")
            total += n

        def repeat(what):
            a = d.ingest("ev", lines({"event_id": f"i{i}", "n": i} for i in range(total)), NDJSON)
            same(batch(a), (total, 0, 0, total), f"all are duplicates {what}")
            same(d.metrics().get("wavehouse_dedupe_ids"), float(total), f"and known {what}")

        index = os.path.join(d.config["data_dir"], "dedupe")
        fill(500)
        same(d.stop(), 0, "stopped")
        dump = subprocess.run([env.program("wavehousectl"), "wal", "dump", "--json", "--payload", os.path.join(d.config["data_dir"], "wal")],
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        ids = set(re.findall(r'"id":"([0-9a-f]{32})","record"', dump))
        same(len(ids), total, "wavehousectl wal dump shows the ids")
        know(d, "ev")
        repeat("after a stop")
        for round_ in range(3):
            fill(300)
            if round_ == 1:  # some ids are in the files, some only in the log
                net.wait_for(lambda: os.path.isdir(index) and d.metrics()["wavehouse_dedupe_index_lag_entries"] == 0, 10)
            d.kill()
            know(d, "ev")
            repeat(f"after kill {round_ + 1}")
        d.kill()
        shutil.rmtree(index)
        know(d, "ev")
        repeat("after the index was deleted")
        ok(net.wait_for(lambda: os.path.isdir(index), 20), "it is there again")
        d.stop()
        for name in os.listdir(index):  # damage: a byte in the middle of each file
            with open(os.path.join(index, name), "r+b") as f:
                f.seek(os.path.getsize(f.name) // 2)
                byte = f.read(1)[0]
                f.seek(-1, 1)
                f.write(bytes([byte ^ 0x55]))
        know(d, "ev")
        repeat("after the index was damaged")
        d.stop()
        shutil.rmtree(os.path.join(d.config["data_dir"], "store"))  # and the secret with it
        know(d, "ev")
        repeat("after the control store was lost")
        arrive(s, db, "ev", total)
        same(counts(s, db, "ev"), (total, total), "each is stored once")


def bounds():
    """Time and number end an id."""
    s = clickhouse.modern()
    db = prepare(s, "e2e_dedupe_bounds", "ev")
    with Daemon(s, db, name="dedupe_bounds", settings={**FAST, "dedupe": {"enabled": True, "retention": "3s"}}) as d:
        know(d, "ev")
        same(d.ingest("ev", {"event_id": "t", "n": 1}).json(), {"ok": True}, "stored")
        same(d.ingest("ev", {"event_id": "t", "n": 1}).json(), {"duplicate": True}, "known")
        again = lambda: d.ingest("ev", {"event_id": "t", "n": 2}).json() == {"ok": True}
        ok(net.wait_for(again, 15, 0.2), "unknown some time after dedupe.retention")
        net.wait_for(lambda: d.metrics()["wavehouse_dedupe_ids"] <= 1, 15)
        same(d.metrics()["wavehouse_dedupe_dropped_early_total"], 0.0, "nothing was forgotten early")
        d.config["dedupe"].update(retention="1h", max_ids=1000)
        d.write_config()
        d.process.send_signal(1)
        ok(net.wait_for(lambda: "config.reloaded" in d.log(), 10), "reloaded")
        for b in range(40):
            d.ingest("ev", lines({"event_id": f"m{b}-{i}", "n": 100 + b * 100 + i} for i in range(100)), NDJSON)
        early = lambda: d.metrics()["wavehouse_dedupe_dropped_early_total"]
        ok(net.wait_for(lambda: early() >= 3000, 15), "what is over dedupe.max_ids is forgotten early, which is counted", early)
        ids = d.metrics()["wavehouse_dedupe_ids"]
        ok(500 <= ids <= 1000, "no more are known", ids)
        ok("dedupe.early" in d.log(), "and logged")
        same(d.ingest("ev", {"event_id": "m39-99", "n": 1}).json(), {"duplicate": True}, "the newest is known")


def full_log():
    """The log takes no more: ids are given back, and a body that was stored in part is completed by its repeat."""
    s = clickhouse.modern()
    db = prepare(s, "e2e_dedupe_full", "ev", "big")
    with Daemon(s, db, name="dedupe_full", settings={**FAST, "dedupe.tables": {"ev": {"enabled": True}}, "wal": {
            "segment_size": "8MiB", "max_bytes": "40MiB", "min_free": "1MiB", "retain": "0s"}, "dlq.max_bytes": "1MiB"}) as d:
        know(d, "ev", "big")
        size, text = 11000, "x" * 1000  # more than two log entries of 4 MiB
        big = lines({"n": i, "text": f"{i:08}{text}"} for i in range(size))
        s.control("/engine/stop")
        acked, refused, halves = 0, [], 0
        try:
            for b in range(1, 40):  # until nothing fits any more
                key = f"body-{b}"
                body = big.replace('{"n": ', f'{{"n": {b}00000')
                a = d.ingest("big", body, NDJSON, Idempotency_Key=key)
                if a.status == 200:
                    same(batch(a), (size, size, 0, 0), "a body is stored")
                    acked += 1
                else:
                    refused.append((key, body))
                    same((a.status, a.fields.get("retry-after")), (503, "30"), "no room: 503")
                if len(refused) == 2:
                    break
            small = [{"event_id": f"s{i}", "n": i, "text": "y" * 20000} for i in range(400)]
            for _ in range(60):
                a = d.ingest("ev", small)
                if a.status != 200:
                    break
                small = [{**r, "event_id": r["event_id"] + "+"} for r in small]
            same(a.status, 503, "nor for records with ids")
            ok(acked > 0, "something was taken before", acked)
        finally:
            s.control("/engine/start")

        def until_200(table, body, **headers):
            last = []

            def attempt():
                last[:] = [d.ingest(table, body, **headers)]
                return last[0].status == 200
            ok(net.wait_for(attempt, 90, 0.3), f"{table}: taken once there is room", lambda: d.log_tail(20))
            return batch(last[0])
        for key, body in refused:
            t = until_200("big", body, kind=NDJSON, Idempotency_Key=key)
            same((t[0], t[1] + t[3], t[2]), (size, size, 0), "the repeat stores what is missing")
            halves += t[3] > 0
        t = until_200("ev", small)
        ok(t[1] > 0 and t[1] + t[3] == len(small) and t[2] == 0, "the ids of refused records are free", t)
        ok(halves > 0, "one of them had been stored in part")
        total = (acked + len(refused)) * size
        arrive(s, db, "big", total, 60)
        ok(net.wait_for(lambda: d.metrics()["wavehouse_dedupe_ids"] == total + counts(s, db, "ev")[0], 20, 0.2),
           "as many ids as rows are known", lambda: (d.metrics()["wavehouse_dedupe_ids"], total, counts(s, db, "ev")))
        same(counts(s, db, "big", "text || toString(n)"), (total, total), "every record of every body is stored once")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(*[lambda s=s: fields(s) for s in clickhouse.generations()], keys, concurrent, restarts, bounds, full_log)
