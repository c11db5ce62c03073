#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /v1/schema/suggest: the suggested statement runs on a real server of both generations, and the table it makes
takes the sample in strict mode, every record of it.

usage: suggest.py [SEED [SAMPLES]]
"""
import json
import random
import sys
import time
import urllib.parse

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import note, ok, same

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
SAMPLES = int(sys.argv[2]) if len(sys.argv) > 2 else (12 if env.FAST else 60)
NDJSON = "application/x-ndjson"


def lines(records):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


class Suite:
    def __init__(self, server):
        self.s = server
        self.db = server.database("e2e_suggest")
        self.number = 0

    def ask(self, body, table=None, kind=NDJSON):
        query = "?table=" + urllib.parse.quote(table) if table else ""
        return self.d.call("POST", "/v1/schema/suggest" + query, body, {"Content-Type": kind} if kind else {})

    def types(self, answer):
        return {c["name"]: c["type"] for c in answer["columns"]}

    def holds(self, records, name):
        return self.takes(lines(records), len(records), name)

    def takes(self, body, count, name, kind=NDJSON):
        """Suggest, create, ingest: all stored. The answer."""
        self.number += 1
        table = f"t{self.number}"
        a = self.ask(body, table, kind)
        v = a.json()
        if not ok(a.status == 200 and v and v["records"] == v["accepted"] == count,
                  f"{self.s.name}: {name}: the daemon takes the sample", f"{a}\n{body[:1500]!r}"):
            return v
        same(self.ask(body, table, kind).body, a.body, f"{self.s.name}: {name}: the same again")
        try:
            self.s.query(v["sql"].replace("CREATE TABLE ", f"CREATE TABLE {self.db}.", 1))
        except clickhouse.Failed as e:
            ok(False, f"{self.s.name}: {name}: the statement runs", f"{v['sql']}\n{e}")
            return v
        self.d.call("POST", "/v1/ops/schema/refresh")
        a = self.d.ingest(table, body, kind)
        r = a.json()
        if not ok(a.status == 200 and r["failed"] == 0, f"{self.s.name}: {name}: strict ingest takes it",
                  f"{v['sql']}\n{a}"):
            return v
        sql = f"SELECT count() FROM {self.db}.{table}"
        ok(net.wait_for(lambda: self.s.one(sql) == count, 20, 0.02), f"{self.s.name}: {name}: all stored",
           f"{v['sql']}\n{self.s.one(sql)} of {count}\n{self.d.log_tail(5)}")
        return v

    # ---- what is named
    def basics(self):
        new = self.s.modern
        sample = [{"id": i, "big": 18446744073709551615 - i, "delta": -i, "ratio": i / 7, "ok": i % 2 == 0,
                   "at": f"2026-06-{i % 28 + 1:02}T04:00:0{i % 10}Z", "ms": f"2026-06-21 00:00:00.{i:03}",
                   "day": f"2026-01-{i % 28 + 1:02}", "born": f"19{10 + i}-01-01", "ip": f"10.0.0.{i}",
                   "peer": "::1" if i % 2 else "10.0.0.1", "session": f"61f0c404-5cb3-11e7-907b-a6006ad3db{i:02x}",
                   "country": "DE" if i % 3 else "FR", "path": f"/{i}", "note": None if i % 2 else "x", "never": None,
                   "tags": ["a", "b"][:i % 3], "scores": [1, 2.5], "deep": [[1], []], "mixed": i if i % 2 else "x",
                   "odd.na`me \"x\\": 1, "ünïcode-1": "y", "select": 1}
                  for i in range(60)]
        v = self.holds(sample, "many types")
        names = self.types(v)
        want = {"id": "Int64", "big": "UInt64", "delta": "Int64", "ratio": "Float64", "ok": "Bool", "at": "DateTime('UTC')",
                "ms": "DateTime64(3, 'UTC')", "day": "Date", "born": "Date32", "ip": "IPv4", "peer": "IPv6",
                "session": "UUID", "country": "LowCardinality(String)", "path": "String", "note": "LowCardinality(Nullable(String))",
                "never": "Nullable(String)", "tags": "Array(String)", "scores": "Array(Float64)",
                "deep": "Array(Array(Int64))", "mixed": "String", "odd.na`me \"x\\": "Int64",
                "ünïcode-1": "LowCardinality(String)", "select": "Int64", "received_timestamp": "DateTime64(3, 'UTC')"}
        if not new:
            want.update({"ok": "String", "ms": "DateTime('UTC')", "born": "String", "ip": "String", "peer": "String",
                         "country": "String", "note": "Nullable(String)", "deep": "Array(String)", "ünïcode-1": "String",
                         "received_timestamp": "DateTime('UTC')"})
        same(names, want, f"{self.s.name}: the types")
        order = v["sql"].partition(" ORDER BY ")[2]
        same(order, "(`ok`, `country`, `at`) SETTINGS non_replicated_deduplication_window = 1000" if new
             else "(`ok`, `peer`, `country`, `at`)",
             f"{self.s.name}: ORDER BY")
        c = next(c for c in v["columns"] if c["name"] == "note")
        same((c["nullable"], c["seen"], c["examples"]), (True, 60, ["x"]), f"{self.s.name}: what is told of a column")

    def objects(self):
        v = self.holds([{"p": {"x": 1, "y": "a"}, "m": {f"k{i}": i}, "any": {"a": 1} if i % 2 else {"b": [1, {"c": None}]},
                         "list": [{"q": i, "r": None}, {"q": 2, "r": 3}], "none": {}, "opt": {"z": 1}} |
                        ({} if i % 2 else {"late": {"n": 1.5}, "more": [1]}) for i in range(20)], "objects")
        if self.s.modern:
            same({k: t for k, t in self.types(v).items() if k != "received_timestamp"},
                 {"p": "Tuple(`x` Int64, `y` String)", "m": "Map(String, Int64)", "any": "JSON",
                  "list": "Array(Tuple(`q` Int64, `r` Nullable(Int64)))", "none": "JSON", "opt": "Tuple(`z` Int64)",
                  "late": "Tuple(`n` Float64)", "more": "Array(Int64)"}, f"{self.s.name}: types of objects")

    def wide_numbers(self):
        if self.s.modern:
            v = self.holds([{"a": 2 ** 100, "b": -2 ** 70, "c": 2 ** 255, "d": 10 ** 90, "e": 1e300, "f": 2 ** 63, "g": -0.0}],
                           "large numbers")
            got = self.types(v)
            same([got[k] for k in "abcdef"], ["UInt128", "Int128", "UInt256", "String", "Float64", "UInt64"],
                 f"{self.s.name}: wide integers")
        else:
            self.holds([{"a": 2 ** 100, "b": -2 ** 70, "c": 10 ** 90, "f": 2 ** 63}], "large numbers")

    def odd(self):
        self.holds([{"a": i, "a.b": i, "select": i, "1st": i, "with space": i, "tab\there": i, "q'uote": i, "ü": i}
                    for i in range(3)], "odd names")
        self.holds([{"t": "0001-01-01T00:00:00Z", "u": "2262-04-12T00:00:00.123456789Z", "v": "1965-03-04T05:06:07Z",
                     "w": "2026-02-30", "x": "2026-01-01T00:00:00.1234567890123Z", "y": "2026-01-01T25:00:00Z"}], "odd times")
        self.holds([{"x": 1}, {"x": None}, {"y": [None, 1]}, {}], "gaps")
        if self.s.modern:
            self.holds([{"n.a": [1, 2], "n.b": ["x"]}, {"n.a": []}], "arrays that are no Nested")
            self.holds([{"v": 1}, {"v": [1]}, {"v": {"a": 1}}, {}], "anything")
            v = self.ask(lines([{"v": 1, "a": 1}, {"v": {}, "a": 1}, {"a": 1}])).json()
            ok("v" not in self.types(v) and v["accepted"] == 1 and any(n.startswith("v: left out") for n in v["notes"]),
               f"{self.s.name}: what no type takes is left out, and said so", v)
            self.holds([{"o": {"k": 1}}, {"o": {"k" * 500: 1, "": 2}}], "odd keys")
            self.holds([{"o": {f"k{i}": {"x": i} for i in range(100)}}], "many keys")
            self.holds([json.loads("[" * 20 + "1" + "]" * 20) and {"a": json.loads("[" * 20 + "1" + "]" * 20)}], "deep arrays")

    def tables_of_text(self):
        rows = [["id", "at", '"the, ""name"""', "ratio", "note", "code"]]
        rows += [[str(i), f"2026-06-21 04:00:0{i % 10}", f'"a, {i}"', f"{i}.5", "" if i % 2 else "x", f"00{i}"] for i in range(20)]
        csv = "\r\n".join(",".join(r) for r in rows).encode() + b"\r\n"
        v = self.takes(csv, 20, "CSV", "text/csv")
        same({k: t for k, t in self.types(v).items() if k != "received_timestamp"},
             {"id": "Int64", "at": "DateTime('UTC')", 'the, "name"': "String", "ratio": "Float64",
              "note": "LowCardinality(Nullable(String))" if self.s.modern else "Nullable(String)", "code": "String"},
             f"{self.s.name}: types of CSV")
        v = self.takes(b"id\tname\tn\n1\ta\\tb\t\\N\n2\t\t18446744073709551615\n", 2, "TSV", "text/tab-separated-values")
        same([self.types(v)[k] for k in ("id", "name", "n")], ["Int64", "String", "Nullable(UInt64)"],
             f"{self.s.name}: types of TSV")
        a = self.d.call("POST", f"/v1/ingest?table=t{self.number}&dry_run=1", b"id\tname\tn\n1\tx\t\\N\nq\ty\t1\n",
                        {"Content-Type": "text/tab-separated-values"})
        r = a.json()["results"]
        ok(r[0]["row"]["name"] == "x" and r[0]["row"]["n"] is None and r[1]["rule"] == "value" and r[1]["exception_code"] == 27,
           f"{self.s.name}: a dry run of TSV", a)

    # ---- answers
    def answers(self):
        def is_answer(a, status, error, name):
            same((a.status, a.error), (status, error), f"{self.s.name}: {name}")
        nothing = "no record in the sample: send JSON objects, one, an array, or a line each"
        is_answer(self.ask(b""), 400, nothing, "an empty sample")
        is_answer(self.ask(b"[]"), 400, nothing, "an empty array")
        is_answer(self.ask(b"[1,2]"), 400, nothing, "no objects")
        is_answer(self.ask(b'[{"a":1}, {"b"]'), 400, "invalid json: expected a colon after the object key", "not JSON")
        is_answer(self.ask(b"a,b\n", kind="text/csv"), 400, "no record in the sample: send a line of names, then rows", "no rows")
        is_answer(self.ask(b"a,,b\n1,2,3\n", kind="text/csv"), 400, "the first line must name every column",
                  "a column without a name")
        is_answer(self.ask(b"a,a\n1,2\n", kind="text/csv"), 400, "Duplicate field found while parsing format header: a",
                  "a name twice")
        is_answer(self.d.call("GET", "/v1/schema/suggest"), 405, "method not allowed", "GET")
        v = self.ask(b'{"a":1}\n{nope\n[]\n{"a":2}\n', kind=None).json()
        same((v["records"], v["accepted"], v["invalid"]), (2, 2, 2), f"{self.s.name}: lines without a Content-Type; bad ones are counted")
        v = self.ask(b' {\n "a" : 1\n}\n').json()
        same(v["records"], 1, f"{self.s.name}: one object over several lines")
        v = self.ask(b'[{"a":1},{"a":2}]', table="we`ird; name").json()
        ok(v["sql"].startswith("CREATE TABLE `we\\`ird; name` (`a` Int64, "), f"{self.s.name}: the table's name", v["sql"])
        v = self.ask(lines([{"a": 1}] * 10100)).json()
        ok(v["records"] == v["accepted"] == 10000 and any("10000 records" in n for n in v["notes"]),
           f"{self.s.name}: a sample is bounded", v)
        v = self.ask(lines([{f"c{i}": i for i in range(1100)}])).json()
        ok(len(v["columns"]) == 1024 and any(n.startswith("76 keys are left out") for n in v["notes"]),
           f"{self.s.name}: columns are bounded", v["notes"])

    # ---- anything
    def random_samples(self):
        rng = random.Random(SEED)

        def scalar(kind):
            return {"int": rng.randrange(-5, 1000), "big": rng.randrange(2 ** 62, 2 ** 65), "float": rng.random() * 10 ** rng.randrange(9),
                    "bool": rng.random() < 0.5, "word": rng.choice(["a", "b", "ccc"]), "text": rng.choice("äöü ") * rng.randrange(9),
                    "time": f"20{rng.randrange(10, 99)}-0{rng.randrange(1, 10)}-11T0{rng.randrange(10)}:00:00{rng.choice(['', '.5', '.123456'])}Z",
                    "date": f"{rng.randrange(1920, 2200)}-10-{rng.randrange(10, 29)}", "null": None}[kind]

        def value(depth):
            if depth < 3 and rng.random() < 0.15:
                return [value(depth + 1) for _ in range(rng.randrange(4))]
            if depth < 3 and rng.random() < 0.15:
                return {rng.choice(["x", "y", "z w", "v"]): value(depth + 1) for _ in range(rng.randrange(1, 4))}
            return scalar(rng.choice(["int", "big", "float", "bool", "word", "text", "time", "date", "null"]))

        def column():
            """A maker of values: of one kind, or of an array or object of one kind, or of anything that 26.7 can hold."""
            kind = rng.choice(["int", "big", "float", "bool", "word", "text", "time", "date"])
            shape = rng.choice(["one", "one", "array", "record", "map"] + (["any"] if self.s.modern else []))
            gaps = rng.choice([0, 0, 0.3])
            keys = rng.sample(["k", "l l", "m.n", "o"], 2)

            def make():
                if rng.random() < gaps:
                    return None
                if shape == "array":
                    return [scalar(kind) for _ in range(rng.randrange(4))]
                if shape == "record":
                    return {k: scalar(kind) for k in keys}
                if shape == "map":
                    return {rng.choice("abcd"): scalar(kind) for _ in range(rng.randrange(3))}
                return value(0) if shape == "any" else scalar(kind)
            return make
        for n in range(SAMPLES):
            columns = {name: column() for name in rng.sample(["a", "b.c", "d e", "f", "g-h", "i", "j"], rng.randrange(1, 7))}
            skip = rng.choice([0, 0.2])
            self.holds([{k: make() for k, make in columns.items() if rng.random() >= skip} for _ in range(rng.randrange(1, 40))],
                       f"seed {SEED}, sample {n}")

    def run(self):
        with Daemon(self.s, self.db, name="suggest", settings={"ingest.validation": "strict", "flush.interval": "50ms"}) as d:
            self.d = d
            d.start("/readyz")
            began = time.monotonic()
            for part in (self.basics, self.objects, self.wide_numbers, self.odd, self.tables_of_text, self.answers, self.random_samples):
                part()
            same((d.dlq() or {}).get("total"), 0, f"{self.s.name}: no dead letter")
            same(d.stop(), 0, f"{self.s.name}: exit status 0")
            note(f"{self.s.name}: {self.number} samples in {time.monotonic() - began:.1f} s")
        self.s.query(f"DROP DATABASE {self.db}")


def suite(server):
    def run():
        Suite(server).run()
    run.__name__ = f"suggest on {server.name}"
    return run


if __name__ == "__main__":
    servers = clickhouse.generations()
    if not servers:
        tap.skip_all("no ClickHouse is running")
    tap.run(*(suite(s) for s in servers))
