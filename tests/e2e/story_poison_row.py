#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Story: a poison row in a batch of 10,000.

Somebody's client sends one value that ClickHouse cannot read, in the middle of a large batch. Elsewhere that has cost
whole batches, blocked queues and woken people up. Here: 9,999 rows are stored, one dead letter says what is wrong with
which record of which request, and the inserts of other tables do not notice."""
import json
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

ROWS = 10000
POISON = 6789
WINDOW = "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000"


class Bystander(threading.Thread):
    """Another table's client: one durable row after another; how long each took."""

    def __init__(self, d):
        super().__init__(daemon=True)
        self.d, self.latencies, self.refused, self.end = d, [], [], threading.Event()

    def run(self):
        client = net.Client(self.d.port)
        n = 0
        while not self.end.is_set():
            began = time.monotonic()
            a = client.call("POST", "/v1/ingest?table=calm", json.dumps({"id": n}), {"Content-Type": "application/json"})
            self.latencies.append((began, time.monotonic() - began))
            n += 1
            if a.status != 200:
                self.refused.append(repr(a))

    def stop(self):
        self.end.set()
        self.join()


def p99(values):
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


def batch(poison):
    """One NDJSON body; row POISON cannot be an Int32 when there is poison."""
    lines = [{"id": i, "n": "twelve" if poison and i == POISON else i, "note": f"row {i}"} for i in range(ROWS)]
    return "\n".join(map(json.dumps, lines))


def poison(s):
    db = s.database("e2e_poison_" + s.name.replace(".", "_"))
    engine = WINDOW if s.modern else "ENGINE = MergeTree ORDER BY id"
    for table in ("ev", "healthy"):
        s.query(f"CREATE TABLE {db}.{table} (id UInt32, n Int32, note String) {engine}")
    s.query(f"CREATE TABLE {db}.calm (id UInt32) {engine}")
    d = Daemon(s, db, name="poison", settings={"flush.interval": "300ms"}).start()
    try:
        d.know("ev", "healthy", "calm")
        by = Bystander(d)
        by.start()

        def send(table, with_poison):
            """The batch on its way, from its first byte to its last row: (start, end) of that time."""
            began, others = time.monotonic(), len(by.latencies)
            a = d.ingest(table, batch(with_poison), kind="application/x-ndjson", X_Request_ID=f"batch-{table}")
            same((a.status, (a.json() or {}).get("succeeded")), (200, ROWS), f"{s.name}: {table}: the batch is accepted")
            want = ROWS - with_poison
            net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.{table}") >= want and d.dlq()["total"] >= with_poison,
                         60, 0.1)
            net.wait_for(lambda: len(by.latencies) >= others + 200, 30)  # enough of the others to speak of a p99
            return began, time.monotonic()

        healthy = send("healthy", 0)  # what the same batch does to the bystander when nothing is wrong with it
        sick = send("ev", 1)
        by.stop()

        count = f"SELECT count(), uniqExact(id), countIf(id = {POISON}) FROM {db}.ev"
        same(s.rows(count)[0], [ROWS - 1, ROWS - 1, 0], f"{s.name}: 9,999 rows are stored, each once")
        same(d.dlq(), {"tables": {"ev": 1}, "total": 1}, f"{s.name}: one dead letter")
        entries = d.call("GET", "/v1/ops/dlq").json()["entries"]
        e = entries[0]
        same((len(entries), e["table"], e["data"], e["request"]),
             (1, "ev", {"id": POISON, "n": "twelve", "note": f"row {POISON}"}, "batch-ev"),
             f"{s.name}: it is that record of that request, as it was sent")
        ok(e["error"] and e["error_code"] > 0, f"{s.name}: with ClickHouse's reason and number", e)

        def during(span):
            return [took for began, took in by.latencies if span[0] <= began <= span[1]]
        same(by.refused, [], f"{s.name}: no insert of the other table was refused")
        calm, disturbed = during(healthy), during(sick)
        ok(len(calm) > 100 and len(disturbed) > 100, f"{s.name}: the bystander was measured in both",
           (len(calm), len(disturbed)))
        # Halving the batch down to one row is done by the sender; the bystander's path has none of it. The floor is
        # what a shared machine does to anybody.
        ok(p99(disturbed) <= max(3 * p99(calm), 0.1), f"{s.name}: the other table's latency is unharmed",
           f"p99 {p99(calm) * 1000:.1f} ms beside a healthy batch, {p99(disturbed) * 1000:.1f} ms beside the poisoned one")
        tap.note(f"{s.name}: other table's p99 {p99(calm) * 1000:.1f} ms, {p99(disturbed) * 1000:.1f} ms beside the poison")
        want = len(by.latencies)
        got = net.wait_for(lambda: s.one(f"SELECT uniqExact(id) FROM {db}.calm") == want, 30, 0.2)
        ok(got, f"{s.name}: and all of its rows are stored", f"{want} rows")
        same(d.stop(), 0, f"{s.name}: SIGTERM: exit status 0")
    finally:
        d.kill()


def modern():
    poison(clickhouse.modern())


def old():
    if clickhouse.old() is None:
        tap.skip("18.16", "it is not running")
    elif env.FAST:
        tap.skip("18.16", "left out by --fast")
    else:
        poison(clickhouse.old())


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(modern, old)
