#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Four socket loops at once: acceptance instants still grow along the log, and a stamped column holds the same instant."""
import json
import subprocess
import threading

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

CLIENTS, REQUESTS, ROWS = 8, 40, 50
LONG_ROWS = 5000  # read in slices (ingest_turns.c), others' instants in between


def post(port, table, number, bad):
    client = net.Client(port)
    for r in range(REQUESTS):
        rows = ROWS if r % 4 or number // 2 % 2 else LONG_ROWS
        body = "\n".join(json.dumps({"id": f"{number}-{r}-{i}"}) for i in range(rows))
        a = client.call("POST", f"/v1/ingest?table={table}", body.encode(), {"Content-Type": "application/x-ndjson"})
        if a.status != 200 or a.json()["succeeded"] != rows:
            bad.append(repr(a))
    client.close()


def order():
    s = clickhouse.modern()
    db = s.database("e2e_order")
    s.query(f"CREATE TABLE {db}.plain (id String) ENGINE = MergeTree ORDER BY id"
            " SETTINGS non_replicated_deduplication_window = 10000")
    s.query(f"CREATE TABLE {db}.stamped (id String, received_timestamp DateTime64(9, 'UTC')) ENGINE = MergeTree"
            " ORDER BY id SETTINGS non_replicated_deduplication_window = 10000")
    with Daemon(s, db, name="order", settings={"server.threads": 4, "flush.interval": "500ms"}) as d:
        d.start("/readyz")
        d.know("plain", "stamped")
        bad = []
        clients = [threading.Thread(target=post, args=(d.port, ("plain", "stamped")[i % 2], i, bad))
                   for i in range(CLIENTS)]
        for c in clients:
            c.start()
        for c in clients:
            c.join()
        same(bad, [], "every request is answered 200")
        want = CLIENTS // 4 * REQUESTS * ROWS + CLIENTS // 4 * (REQUESTS * 3 // 4 * ROWS + REQUESTS // 4 * LONG_ROWS)
        for table in ("plain", "stamped"):
            net.wait_for(lambda t=table: s.one(f"SELECT count() FROM {db}.{t}") == want, 30)
            same(s.one(f"SELECT count() FROM {db}.{table}"), want, f"all rows of {table} arrive")
        same(s.one(f"SELECT uniqExact(received_timestamp) FROM {db}.stamped"), want, "stamped instants are distinct")
        d.stop()
        dump = subprocess.run([env.program("wavehousectl"), "wal", "dump", "--json", "--payload", d.config["data_dir"] + "/wal"],
                              capture_output=True, text=True, timeout=60, check=True).stdout
        last, grows, equal, seen = 0, True, True, 0
        for line in dump.splitlines():
            entry = json.loads(line)
            for r in entry.get("records", []):
                grows = grows and r["received_ns"] > last
                last = r["received_ns"]
                seen += 1
                if entry["table"] == "stamped":
                    text = r["record"]["received_timestamp"].rstrip("Z")
                    fraction = text.partition(".")[2].ljust(9, "0")
                    equal = equal and int(fraction) == r["received_ns"] % 1_000_000_000
        same(seen, 2 * want, "the log holds every record")
        ok(grows, "acceptance instants strictly grow along the log")
        ok(equal, "the stamped column is the record's acceptance instant")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(order)
