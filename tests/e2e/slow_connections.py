#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ten thousand slow clients: bounded memory, others are served, and the timeouts clear them away.

Most of them, a third each: a head that never ends, a body that never ends, no request at all. One in forty asks for much
and never reads the answers. As many as the limit of open files allows; the number is printed.
"""
# runs alone: it measures the daemon's memory and how long an honest client waits
import json
import resource
import select
import socket
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

WANTED = 2000 if env.FAST else 10000
TIMEOUT_S = 15
DEAF_PART = 40
KIB_DEAF_MAX = 512  # of one that reads no answers: those that wait, until no further request is read
# What may stay of it, with src/http/server.c and priv.h: buffers that the pool freed after the last trim (HEAP_TRIM_BYTES,
# 2 MiB, each on two pages: 4), the last 64 of a crowd and what is kept for the next clients (1), and the honest client's (1).
KEPT_MAX = 6 * 2**20
KIB_EACH_MAX = 24  # of daemon memory for a slow connection: a receive buffer with a head or a started body, and its books

HEAD = b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KINDS = {
    "head": HEAD + b"X-Slow: ",
    "body": HEAD + b"Content-Length: 1000000\r\n\r\n" + b'{"id":1,"text":"' + b"x" * 200,
    "idle": b"",
    "deaf": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 8,
}


def how_many():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the daemon inherits it
    return min(WANTED, hard - 500)


def connect(port, first):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect((net.HOST, port))
    if first:
        s.sendall(first)
    s.setblocking(False)
    return s


class Prober(threading.Thread):
    """An honest client; how long its answers take."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ending, self.times, self.bad = port, threading.Event(), [], []

    def run(self):
        client = net.Client(self.port)
        while not self.ending.is_set():
            began = time.monotonic()
            try:
                a = client.call("POST", "/v1/ingest?table=ev", json.dumps({"id": len(self.times), "text": "x"}).encode(),
                                {"Content-Type": "application/json"})
                if a.status != 200:
                    self.bad.append(a.status)
            except OSError as e:
                self.bad.append(repr(e))
                client = net.Client(self.port)
            self.times.append(time.monotonic() - began)
            self.ending.wait(0.02)
        client.close()

    def quantile(self, q):
        times = sorted(self.times)
        return times[min(len(times) - 1, int(len(times) * q))] * 1000


def closed(sockets):
    """How many the daemon has ended; what it said is read and thrown away."""
    poller, by_fd, n = select.poll(), {s.fileno(): s for s in sockets}, 0
    for fd in by_fd:
        poller.register(fd, select.POLLIN)
    for fd, _ in poller.poll(0):
        try:
            while True:
                if not by_fd[fd].recv(65536):
                    n += 1
                    break
        except BlockingIOError:
            continue
        except OSError:
            n += 1
    return n


def main():
    s = clickhouse.modern()
    db = s.database("e2e_slow")
    s.query(f"CREATE TABLE {db}.ev (id UInt32, text String) ENGINE = MergeTree ORDER BY id")
    number = how_many()
    timeout = f"{TIMEOUT_S}s"
    d = Daemon(s, db, name="slow", settings={"server.header_timeout": timeout, "server.body_timeout": timeout,
                                             "server.idle_timeout": timeout, "server.max_connections": 20000,
                                             "server.threads": 1})
    with d:
        d.start("/readyz")
        d.know("ev")
        for _ in range(50):
            d.ingest("ev", {"id": 0, "text": "x"})
        before, heap_before = d.rss_bytes(), d.rss_bytes("RssAnon")
        alone = Prober(d.port)
        alone.start()
        time.sleep(2)
        alone.ending.set()
        alone.join()

        prober, began = Prober(d.port), time.monotonic()
        prober.start()
        deaf = number // DEAF_PART
        groups, resident = {}, before
        for kind, first in KINDS.items():
            count = deaf if kind == "deaf" else (number - deaf) // 3
            groups[kind] = [connect(d.port, first) for _ in range(count)]
            total = sum(len(g) for g in groups.values())
            ok(net.wait_for(lambda: d.metrics()["wavehouse_http_connections"] >= total, 20, 0.2),
               f"{kind}: {count} connections are open", d.metrics())
            now = d.rss_bytes()
            each, most = (now - resident) / count / 1024, KIB_DEAF_MAX if kind == "deaf" else KIB_EACH_MAX
            tap.note(f"{kind}: {count} connections, resident {resident / 2**20:.1f} → {now / 2**20:.1f} MiB, {each:.1f} KiB each")
            ok(each < most, f"{kind}: under {most} KiB each", each)
            resident = now
        took, heap_most = time.monotonic() - began, d.rss_bytes("RssAnon")
        ok(env.FAST or heap_most > heap_before + 2 * KEPT_MAX, "which is far more than may stay", heap_most)
        everyone = [x for g in groups.values() for x in g]
        tap.note(f"{len(everyone)} connections opened in {took:.1f} s")
        same(d.call("GET", "/livez").status, 200, "a new client is served")

        gone = {}

        def all_closed():
            for kind in groups:
                gone[kind] = closed(groups[kind])

        def count_left():  # the deaf ones stay deaf
            return d.metrics()["wavehouse_http_connections"]
        cleared = net.wait_for(lambda: count_left() <= 4, TIMEOUT_S * 4, 0.5)
        ok(cleared, "the timeouts clear all of them away", count_left())
        tap.note(f"cleared {time.monotonic() - began:.1f} s after the first was opened (timeouts {TIMEOUT_S} s)")
        prober.ending.set()
        prober.join()
        same(prober.bad, [], "the honest client got 200 all the time")
        tap.note(f"its answers: alone p50 {alone.quantile(0.5):.1f} p99 {alone.quantile(0.99):.1f} ms; beside them p50"
                 f" {prober.quantile(0.5):.1f} p99 {prober.quantile(0.99):.1f} ms, slowest {prober.quantile(1):.0f} ms")
        ok(prober.quantile(1) < 5000, "and never waited for long", prober.quantile(1))
        all_closed()
        ok(all(gone[k] == len(groups[k]) for k in ("head", "body", "idle")), "each of them sees the end", gone)
        # The pool halves what nobody needs each second, and the heap is trimmed when that is nearly done: poll for it.
        back = net.wait_for(lambda: d.rss_bytes("RssAnon") < heap_before + KEPT_MAX, 60, 0.5)
        ok(back, "the memory comes back", f"own memory {heap_before / 2**20:.1f} → {d.rss_bytes('RssAnon') / 2**20:.1f} MiB")
        tap.note(f"own memory {heap_before / 2**20:.1f} MiB before, {heap_most / 2**20:.1f} with the crowd,"
                 f" {d.rss_bytes('RssAnon') / 2**20:.1f} afterwards")
        for x in everyone:
            x.close()
        same(d.stop(), 0, "clean stop")
        if tap.failed():
            tap.note(d.log_tail(30))


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(main)
