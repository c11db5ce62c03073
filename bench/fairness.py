# SPDX-License-Identifier: Apache-2.0
"""One noisy table beside a quiet one: what happens to the quiet table's answer times.

A paced sender posts single events to table `quiet` over one connection and times each answer from when it was due, while
another client floods over 16 connections with bodies of 1,000 rows:
  alone     nobody floods
  limited   table `noisy` is flooded at --flood requests a second, far over limits.tables.noisy.rows_per_second
  free      the same flood, without a limit: all of it is stored, and ClickHouse works for it too
  full      as fast as it is answered, without a limit
Each flood has its control: as many requests a second to a server that reads them and answers (bench/http_bare), a process
beside the daemon. There the quiet table shares the machine with the flood but not the daemon, so the ratio to the control
is the daemon's share, and the control's to `alone` the machine's. The clients are C, the flood's runs at nice 10. Medians
over the rounds; the target is for the limited flood.
"""
import json
import os
import signal
import socket
import subprocess

TARGET = 1.10
FLOODS = ("limited", "free", "full")


def options(p):
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=6, help="of each measurement")
    p.add_argument("--events", type=int, default=200, help="a second of the quiet sender")
    p.add_argument("--flood", type=int, default=300, help="requests of 1,000 rows a second")
    p.add_argument("--connections", type=int, default=16, help="of the flood")
    p.add_argument("--limit", type=int, default=2000, help="rows a second of the noisy table, when limited")


def median(values):
    return sorted(values)[len(values) // 2]


def paced(b, *args):
    return [os.path.join(os.environ["WH_BUILD"], "bench", "paced"), *map(str, args)]


def probe(b, port, file, seconds):
    return json.loads(subprocess.run(paced(b, "probe", port, file, b.O.events, seconds), stdout=subprocess.PIPE, check=True).stdout)


def beside(b, d, quiet, port, file, per_second):
    """The quiet table's times while port is flooded; None: nobody is."""
    flood, said = None, None
    if port:
        flood = subprocess.Popen(["nice", "-n", "10", *paced(b, "flood", port, file, b.O.connections, per_second)], stdout=subprocess.PIPE)
    try:
        probe(b, d.port, quiet, 1)  # warm
        before = d.metrics()
        times = probe(b, d.port, quiet, b.O.seconds)
        sync = b.histogram(before, d.metrics(), "wavehouse_wal_fdatasync_seconds")
        times.update(sync_p50_ms=sync["p50"] * 1000, sync_p99_ms=sync["p99"] * 1000)
    finally:
        if flood:
            flood.send_signal(signal.SIGTERM)
            said = flood.communicate()[0]
    return {**times, **(json.loads(said) if said else {})}


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def measure(b, work, started):
    engine = b.Engine(work)
    started.append(engine)
    engine.server.query("CREATE DATABASE bench")
    for name in ("quiet", "noisy"):
        b.table(engine.server, name)
    bare_port = b.net.free_port()
    bare = subprocess.Popen([os.path.join(os.environ["WH_BUILD"], "bench", "http_bare"), str(bare_port)])
    b.net.wait_for(lambda: answers(bare_port), 5, 0.01)
    out = {"alone": [], **{k: [] for f in FLOODS for k in (f, f + "_control")}}
    event = b.THOUSANDS[0].split(b"\n", 1)[0]

    def file(name, port, table, body, kind):
        path = os.path.join(work, name)
        with open(path, "wb") as f:
            f.write(b.request(port, f"/v1/ingest?table={table}", body, kind))
        return path

    try:
        for n in range(b.O.rounds):
            for how in ("alone", *FLOODS):
                b.say(f"round {n + 1}: {how}")
                settings = {"wal.segment_size": "64MiB", "wal.max_bytes": "20GiB", "wal.min_free": "256MiB", "wal.retain": "0s"}
                if how == "limited":
                    settings["limits.tables"] = {"noisy": {"rows_per_second": b.O.limit, "burst": "100ms"}}
                d = b.Daemon(engine.server, "bench", name="fairness", settings=settings)
                started.append(d)
                d.start("/readyz")
                d.know("quiet", "noisy")
                quiet = file("quiet", d.port, "quiet", event, b"application/json")
                noisy = file("noisy", d.port, "noisy", b.THOUSANDS[0], b"application/x-ndjson")
                if how == "alone":
                    out[how].append(beside(b, d, quiet, None, None, 0))
                else:
                    rate = 0 if how == "full" else b.O.flood
                    out[how].append(beside(b, d, quiet, d.port, noisy, rate))
                    rate = rate or max(1, round(out[how][-1]["taken_per_second"]))
                    b.net.wait_for(lambda: not d.pending(), 60)
                    out[how + "_control"].append(beside(b, d, quiet, bare_port, noisy, rate))
                d.stop()
                d.remove()
                started.remove(d)
    finally:
        bare.terminate()
        bare.wait()
    return {"cores": os.cpu_count(), "limit": b.O.limit, "events_per_second": b.O.events, "flood_per_second": b.O.flood, "runs": out,
            **{f"{how}_p{q}_ms": median([x[f"p{q}_ms"] for x in runs]) for how, runs in out.items() for q in (50, 99)}}


def checks(r):
    rows = []
    for how in FLOODS:
        control, alone, runs = r[f"{how}_control_p99_ms"], r["alone_p99_ms"], r["runs"][how]
        p99, bound = r[f"{how}_p99_ms"], how == "limited"
        rows.append((f"quiet table, p99 ms beside a flood, {how}", f"{p99:.3f}", f"control: {control:.3f}", f"{p99 / control:.2f}",
                     f"<= {TARGET:.2f}" if bound else "", p99 / control <= TARGET if bound else None))
        rows.append(("   p50 ms", f"{r[f'{how}_p50_ms']:.3f}", f"control: {r[f'{how}_control_p50_ms']:.3f}",
                     f"{r[f'{how}_p50_ms'] / r[f'{how}_control_p50_ms']:.2f}", "", None))
        rows.append(("   the machine's share: control to alone, p99", f"{control:.3f}", f"alone: {alone:.3f}", f"{control / alone:.2f}", "", None))
        rows.append(("   each round's p99 ms", " ".join(f"{x['p99_ms']:.3f}" for x in runs),
                     " ".join(f"{x['p99_ms']:.3f}" for x in r["runs"][how + "_control"]), "", "", None))
        rows.append(("   write and fdatasync of the log, p50; p99 ms", " ".join(f"{x['sync_p50_ms']:.2f}" for x in runs),
                     " ".join(f"{x['sync_p99_ms']:.2f}" for x in runs), "", "", None))
        rows.append(("   flood: thousands of rows a second taken; refused", " ".join(f"{x['taken_per_second']:.0f}" for x in runs),
                     " ".join(f"{x['refused_per_second']:.0f}" for x in runs), "", "", None))
    return rows
