# SPDX-License-Identifier: Apache-2.0
"""Streams: deliveries per second with none lost, POST to subscriber, memory of an idle one; beside a program that does nothing
but send the same bytes to as many sockets, in the same run on the same cores.

  a   100 subscribers, as many rows a second as go through: deliveries/s
  b   100 subscribers, paced single rows: p50 and p99 from before the POST to the frame's arrival
  c   10,000 subscribers, paced batches: deliveries/s, p99
  d   10,000 idle subscribers: resident memory for each
"""
import json
import os
import subprocess
import time

TARGET_DELIVERIES, TARGET_P99_MS, TARGET_PER_GIB = 500000, 5, 50000


def options(p):
    p.add_argument("--seconds", type=int, default=6, help="of each load")
    p.add_argument("--subscribers", type=int, default=10000, help="of c and d")


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
    for name, subs, rows, batch in (("a", 100, 0, 500), ("b", 100, 200, 1), ("c", many, 50, 10)):
        for how in ("raw", "live"):
            b.say(f"{name}: {subs} subscribers, {how}")
            out[f"{name}_{how}"] = load(b, how, d.port, "live", subs, rows, batch, seconds)
    b.say(f"d: {many} idle")
    before = d.rss_bytes()
    p = subprocess.Popen([os.path.join(os.environ["WH_BUILD"], "bench", "stream_load"), "idle", str(d.port), "live", str(many)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    time.sleep(1)
    out["rss_before"], out["rss_idle"] = before, d.rss_bytes()
    p.stdin.close()
    p.wait(20)
    out["idle_bytes"] = max(out["rss_idle"] - before, 0) / many
    m = d.metrics()
    out["dropped"] = m['wavehouse_sse_dropped_frames_total{kind="event"}']
    out["behind"] = m["wavehouse_sse_fell_behind_total"]
    return out


def lines(r):
    a, b, c = r["a_live"], r["b_live"], r["c_live"]
    lost = sum(r[k]["missing"] + r[k]["gaps"] for k in ("a_live", "b_live", "c_live")) + r["dropped"]
    return [
        ("deliveries/s, 100 subscribers", f"{a['deliveries_per_s']:.0f}", f"{TARGET_DELIVERIES}", a["deliveries_per_s"] >= TARGET_DELIVERIES),
        ("  of a bare sender's", f"{a['deliveries_per_s'] / r['a_raw']['deliveries_per_s']:.2f}", "", None),
        ("POST to frame, p50 / p99 ms", f"{b['p50_ms']} / {b['p99_ms']}", f"{TARGET_P99_MS}", b["p99_ms"] < TARGET_P99_MS),
        ("  bare sender's", f"{r['b_raw']['p50_ms']} / {r['b_raw']['p99_ms']}", "", None),
        (f"deliveries/s, {c['subscribers']} subscribers", f"{c['deliveries_per_s']:.0f}, p99 {c['p99_ms']} ms", "", None),
        ("  bare sender's", f"{r['c_raw']['deliveries_per_s']:.0f}, p99 {r['c_raw']['p99_ms']} ms", "", None),
        ("idle subscribers per GiB", f"{(1 << 30) / max(r['idle_bytes'], 1):.0f}", f"{TARGET_PER_GIB}",
         r["idle_bytes"] < (1 << 30) / TARGET_PER_GIB),
        ("frames lost", f"{lost:.0f}", "0", lost == 0),
    ]
