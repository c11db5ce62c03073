#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Retry after a half-done batch: a large body is cut in the middle, or answered 503 after its first part was stored.

The client can only send it again. Without an Idempotency-Key the first part would come twice; with it the daemon stores
what is missing, and says of the rest that it is a duplicate.
"""
import json
import random
import threading
import time
import uuid

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

ROWS = 30000
PAD = "p" * 300  # about 10 MiB: several entries of the log


def body(batch):
    return "\n".join(json.dumps({"id": f"{batch}-{i}", "text": PAD}) for i in range(ROWS)).encode()


def send(d, key, data, timeout=60):
    """One attempt: the answer, or None when nobody knows."""
    try:
        return d.call("POST", "/v1/ingest?table=ev", data, {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}, timeout)
    except Exception:
        return None


def make(name, settings):
    s = clickhouse.modern()
    s.control("/clear")
    db = s.database("e2e_" + name)
    s.query(f"CREATE TABLE {db}.ev (id String, text String) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 1000")
    d = Daemon(s, db, name=name, settings={"flush.interval": "200ms", "flush.retry_min": "50ms", "flush.retry_max": "200ms", **settings})
    d.start("/readyz")
    d.know("ev")
    return s, db, d


def all_there(s, db, rows):
    net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") >= rows, 60, 0.2)
    return [int(x) for x in s.rows(f"SELECT count(), uniqExact(id) FROM {db}.ev")[0]]


def counts(a):
    value = a.json()
    return value["succeeded"], value["duplicates"], value["failed"], value["total"]


def killed_in_the_middle():
    """kill -9 of the daemon while a body comes in, at any moment; the client sends it again until it is answered."""
    s, db, d = make("half_done_kill", {})
    r = random.Random(3)
    halves = batches = 0
    with d:
        while batches < 100 and halves < 3:
            batches += 1
            key, data, done = str(uuid.UUID(int=r.getrandbits(128))), body(batches), []
            sender = threading.Thread(target=lambda: done.append(send(d, key, data)))
            sender.start()
            time.sleep(r.uniform(0.01, 0.15))  # the moment of the crash
            d.kill()
            sender.join()
            d.start("/livez")
            a = None

            def again():
                nonlocal a
                a = send(d, key, data)
                return a is not None and a.status == 200
            if not ok(net.wait_for(again, 60, 0.1), f"batch {batches}: answered in the end", a):
                break
            stored, repeated, failed, total = counts(a)
            good = stored + repeated == total == ROWS and failed == 0
            halves += 0 < repeated < ROWS
            ok(good, f"batch {batches}: {repeated} rows were there, {stored} were missing", counts(a))
        ok(halves >= 1, f"of {batches} batches {halves} were half done when the daemon died")
        a = send(d, key, data)
        same((a.status, counts(a)), (200, (0, ROWS, 0, ROWS)), "once more: all are duplicates")
        same(all_there(s, db, batches * ROWS), [batches * ROWS] * 2, "every row is there once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")


def log_full_in_the_middle():
    """503 after the first part was stored: the log has no room while ClickHouse is away."""
    s, db, d = make("half_done_full", {"wal.max_bytes": "64MiB", "wal.retain": "0s"})
    with d:
        s.control("/refuse", {"fronts": ["tcp", "http"]})
        answers, sent = [], 0
        while sent < 20 and not (answers and answers[-1].status == 503):
            sent += 1
            data = body(sent)
            answers.append(send(d, f"key-{sent}", data))
        same(answers[-1].status, 503, f"body {sent} does not fit")
        ok(answers[-1].fields.get("retry-after"), "when to try again", answers[-1])
        s.control("/accept")
        a = None

        def again():
            nonlocal a
            a = send(d, f"key-{sent}", data)
            return a is not None and a.status == 200
        ok(net.wait_for(again, 60, 0.2), "when ClickHouse is back it is taken", a)
        stored, repeated, failed, total = counts(a)
        # Whether the log was full between two parts or before the first is chance.
        ok(stored + repeated == total == ROWS and failed == 0, f"{repeated} rows were there, {stored} were missing", counts(a))
        same(all_there(s, db, sent * ROWS), [sent * ROWS] * 2, "every row is there once")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(killed_in_the_middle, log_full_in_the_middle)
