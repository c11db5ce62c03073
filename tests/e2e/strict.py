#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ingest.validation: strict, and dry runs, against ClickHouse 26.7: what strict refuses, ClickHouse refuses with the
same number when it is given the record directly as JSONEachRow; what strict accepts is stored, every row of it; and a
dry run shows what is stored, value by value, as a query renders it (http-api §7.3, §8.6).

Then the answers themselves, on both generations of servers: exact texts, single records and batches, reload.

usage: strict.py [SEED [CASES_PER_TYPE [TYPE…]]]

The values are those of coercion_diff: boundary values, random ones, damaged ones, over 80 types.
"""
import collections
import json
import re
import signal
import sys
import time

import coercion
from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import note, ok, same

SHOWN = 10
NDJSON = {"Content-Type": "application/x-ndjson"}
# How http-api §8.6 has ClickHouse print a row. Times alone in a column are canonical, those in arrays, maps and tuples
# are ClickHouse's own text: one SELECT for each.
RENDER = {"output_format_json_quote_64bit_integers": 0, "output_format_json_quote_decimals": 0,
          "output_format_json_named_tuples_as_objects": 1, "output_format_json_quote_denormals": 0}
DOOR = {"kind": coercion.KIND, "null": coercion.NULL, "missing_column": coercion.MISSING}


class Pairs(list):
    """The members of a JSON object in order: maps may repeat a key."""


def exact(text):
    """JSON with every digit kept; bytes that are not UTF-8 as §8.6 has them."""
    text = re.sub("[\udc80-\udcff]", "\ufffd", text) if isinstance(text, str) else text
    return json.loads(text, object_pairs_hook=Pairs, parse_int=lambda s: ("number", s),
                      parse_float=lambda s: ("number", s))


def canonical(value):
    """ClickHouse's ISO text → http-api §7.4: no trailing zeros in the fraction."""
    return re.sub(r"\.?0+Z$", "Z", value) if isinstance(value, str) and "." in value else value


class Case:
    """One type (or several columns) and the answers its lines got."""

    def __init__(self, layout):
        self.layout = layout
        self.dry, self.real = {}, {}  # id → outcome
        self.wrong = []

    def post(self, client, dry):
        x, outcomes = self.layout, self.dry if dry else self.real
        for at in range(0, len(x.lines), coercion.LINES):
            piece = x.lines[at:at + coercion.LINES]
            a = client.call("POST", f"/v1/ingest?table={x.table}" + ("&dry_run=1" if dry else ""), b"".join(piece), NDJSON)
            v = exact(a.body) if a.status == 200 else []
            answer = dict(v)
            if len(answer.get("results", [])) != len(piece) or (answer.get("dry_run") is True) != dry:
                raise RuntimeError(f"{x.title}: {a}")
            for line, r in zip(piece, answer["results"]):
                outcomes[x.id_of(line)] = dict(r)

    def fault(self, line, what):
        self.wrong.append(f"{what}: {line[:300]!r}")

    def judge(self, direct, table):
        """The two answers to each line, and ClickHouse's to those that strict refuses."""
        x, counts = self.layout, collections.Counter()
        for line in x.lines:
            n = x.id_of(line)
            dry, real = self.dry[n], self.real[n]
            code = int(real["exception_code"][1]) if "exception_code" in real else 0
            rule = dry.get("rule")
            if dry.get("error") != real.get("error") or dry.get("exception_code") != real.get("exception_code"):
                self.fault(line, f"a dry run says {dry}, a real one {real}")
            if "error" not in real:
                counts["accepted"] += 1
            elif rule == "value":
                counts["refused"] += 1
                theirs, text = direct.insert(table, [line])
                if theirs != code or code == 0:
                    self.fault(line, f"strict says {code} ({real['error']}), ClickHouse {theirs} ({text[:200]})")
            else:
                counts["door"] += 1
                want = x.expected(line)
                if DOOR.get(rule, coercion.NO_JSON) != want:
                    self.fault(line, f"rule {rule}, expected {want}")
        return counts

    def compare(self, server, db):
        """What is stored against what the dry run showed."""
        x = self.layout
        sides = [server.query(f"SELECT * FROM {db}.{x.table} ORDER BY id FORMAT JSONEachRow",
                              date_time_output_format=how, **RENDER) for how in ("iso", "simple")]
        rows = 0
        for alone, inside in zip(*(s.split("\n") for s in sides)):
            if not alone:
                continue
            rows += 1
            iso, simple = dict(exact(alone)), dict(exact(inside))
            n = int(iso["id"][1])
            row = dict(self.dry[n].get("row", []))
            for name, kind in {"id": "UInt32", **x.columns}.items():
                timed = coercion.peel(kind).startswith("DateTime")
                want = canonical(iso[name]) if timed else simple[name]
                if row.get(name) != want:
                    self.fault(x.lines[n - 1], f"{name}: shown {row.get(name)!r}, stored {want!r}")
        return rows


class Suite:
    def __init__(self, server):
        self.s = server
        self.db, self.norm = server.database("e2e_strict"), server.database("e2e_strict_direct")
        self.cases = [Case(x) for x in coercion.layouts()]
        for c in self.cases:
            for db in (self.db, self.norm):
                c.layout.create(server, f"{db}.{c.layout.table}")

    def settled(self, accepted):
        counts = " UNION ALL ".join(f"SELECT count() AS n FROM {self.db}.{c.layout.table}" for c in self.cases)
        return self.s.one(f"SELECT sum(n) FROM ({counts})") >= accepted

    def rejected(self, d):
        return sum(v for k, v in d.metrics().items() if k.startswith("wavehouse_ingest_rejected"))

    def run(self):
        total, began = collections.Counter(), time.monotonic()
        direct = coercion.Direct(self.s)
        settings = {"flush.interval": "200ms", "ingest.validation": "strict"}
        with Daemon(self.s, self.db, name="strict", settings=settings) as d:
            d.start("/readyz")
            d.know(*(c.layout.table for c in self.cases))
            client = net.Client(d.port)
            before = self.rejected(d)
            for c in self.cases:
                c.post(client, True)
            same((d.pending() or 0, self.rejected(d)), (0, before), "a dry run logs nothing and counts nothing")
            for c in self.cases:
                c.post(client, False)
            counts = {c: c.judge(direct, f"{self.norm}.{c.layout.table}") for c in self.cases}
            accepted = sum(n["accepted"] for n in counts.values())
            ok(net.wait_for(lambda: self.settled(accepted), 60, 0.2), "every accepted row is stored",
               f"{accepted} accepted\n{d.dlq()}\n{d.log_tail()}")
            same(d.dlq().get("total"), 0, "no dead letter: strict has refused them all")
            refused = sum(n["refused"] for n in counts.values())
            same(d.metrics().get('wavehouse_ingest_rejected_total{reason="value"}'), refused, "refusals are counted")
            for c, n in counts.items():
                rows = c.compare(self.s, self.db)
                if rows != n["accepted"]:
                    c.wrong.append(f"{n['accepted']} accepted, {rows} stored")
                ok(not c.wrong, f"{c.layout.title}: {rows} stored as shown, {n['refused']} refused as ClickHouse does, "
                   f"{n['door']} at the door", f"{len(c.wrong)} differences\n" + "\n".join(c.wrong[:SHOWN]))
                total.update(n)
            same(d.stop(), 0, "SIGTERM: exit status 0")
        note(f"seed {coercion.SEED}: {sum(len(c.layout.lines) for c in self.cases)} values of {len(self.cases)} tables:"
             f" {total['accepted']} accepted and stored as the dry run showed, {total['refused']} refused with ClickHouse's"
             f" number, {total['door']} refused for their kind, null or a missing column; {time.monotonic() - began:.1f} s")


def differential():
    if env.FAST and not sys.argv[1:]:
        coercion.COUNT = "100"
    Suite(clickhouse.modern_direct()).run()


def number(d, reason):
    return d.metrics().get(f'wavehouse_ingest_rejected_total{{reason="{reason}"}}', 0)


def answers(server):
    """Exact answers to single records and batches; the switch between shape and strict."""
    db = server.database("e2e_strict_answers")
    window = " SETTINGS non_replicated_deduplication_window = 100" if server.modern else ""
    server.query(f"CREATE TABLE {db}.t (id UInt32, n Int32, day Nullable(Date), kind Enum8('a' = 1, 'b' = 2) DEFAULT 'b',"
                 f" at DateTime('UTC') DEFAULT now(), up UInt8 MATERIALIZED n + 1, tags Array(String))"
                 f" ENGINE = MergeTree ORDER BY id{window}")
    server.query(f"CREATE TABLE {db}.wide (id UInt32, p FixedString(250), q FixedString(250)) ENGINE = Memory")
    server.query(f"CREATE TABLE {db}.lax (id UInt32) ENGINE = Memory")
    server.query(f"CREATE TABLE {db}.ids (id UInt32) ENGINE = Memory")

    def is_answer(got, want, name):
        same((got.status, got.json()), want, f"{server.name}: {name}")

    bad = {"id": 1, "n": "12x", "tags": []}
    text = 'column "n": cannot read "12x" as Int32: the value does not have the form of the type'
    settings = {"ingest.validation": "strict", "ingest.tables.lax.validation": "shape",
                "dedupe.tables.ids": {"enabled": True, "id_field": "id", "require_id": True}, "flush.interval": "100ms"}
    with Daemon(server, db, name="strict-answers", settings=settings) as d:
        d.start("/readyz")
        d.know("t", "wide", "lax", "ids")
        is_answer(d.ingest("t", bad), (400, {"error": text, "exception_code": 27}), "a value that ClickHouse refuses")
        is_answer(d.ingest("t", {"id": 1, "n": 1, "tags": [], "kind": "c"}),
                  (400, {"error": 'column "kind": cannot read "c" as Enum8(\'a\' = 1, \'b\' = 2): no element of the enumeration',
                         "exception_code": 691}), "no element of an enumeration")
        is_answer(d.ingest("t", {"id": 1, "n": 1, "tags": [], "q": 1}),
                  (400, {"error": 'unknown column "q" for table "t"', "exception_code": 117}), "an unknown field has a number")
        is_answer(d.ingest("t", {"id": 1, "n": True, "tags": []}),
                  (400, {"error": 'type mismatch for column "n": cannot store boolean in Int32'}), "the kind comes first")
        is_answer(d.ingest("t", [bad, {"id": 2, "n": "7", "tags": ["x"]}]),
                  (200, {"total": 2, "succeeded": 1, "failed": 1, "duplicates": 0,
                         "results": [{"index": 1, "error": text, "exception_code": 27}, {"index": 2, "ok": True}]}),
                  "in an array only that record fails")
        same(number(d, "value"), 3, f"{server.name}: three values counted")
        dry_run(d, server, bad, text, is_answer)
        dry_run_with_ids(d, is_answer)
        is_answer(d.ingest("lax", {"id": "x"}), (200, {"ok": True}), "a table with its own setting")
        d.config["ingest"]["validation"] = "shape"
        d.write_config()
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: d.ingest("t", bad).status == 200, 10), f"{server.name}: reloaded as shape, it is accepted")
        ok(net.wait_for(lambda: (d.dlq() or {}).get("tables") == {"lax": 1, "t": 1}, 20),
           f"{server.name}: and becomes a dead letter", d.dlq())
        same(server.rows(f"SELECT id, n, day, kind, up, tags FROM {db}.t"), [[2, 7, None, "b", 8, ["x"]]],
             f"{server.name}: nothing but the good record was stored")
        same(d.stop(), 0, f"{server.name}: exit status 0")
    server.query(f"DROP DATABASE {db}")


def dry_run(d, server, bad, text, is_answer):
    def ask(body, how="1", **kind):
        return d.ingest("t&dry_run=" + how, body, **kind)
    defaults = {r[0]: r[1] for r in server.rows(f"SELECT name, default_expression FROM system.columns WHERE database ="
                                                f" 'e2e_strict_answers' AND table = 't' AND default_kind != ''")}
    row = {"id": 3, "n": -5, "day": "2026-03-04", "kind": "a", "at": "2026-06-21T04:00:00Z", "tags": ["x", "1"]}
    is_answer(ask({"id": 3, "n": "-5", "day": "2026-3-4", "kind": 1, "at": "2026-06-21T06:00:00+02:00", "tags": ["x", 1]}),
              (200, {"ok": True, "dry_run": True, "row": row, "defaults": {"up": defaults["up"]}}), "dry run: a row")
    is_answer(ask({"id": 3, "n": 1, "tags": []}),
              (200, {"ok": True, "dry_run": True, "row": {"id": 3, "n": 1, "day": None, "tags": []}, "defaults": defaults}),
              "dry run: what is left out")
    is_answer(ask(bad), (400, {"error": text, "exception_code": 27, "rule": "value"}), "dry run: a value is refused")
    is_answer(ask({"id": 1}), (400, {"error": 'missing required column "n" for table "t"', "rule": "missing_column"}),
              "dry run: which rule")
    lines = b'{"id":1,"n":2,"tags":[],"q":0}\n[]\n{nope\n{"id":4,"n":0,"tags":[]}\n'
    is_answer(ask(lines, kind="application/x-ndjson"),
              (200, {"total": 4, "succeeded": 1, "failed": 3, "duplicates": 0, "dry_run": True, "results": [
                  {"index": 1, "error": 'unknown column "q" for table "t"', "exception_code": 117, "rule": "unknown_column"},
                  {"index": 2, "error": "record must be a JSON object", "rule": "shape"},
                  {"index": 3, "error": "invalid json", "rule": "syntax"},
                  {"index": 4, "ok": True, "row": {"id": 4, "n": 0, "day": None, "tags": []}, "defaults": defaults}]}),
              "dry run: a batch")
    is_answer(ask({"id": 1}, how="yes"), (400, {"error": "invalid dry_run: want 1 or 0"}), "a misspelt dry_run stores nothing")
    a = d.ingest("wide&dry_run=1", [{"id": i, "p": "", "q": ""} for i in range(6000)])  # six bytes a padding zero
    v = a.json()
    ok(len(a.body) < 17 << 20 and v["truncated"] is True and v["succeeded"] == 6000 and len(v["results"]) == 6000 and
       "row" in v["results"][0] and v["results"][-1] == {"index": 6000, "ok": True},
       f"{server.name}: dry run: the answer is bounded", f"{len(a.body)} bytes")


def beyond_the_encoder(server):
    """A type that only ClickHouse knows: the other columns are judged, and the row is stored."""
    db = server.database("e2e_strict_beyond")
    server.query(f"CREATE TABLE {db}.t (id UInt32, j JSON, n Int8) ENGINE = Memory")
    settings = {"ingest.validation": "strict", "flush.interval": "100ms"}
    with Daemon(server, db, name="strict-beyond", settings=settings) as d:
        d.start("/readyz")
        d.know("t")
        a = d.ingest("t&dry_run=1", {"id": 1, "j": {"a": [1, {}]}, "n": 2})
        same(a.json(), {"ok": True, "dry_run": True, "row": {"id": 1, "n": 2}, "unchecked": ["j"]}, "what cannot be judged is named")
        a = d.ingest("t", {"id": 1, "j": {"a": 1}, "n": "x"})
        same((a.status, a.json().get("exception_code")), (400, coercion.Direct(server).insert(
            f"{db}.t", [b'{"id":1,"j":{"a":1},"n":"x"}\n'])[0]), "the columns beside it are judged, as ClickHouse does")
        same(d.ingest("t", {"id": 1, "j": {"a": 1}, "n": 2}).status, 200, "a good record is accepted")
        ok(net.wait_for(lambda: server.one(f"SELECT count() FROM {db}.t") == 1, 20), "and stored", d.log_tail())
    server.query(f"DROP DATABASE {db}")


def dry_run_with_ids(d, is_answer):
    def shown(n):
        return {"index": n, "ok": True, "row": {"id": n}}
    is_answer(d.ingest("ids&dry_run=1", [{"id": 1}, {"id": 2}, {"id": 2}, {}]),
              (200, {"total": 4, "succeeded": 2, "failed": 1, "duplicates": 1, "dry_run": True, "results": [
                  shown(1), shown(2), {"index": 3, "duplicate": True},
                  {"index": 4, "error": 'missing required column "id" for table "ids"', "rule": "missing_column"}]}),
              "dry run: a repeat within the batch")
    is_answer(d.ingest("ids", {"id": 1}), (200, {"ok": True}), "a dry run has reserved no id")
    is_answer(d.ingest("ids&dry_run=1", {"id": 1}), (200, {"duplicate": True, "dry_run": True}), "dry run: a known id")
    is_answer(d.ingest("ids&dry_run=1", {"id": 2}), (200, {"ok": True, "dry_run": True, "row": {"id": 2}}),
              "dry run: a new one")
    counted = [v for k, v in d.metrics().items() if k.startswith("wavehouse_dedupe_hits_total")]
    same(sum(counted), 0, "dry runs count no duplicates")
    is_answer(d.ingest("ids&dry_run=1", {"id": 3}, Idempotency_Key="k", X_Ack="clickhouse"),
              (200, {"ok": True, "dry_run": True, "row": {"id": 3}}), "dry run: nothing to wait for")
    is_answer(d.ingest("ids", {"id": 3}, Idempotency_Key="k"), (200, {"ok": True}), "nor a key")


def both_generations():
    for server in clickhouse.generations():
        answers(server)
    beyond_the_encoder(clickhouse.modern_direct())


if __name__ == "__main__":
    if not clickhouse.modern_direct():
        tap.skip_all("ClickHouse 26.7 is not running: nothing to compare with")
    tap.run(both_generations, differential)
