#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A materialized view that refuses a row: the table behind it has each row once, and no dead letter says otherwise."""
import json

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

ROWS = 1000
# What the view cannot convert, in one row of each batch. ClickHouse quotes the value before it names the view.
BAD = ("x", "x" * 5000, "")
WINDOW = "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000"


def main():
    s = clickhouse.modern()
    db = s.database("e2e_view_failure")
    s.query(f"CREATE TABLE {db}.ev (id UInt32, v String) {WINDOW}")
    s.query(f"CREATE TABLE {db}.numbers (id UInt32, n UInt32) {WINDOW}")
    s.query(f"CREATE MATERIALIZED VIEW {db}.mv TO {db}.numbers AS SELECT id, toUInt32(v) AS n FROM {db}.ev")
    d = Daemon(s, db, name="view_failure", settings={"flush.interval": "300ms", "flush.retry_min": "100ms"}).start()
    try:
        d.know("ev")
        for batch, bad in enumerate(BAD):
            first = batch * ROWS
            lines = [{"id": i, "v": bad if bad and i == first + ROWS // 2 else str(i)} for i in range(first, first + ROWS)]
            a = d.ingest("ev", "\n".join(map(json.dumps, lines)), kind="application/x-ndjson")
            same(a.status, 200, f"batch {batch} taken")
            count = f"SELECT count(), uniqExact(id) FROM {db}.ev"
            net.wait_for(lambda: s.rows(count)[0][1] >= first + ROWS and d.pending() in (0, None), 30, 0.2)
            same(s.rows(count)[0], [first + ROWS, first + ROWS], f"batch {batch}: each row is there once")
        same((d.dlq() or {}).get("total"), 0, "no dead letters")
        same(s.one(f"SELECT count() FROM {db}.numbers WHERE id >= {(len(BAD) - 1) * ROWS}"), ROWS, "the view goes on with the next batch")
        ok("flush.view_failed" in d.log_tail(40), "and a log line tells of the view", d.log_tail(40))
        same(d.stop(), 0, "SIGTERM: exit status 0")
    finally:
        d.kill()


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(main)
