#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nothing lost, nothing twice: load, while the daemon dies by SIGKILL 50 times and ClickHouse 10 times.

  tests/run exactly_once -- [--seed N] [--kills 50] [--engine-kills 10] [--clients 4]

Every record has an id of its own. What the client heard decides what must be in the table at the end:
  acknowledged (200, ok for this record)        exactly once
  refused      (4xx, or an error in its place)  never
  unknown      (connection cut, 5xx)            at most once
Besides the kills, answers of finished inserts get lost on the way (fault "ack"), the nastiest case: ClickHouse has
the block, and the daemon does not know.
"""
import argparse
import json
import random
import sys
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

ACKED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"


class Load(threading.Thread):
    """One client: batches and single records as fast as answers come, through every restart."""

    def __init__(self, number, port, seed, stop):
        super().__init__(daemon=True)
        self.number, self.port, self.stop = number, port, stop
        self.random = random.Random(f"{seed}/client/{number}")
        self.fate = {}  # id → ACKED, REFUSED or UNKNOWN
        self.next = 0
        self.requests = 0
        self.strange = []  # answers that no contract allows

    def record(self):
        self.next += 1
        ident = f"{self.number}-{self.next}"
        value = {"id": ident, "client": self.number, "text": "x" * self.random.randrange(0, 120)}
        if self.random.random() < 0.02:  # one that must be refused
            value["nosuch"] = 1
        return ident, value

    def run(self):
        client = net.Client(self.port, timeout=10)
        while not self.stop.is_set():
            one = self.random.random() < 0.3
            batch = [self.record() for _ in range(1 if one else self.random.randrange(1, 200))]
            if one:
                body, kind = json.dumps(batch[0][1]), "application/json"
            else:
                body, kind = "\n".join(json.dumps(v) for _, v in batch), "application/x-ndjson"
            try:
                a = client.call("POST", "/v1/ingest?table=ev", body.encode(), {"Content-Type": kind})
            except Exception:  # cut off: nobody knows
                self.fate.update((ident, UNKNOWN) for ident, _ in batch)
                self.stop.wait(0.02)
                continue
            self.requests += 1
            self.judge(a, batch, one)
            if a.status >= 500:
                self.stop.wait(0.05)
        client.close()

    def judge(self, a, batch, one):
        value = a.json() or {}
        if one and a.status in (200, 400):
            self.fate[batch[0][0]] = ACKED if a.status == 200 and value == {"ok": True} else REFUSED
        elif not one and a.status == 200 and value.get("total") == len(batch):
            for (ident, _), result in zip(batch, value["results"]):
                self.fate[ident] = ACKED if result.get("ok") else REFUSED
        else:
            self.fate.update((ident, UNKNOWN) for ident, _ in batch)
            if a.status != 503:
                self.strange.append(repr(a))


class Chaos:
    def __init__(self, o):
        self.o = o
        self.random = random.Random(f"{o.seed}/faults")
        self.s = clickhouse.modern()
        self.db = self.s.database("e2e_exactly_once")
        self.s.control("/clear")
        self.s.query(f"CREATE TABLE {self.db}.ev (id String, client UInt8, text String) ENGINE = MergeTree"
                     f" ORDER BY id SETTINGS non_replicated_deduplication_window = 100000")
        self.d = Daemon(self.s, self.db, name="exactly_once", settings={
            "flush.interval": "200ms", "flush.retry_min": "100ms", "flush.retry_max": "1s",
            "wal.segment_size": "8MiB", "wal.retain": "1s", "clickhouse.query_timeout": "5s"})
        self.starts = []

    def engine_down_a_while(self):
        self.s.control("/engine/kill")
        time.sleep(self.random.uniform(0, 0.5))  # the fault's own length
        self.s.control("/engine/start")

    def restart(self):
        self.d.kill()
        began = time.monotonic()
        # With ClickHouse down a persisted schema lets it serve, so /livez is asked, not /readyz.
        self.d.start("/livez", 30)
        self.starts.append(time.monotonic() - began)

    def run(self):
        o, d = self.o, self.d
        d.start()
        d.know("ev")
        stop = threading.Event()
        clients = [Load(i, d.port, o.seed, stop) for i in range(o.clients)]
        for c in clients:
            c.start()
        events = ["daemon"] * o.kills + ["engine"] * o.engine_kills + ["ack"] * o.engine_kills
        self.random.shuffle(events)
        pause = o.seconds / max(1, len(events))
        for event in events:
            time.sleep(self.random.expovariate(1 / pause) if pause < 2 else self.random.uniform(0, 2 * pause))
            if event == "daemon":
                self.restart()
            elif event == "engine":
                self.engine_down_a_while()
            else:
                self.s.control("/fault", {"at": "ack", "kind": "drop", "times": 1, "match": "insert"})
        stop.set()
        for c in clients:
            c.join(30)
        self.s.control("/clear")
        if not self.s.up():
            self.s.control("/engine/start")
        self.restart()  # the last word is a recovery as well
        self.check(clients)

    def check(self, clients):
        fate = {}
        for c in clients:
            fate.update(c.fate)
        count = {k: sum(1 for v in fate.values() if v == k) for k in (ACKED, REFUSED, UNKNOWN)}
        acked = {k for k, v in fate.items() if v == ACKED}
        tap.note(f"seed {self.o.seed}: {sum(c.requests for c in clients)} answers, {len(fate)} ids: {count};"
                 f" restart {min(self.starts):.2f} … {max(self.starts):.2f} s")
        seen = {}

        def arrived():
            seen.clear()
            seen.update(self.s.rows(f"SELECT id, count() FROM {self.db}.ev GROUP BY id"))
            return acked <= seen.keys() and self.d.pending() in (0, None)
        net.wait_for(arrived, 60, 0.3)
        lost = sorted(acked - seen.keys())
        twice = sorted(k for k, n in seen.items() if int(n) > 1)
        phantom = sorted(k for k in seen if fate.get(k, REFUSED) == REFUSED)
        letters = (self.d.dlq() or {}).get("total")
        print(f"# lost {len(lost)}, duplicated {len(twice)}, phantom {len(phantom)}, dead letters {letters}")
        ok(len(acked) > 1000, "there was load", count)
        ok(not lost, "every acknowledged record is in the table", f"{len(lost)}: {lost[:20]}")
        ok(not twice, "no record is there twice", f"{len(twice)}: {[(k, seen[k]) for k in twice[:20]]}")
        ok(not phantom, "no refused record is there", f"{len(phantom)}: {phantom[:20]}")
        same(letters, 0, "no dead letters")
        strange = [x for c in clients for x in c.strange]
        ok(not strange, "every answer is one of the contract's", "\n".join(strange[:5]))
        same(self.d.stop(), 0, "SIGTERM: exit status 0")
        if tap.failed():
            tap.note(f"replay: tests/run exactly_once -- --seed {self.o.seed}")
            tap.note(self.d.log_tail(40))
        else:
            self.d.remove()


def options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    fast = env.FAST
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--kills", type=int, default=8 if fast else 50)
    p.add_argument("--engine-kills", type=int, default=2 if fast else 10)
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--seconds", type=float, default=12 if fast else 90, help="time between the faults, in sum")
    return p.parse_args()


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    chosen = options()
    chaos = Chaos(chosen)
    try:
        tap.run(chaos.run)
    finally:
        chaos.d.kill()
        sys.stdout.flush()
