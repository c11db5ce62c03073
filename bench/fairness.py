# SPDX-License-Identifier: Apache-2.0
"""One noisy table beside a quiet one: what happens to the quiet table's answer times.

A paced sender posts single events to table `quiet` over one connection and times each answer, three times in turn:
  alone     nobody else sends
  limited   another client floods table `noisy` with all it has, against limits.tables.noisy.rows_per_second
  free      the same flood without a limit: for comparison, here the two share the machine's cores
The flood comes from a process of its own. Medians over the rounds; the target is for the limited flood.
"""
import multiprocessing
import os
import socket
import time

TARGET = 1.10


def options(p):
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=6, help="of each measurement")
    p.add_argument("--events", type=int, default=200, help="a second of the quiet sender")
    p.add_argument("--limit", type=int, default=2000, help="rows a second of the noisy table, when limited")


def flood(port, request, ending, counts):
    """Sends as fast as it is answered; a refused sender waits a moment, as Retry-After would have it wait longer."""
    s = socket.create_connection(("127.0.0.1", port))
    f = s.makefile("rb", 1 << 18)
    while not ending.is_set():
        s.sendall(request)
        status, size, close = f.readline(), 0, False
        while (line := f.readline()) not in (b"\r\n", b""):
            name, _, value = line.lower().partition(b":")
            size = int(value) if name == b"content-length" else size
            close = close or (name == b"connection" and b"close" in value)
        f.read(size)
        taken = b" 200 " in status
        counts[0 if taken else 1] += 1
        if close or not status:
            s.close()
            s = socket.create_connection(("127.0.0.1", port))
            f = s.makefile("rb", 1 << 18)
        if not taken:
            time.sleep(0.005)
    s.close()


def quantile(times, q):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * q))] * 1000


def median(values):
    return sorted(values)[len(values) // 2]


def quiet(b, port, body):
    """Answer times of the paced sender; each from the moment it was due, so that waiting is not left out."""
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    f = s.makefile("rb")
    request, times, step = b.request(port, "/v1/ingest?table=quiet", body, b"application/json"), [], 1 / b.O.events
    due = time.monotonic()
    for _ in range(b.O.events * b.O.seconds):
        due += step
        time.sleep(max(0, due - time.monotonic()))
        s.sendall(request)
        b.Poster.answer(f)
        times.append(time.monotonic() - due)
    s.close()
    return times


def measure(b, work, started):
    engine = b.Engine(work)
    started.append(engine)
    engine.server.query("CREATE DATABASE bench")
    for name in ("quiet", "noisy"):
        b.table(engine.server, name)
    out = {"alone": [], "limited": [], "free": []}
    event = b.THOUSANDS[0].split(b"\n", 1)[0]
    thousand = b.THOUSANDS[0]
    for n in range(b.O.rounds):
        for how in out:
            b.say(f"round {n + 1}: {how}")
            settings = {"wal.segment_size": "64MiB", "wal.max_bytes": "20GiB", "wal.min_free": "256MiB", "wal.retain": "0s"}
            if how == "limited":
                settings["limits.tables"] = {"noisy": {"rows_per_second": b.O.limit, "burst": "100ms"}}
            d = b.Daemon(engine.server, "bench", name="fairness", settings=settings)
            started.append(d)
            d.start("/readyz")
            d.know("quiet", "noisy")
            quiet_events, b.O.seconds, seconds = b.O.events, 1, b.O.seconds
            quiet(b, d.port, event)  # warm
            b.O.events, b.O.seconds = quiet_events, seconds
            ending, counts, noisy = multiprocessing.Event(), multiprocessing.Array("Q", 2), None
            if how != "alone":
                request = b.request(d.port, "/v1/ingest?table=noisy", thousand, b"application/x-ndjson")
                noisy = multiprocessing.Process(target=flood, args=(d.port, request, ending, counts), daemon=True)
                noisy.start()
            began = time.monotonic()
            times = quiet(b, d.port, event)
            took = time.monotonic() - began
            ending.set()
            if noisy:
                noisy.join(10)
            out[how].append({"p50_ms": quantile(times, 0.5), "p99_ms": quantile(times, 0.99), "max_ms": quantile(times, 1),
                             "noisy_rows_per_second": counts[0] * 1000 / took, "refused_per_second": counts[1] / took})
            d.stop()
            d.remove()
            started.remove(d)
    return {"cores": os.cpu_count(), "limit": b.O.limit, "events_per_second": b.O.events, "runs": out,
            **{f"{how}_p{q}_ms": median([x[f"p{q}_ms"] for x in runs]) for how, runs in out.items() for q in (50, 99)}}


def checks(r):
    rows, alone = [], r["alone_p99_ms"]
    for how in ("limited", "free"):
        p99, runs = r[f"{how}_p99_ms"], r["runs"][how]
        counts = " ".join(f"{x['noisy_rows_per_second'] / 1000:.0f}k" for x in runs)
        bound = how == "limited"
        rows.append((f"quiet table, p99 ms beside a flood, {how}", f"{p99:.2f}", f"alone: {alone:.2f}", f"{p99 / alone:.2f}",
                     f"<= {TARGET:.2f}" if bound else "", p99 / alone <= TARGET if bound else None))
        rows.append(("   p50 ms", f"{r[f'{how}_p50_ms']:.2f}", f"alone: {r['alone_p50_ms']:.2f}",
                     f"{r[f'{how}_p50_ms'] / r['alone_p50_ms']:.2f}", "", None))
        rows.append(("   each round's p99 ms", " ".join(f"{x['p99_ms']:.2f}" for x in runs),
                     " ".join(f"{x['p99_ms']:.2f}" for x in r["runs"]["alone"]), "", "", None))
        rows.append((f"   noisy rows/s taken (limit {r['limit']:,})" if bound else "   noisy rows/s taken", counts, "", "", "", None))
    return rows
