#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The log cannot grow: 503 with Retry-After, nothing acknowledged is lost, and it heals by itself.

Two ways: the byte budget of the configuration, and a really full file system (a small tmpfs; needs root).
"""
import json
import os
import subprocess
import tempfile

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

BATCH = 50


class Filler:
    """Posts batches with unique ids and remembers what was acknowledged."""

    def __init__(self, daemon):
        self.d, self.acked, self.next = daemon, 0, 0

    def post(self):
        rows = [{"id": self.next + i, "text": os.urandom(500).hex()} for i in range(BATCH)]
        self.next += BATCH
        a = self.d.ingest("ev", "\n".join(map(json.dumps, rows)), kind="application/x-ndjson")
        if a.status == 200:
            self.acked += (a.json() or {}).get("succeeded", 0)
        return a

    def until_refused(self, rounds):
        for _ in range(rounds):
            a = self.post()
            if a.status != 200:
                return a
        return a


def refusal(a, what):
    ok(a.status == 503 and a.error == "service unavailable" and a.fields.get("retry-after") == "30",
       f"{what}: 503 with Retry-After 30", f"{a} {a.fields}")


def heals(s, db, d, f, what):
    """ClickHouse comes back, the log empties: new events are taken again, and all acknowledged ones arrive."""
    s.control("/engine/start")
    ok(net.wait_for(lambda: f.post().status == 200, 60, 0.3), f"{what}: heals by itself", d.log_tail(30))
    net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.ev") >= f.acked, 30, 0.2)
    rows, distinct = (int(x) for x in s.rows(f"SELECT count(), uniqExact(id) FROM {db}.ev")[0])
    same((rows, distinct), (f.acked, f.acked), f"{what}: everything acknowledged arrived once, nothing else")
    ok(d.alive(), f"{what}: the daemon lives")


def prepare(s, name):
    db = s.database(name)
    s.query(f"CREATE TABLE {db}.ev (id UInt64, text String) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 10000")
    return db


def scenario(what, name, settings, rounds):
    s = clickhouse.modern()
    db = prepare(s, name)
    common = {"wal.retain": "0s", "flush.interval": "300ms", "flush.retry_max": "1s", "dlq.max_bytes": "1MiB"}
    with Daemon(s, db, name=name, settings={**common, **settings}) as d:
        d.start("/readyz")
        d.know("ev")
        f = Filler(d)
        same(f.post().status, 200, f"{what}: events are taken")
        s.control("/engine/stop")  # nothing leaves the log from here on
        try:
            refusal(f.until_refused(rounds), what)
            ok(f.acked > BATCH, f"{what}: some were acknowledged before", f.acked)
            refusal(f.post(), f"{what}, again")
            same(d.call("GET", "/version").status, 200, f"{what}: other requests go on")
        finally:
            heals(s, db, d, f, what)
        if tap.failed():
            tap.note(d.log_tail(40))


def budget():
    scenario("budget", "e2e_budget", {"wal.max_bytes": "32MiB", "wal.segment_size": "8MiB", "wal.min_free": "1MiB"}, 1600)


def full_disk():
    if os.geteuid() != 0:
        return tap.skip("full file system", "mounting a tmpfs needs root")
    place = tempfile.mkdtemp(prefix="full-", dir=env.WORK)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", place], stderr=subprocess.DEVNULL).returncode:
        return tap.skip("full file system", "mounting a tmpfs is not permitted here")
    try:
        scenario("full file system", "e2e_full", {
            "data_dir": os.path.join(place, "data"), "wal.max_bytes": "1GiB", "wal.segment_size": "8MiB",
            "wal.min_free": "1MiB"}, 1600)
    finally:
        subprocess.run(["umount", "-l", place], check=False)


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(budget, full_disk)
