# SPDX-License-Identifier: Apache-2.0
"""What deduplication costs: throughput with it on beside off, memory and time per id up to 50 million.

  a   single-event POSTs, 64 connections (wrk), each with an id of its own: a table without dedup, then one with
  b   NDJSON bodies of 1,000 rows, every id new, until the last row can be read: the same two tables, in turn
  c   the same bodies once more: nothing but duplicates
  d   ids straight into the room (bench/dedupe_ids.c): bytes of resident memory, ids a second, slowest single
      one, and how long a restart takes to read them from the files again
"""
import json
import os
import subprocess
from statistics import median_high

LOSS = 0.2
TABLES = ("off", "on")


def options(p):
    p.add_argument("--rows", type=int, default=500000, help="of each round of b (a multiple of 1,000)")
    p.add_argument("--rounds", type=int, default=3, help="of a and b; the median counts")
    p.add_argument("--seconds", type=int, default=5, help="of each wrk run")
    p.add_argument("--ids", type=int, default=50000000, help="of d; they need 13 bytes of memory and 16 of disk each")


def bodies(b, rows, mark):
    """NDJSON of 1,000 rows each with ids that no other call makes."""
    out = []
    for n in range(rows // 1000):
        body = b.THOUSANDS[n % len(b.THOUSANDS)]
        lines = [b'{"event_id":"%s-%d-%d",%s' % (mark, n, i, line.split(b",", 1)[1]) for i, line in enumerate(body.splitlines())]
        out.append(b"\n".join(lines) + b"\n")
    return out


def post(b, port, requests, connections=4):
    """Each request once."""
    posters = [b.Poster(port, requests[i::connections], len(requests[i::connections])) for i in range(connections)]
    for p in posters:
        p.start()
    for p in posters:
        p.join()
        if p.error:
            raise p.error


def singles(b, work, d, result):
    body_file = os.path.join(work, "body.json")
    with open(body_file, "wb") as f:
        f.write(b'{"event_id":"@ID@",' + b.ROWS[0].split(b",", 1)[1])
    result["a"] = {t: [] for t in TABLES}
    for n in range(b.O.rounds):
        for t in TABLES:
            os.environ["BENCH_MARK"] = f"a{n}{t}"
            result["a"][t].append(b.wrk(d.port, f"/v1/ingest?table={t}", body_file))
            b.net.wait_for(lambda: not d.pending(), 60, 0.3)


def batches(b, s, d, engine, result):
    o, seen = b.O, {t: s.one(f"SELECT count() FROM bench.{t}") for t in TABLES}
    result["b"] = {t: [] for t in TABLES}
    for n in range(o.rounds):
        texts = bodies(b, o.rows, b"b%d" % n)
        for t in TABLES:
            requests = [b.request(d.port, f"/v1/ingest?table={t}", x, b"application/x-ndjson") for x in texts]
            before = seen[t]
            seen[t] += o.rows
            # end_to_end waits for a number of rows: those of this round and those before
            r = b.end_to_end(s, t, seen[t], lambda: post(b, d.port, requests),
                             {"daemon": d.process.pid, "server": engine.pid})
            r["rows_per_second"] *= (seen[t] - before) / seen[t]
            r["posted_per_second"] *= (seen[t] - before) / seen[t]
            r["cpu_seconds_per_million"] = {k: v * seen[t] / o.rows for k, v in r["cpu_seconds_per_million"].items()}
            result["b"][t].append(r)
            b.net.wait_for(lambda: not d.pending(), 60, 0.3)
    cpu = b.cpu_seconds(d.process.pid)
    began = b.time.monotonic()
    post(b, d.port, requests)
    result["c"] = {"records_per_second": o.rows / (b.time.monotonic() - began),
                   "cpu_seconds_per_million": (b.cpu_seconds(d.process.pid) - cpu) / o.rows * 1e6}
    if s.one("SELECT count() FROM bench.on") != seen["on"] or d.metrics()['wavehouse_dedupe_hits_total{table="on"}'] != o.rows:
        raise RuntimeError("duplicates were stored")


def feed(b, work, result):
    folder = os.path.join(work, "ids")
    os.makedirs(folder)
    program = os.path.join(os.environ["WH_BUILD"], "bench", "dedupe_ids")
    with subprocess.Popen([program, folder, str(b.O.ids)], stdout=subprocess.PIPE, text=True) as p:
        result["d"] = []
        for line in p.stdout:
            r = json.loads(line)
            result["d"].append(r)
            if "ids" in r:
                b.say(f"d: {r['ids']:>11,} ids, {r['rss_bytes_per_id']:.1f} bytes resident an id (table {r['table_bytes_per_id']:.1f}),"
                      f" {r['ids_per_second'] / 1e6:.2f} M ids/s, {r['cpu_ns_per_id']:.0f} ns of CPU each")
            else:
                b.say(f"d: {r['restart_ids']:,} ids read from the files in {r['restart_seconds']:.1f} s ({r['restart_cpu_seconds']:.1f} s of CPU), the same as before: {r['equal']}")
        if p.wait() != 0 or not result["d"][-1].get("equal"):
            raise RuntimeError("dedupe_ids failed")


def measure(b, work, started):
    result = {"cores": os.cpu_count(), "build": os.environ["WH_BUILD"]}
    feed(b, work, result)
    engine = b.Engine(work)
    started.append(engine)
    s = engine.server
    result["clickhouse"] = s.one("SELECT version()")
    s.query("CREATE DATABASE bench")
    for t in TABLES:
        b.table(s, t)
    d = b.Daemon(s, "bench", name="bench", settings={
        "wal.segment_size": "64MiB", "wal.max_bytes": "20GiB", "wal.retain": "0s", "wal.min_free": "256MiB",
        "schema.refresh_interval": "60s", "dedupe.tables": {"on": {"enabled": True}}})
    started.append(d)
    d.start("/readyz")
    d.know(*TABLES)
    b.say("b: bodies of 1,000 rows; c: the last ones again")
    batches(b, s, d, engine, result)
    b.say(f"a: single events, {b.CONNECTIONS} connections")
    singles(b, work, d, result)
    result["rss_mib"] = b.rss_mib(d.process.pid)
    result["ids"] = d.metrics()["wavehouse_dedupe_ids"]
    return result


def checks(r):
    def rates(part, key):
        return [median_high([x[key] for x in r[part][t]]) for t in TABLES]

    def cpu(t, of="sum"):
        return median_high([x["cpu_seconds_per_million"][of] for x in r["b"][t]])
    single, rows, posted = rates("a", "per_second"), rates("b", "rows_per_second"), rates("b", "posted_per_second")
    last, start = r["d"][-2], r["d"][-1]
    least = 1 - LOSS
    return [
        ("a  single POSTs/s", f"{single[1]:.0f}", f"off: {single[0]:.0f}", f"{single[1] / single[0]:.2f}", f"> {least}", single[1] / single[0] > least),
        ("b  rows/s until readable", f"{rows[1]:.0f}", f"off: {rows[0]:.0f}", f"{rows[1] / rows[0]:.2f}", f"> {least}", rows[1] / rows[0] > least),
        ("b  rows/s posted", f"{posted[1]:.0f}", f"off: {posted[0]:.0f}", f"{posted[1] / posted[0]:.2f}", "", None),
        ("b  CPU s / M rows, daemon + server", f"{cpu('on'):.2f}", f"off: {cpu('off'):.2f}", f"{cpu('on') / cpu('off'):.2f}", "", None),
        ("b  CPU s / M rows, daemon", f"{cpu('on', 'daemon'):.2f}", f"off: {cpu('off', 'daemon'):.2f}",
         f"{cpu('on', 'daemon') / cpu('off', 'daemon'):.2f}", "", None),
        ("c  duplicates/s", f"{r['c']['records_per_second']:.0f}", f"{r['c']['cpu_seconds_per_million']:.2f} CPU s / M", "", "", None),
        ("d  resident bytes an id", f"{last['rss_bytes_per_id']:.1f}", f"{last['ids']:,} ids", "", "< 16", last["rss_bytes_per_id"] < 16),
        ("d  ids/s", f"{last['ids_per_second']:.0f}", f"{last['cpu_ns_per_id']:.0f} ns of CPU each", "", "", None),
        ("d  restart, seconds", f"{start['restart_seconds']:.1f}", f"{start['restart_ids']:,} ids", "", "", None),
    ]
