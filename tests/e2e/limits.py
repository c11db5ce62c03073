#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rates of tables and roles: 503 with Retry-After before anything is logged, fair to other tables, reloadable."""
# runs alone: it measures a rate, which a client must be able to reach
import json
import signal
import time

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same


def batch(first, count):
    return "\n".join(json.dumps({"id": first + i}) for i in range(count))


def count(s, db, table):
    return s.one(f"SELECT count() FROM {db}.{table}")


def limited(d, table, by):
    return d.metrics().get(f'wavehouse_ingest_limited_total{{table="{table}",by="{by}"}}', 0)


def refused(a, what, text):
    ok(a.status == 503 and text in a.error, f"{what}: 503 that names the rate", a)
    ok(int(a.fields.get("retry-after", 0)) >= 1, f"{what}: with Retry-After", a.fields)


def main():
    s = clickhouse.modern()
    db = s.database("e2e_limits")
    for table in ("noisy", "quiet", "heavy"):
        s.query(f"CREATE TABLE {db}.{table} (id UInt32) ENGINE = MergeTree ORDER BY id")
    settings = {"flush.interval": "200ms",
                "limits.tables": {"noisy": {"rows_per_second": 100, "burst": "1s"},
                                  "heavy": {"bytes_per_second": "10KB", "burst": "1s"}}}
    with Daemon(s, db, name="limits", settings=settings) as d:
        d.start("/readyz")
        d.know("noisy", "quiet", "heavy")

        # one request far over the rate is taken, and paid for
        a = d.ingest("noisy", batch(0, 600), kind="application/x-ndjson")
        same((a.status, a.json()["succeeded"]), (200, 600), "a batch over the burst is taken whole")
        a = d.ingest("noisy", batch(600, 1), kind="application/x-ndjson")
        refused(a, "the next", 'table "noisy" takes 100 rows a second')
        wait, told = int(a.fields["retry-after"]), time.monotonic()
        ok(3 <= wait <= 5, "for as long as is owed", wait)
        same(d.ingest("quiet", batch(0, 1), kind="application/x-ndjson").status, 200, "another table goes on")
        before = d.metrics()["wavehouse_ingest_records_total"]
        body = batch(600, 100000).encode()
        began = time.monotonic()
        a = d.call("POST", "/v1/ingest?table=noisy", body, {"Content-Type": "application/x-ndjson"})
        refused(a, "a large body", "rows a second")
        tap.note(f"refusing {len(body)} bytes took {(time.monotonic() - began) * 1000:.1f} ms")
        same(d.metrics()["wavehouse_ingest_records_total"], before, "nothing of it is stored")
        ok(limited(d, "noisy", "rows") >= 2, "counted", d.metrics())
        same(limited(d, "quiet", "rows"), 0, "for the one table")
        ok(net.wait_for(lambda: d.ingest("noisy", batch(600, 1), kind="application/x-ndjson").status == 200, wait + 5, 0.05),
           "taken again")
        ok(time.monotonic() - told > wait - 1.5, "not before it is paid", time.monotonic() - told)

        # bytes
        same(d.ingest("heavy", batch(0, 2000), kind="application/x-ndjson").status, 200, "bytes: the first")
        refused(d.ingest("heavy", batch(2000, 1), kind="application/x-ndjson"), "bytes", "takes 10000 bytes a second")

        # ClickHouse's door says it in its own words
        a = d.call("POST", f"/?query=INSERT+INTO+{db}.heavy+FORMAT+JSONEachRow", batch(2001, 1).encode())
        same((a.status, a.fields.get("x-clickhouse-exception-code")), (429, "201"), "ClickHouse's door: 429, QUOTA_EXCEEDED")
        same((a.fields.get("ratelimit-limit"), a.fields.get("ratelimit-remaining")), ("10000", "0"), "with RateLimit-*")
        ok(int(a.fields.get("ratelimit-reset", 0)) >= 1 and a.fields["ratelimit-reset"] == a.fields.get("retry-after"),
           "and when it is free again", a.fields)

        # a dry run costs nothing
        for _ in range(5):
            a = d.call("POST", "/v1/ingest?table=quiet&dry_run=1", batch(0, 3).encode())
        same(a.status, 200, "dry runs are not limited")

        # rate over time, while others are served
        d.config["limits"]["tables"]["noisy"] = {"rows_per_second": 200, "burst": "100ms"}
        d.config["limits"]["roles"] = {"public": {"rows_per_second": 300, "burst": "100ms"}}
        d.write_config()
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: "config.reloaded" in d.log(), 10), "reload")
        ok("limits.tables.noisy.rows_per_second: 100 -> 200" in d.log(), "and the log says what changed", d.log_tail())
        client, taken, began = net.Client(d.port), 0, time.monotonic()
        offered = 0
        while time.monotonic() - began < 3:
            offered += 1
            if client.call("POST", "/v1/ingest?table=noisy", batch(10000 + offered, 2).encode(),
                           {"Content-Type": "application/x-ndjson"}).status == 200:
                taken += 2
        took = time.monotonic() - began
        tap.note(f"{taken} of {offered * 2} rows in {took:.1f} s at a limit of 200 a second")
        ok(taken <= 200 * took + 30, "no more than the rate", taken)
        ok(taken >= 200 * took * 0.8 or taken >= offered * 2 * 0.9, "and no less", taken)

        # a role's rate is over all tables
        a = d.ingest("quiet", batch(1, 900), kind="application/x-ndjson")
        if a.status == 503:  # the loop above may have left a debt
            time.sleep(int(a.fields["retry-after"]))
            a = d.ingest("quiet", batch(1, 900), kind="application/x-ndjson")
        same(a.status, 200, "role: the first")
        refused(d.ingest("heavy", batch(5000, 1), kind="application/x-ndjson"), "role, other table",
                'role "public" takes 300 rows a second')
        ok(limited(d, "heavy", "role_rows") == 1, "counted for the table that was meant")

        stored = int(d.metrics()["wavehouse_ingest_records_total"])
        ok(net.wait_for(lambda: sum(count(s, db, t) for t in ("noisy", "quiet", "heavy")) >= stored, 30, 0.1),
           "everything taken arrives")
        same(sum(count(s, db, t) for t in ("noisy", "quiet", "heavy")), stored, "and nothing else")
        same(d.stop(), 0, "clean stop")
        if tap.failed():
            tap.note(d.log_tail(40))


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(main)
