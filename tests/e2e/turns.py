#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Long bodies are read in turns: others are served between two slices, tables alike, and nothing else changes.

One socket loop, so that whoever is served meanwhile is served by the loop that reads. Fairness is counted in slices and
answers, not in time.
"""
import json
import signal
import socket
import threading

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

NDJSON = "application/x-ndjson"
PAD = "x" * 180
TABLES = ["a", "b", "c"] + [f"t{i}" for i in range(20)]


def rows(first, count):
    return "\n".join(json.dumps({"id": first + i, "note": PAD}) for i in range(count)).encode()


def request(table, body, kind=NDJSON):
    return (f"POST /v1/ingest?table={table} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def slices(d):
    return d.metrics()["wavehouse_ingest_slices_total"]


def waiting(d):
    return d.metrics()["wavehouse_ingest_turns_waiting"]


class Post(threading.Thread):
    """A request on a connection of its own."""

    def __init__(self, d, table, body, headers=None):
        super().__init__()
        self.d, self.table, self.body, self.headers, self.answer = d, table, body, headers or {}, None

    def run(self):
        self.answer = self.d.call("POST", f"/v1/ingest?table={self.table}", self.body, {"Content-Type": NDJSON, **self.headers})


def begin(*posts):
    for p in posts:
        p.start()
    return posts


def end(posts):
    for p in posts:
        p.join()
    return [(p.answer.status, p.answer.json().get("succeeded")) for p in posts]


def arrives(s, db, table, want, what):
    net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.{table}") >= want, 60)
    same((s.one(f"SELECT count() FROM {db}.{table}"), s.one(f"SELECT uniqExact(id) FROM {db}.{table}")), (want, want), what)


def between_slices(d, s, db):
    body, before = rows(0, 60000), slices(d)
    same(d.ingest("b", rows(0, 1), kind=NDJSON).status, 200, "a short body")
    same(slices(d), before, "is read at once, in no slice")
    # The body is read in some 50 ms. On a busy machine this client may not get so far as to ask three times meanwhile: again, then.
    small, inner = 0, []
    for n in range(10):
        posts, seen = begin(Post(d, "a", body) if n == 0 else Post(d, "c", rows(1000000 + 100000 * n, 60000))), set()
        while posts[0].is_alive():
            small += 1
            a = d.ingest("b", rows(small, 1), kind=NDJSON)
            if a.status != 200:
                break
            seen.add(slices(d))
        same(end(posts), [(200, 60000)], "a long body is taken whole")
        after = slices(d)
        ok(after - before >= len(body) / 65536, "in slices", after - before)
        inner, before = [k for k in seen if before < k < after], after
        if len(inner) >= 3:
            break
    ok(len(inner) >= 3, "short requests for another table are answered between its slices", sorted(seen))
    same(waiting(d), 0, "nobody waits in the end")
    arrives(s, db, "a", 60000, "each row once")
    arrives(s, db, "b", small + 1, "and those of the short ones")


def table_by_table(d, s, db):
    """Many connections for one table, then one for another: its turn comes with each slice of the other's."""
    body = rows(0, 12000)
    unit = slices(d)
    same(d.ingest("c", body, kind=NDJSON).status, 200, "one long body alone")
    unit = slices(d) - unit
    bodies = [request("a", rows(100000 + 12000 * i, 12000)) for i in range(12)]
    other = request("b", rows(100000, 12000))
    many = [socket.create_connection(("127.0.0.1", d.port), 30) for _ in bodies]
    for c, data in zip(many, bodies):
        c.sendall(data)
    one = socket.create_connection(("127.0.0.1", d.port), 30)
    before = slices(d)
    one.sendall(other)
    same(one.recv(12), b"HTTP/1.1 200", "the other table's body is taken")
    used, left = slices(d) - before, waiting(d)
    # Its own slices and as many of the first table; the rest is what was read while it was on its way.
    ok(used <= 4 * unit, f"within few turns: {used} slices, {unit} for a body")
    ok(left >= 1, "while the first table's still wait", left)
    same([c.recv(12) for c in many], [b"HTTP/1.1 200"] * 12, "and are answered in the end")
    for c in [one] + many:
        c.close()
    arrives(s, db, "a", 60000 + 12 * 12000, "each row once")


def one_connection(d):
    """Requests of one connection take effect and are answered in the order sent."""
    parts = [request("a", rows(1000000, 20000)), request("a", rows(2000000, 1)), request("nowhere", b"{}"),
             request("b", rows(1000000, 20000)), request("a", rows(2000001, 1))]
    got = net.answers(net.raw(d.port, b"".join(parts), timeout=20, half_close=True))
    same([a.status for a in got], [200, 200, 404, 200, 200], "pipelined behind a long body: answered in order")
    offsets = [int(a.fields["x-wavehouse-offset"]) for a in got if a.status == 200]
    same(offsets, sorted(set(offsets)), "and logged in order")


def gone(d, s, db):
    """The client leaves when the body is sent: it is stored whole, as any other."""
    before = s.one(f"SELECT count() FROM {db}.a")
    with socket.create_connection(("127.0.0.1", d.port)) as c:
        c.sendall(request("a", rows(3000000, 30000)))
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        net.wait_for(lambda: waiting(d) > 0, 5, 0)
    ok(net.wait_for(lambda: waiting(d) == 0, 20), "its turn ends")
    net.wait_for(lambda: d.pending() == 0, 30)
    stored = s.one(f"SELECT count() FROM {db}.a WHERE id >= 3000000 AND id < 3030000")
    ok(stored in (0, 30000), "a client that leaves: all or nothing", (before, stored))
    same(d.ingest("b", rows(3000000, 1), kind=NDJSON).status, 200, "the daemon goes on")


def refused(d, s, db):
    good = rows(4000000, 30000)
    array = b"[" + good.replace(b"\n", b",") + b",{oops]"
    a = d.call("POST", "/v1/ingest?table=a", array, {"Content-Type": "application/json"})
    same(a.status, 400, "an array that is broken at its end is refused")
    a = d.call("POST", f"/?query=INSERT+INTO+{db}.a+FORMAT+JSONEachRow", good + b'\n{"id":"x","note":1}', {})
    same(a.status, 400, "ClickHouse's door: one bad row refuses all")
    a = d.call("POST", f"/?query=INSERT+INTO+{db}.a+(id)+FORMAT+CSV", "\n".join(str(4500000 + i) for i in range(30000)).encode(), {})
    same(a.status, 200, "and takes columns that it names, row by row")
    a = d.call("POST", "/v1/ingest?table=a&dry_run=1", good, {"Content-Type": NDJSON})
    same((a.status, a.json()["succeeded"]), (200, 30000), "a dry run of a long body")
    net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.a WHERE id >= 4500000") == 30000, 30)
    same(s.rows(f"SELECT countIf(id < 4500000), countIf(id >= 4500000), max(length(note)) FROM {db}.a"
                " WHERE id >= 4000000"), [[0, 30000, 0]], "nothing of what was refused is stored")


def twice(d, s, db):
    """The same key on two connections at once."""
    body = rows(5000000, 20000)
    answers = begin(*(Post(d, "b", body, {"Idempotency-Key": "turns"}) for _ in range(3)))
    for p in answers:
        p.join()
    found = sorted((p.answer.status, p.answer.json().get("succeeded"), p.answer.json().get("duplicates")) for p in answers)
    same(found, [(200, 0, 20000)] * 2 + [(200, 20000, 0)], "the same key three times at once: one is stored")
    own = b"\n".join([rows(5100000, 5000)] * 2)
    a = d.call("POST", "/v1/ingest?table=c", own, {"Content-Type": NDJSON})
    same((a.json()["succeeded"], a.json()["duplicates"]), (5000, 5000), "ids that repeat within a long body")


def many_tables(d, s, db):
    """More tables than the loop reads at a time."""
    posts = begin(*(Post(d, f"t{i}", rows(0, 6000)) for i in range(20)))
    same(set(end(posts)), {(200, 6000)}, "twenty tables at once")
    for i in (0, 19):
        arrives(s, db, f"t{i}", 6000, f"t{i} has its rows")


class Pipeline(threading.Thread):
    """Long bodies on one connection until `done` says so, each followed by a short one; the offsets of the answers."""

    def __init__(self, d, table, first, done):
        super().__init__()
        self.d, self.table, self.at, self.done, self.offsets, self.statuses = d, table, first, done, [], set()

    def run(self):
        with socket.create_connection(("127.0.0.1", self.d.port), 30) as c:
            while not self.done():
                c.sendall(request(self.table, rows(self.at, 300)) + request(self.table, rows(self.at + 300, 1)))
                self.at += 301
                got = b""
                while len(answers := net.answers(got)) < 2:
                    got += c.recv(1 << 16) or b"closed"
                self.statuses |= {a.status for a in answers}
                self.offsets += [int(a.fields["x-wavehouse-offset"]) for a in answers]


def kept_back(d, s, db):
    """While short ones come too, long bodies are kept back from the log, and nothing else about them changes."""
    def gated():
        return d.metrics()["wavehouse_ingest_gated_total"]

    before, enough = gated(), threading.Event()
    many = begin(*(Pipeline(d, "a", 20000000 + 1000000 * i, enough.is_set) for i in range(6)))
    small = 0

    def some_more():
        nonlocal small
        small += 1
        if d.ingest("b", rows(20000000 + small, 1), kind=NDJSON).status != 200:
            return True
        if small % 20 == 0:
            d.process.send_signal(signal.SIGHUP)
        return gated() >= before + 50
    ok(net.wait_for(some_more, 60, 0), "long bodies are kept back while short ones come", gated() - before)
    enough.set()
    for p in many:
        p.join()
    same([p.statuses for p in many], [{200}] * 6, "all are taken")
    ok(all(p.offsets == sorted(set(p.offsets)) for p in many), "each connection's requests are logged in the order sent")
    same(waiting(d), 0, "nobody is left behind")
    d.ingest("b", rows(29000000, 1), kind=NDJSON)
    want = sum(p.at - 20000000 - 1000000 * i for i, p in enumerate(many))
    count = f"SELECT count(), uniqExact(id) FROM {db}.a WHERE id >= 20000000 AND id < 26000000"
    net.wait_for(lambda: s.rows(count)[0][0] >= want, 60)
    same(s.rows(count), [[want, want]], "each row once")


def reloaded(d):
    """New settings meanwhile: the body is read from its beginning."""
    posts = begin(*(Post(d, t, rows(6000000, 40000)) for t in ("a", "b")))
    count = 0
    while any(p.is_alive() for p in posts):
        count += 1
        if count <= 20:
            d.process.send_signal(signal.SIGHUP)
        d.metrics()
    same(end(posts), [(200, 40000)] * 2, "settings that change meanwhile: each row is taken once")


def limited(d):
    """A rate that is used up refuses the bodies that wait for their turn, before they are read."""
    d.config["limits"] = {"tables": {"a": {"rows_per_second": 1, "burst": "1s"}}}
    d.write_config()
    d.process.send_signal(signal.SIGHUP)
    net.wait_for(lambda: "config.reloaded" in d.log(), 10)
    before = slices(d)
    posts = begin(*(Post(d, "a", rows(7000000 + 10000 * i, 10000)) for i in range(6)))
    for p in posts:
        p.join()
    used = slices(d) - before
    statuses = sorted(p.answer.status for p in posts)
    ok(statuses.count(200) <= 1 and statuses.count(503) >= 5, "a flood over its limit: all but the first are refused", statuses)
    ok(used <= 80 + 6, "and cost no reading: one body and a look at each", used)


def stopped(d, s, db):
    """SIGTERM while a body is read: what was answered is what is stored."""
    posts = begin(*(Post(d, "c", rows(8000000 + 40000 * i, 40000)) for i in range(3)))
    net.wait_for(lambda: waiting(d) > 0, 10, 0)
    same(d.stop(90), 0, "stopped while bodies are read")
    for p in posts:
        p.join()
    said = sum(40000 for p in posts if p.answer is not None and p.answer.status == 200)
    d.start("/readyz")
    net.wait_for(lambda: s.one(f"SELECT count() FROM {db}.c WHERE id >= 8000000") >= said, 60)
    net.wait_for(lambda: not d.pending(), 30)
    same(s.rows(f"SELECT count(), uniqExact(id) FROM {db}.c WHERE id >= 8000000"), [[said, said]], "what was answered is stored")


def out_of_time(s, db):
    """More long bodies of one table than desks, short ones beside them, and no time to end them: the daemon ends as it should."""
    settings = {"server.threads": 1, "flush.interval": "200ms", "server.shutdown_timeout": "10ms"}
    with Daemon(s, db, name="turns-end", settings=settings) as d:
        for at in range(5):
            d.start("/readyz")
            d.know("a", "b")
            enough = threading.Event()

            def flood(body):
                try:
                    with socket.create_connection(("127.0.0.1", d.port), 30) as c:
                        while not enough.is_set():
                            c.sendall(body)
                            if not c.recv(1 << 16):
                                break
                except OSError:
                    pass  # the daemon has ended

            bodies = [request("a", rows(30000000 + 100 * i, 90)) for i in range(24)] + [request("b", rows(30000000, 1))] * 2
            many = [threading.Thread(target=flood, args=(body,)) for body in bodies]
            for t in many:
                t.start()
            kept = net.wait_for(lambda: d.metrics()["wavehouse_ingest_gated_total"] >= 100, 30, 0.01)
            status = d.stop()
            enough.set()
            for t in many:
                t.join()
            ok(kept and status == 0, f"stopped in the middle of a flood, {at + 1}", (kept, status, d.log_tail()))


def main():
    s = clickhouse.modern()
    db = s.database("e2e_turns")
    for table in TABLES:
        s.query(f"CREATE TABLE {db}.{table} (id UInt32, note String) ENGINE = MergeTree ORDER BY id"
                " SETTINGS non_replicated_deduplication_window = 10000")
    settings = {"server.threads": 1, "flush.interval": "200ms", "server.max_body": "32MiB",
                "server.shutdown_timeout": "60s",  # for stopped(): an answer that is cut off says nothing about what is stored
                "dedupe.tables": {"c": {"enabled": True, "id_field": "id"}}}
    with Daemon(s, db, name="turns", settings=settings) as d:
        d.start("/readyz")
        d.know(*TABLES)
        between_slices(d, s, db)
        table_by_table(d, s, db)
        one_connection(d)
        gone(d, s, db)
        refused(d, s, db)
        twice(d, s, db)
        many_tables(d, s, db)
        kept_back(d, s, db)
        reloaded(d)
        limited(d)
        stopped(d, s, db)
    out_of_time(s, db)


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(main)
