# SPDX-License-Identifier: Apache-2.0
"""How soon a daemon with a long log accepts events again, and what memory that takes.

ClickHouse is away while the log is filled, so everything in it still waits. Then kill -9, and the clock runs from exec
to the first event that is answered 200; it goes on until the whole log has been read again (flush.replayed), with the
memory before, at its peak, and after. The pages of the log are read once with a cold and once with a warm cache.
"""
import os
import re
import shutil
import time

ACCEPT_S, GROWTH_MIB = 2, 64


def options(p):
    p.add_argument("--gib", type=float, default=10, help="size of the log; less when the disk has not twice that free")
    p.add_argument("--rounds", type=int, default=2, help="restarts with a cold cache, and with a warm one")


def memory(pid):
    """MiB: all, without pages of files, and the peak of all."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        found = dict(re.findall(r"^(VmRSS|RssAnon|VmHWM):\s+(\d+) kB", f.read(), re.M))
    return {k: int(v) / 1024 for k, v in found.items()}


def log_bytes(d):
    folder = os.path.join(d.dir, "data", "wal")
    return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n.startswith("seg-"))


def drop_cache(d):
    """The log out of the page cache, as after a reboot. Its pages are clean: the daemon has synced them."""
    folder = os.path.join(d.dir, "data", "wal")
    for name in os.listdir(folder):
        fd = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def fill(b, d, target, table):
    # Bodies of 20,000 rows: the filling is not what is measured.
    body = b"".join(b.THOUSANDS * 2)
    requests = [b.request(d.port, f"/v1/ingest?table={table}", body, b"application/x-ndjson")]
    while log_bytes(d) < target:
        b.post_all(d.port, requests, 32, 4)


def restart(d, one):
    """exec, first 200, whole log read."""
    seen = d.log().count("flush.replayed")
    began = time.monotonic()
    d.start(None)
    accepted = None
    while accepted is None:
        try:
            if d.ingest("backlog", one).status == 200:
                accepted = time.monotonic() - began
        except OSError:
            time.sleep(0.002)
        if time.monotonic() - began > 120:
            raise RuntimeError(f"nothing is accepted:\n{d.log_tail()}")
    pid = d.process.pid
    at_accept = memory(pid)
    anonymous = at_accept["RssAnon"]
    while d.log().count("flush.replayed") == seen and time.monotonic() - began < 300:
        anonymous = max(anonymous, memory(pid)["RssAnon"])
        time.sleep(0.02)
    replayed = time.monotonic() - began
    end = memory(pid)
    return {"accept_seconds": accepted, "replay_seconds": replayed, "rss_mib": at_accept["VmRSS"],
            "anonymous_mib": at_accept["RssAnon"], "anonymous_peak_mib": max(anonymous, end["RssAnon"]),
            "anonymous_after_mib": end["RssAnon"], "rss_peak_mib": end["VmHWM"], "pending": d.pending()}


def measure(b, work, started):
    free = shutil.disk_usage(work).free
    target = int(min(b.O.gib * (1 << 30), free / 2))
    engine = b.Engine(work)
    started.append(engine)
    engine.server.query("CREATE DATABASE bench")
    b.table(engine.server, "backlog")
    d = b.Daemon(engine.server, "bench", name="restart", settings={
        "wal.segment_size": "64MiB", "wal.max_bytes": "200GiB", "wal.min_free": "256MiB", "flush.interval": "60s"})
    started.append(d)
    d.start("/readyz")
    d.know("backlog")
    engine.stop()
    idle = memory(d.process.pid)
    b.say(f"filling the log up to {target / (1 << 30):.1f} GiB while ClickHouse is away")
    began = time.monotonic()
    fill(b, d, target, "backlog")
    result = {"asked_gib": b.O.gib, "log_gib": log_bytes(d) / (1 << 30), "free_gib": free / (1 << 30),
              "fill_seconds": time.monotonic() - began, "idle": idle, "filled": memory(d.process.pid), "restarts": []}
    for cold in [True] * b.O.rounds + [False] * b.O.rounds:
        d.kill()
        if cold:
            drop_cache(d)
        b.say(f"restart, {'cold' if cold else 'warm'} cache")
        result["restarts"].append({"cold": cold, **restart(d, b.ROWS[0])})
    d.stop()
    shutil.rmtree(d.dir, ignore_errors=True)
    return result


def checks(r):
    out = []
    for cold in (True, False):
        some = [x for x in r["restarts"] if x["cold"] == cold]
        accept = max(x["accept_seconds"] for x in some)
        out.append((f"{r['log_gib']:.1f} GiB, {'cold' if cold else 'warm'}: s to first 200", f"{accept:.2f}",
                    "", "", f"< {ACCEPT_S}", accept < ACCEPT_S))
        out.append(("   s until all of it has been read", f"{max(x['replay_seconds'] for x in some):.1f}", "", "", "", None))
    peak = max(x["anonymous_peak_mib"] for x in r["restarts"])
    out.append(("   anonymous MiB: fresh daemon, after restart", f"{r['idle']['RssAnon']:.0f}, {r['restarts'][0]['anonymous_mib']:.0f}",
                "", "", "", None))
    out.append(("   most while it reads", f"{peak:.0f}", f"fresh + {GROWTH_MIB}", "", "flat", peak < r["idle"]["RssAnon"] + GROWTH_MIB))
    out.append(("   resident with mapped log pages, most", f"{max(x['rss_peak_mib'] for x in r['restarts']):.0f}", "", "", "", None))
    if r["log_gib"] < r["asked_gib"] * 0.99:
        out.append((f"   the disk had room for {r['log_gib']:.1f} GiB only", "", "", "", "", None))
    return out
