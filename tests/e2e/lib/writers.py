# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a journal: what became of every record, as far as the client can know.

  ACKED    the daemon said that this record is committed
  REFUSED  a definite no (4xx, an error in the record's place), or nothing was ever sent
  UNKNOWN  a 5xx, a timeout, a cut connection: it may be there, but only once
"""
import json
import random
import threading

from . import net

ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"

# What POST /v1/ingest may answer; anything else is reported as strange.
CONTRACT = (200, 400, 404, 413, 429, 503)


class Writer(threading.Thread):
    """One client on one connection at a time, until `stop` is set.

    record(random, table, ident) makes a record; `forms` are the ways in which this client sends."""

    def __init__(self, number, port, seed, stop, tables, record, forms=("single", "array", "ndjson"), sizes=(1, 60),
                 pause=0.02, timeout=10):
        super().__init__(daemon=True)
        self.number, self.port, self.stop, self.tables, self.record = number, port, stop, tables, record
        self.forms, self.sizes, self.pause, self.timeout = forms, sizes, pause, timeout
        self.random = random.Random(f"{seed}/writer/{number}")
        self.fate = {}      # id → (table, ACKED, REFUSED or UNKNOWN)
        self.requests = 0   # answers of any kind
        self.strange = []   # answers that no contract allows
        self.statuses = {}  # status (or "cut", "closed") → how often

    def run(self):
        client = net.Client(self.port, timeout=self.timeout)
        while not self.stop.is_set():
            form, table = self.random.choice(self.forms), self.random.choice(self.tables)
            count = 1 if form == "single" else self.random.randint(*self.sizes)
            idents = [f"{self.number}-{len(self.fate) + i}" for i in range(count)]
            records = [self.record(self.random, table, ident) for ident in idents]
            getattr(self, "send_" + form)(client, table, idents, records)
            self.stop.wait(self.random.uniform(0, self.pause))
        client.close()

    def send_single(self, client, table, idents, records):
        self.post(client, table, idents, json.dumps(records[0]), "application/json", single=True)

    def send_array(self, client, table, idents, records):
        self.post(client, table, idents, json.dumps(records), "application/json")

    def send_ndjson(self, client, table, idents, records):
        self.post(client, table, idents, "\n".join(map(json.dumps, records)), "application/x-ndjson")

    def post(self, client, table, idents, body, kind, single=False, headers=None):
        fields = {"Content-Type": kind, **(headers or {})}
        try:
            a = client.call("POST", f"/v1/ingest?table={table}", body.encode(), fields)
        except ConnectionRefusedError:  # nobody listened: not a byte was sent
            self.count("closed")
            self.settle(table, idents, REFUSED)
            self.stop.wait(0.05)
            return None
        except Exception:
            self.count("cut")
            self.settle(table, idents, UNKNOWN)
            self.stop.wait(0.02)
            return None
        self.requests += 1
        self.count(a.status)
        self.judge(a, table, idents, single)
        if a.status >= 500:
            self.stop.wait(0.05)
        return a

    def judge(self, a, table, idents, single):
        value = a.json()
        if a.status not in CONTRACT or not isinstance(value, dict):
            self.strange.append(repr(a))
        if a.status == 200 and single and value == {"ok": True}:
            self.settle(table, idents, ACKED)
        elif a.status == 200 and not single and value.get("total") == len(idents) == len(value["results"]):
            for ident, result in zip(idents, value["results"]):
                self.settle(table, [ident], ACKED if result.get("ok") else REFUSED)
        elif 400 <= a.status < 500:
            self.settle(table, idents, REFUSED)
        else:
            if a.status == 200:
                self.strange.append(repr(a))
            self.settle(table, idents, UNKNOWN)

    def settle(self, table, idents, fate):
        for ident in idents:
            self.fate[ident] = (table, fate)

    def count(self, what):
        self.statuses[what] = self.statuses.get(what, 0) + 1


def start(writers):
    for w in writers:
        w.start()
    return writers


def fates(writers):
    """All journals as one, and how many records each fate has."""
    out = {}
    for w in writers:
        out.update(w.fate)
    count = {f: sum(1 for _, g in out.values() if g == f) for f in (ACKED, REFUSED, UNKNOWN)}
    return out, count
