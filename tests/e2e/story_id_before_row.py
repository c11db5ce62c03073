#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Id marked before the row was stored: elsewhere a crash between the two made every retry a "duplicate" of nothing.

Senders post records with ids, one at a time, in batches, and under an Idempotency-Key, each until it is answered. The
daemon is killed at random moments meanwhile, within a few milliseconds of a request more often than not, and everything
that was not answered is sent again. In the end each record is in ClickHouse exactly once; no answer "duplicate"
came for a record that is not there. usage: story_id_before_row.py [--seed N] [--kills N]
"""
import argparse
import json
import random
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

NDJSON = "application/x-ndjson"


class Sender(threading.Thread):
    """Posts until told to end, each body until 200. Counts what it was told."""

    def __init__(self, daemon, me, seed, kind):
        super().__init__(daemon=True)
        self.d, self.me, self.kind, self.random = daemon, me, kind, random.Random(seed * 100 + me)
        self.ending = threading.Event()
        self.next = self.ok = self.duplicates = self.sent_again = 0
        self.wrong, self.client = [], None

    def body(self):
        n = {"single": 1, "batch": self.random.randint(1, 40), "key": self.random.randint(1, 40)}[self.kind]
        rows = [{"event_id": f"{self.kind}-{self.me}-{self.next + i}", "n": self.next + i, "text": "x" * self.random.randint(0, 300)}
                for i in range(n)]
        if self.kind == "batch" and n > 3:  # repeats within the body
            rows.append(rows[0])
        self.next += n
        return rows

    def post(self, table, rows, headers):
        body = json.dumps(rows[0]) if self.kind == "single" else "\n".join(map(json.dumps, rows))
        while True:
            try:
                self.client = self.client or net.Client(self.d.port, 10)
                a = self.client.call("POST", f"/v1/ingest?table={table}", body.encode(), headers)
            except OSError:
                a, self.client = None, None
            except Exception:  # http.client says in many ways that the other side is gone
                a, self.client = None, None
            if a is not None and a.status == 200:
                return a.json()
            if a is not None and a.status != 503:
                self.wrong.append(repr(a))
                return None
            self.sent_again += 1
            time.sleep(0.005)

    def run(self):
        kind = "application/json" if self.kind == "single" else NDJSON
        while not self.ending.is_set():
            rows, headers = self.body(), {"Content-Type": kind}
            table = "bykey" if self.kind == "key" else "byid"
            if self.kind == "key":
                headers["Idempotency-Key"] = f"{self.me}/{self.next}"
            j = self.post(table, rows, headers)
            if j is None:
                continue
            good = j.get("succeeded", int(j.get("ok", 0))), j.get("duplicates", int(j.get("duplicate", 0)))
            self.ok += good[0]
            self.duplicates += good[1]
            if sum(good) != len(rows):
                self.wrong.append(json.dumps(j)[:500])


def story(seed, kills):
    s = clickhouse.modern_direct()
    db = s.database("e2e_id_before_row")
    for t in ("byid", "bykey"):
        s.query(f"CREATE TABLE {db}.{t} (event_id String, n UInt64, text String) ENGINE = MergeTree ORDER BY event_id"
                " SETTINGS non_replicated_deduplication_window = 10000")
    rng = random.Random(seed)
    with Daemon(s, db, name="id_before_row", settings={
            "flush.interval": "200ms", "server.threads": 2, "dedupe": {"tables": {"byid": {"enabled": True}}}}) as d:
        d.start("/readyz")
        d.know("byid", "bykey")
        senders = [Sender(d, i, seed, kind) for i, kind in enumerate(("single", "single", "batch", "batch", "key", "key"))]
        for x in senders:
            x.start()
        for _ in range(kills):
            before = sum(x.ok for x in senders)
            net.wait_for(lambda: sum(x.ok for x in senders) > before + rng.randint(1, 60), 20, 0.002)
            time.sleep(rng.random() * rng.choice((0.002, 0.02, 0.3)))
            d.kill()
            d.start("/livez")
        before = sum(x.ok for x in senders)
        ok(net.wait_for(lambda: sum(x.ok for x in senders) > before, 20, 0.01), "after the last kill records are taken again",
           lambda: d.log_tail(20))
        for x in senders:
            x.ending.set()
        for x in senders:
            x.join(60)
        same([x.wrong[:3] for x in senders], [[]] * len(senders), "every record was answered: stored, or a duplicate")
        want = {t: sum(x.next for x in senders if (x.kind == "key") == (t == "bykey")) for t in ("byid", "bykey")}
        for t in want:
            net.wait_for(lambda t=t: s.one(f"SELECT count() FROM {db}.{t}") >= want[t], 30, 0.1)
            got = s.rows(f"SELECT count(), uniqExact(event_id) FROM {db}.{t}")[0]
            same([int(v) for v in got], [want[t]] * 2, f"{t}: each record is stored exactly once")
        ok(sum(x.sent_again for x in senders) >= kills / 2, "many were sent again", sum(x.sent_again for x in senders))
        lost_answers = sum(x.duplicates for x in senders if x.kind != "batch")
        ok(lost_answers > 0, "some of them had been stored, and only their answer was lost", lost_answers)
        tap.note(f"seed {seed}: {kills} kills, {sum(want.values())} records, {sum(x.sent_again for x in senders)} requests sent again,"
                 f" {lost_answers} records were stored without an answer")
        if tap.failed():
            tap.note(f"replay: tests/run story_id_before_row -- --seed {seed} --kills {kills}")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--kills", type=int, default=25 if env.FAST else 80)
    o = p.parse_args()
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(lambda: story(o.seed, o.kills))
