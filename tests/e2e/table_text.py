#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CSV and TSV on POST /v1/ingest (http-api §7.9): headers, fields, refusals, what is stored."""
from lib import clickhouse, daemon, net, tap
from lib.tap import ok, same

CSV, TSV = "text/csv", "text/tab-separated-values"


class Run:
    def __init__(self, server):
        self.s = server
        self.db = server.database("table_text")
        server.query(f"""CREATE TABLE {self.db}.ev (id UInt32, name String, note Nullable(String), n Int32 DEFAULT 7,
            tags Array(String), m Int32 MATERIALIZED 8, a Int32 ALIAS 9) ENGINE=MergeTree ORDER BY id""")
        self.d = daemon.Daemon(server, self.db, {"flush.interval": "200ms"}).start()
        self.d.know("ev")

    def say(self, what):
        return f"{self.s.name}: {what}"

    def counts(self, answer):
        v = answer.json() or {}
        return answer.status, v.get("total"), v.get("succeeded"), v.get("failed")

    def refused(self, answer, status, text, what, **more):
        v = answer.json() or {}
        want = dict(error=text, **more)
        same((answer.status, {k: v.get(k) for k in want}), (status, want), self.say(what))

    def formats(self):
        d = self.d
        a = d.ingest("ev", '1,one,x,2,"[\'a\',\'b\'\'c\']"\n2,"t""wo",,,[]\r\n', kind=CSV)
        same((a.status, a.json()), (200, {"total": 2, "succeeded": 2, "failed": 0, "duplicates": 0, "results": [
            {"index": 1, "ok": True}, {"index": 2, "ok": True}]}), self.say("CSV without a header"))
        a = d.ingest("ev", "Name,ID\nthree,3\nfour,4", kind=CSV)
        same(self.counts(a), (200, 2, 2, 0), self.say("a header is known by its names, whatever their case"))
        a = d.ingest("ev", 'name,"tags",id\nfive,,5\n', kind="text/csv; charset=utf-8; header=present")
        same(self.counts(a), (200, 1, 1, 0), self.say("header=present"))
        a = d.ingest("ev", "6,name,note,1,[]\n", kind='Text/CSV;header="absent"')
        same(self.counts(a), (200, 1, 1, 0), self.say("header=absent"))
        a = d.ingest("ev", "7\tse\\tven\t\\N\t\\N\t['x\\'y']\n8\t\t\t1\t[]\n", kind=TSV)
        same(self.counts(a), (200, 2, 2, 0), self.say("TSV"))
        a = d.ingest("ev", "id\tnote\n9\tnine\n", kind=TSV)
        same(self.counts(a), (200, 1, 1, 0), self.say("TSV with a header"))
        a = d.ingest("ev", "name,id\n", kind=CSV)
        same((a.status, a.json()), (200, {"total": 0, "succeeded": 0, "failed": 0, "duplicates": 0, "results": []}),
             self.say("a header only"))

    def bad_rows(self):
        a = self.d.ingest("ev", '10,ten,,,[]\n11,few\n12,a,b,1,[],6\n13,"x"y,,,[]\n14,"open,,,[]', kind=CSV)
        same((a.status, a.json()), (200, {"total": 5, "succeeded": 1, "failed": 4, "duplicates": 0, "results": [
            {"index": 1, "ok": True},
            {"index": 2, "error": "Cannot parse input: the row has 2 fields, 5 are expected", "exception_code": 27},
            {"index": 3, "error": "Expected end of line: the row has more than 5 fields", "exception_code": 117},
            {"index": 4, "error": "Cannot parse input: expected ',' or the end of the line after field 2",
             "exception_code": 27},
            {"index": 5, "error": "Cannot parse CSV: the quote is not closed", "exception_code": 27}]}),
            self.say("each bad row fails alone and says why"))
        a = self.d.ingest("ev", b"id,name\n15,\xff\n16,fine\n", kind=CSV)
        same(self.counts(a), (200, 2, 1, 1), self.say("bytes that are not UTF-8"))

    def refusals(self):
        d = self.d
        unknown = ("Unknown field found in format header: 'x' at position 1\nSet the 'input_format_skip_unknown_fields' "
                   "parameter explicitly to ignore and proceed")
        for kind, sep in ((CSV, ","), (TSV, "\t")):
            self.refused(d.ingest("ev", f"id{sep}x\n1{sep}2\n", kind=kind + ";header=present"), 400, unknown,
                         f"{kind}: an unknown name in the header", code="clickhouse.rejected", exception_code=117)
            self.refused(d.ingest("ev", f"id{sep}ID\n1{sep}2\n", kind=kind), 400,
                         "Duplicate field found while parsing format header: ID", f"{kind}: a name twice",
                         code="clickhouse.rejected", exception_code=117)
            self.refused(d.ingest("ev", f"m{sep}id\n1{sep}2\n", kind=kind + "; header=present"), 400,
                         unknown.replace("'x' at position 1", "'m' at position 0"), f"{kind}: a MATERIALIZED column",
                         code="clickhouse.rejected", exception_code=117)
            short = kind.split("/")[1][:3].replace("tab", "tsv")
            for parameter, text in (("", f"empty {short} body"), (";header=absent", f"empty {short} body"),
                                    (";header=present", f"empty {short}withnames body")):
                self.refused(d.ingest("ev", b"", kind=kind + parameter), 400, text, f"{kind}{parameter}: no body")
            self.refused(d.ingest("ev", "1", kind=kind + ";header=maybe"), 415,
                         f'Content-Type "{kind};header=maybe": header must be present or absent', f"{kind}: header=maybe")

    def stored(self):
        want = [[1, "one", "x", 2, ["a", "b'c"], 8], [2, 't"wo', None, 7, [], 8], [3, "three", None, 7, [], 8],
                [4, "four", None, 7, [], 8], [5, "five", None, 7, [], 8], [6, "name", "note", 1, [], 8],
                [7, "se\tven", None, 7, ["x'y"], 8], [8, "", "", 1, [], 8], [9, "", "nine", 7, [], 8],
                [10, "ten", None, 7, [], 8], [16, "fine", None, 7, [], 8]]
        sql = f"SELECT id, name, note, n, tags, m FROM {self.db}.ev ORDER BY id"
        net.wait_for(lambda: len(self.s.rows(sql)) >= len(want), 10)
        got = self.s.rows(sql)
        same(got, want, self.say("what is stored"))
        dead = self.d.dlq()
        ok(not any((t or {}).get("records") for t in (dead or {}).get("tables", [])), self.say("no dead letters"), dead)

    def run(self):
        self.formats()
        self.bad_rows()
        self.refusals()
        self.stored()
        same(self.d.stop(), 0, self.say("SIGTERM: exit status 0"))


if __name__ == "__main__":
    servers = clickhouse.generations()
    if not servers:
        tap.skip_all("no ClickHouse to test against")
    tap.run(*tap.together(*(Run(server).run for server in servers)))
