#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Days without ClickHouse: hours left in /readyz, metrics, systemd's status and the log; catching up is paced and
does not hold back other tables; the blocks of many tables do not stay in memory."""
import json
import os
import socket
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

BACKLOG = 20000 if env.FAST else 60000


def rows(first, count, size=100):
    return "\n".join(json.dumps({"id": first + i, "text": "x" * size}) for i in range(count))


def post(d, table, first, count, size=100):
    a = d.ingest(table, rows(first, count, size), kind="application/x-ndjson")
    return a.status == 200 and a.json()["succeeded"] == count


class Systemd:
    """What the daemon tells through $NOTIFY_SOCKET."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.05)
        self.last = ""

    def status(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except OSError:
                return self.last
            if text.startswith("STATUS="):
                self.last = text[7:]


def database(s, name):
    db = s.database(name)
    for table in ("old", "fresh"):
        s.query(f"CREATE TABLE {db}.{table} (id UInt32, text String, at DateTime64(3) DEFAULT now64(3)) ENGINE = MergeTree"
                " ORDER BY id SETTINGS non_replicated_deduplication_window = 1000")
    return db


def spool(d):
    return d.call("GET", "/readyz").json()["spool"]


def filling():
    s = clickhouse.modern()
    db = database(s, "e2e_spool")
    systemd = Systemd(env.WORK)
    d = Daemon(s, db, name="spool", extra_env={"NOTIFY_SOCKET": systemd.path},
               settings={"wal.max_bytes": "64MiB", "flush.interval": "200ms", "flush.retry_max": "1s"})
    with d:
        d.start("/readyz")
        d.know("old")
        a = d.call("GET", "/readyz")
        same((a.status, a.json()["status"]), (200, "ready"), "/readyz as ever")
        ok(post(d, "old", 0, 100), "some records")
        ok(net.wait_for(lambda: spool(d)["pending_records"] == 0 and spool(d)["bytes"] == 0, 20, 0.1), "nothing waits", spool(d))
        same(spool(d)["capacity_bytes"], 64 << 20, "the capacity is the budget")
        s.control("/engine/stop")
        try:
            sent = 100
            for _ in range(20):
                ok(post(d, "old", sent, 200, 2000), "taken during the outage") if sent == 100 else post(d, "old", sent, 200, 2000)
                sent += 200
            ok(net.wait_for(lambda: spool(d)["bytes"] > 8_000_000, 20, 0.1), "bytes that wait", spool(d))
            j = d.call("GET", "/readyz")
            same((j.status, j.json()["status"]), (503, "not ready"), "not ready")
            j = j.json()["spool"]
            same(j["pending_records"], sent - 100, "records that wait")
            ok(8_000_000 < j["bytes"] < 12_000_000, "about what was sent", j)
            ok(j["in_bytes_per_second"] > 1000 and j["growth_bytes_per_second"] > 1000, "rates", j)
            ok(j["hours_left"] is not None and 0 <= j["hours_left"] < 24, "hours left", j)
            want = (j["capacity_bytes"] - j["bytes"]) / j["in_bytes_per_second"] / 3600
            ok(abs(j["hours_left"] - want) < 0.2 + want * 0.2, "which is room by rate", (j, want))
            m = d.metrics()
            ok(8_000_000 < m["wavehouse_spool_bytes"] < 12_000_000 and m["wavehouse_spool_capacity_bytes"] == 64 << 20
               and m["wavehouse_spool_hours_left"] <= j["hours_left"] + 1, "the metrics say the same", m)
            ok(net.wait_for(lambda: "spool.filling" in d.log(), 20, 0.1), "a log line", d.log_tail())
            warned = d.log().count("spool.filling")
            ok(net.wait_for(lambda: "hours left" in systemd.status(), 20, 0.1), "systemd's status", systemd.last)
            tap.note(systemd.last)
            ok(warned <= 2 and d.log().count("spool.filling") <= 2, "once a level, not all the time", warned)
        finally:
            s.control("/engine/start")
        ok(net.wait_for(lambda: spool(d)["bytes"] == 0, 60, 0.2), "empty again", spool(d))
        same([int(x) for x in s.rows(f"SELECT count(), uniqExact(id) FROM {db}.old")[0]], [sent, sent], "everything arrived, once")
        if tap.failed():
            tap.note(d.log_tail(40))


def catching_up():
    """A backlog of one table at a capped rate: it takes its time, is told, and a fresh table is not held back."""
    s = clickhouse.modern()
    db = database(s, "e2e_catch_up")
    d = Daemon(s, db, name="catch_up", settings={"flush.interval": "100ms", "flush.max_rows": 1000, "flush.retry_min": "100ms", "flush.retry_max": "500ms",
                                                 "flush.catch_up_rows_per_second": BACKLOG // 10})
    with d:
        d.start("/readyz")
        d.know("old", "fresh")
        s.control("/engine/stop")
        try:
            began = time.monotonic()
            for first in range(0, BACKLOG, 2000):
                ok(post(d, "old", first, 2000), "backlog") if first == 0 else post(d, "old", first, 2000)
            # what counts as backlog has waited for half a minute
            ok(net.wait_for(lambda: spool(d)["backlog_records"] == BACKLOG, 60, 0.5), "half a minute later it is backlog", spool(d))
            ok(time.monotonic() - began > 29, "not before", time.monotonic() - began)
        finally:
            s.control("/engine/start")
        ok(net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.old") > 0, 30, 0.05), "it begins to arrive")
        began, before, slowest, number = time.monotonic(), s.one(f"SELECT count() FROM {db}.old"), 0.0, 0
        left = BACKLOG
        while left > 0 and time.monotonic() - began < 60:
            ok_post = post(d, "fresh", number, 1)
            number += 1
            sent = time.monotonic()
            net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.fresh") >= number, 20, 0.01)
            slowest = max(slowest, time.monotonic() - sent)
            left = BACKLOG - s.one(f"SELECT count() FROM {db}.old")
            if not ok_post:
                break
        took = time.monotonic() - began
        rate = (BACKLOG - before) / took
        tap.note(f"{BACKLOG - before} rows in {took:.1f} s, {rate:.0f} a second, cap {BACKLOG // 10};"
                 f" {number} fresh records meanwhile, slowest {slowest * 1000:.0f} ms")
        same(left, 0, "the backlog arrives")
        ok(rate < BACKLOG / 10 * 1.5, "no faster than the cap, but for the first plan", rate)
        ok(number >= 5 and slowest < 3, "fresh records of another table pass it", (number, slowest))
        ok("flush.catching_up" in d.log() and net.wait_for(lambda: "flush.caught_up" in d.log(), 10), "the log tells of it", d.log_tail())
        same([int(x) for x in s.rows(f"SELECT count(), uniqExact(id) FROM {db}.old")[0]], [BACKLOG, BACKLOG], "everything, once")
        same(d.metrics()["wavehouse_flush_backlog_records"], 0, "no backlog is left")
        if tap.failed():
            tap.note(d.log_tail(40))


def many_tables():
    """A sender that has met large blocks of many tables, one after the other, keeps the memory of a few."""
    s = clickhouse.modern()
    db = s.database("e2e_many_tables")
    names = [f"t{i}" for i in range(14)]
    for name in names:
        s.query(f"CREATE TABLE {db}.{name} (id UInt32, text String) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000")
    with Daemon(s, db, name="many_tables", settings={"flush.interval": "100ms", "wal.segment_size": "64MiB"}) as d:
        d.start("/readyz")
        d.know(*names)
        grown = []
        for name in names:
            ok(post(d, name, 0, 7000, 2000), f"14 MB for {name}")
            ok(net.wait_for(lambda name=name: s.one(f"SELECT count() FROM {db}.{name}") == 7000, 20, 0.02), "arrive", d.log_tail())
            grown.append(d.rss_bytes("RssAnon") >> 20)
        tap.note(f"MiB after each table: {grown}")
        ok(grown[-1] < grown[1] + 48, "memory does not grow with the number of tables", grown)


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(filling, catching_up, many_tables)
