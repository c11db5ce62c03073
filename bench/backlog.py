# SPDX-License-Identifier: Apache-2.0
"""How fast a backlog drains: ClickHouse is away while rows come in, then it is back.

The rate counts from the last moment at which ClickHouse did not answer until the last row can be read. Beside it, in the same run on the
same machine, a plain native insert of the same rows: blocks made before the clock starts, sent over one connection
one after the other (bench/native_insert.c), with the block size that is best for it. Both begin when ClickHouse has just been started,
and what it does besides in its first second counts for both.
"""
import json
import os
import subprocess
import time
from statistics import median_high

TARGET = 0.8
BLOCKS = (100000, 250000, 500000)


def options(p):
    p.add_argument("--rows", type=int, default=1000000, help="of the backlog (a multiple of 1,000)")
    p.add_argument("--rounds", type=int, default=3, help="drains and plain inserts, in turn; the median counts")


class Backlog:
    def __init__(self, b, work, started, rows):
        self.b, self.started, self.rows = b, started, rows
        self.source = os.path.join(work, "rows.ndjson")
        with open(self.source, "wb") as f:
            f.writelines(b.THOUSANDS)
        self.engine = b.Engine(work)
        started.append(self.engine)
        self.s = self.engine.server
        self.s.query("CREATE DATABASE bench")

    def fresh_table(self, name):
        self.s.query(f"DROP TABLE IF EXISTS bench.{name} SYNC")
        self.b.table(self.s, name)

    def plain(self, block_rows):
        """Rows a second of native_insert. ClickHouse has just been started, as for the drain."""
        self.fresh_table("plain")
        p = subprocess.Popen([os.path.join(os.environ["WH_BUILD"], "bench", "native_insert"), self.source, str(self.rows),
                              str(block_rows), str(self.s.tcp), str(self.s.http), "bench", "plain"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if p.stdout.readline() != b"ready\n":
                raise RuntimeError("native_insert did not make its blocks")
            self.engine.stop()
            self.engine.start()
            out, _ = p.communicate(b"\n", timeout=120)
        finally:
            p.kill()
            p.wait()
        if p.returncode != 0:
            raise RuntimeError(f"native_insert ended with status {p.returncode}")
        stored = self.s.one("SELECT count() FROM bench.plain")
        if stored != self.rows:
            raise RuntimeError(f"native_insert stored {stored} of {self.rows} rows")
        return self.rows / json.loads(out)["seconds"]

    def drain(self):
        """One backlog, made and drained; its figures."""
        b, s, rows = self.b, self.s, self.rows
        self.fresh_table("backlog")
        d = b.Daemon(s, "bench", name="backlog", settings={
            "wal.segment_size": "64MiB", "wal.max_bytes": "20GiB", "wal.min_free": "256MiB", "wal.retain": "0s",
            "flush.retry_min": "10ms", "flush.retry_max": "10ms", "schema.refresh_interval": "60s"})
        self.started.append(d)
        d.start("/readyz")
        d.know("backlog")
        self.engine.stop()
        requests = [b.request(d.port, "/v1/ingest?table=backlog", x, b"application/x-ndjson") for x in b.THOUSANDS]
        b.post_all(d.port, requests, rows // 1000, 4)
        # Longer than flush.interval, so that the rows' age is not what they wait for.
        b.net.wait_for(lambda: d.pending() == rows and max(v for k, v in d.metrics().items() if "oldest_pending" in k) > 6, 20)
        out = {"waiting": d.pending(), "rss_mib": b.rss_mib(d.process.pid)[0]}
        cpu = b.cpu_seconds(d.process.pid)
        self.engine.start()
        began = self.engine.last_away
        server_cpu = b.cpu_seconds(self.engine.pid)
        # The daemon is asked, which costs little, then ClickHouse, once: it has two cores for all of this.
        b.net.wait_for(lambda: d.call("GET", "/v1/offset?table=backlog").json()["pending_records"] == 0, 120, 0.025)
        if not b.net.wait_for(lambda: s.one("SELECT count() FROM bench.backlog") >= rows, 5, 0.02):
            raise RuntimeError(f"only {s.one('SELECT count() FROM bench.backlog')} of {rows} rows arrived:\n{d.log_tail()}")
        seconds = time.monotonic() - began
        server_cpu = b.cpu_seconds(self.engine.pid) - server_cpu
        blocks = s.rows("SELECT count(), min(rows), max(rows) FROM system.parts WHERE database = 'bench' AND"
                        " table = 'backlog' AND level = 0")[0]
        b.net.wait_for(lambda: d.pending() == 0, 10)
        out.update({"seconds": seconds, "rows_per_second": rows / seconds, "rss_after_mib": b.rss_mib(d.process.pid)[0],
                    "server_cpu_seconds": server_cpu, "daemon_cpu_seconds": b.cpu_seconds(d.process.pid) - cpu, "blocks": blocks,
                    "stored": s.one("SELECT count() FROM bench.backlog"), "dead": (d.dlq() or {}).get("total"),
                    "insert_seconds": d.metrics()['wavehouse_clickhouse_duration_seconds_sum{op="insert"}']})
        d.stop()
        d.remove()
        self.started.remove(d)
        return out


def measure(b, work, started):
    rows = b.O.rows
    k = Backlog(b, work, started, rows)
    b.say("plain native insert, which block size is best")
    tried = {n: max(k.plain(n) for _ in range(2)) for n in BLOCKS if n <= rows}
    best = max(tried, key=tried.get)
    plain, drains = [], []
    for n in range(b.O.rounds):
        b.say(f"round {n + 1}: {rows} rows drained, then inserted plainly in blocks of {best}")
        drains.append(k.drain())
        plain.append(k.plain(best))
    return {"rows": rows, "blocks_tried": tried, "block_rows": best, "drains": drains, "plain": plain,
            "ratio": median_high([d["rows_per_second"] for d in drains]) / median_high(plain)}


def checks(r):
    d = sorted(r["drains"], key=lambda x: x["rows_per_second"])[len(r["drains"]) // 2]
    exact = all(x["stored"] == r["rows"] and x["waiting"] == r["rows"] and x["dead"] == 0 for x in r["drains"])
    return [
        (f"backlog of {r['rows']:,}: rows/s drained", f"{d['rows_per_second']:,.0f}",
         f"plain, {r['block_rows']:,} a block: {median_high(r['plain']):,.0f}", f"{r['ratio']:.2f}", f">= {TARGET}", r["ratio"] >= TARGET),
        ("   each round", " ".join(f"{x['rows_per_second'] / 1000:.0f}k" for x in r["drains"]),
         " ".join(f"{x / 1000:.0f}k" for x in r["plain"]), "", "", None),
        ("   all waited, all stored once, none dead", str(exact).lower(), "", "", "true", exact),
        ("   parts written: count, smallest, largest", " ".join(str(x) for x in d["blocks"]), "", "", "", None),
        ("   seconds inside INSERTs of", f"{d['insert_seconds']:.2f} {d['seconds']:.2f}", "", "", "", None),
        ("   CPU s per million rows, daemon, ClickHouse", f"{d['daemon_cpu_seconds'] / r['rows'] * 1e6:.2f} {d['server_cpu_seconds'] / r['rows'] * 1e6:.2f}", "", "", "", None),
        ("   resident MiB with the backlog / after", f"{d['rss_mib']:.0f} / {d['rss_after_mib']:.0f}", "", "", "", None),
    ]
