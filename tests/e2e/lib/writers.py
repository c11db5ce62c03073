# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a journal: what became of every record, as far as the client can know.

  ACKED    the daemon said that this record is committed
  REFUSED  a definite no (4xx, an error in the record's place), or nothing was ever sent
  UNKNOWN  a 5xx, a timeout, a cut connection: it may be there, but only once
"""
import json
import random
import threading
import urllib.parse
import uuid

from . import net

ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"

# What POST /v1/ingest may answer (202 with X-Ack: clickhouse), and ClickHouse's door; anything else is reported as strange.
CONTRACT = (200, 202, 400, 404, 413, 429, 503)
TRIES = 8  # of a request that is sent again until its fate is known


class Writer(threading.Thread):
    """One client on one connection at a time, until `stop` is set.

    record(random, table, ident) makes a record; `forms` are the ways in which this client sends:
      single, array, ndjson, csv   what the documentation shows first
      door       POST /?query=INSERT INTO …, as to ClickHouse itself
      keyed      with an Idempotency-Key, sent again until the answer is known
      waiting    with X-Ack: clickhouse
    by_id: tables with dedup by id; there a request of any form is sent again while its fate is unknown."""

    def __init__(self, number, port, seed, stop, tables, record, forms=("single", "array", "ndjson"), sizes=(1, 60),
                 pause=0.02, timeout=10, by_id=()):
        super().__init__(daemon=True)
        self.number, self.port, self.stop, self.tables, self.record = number, port, stop, tables, record
        self.forms, self.sizes, self.pause, self.timeout, self.by_id = forms, sizes, pause, timeout, by_id
        self.random = random.Random(f"{seed}/writer/{number}")
        self.fate = {}      # id → (table, ACKED, REFUSED or UNKNOWN)
        self.requests = 0   # answers of any kind
        self.in_table = set()  # ids of which the daemon said that they are in ClickHouse
        self.duplicates = 0    # records that were answered `duplicate`
        self.strange = []      # answers that no contract allows
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
        self.post(client, table, idents, json.dumps(records[0]), "application/json", single=True, again=table in self.by_id)

    def send_array(self, client, table, idents, records):
        self.post(client, table, idents, json.dumps(records), "application/json", again=table in self.by_id)

    def send_ndjson(self, client, table, idents, records):
        self.post(client, table, idents, lines(records), "application/x-ndjson", again=table in self.by_id)

    def send_csv(self, client, table, idents, records):
        """The columns are the first record's."""
        self.post(client, table, idents, delimited(records, ","), "text/csv; header=present", again=table in self.by_id)

    def send_keyed(self, client, table, idents, records):
        self.post(client, table, idents, lines(records), "application/x-ndjson", again=True,
                  headers={"Idempotency-Key": str(uuid.UUID(int=self.random.getrandbits(128)))})

    def send_waiting(self, client, table, idents, records):
        self.post(client, table, idents, lines(records), "application/x-ndjson", again=table in self.by_id,
                  headers={"X-Ack": "clickhouse", "X-Ack-Timeout": self.random.choice(("200ms", "2s"))})

    def send_door(self, client, table, idents, records):
        """All or nothing."""
        form, body = self.random.choice((("JSONEachRow", lines(records)), ("CSVWithNames", delimited(records, ",")),
                                         ("TSVWithNames", delimited(records, "\t"))))
        a = self.call(client, "/?" + urllib.parse.urlencode({"query": f"INSERT INTO {table} FORMAT {form}"}), body, {})
        if a is not None and a.status not in CONTRACT:
            self.strange.append(repr(a))
        status = 0 if a is None else a.status
        self.settle(table, idents, ACKED if status == 200 else REFUSED if 400 <= status < 500 else UNKNOWN)

    def post(self, client, table, idents, body, kind, single=False, headers=None, again=False):
        """Sends, also more than once when `again`: what an earlier attempt may have stored is then known to the daemon,
        but a refusal that comes later says nothing about it."""
        for attempt in range(TRIES if again else 1):
            a = self.call(client, f"/v1/ingest?table={table}", body, {"Content-Type": kind, **(headers or {})})
            fates = self.judge(a, idents, single, attempt > 0)
            for ident, fate in zip(idents, fates):
                if attempt == 0 or fate == ACKED:
                    self.settle(table, [ident], fate)
            if UNKNOWN not in fates or self.stop.is_set():
                break

    def call(self, client, path, body, fields):
        """The answer; None: nobody knows; False: nobody listened, so not a byte was sent."""
        try:
            a = client.call("POST", path, body.encode(), fields)
        except ConnectionRefusedError:
            self.count("closed")
            self.stop.wait(0.05)
            return False
        except Exception:
            self.count("cut")
            self.stop.wait(0.02)
            return None
        self.requests += 1
        self.count(a.status)
        if a.status >= 500:
            self.stop.wait(0.05)
        return a

    def judge(self, a, idents, single, repeated):
        """What became of each record. A definite no in a repeated request is none: see post."""
        no = UNKNOWN if repeated else REFUSED
        if not a:
            return [no if a is False else UNKNOWN] * len(idents)
        value = a.json()
        if a.status not in CONTRACT or not isinstance(value, dict):
            self.strange.append(repr(a))
            return [UNKNOWN] * len(idents)
        if single and a.status in (200, 202) and (value.get("ok") or value.get("duplicate")):
            results = [value]
        elif not single and a.status in (200, 202) and value.get("total") == len(idents) == len(value["results"]):
            results = value["results"]
        elif 400 <= a.status < 500:
            return [no] * len(idents)
        else:
            if a.status < 500:
                self.strange.append(repr(a))
            return [UNKNOWN] * len(idents)
        fates = []
        for ident, result in zip(idents, results):
            self.duplicates += bool(result.get("duplicate"))
            if result.get("ok") and value.get("ack") == "clickhouse":
                self.in_table.add(ident)
            # With X-Ack: clickhouse an exception's number is that of a dead letter: the record was taken.
            kept = result.get("ok") or result.get("duplicate") or (value.get("ack") and "exception_code" in result)
            fates.append(ACKED if kept else no)
        return fates

    def settle(self, table, idents, fate):
        for ident in idents:
            self.fate[ident] = (table, fate)

    def count(self, what):
        self.statuses[what] = self.statuses.get(what, 0) + 1


def lines(records):
    return "\n".join(map(json.dumps, records))


def delimited(records, by):
    """A header and a line each; no value needs quotes."""
    names = list(records[0])
    return "".join(by.join(str(x) for x in line) + "\n" for line in [names] + [[r.get(n, "") for n in names] for r in records])


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
