#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Too many parts: merges fall behind, ClickHouse refuses inserts with 252, and a writer that tries again at once makes it
worse. The daemon waits, lets its batches grow, and adds no parts; nothing is a dead letter, nothing is lost.
"""
import threading
import time

from lib import audit, clickhouse, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok, same

RETRY_MIN_MS = 100  # 252 is waited for at least about ten times as long
SETTINGS = {"flush.interval": "200ms", "flush.retry_min": f"{RETRY_MIN_MS}ms", "flush.retry_max": "1s", "wal.retain": "1h"}


def record(r, table, ident):
    return {"id": ident, "text": "x" * r.randrange(200)}


class Story:
    def __init__(self, name, more=""):
        self.s = s = clickhouse.modern()
        s.control("/clear")
        s.control("/log?clear=1")
        self.db = db = s.database("e2e_" + name)
        s.query(f"CREATE TABLE {db}.ev (id String, text String) ENGINE = MergeTree ORDER BY id"
                f" SETTINGS non_replicated_deduplication_window = 10000{more}")
        s.query(f"SYSTEM STOP MERGES {db}.ev")  # every insert stays visible as its part
        self.d = d = Daemon(s, db, name=name, settings=SETTINGS)
        d.start("/readyz")
        d.know("ev")
        self.stop = threading.Event()
        self.clients = writers.start([writers.Writer(i, d.port, name, self.stop, ["ev"], record, pause=0.03) for i in range(2)])

    def parts(self):
        """Rows of each active part, oldest first."""
        return [n for n, in self.s.rows("SELECT rows FROM system.parts WHERE active AND table = 'ev' AND database ="
                                        f" '{self.db}' ORDER BY min_block_number")]

    def attempts(self):
        """INSERTs that reached ClickHouse's door, seen by the front."""
        return sum(1 for q in self.s.log() if q["query"].lower().startswith("insert") and f"`{self.db}`" in q["query"])

    def arrived(self):
        """Everything acknowledged is there once; (acked, verdict)."""
        self.stop.set()
        for c in self.clients:
            c.join(30)
        fate, count = writers.fates(self.clients)
        acked = {i for i, (_, f) in fate.items() if f == writers.ACKED}
        net.wait_for(lambda: acked <= audit.in_tables(self.s, self.db).keys() and self.d.pending() in (0, None), 40, 0.2)
        return count["acked"], audit.audit(fate, audit.in_tables(self.s, self.db))


def injected():
    """252 to every insert for four seconds."""
    story = Story("too_many_parts")
    s, d = story.s, story.d
    with d:
        ok(net.wait_for(lambda: len(story.parts()) >= 3, 20), "inserts arrive, a part each", story.parts)
        s.control("/fault", {"at": "query", "kind": "exception", "code": 252, "match": "insert into"})
        ok(net.wait_for(lambda: s.state()["stats"]["injected"].get("native.query.exception"), 10), "ClickHouse says 252")
        before, began, tried = story.parts(), time.monotonic(), story.attempts()
        time.sleep(4)  # how long it lasts is the story
        tried, lasted, during = story.attempts() - tried, time.monotonic() - began, story.parts()
        s.control("/clear")
        acked, v = story.arrived()
        after = story.parts()
        tap.note(f"parts {before} → {after}; {tried} attempts in {lasted:.1f} s")
        same(during, before, "no part is added meanwhile")
        ok(1 <= tried <= 2 + lasted * 1000 / (0.5 * 10 * RETRY_MIN_MS), "it is not hammered", f"{tried} inserts in {lasted:.1f} s")
        grown = after[len(before):]
        ok(grown and max(grown) > 3 * max(before), "the batch grows: what waited goes as one block", (before, grown))
        ok(len(grown) <= 6, "few parts for all that waited", grown)
        ok(v.good() and acked > 300, f"{acked} acked; {v}", (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
        same((d.dlq() or {}).get("total"), 0, "no dead letters")


def real():
    """ClickHouse's own refusal: the table may have eight parts, and nothing merges."""
    limit = 8
    story = Story("too_many_parts_real", f", parts_to_delay_insert = 0, parts_to_throw_insert = {limit}")
    s, d = story.s, story.d
    with d:
        ok(net.wait_for(lambda: any('reason="too_many_parts"' in k for k in d.metrics()), 30),
           "the table is full of parts, the daemon counts refusals", story.parts)
        full, began, most = story.parts(), time.monotonic(), 0
        while time.monotonic() - began < 3:
            most = max(most, len(story.parts()))
        ok(most <= limit + 1, "the part count stays flat", f"{most} parts, limit {limit}")
        same((d.dlq() or {}).get("total"), 0, "no dead letters meanwhile")
        waiting = d.pending()
        s.query(f"SYSTEM START MERGES {story.db}.ev")
        s.query(f"OPTIMIZE TABLE {story.db}.ev")
        acked, v = story.arrived()
        tap.note(f"parts {full} → {story.parts()}, {waiting:.0f} rows waited")
        ok(v.good() and acked > 300, f"when merges run again all arrives: {acked} acked; {v}",
           (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
        same((d.dlq() or {}).get("total"), 0, "no dead letters")
        biggest = s.one(f"SELECT max(c) FROM (SELECT count() AS c FROM {story.db}.ev GROUP BY _part)")
        ok(biggest >= waiting * 0.5, "what waited went in few large blocks", (biggest, waiting))


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(injected, real)
