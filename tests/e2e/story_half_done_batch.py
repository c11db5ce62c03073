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
BATCHES = 12
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


def again_until_taken(d, key, data, what):
    """The same request until it is answered 200; its counts, or None."""
    a = None

    def once():
        nonlocal a
        a = send(d, key, data)
        return a is not None and a.status == 200
    return counts(a) if ok(net.wait_for(once, 60, 0.1), f"{what}: answered in the end", a) else None


def killed_at_any_moment():
    """kill -9 of the daemon while a body comes in, at any moment; where it falls is chance, what comes of it is not."""
    s, db, d = make("half_done_kill", {})
    r = random.Random(3)
    halves = 0
    with d:
        for batch in range(1, BATCHES + 1):
            key, data, done = str(uuid.UUID(int=r.getrandbits(128))), body(batch), []
            sender = threading.Thread(target=lambda: done.append(send(d, key, data)))
            sender.start()
            time.sleep(r.uniform(0.01, 0.15))  # the moment of the crash
            d.kill()
            sender.join()
            d.start("/livez")
            c = again_until_taken(d, key, data, f"batch {batch}")
            if c is None:
                break
            halves += 0 < c[1] < ROWS
            ok(c[0] + c[1] == c[3] == ROWS and c[2] == 0, f"batch {batch}: {c[1]} rows were there, {c[0]} were missing", c)
        tap.note(f"of {batch} batches {halves} were half done when the daemon died")
        a = send(d, key, data)
        same((a.status, counts(a)), (200, (0, ROWS, 0, ROWS)), "once more: all are duplicates")
        same(all_there(s, db, batch * ROWS), [batch * ROWS] * 2, "every row is there once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")


def between_two_parts(name, segments, parts, kill):
    """The log is full between two parts of a body: the first ones are durable, the client hears 503.

    A body is three parts, of 4, 4 and about 2 MiB, and a part lies within one segment of the log. So it follows from the
    sizes alone which part is the first without room: segments of 16 MiB are filled by (parts of bodies) 1 1 1 2 · 2 2 3 3 ·
    3 4 4 4 · 5 5 5 6 · 6 6 7 7. ClickHouse is away, so nothing makes room meanwhile. With kill the daemon dies then: it
    leaves on disk what a crash between these two parts leaves."""
    s, db, d = make(name, {"wal.segment_size": "16MiB", "wal.max_bytes": f"{segments * 16}MiB", "wal.min_free": "1MiB",
                           "wal.retain": "0s"})
    with d:
        s.control("/refuse", {"fronts": ["tcp", "http"]})
        sent, a = 0, None
        while sent < 20 and (a is None or a.status == 200):
            sent += 1
            key, data = f"key-{sent}", body(sent)
            a = send(d, key, data)
        same(a and a.status, 503, f"{name}: body {sent} does not fit")
        ok(a and a.fields.get("retry-after"), "when to try again", a)
        if kill:
            d.kill()
        s.control("/accept")
        if kill:
            d.start("/livez")
        c = again_until_taken(d, key, data, name)
        if c is None:
            return
        ok(c[0] + c[1] == c[3] == ROWS and c[2] == 0, f"{c[1]} rows were there, {c[0]} were missing", c)
        same(round(c[1] * len(data) / ROWS / 2**22), parts, f"the refused request was half done: {parts} of three parts")
        same(again_until_taken(d, key, data, "once more"), (0, ROWS, 0, ROWS), "all are duplicates then")
        same(all_there(s, db, sent * ROWS), [sent * ROWS] * 2, "every row is there once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(killed_at_any_moment,
            lambda: between_two_parts("half_done_1", 4, 1, False),
            lambda: between_two_parts("half_done_1_kill", 4, 1, True),
            lambda: between_two_parts("half_done_2_kill", 5, 2, True))
