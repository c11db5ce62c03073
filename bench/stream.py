# SPDX-License-Identifier: Apache-2.0
"""Streams: deliveries per second with none lost, POST to subscriber, memory of an idle one; beside a program that does nothing
but send the same bytes to as many sockets, in the same run on the same cores.

  a   10,000 idle subscribers: resident memory for each
  b   100 subscribers, 10,000 rows a second: deliveries/s, none lost
  c   100 subscribers, paced single rows: p50 and p99 from before the POST to the frame's arrival
  d   10,000 subscribers, paced batches: deliveries/s, p99
"""
import json
import os
import subprocess
import time

TARGET_DELIVERIES, TARGET_P99_MS, TARGET_PER_GIB = 500000, 5, 50000


def options(p):
    p.add_argument("--seconds", type=int, default=6, help="of each load")
    p.add_argument("--subscribers", type=int, default=10000, help="of a and d")


def load(b, *args):
    p = subprocess.run([os.path.join(os.environ["WH_BUILD"], "bench", "stream_load"), *map(str, args)],
                       stdout=subprocess.PIPE, timeout=110, text=True)
    r = json.loads(p.stdout)
    b.say(f"  {r['deliveries_per_s']:.0f} deliveries/s, p99 {r['p99_ms']} ms, missing {r['missing']}")
    return r


def measure(b, work, started):
    engine = b.Engine(work)
    started.append(engine)
    s = engine.server
    s.query("CREATE DATABASE bench")
    s.query("CREATE TABLE bench.live (id UInt64, t UInt64) ENGINE = MergeTree ORDER BY id")
    d = b.Daemon(s, "bench", name="stream", settings={"schema.refresh_interval": "1h", "server.max_connections": 60000,
                                                      "wal.segment_size": "64MiB", "stream.keepalive_interval": "30s"})
    started.append(d)
    d.start("/readyz")
    d.know("live")
    many, seconds = b.O.subscribers, b.O.seconds
    out = {}
    b.say(f"a: {many} idle")
    before = d.rss_bytes()
    p = subprocess.Popen([os.path.join(os.environ["WH_BUILD"], "bench", "stream_load"), "idle", str(d.port), "live", str(many)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    time.sleep(1)
    out["rss_before"], out["rss_idle"] = before, d.rss_bytes()
    p.stdin.close()
    p.wait(20)
    out["idle_bytes"] = max(out["rss_idle"] - before, 0) / many
    for name, subs, rows, batch in (("b", 100, 10000, 100), ("c", 100, 200, 1), ("d", many, 50, 10)):
        for how in ("raw", "live"):
            b.say(f"{name}: {subs} subscribers, {how}")
            metrics = d.metrics()
            out[f"{name}_{how}"] = load(b, how, d.port, "live", subs, rows, batch, seconds)
            if how == "live":
                sync = b.histogram(metrics, d.metrics(), "wavehouse_wal_fdatasync_seconds")
                out[f"{name}_sync"] = {"p50_ms": sync["p50"] * 1000, "p99_ms": sync["p99"] * 1000}
    m = d.metrics()
    out["dropped"] = m['wavehouse_sse_dropped_frames_total{kind="event"}']
    out["behind"] = m["wavehouse_sse_fell_behind_total"]
    return out


def checks(r):
    a, b, c = r["b_live"], r["c_live"], r["d_live"]
    ra, rb, rc = r["b_raw"], r["c_raw"], r["d_raw"]
    lost = sum(r[k]["missing"] + r[k]["gaps"] for k in ("b_live", "c_live", "d_live")) + r["dropped"]
    per_gib = (1 << 30) / max(r["idle_bytes"], 1)
    return [
        ("deliveries/s, 100 subscribers", f"{a['deliveries_per_s']:.0f}", f"bare: {ra['deliveries_per_s']:.0f}",
         f"{a['deliveries_per_s'] / ra['deliveries_per_s']:.2f}", f">= {TARGET_DELIVERIES}", a["deliveries_per_s"] >= TARGET_DELIVERIES),
        ("POST to frame, p99 ms, 100 subscribers", f"{b['p99_ms']:.2f}", f"bare: {rb['p99_ms']:.2f}", "", f"< {TARGET_P99_MS}",
         b["p99_ms"] < TARGET_P99_MS),
        ("   p50 ms", f"{b['p50_ms']:.2f}", f"{rb['p50_ms']:.2f}", "", "", None),
        ("   of it write and sync of the log, p50, p99 ms", f"{r['c_sync']['p50_ms']:.2f} {r['c_sync']['p99_ms']:.2f}", "", "", "", None),
        (f"deliveries/s, {c['subscribers']} subscribers", f"{c['deliveries_per_s']:.0f}", f"bare: {rc['deliveries_per_s']:.0f}",
         f"{c['deliveries_per_s'] / rc['deliveries_per_s']:.2f}", "", None),
        ("   p50, p99 ms", f"{c['p50_ms']:.0f} {c['p99_ms']:.0f}", f"{rc['p50_ms']:.0f} {rc['p99_ms']:.0f}", "", "", None),
        ("idle subscribers per GiB", f"{per_gib:.0f}", f"{r['idle_bytes']:.0f} bytes", "", f"> {TARGET_PER_GIB}", per_gib > TARGET_PER_GIB),
        ("frames lost or twice", f"{lost:.0f}", "", "", "0", lost == 0),
    ]
