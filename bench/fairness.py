# SPDX-License-Identifier: Apache-2.0
"""One noisy table beside a quiet one: what happens to the quiet table's answer times.

A paced sender posts single events to table `quiet` over one connection and times each answer (bench/paced.c), while
another client floods over 16 connections with bodies of 1,000 rows:
  alone     nobody floods
  limited   table `noisy` is flooded at --flood requests a second, far over limits.tables.noisy.rows_per_second
  free      the same flood, without a limit: all of it is stored, and ClickHouse works for it too
  full      as fast as it is answered, without a limit
Each flood has two controls, in the same minute and at the rate at which the flood was taken:
  second    the flood goes to a second wavehoused with a log of its own, on the same disk, in front of the same ClickHouse: the quiet
            table shares the machine with all the work that a flood makes, but not the daemon. The ratio to it is what
            sharing one daemon costs
  bare      the flood goes to a server that only reads and answers (bench/http_bare)
Rounds with ours first and with the second one first take turns (but for `full`, whose rate ours finds): what a flood leaves
behind, parts to be merged and pages to be written, is there for the next.
What counts is the median of the rounds' p99, and rounds are short and many: one stall of the disk, 100 ms long, is more than a hundredth of a
round, whoever meets it; the figures of all together, and how many rounds had such a stall, are told beside. An answer
that takes longer than the next event is due in delays that one too, so times from when an event was sent are told
beside. The clients are C, the flood's runs at nice 10.
"""
import json
import os
import signal
import subprocess
from statistics import median_high

TARGET = 1.10
STALL_MS = 20
FLOODS = ("limited", "free", "full")
SIDES = ("ours", "second", "bare")


def options(p):
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--seconds", type=int, default=2, help="of each measurement")
    p.add_argument("--events", type=int, default=200, help="a second of the quiet sender")
    p.add_argument("--flood", type=int, default=300, help="requests of 1,000 rows a second")
    p.add_argument("--floods", default=",".join(FLOODS), help="which of them, with commas")
    p.add_argument("--connections", type=int, default=16, help="of the flood")
    p.add_argument("--limit", type=int, default=2000, help="rows a second of the noisy table, when limited")


def beside(b, d, quiet, port, file, per_second):
    """The quiet table's times while port is flooded; None: nobody is."""
    flood, said = None, None
    if port:
        flood = subprocess.Popen(["nice", "-n", "10", *b.paced("flood", port, file, b.O.connections, per_second)], stdout=subprocess.PIPE)
    try:
        b.probe(d.port, quiet, b.O.events, 1)  # warm
        before = d.metrics()
        times = b.probe(d.port, quiet, b.O.events, b.O.seconds)
        sync = b.histogram(before, d.metrics(), "wavehouse_wal_fdatasync_seconds")
        times.update(sync_p50_ms=sync["p50"] * 1000, sync_p99_ms=sync["p99"] * 1000)
    finally:
        if flood:
            flood.send_signal(signal.SIGTERM)
            said = flood.communicate()[0]
    return {**times, **(json.loads(said) if said else {})}


def measure(b, work, started):
    floods = [how for how in b.O.floods.split(",") if how]
    if not set(floods) <= set(FLOODS):
        raise SystemExit(f"bench/run: --floods takes {', '.join(FLOODS)}")
    engine = b.Engine(work)
    started.append(engine)
    engine.server.query("CREATE DATABASE bench")
    for name in ("quiet", "noisy"):
        b.table(engine.server, name)
    bare_port = b.net.free_port()
    bare = subprocess.Popen([os.path.join(os.environ["WH_BUILD"], "bench", "http_bare"), str(bare_port)])
    b.net.wait_for(lambda: b.net.listening(bare_port), 5, 0.01)
    out = {"alone": [], **{f"{how}_{side}": [] for how in floods for side in SIDES}}
    event = b.THOUSANDS[0].split(b"\n", 1)[0]

    def file(name, port, table, body, kind):
        path = os.path.join(work, name)
        with open(path, "wb") as f:
            f.write(b.request(port, f"/v1/ingest?table={table}", body, kind))
        return path

    def daemon(how):
        settings = {"wal.segment_size": "64MiB", "wal.max_bytes": "20GiB", "wal.min_free": "256MiB", "wal.retain": "0s"}
        if how == "limited":
            settings["limits.tables"] = {"noisy": {"rows_per_second": b.O.limit, "burst": "100ms"}}
        d = b.Daemon(engine.server, "bench", name="fairness", settings=settings)
        started.append(d)
        d.start("/readyz")
        d.know("quiet", "noisy")
        return d

    def end(*daemons):
        for d in daemons:
            d.stop()
            d.remove()
            started.remove(d)

    def drained(d):
        """The noisy rows; the few quiet ones wait for flush.interval."""
        if not b.net.wait_for(lambda: (d.pending() or 0) < 1000, 60):
            raise RuntimeError(f"{d.pending()} rows still wait:\n{d.log_tail()}")

    def times_of(d, port, noisy, rate):
        quiet = file("quiet", d.port, "quiet", event, b"application/json")
        return beside(b, d, quiet, port, noisy, rate)

    def flooded(how):
        """All rounds of one kind of flood, on one pair of daemons."""
        d, second = daemon(how), daemon(how)
        noisy = file("noisy", d.port, "noisy", b.THOUSANDS[0], b"application/x-ndjson")
        port = {"ours": d.port, "second": second.port, "bare": bare_port}
        for n in range(b.O.rounds):
            b.say(f"{how}: round {n + 1} of {b.O.rounds}")
            rate = 0 if how == "full" else b.O.flood
            for side in SIDES if how == "full" or n % 2 == 0 else (SIDES[1], SIDES[0], SIDES[2]):
                times = times_of(d, port[side], noisy, rate)
                rate = rate or max(1, round(times["taken_per_second"]))
                out[f"{how}_{side}"].append(times)
                drained(d)
                drained(second)
        end(d, second)

    try:
        d = daemon("alone")
        for n in range(b.O.rounds):
            out["alone"].append(times_of(d, None, None, 0))
        end(d)
        for how in floods:
            flooded(how)
    finally:
        bare.terminate()
        bare.wait()
    result = {"cores": os.cpu_count(), "limit": b.O.limit, "events_per_second": b.O.events, "flood_per_second": b.O.flood, "floods": floods}
    for how, runs in out.items():
        for kind in ("waited", "sent"):
            pooled = [t for run in runs for t in run[f"{kind}_us"]]
            result.update({f"{how}_{kind}_p{q}_ms": b.quantile_ms(pooled, q / 100) for q in (50, 99)})
            for run in runs:
                run[f"{kind}_p99_ms"] = b.quantile_ms(run.pop(f"{kind}_us"), 0.99)
    return {**result, "runs": out}


def middle(runs, what):
    return median_high(x[what] for x in runs)


def quarters(runs, what):
    v = sorted(x[what] for x in runs)
    return " ".join(f"{v[len(v) * q // 4]:.1f}" for q in (1, 2, 3))


def stalls(runs):
    return f"{sum(x['waited_p99_ms'] > STALL_MS for x in runs)} of {len(runs)}"


def checks(r):
    alone = r["runs"]["alone"]
    rows = [("quiet table alone: p99 ms", f"{middle(alone, 'waited_p99_ms'):.2f}", "", "", "", None)]
    for how in r["floods"]:
        ours, seconds, bare = (r["runs"][f"{how}_{side}"] for side in SIDES)

        def pair(side, kind, how=how):
            return f"{r[f'{how}_{side}_{kind}_p50_ms']:.2f} / {r[f'{how}_{side}_{kind}_p99_ms']:.2f}"

        def ratio(side, kind, q, how=how):
            return r[f"{how}_ours_{kind}_p{q}_ms"] / r[f"{how}_{side}_{kind}_p{q}_ms"]

        p99 = middle(ours, "waited_p99_ms") / middle(seconds, "waited_p99_ms")
        rows.append((f"beside a flood, {how}: p99 ms", f"{middle(ours, 'waited_p99_ms'):.2f}", f"second: {middle(seconds, 'waited_p99_ms'):.2f}", f"{p99:.2f}",
                     "" if how == "full" else f"<= {TARGET:.2f}", None if how == "full" else p99 <= TARGET))
        rows.append(("", "", f"bare: {middle(bare, 'waited_p99_ms'):.2f}", "", "", None))
        rows.append(("   all rounds together, p50 / p99", pair("ours", "waited"), f"second: {pair('second', 'waited')}",
                     f"{ratio('second', 'waited', 99):.2f}", "", None))
        rows.append(("", "", f"bare: {pair('bare', 'waited')}", f"{ratio('bare', 'waited', 99):.2f}", "", None))
        for side in ("second", "bare") if how == "full" else ("second",):
            rows.append(("   from when it was sent", pair("ours", "sent") if side == "second" else "", f"{side}: {pair(side, 'sent')}",
                         f"{ratio(side, 'sent', 99):.2f}", "", None))
        rows.append(("   p50", "", "", f"{ratio('second', 'waited', 50):.2f}", "", None))
        rows.append(("   the rounds' p99 ms: quarter, median, three quarters", quarters(ours, "waited_p99_ms"), quarters(seconds, "waited_p99_ms"), "", "", None))
        rows.append((f"   rounds with a p99 above {STALL_MS} ms", stalls(ours), stalls(seconds), "", "", None))
        rows.append(("   write and sync of the log, p50 / p99 ms, median", f"{middle(ours, 'sync_p50_ms'):.2f} / {middle(ours, 'sync_p99_ms'):.2f}",
                     f"{middle(seconds, 'sync_p50_ms'):.2f} / {middle(seconds, 'sync_p99_ms'):.2f}", "", "", None))
        rows.append(("   flood: requests taken / refused a second", f"{middle(ours, 'taken_per_second'):.0f} / {middle(ours, 'refused_per_second'):.0f}",
                     f"{middle(seconds, 'taken_per_second'):.0f} / {middle(seconds, 'refused_per_second'):.0f}", "", "", None))
    return rows
