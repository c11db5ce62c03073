#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /v1/ingest against real servers of both generations: formats, exact answers, what is stored (http-api §1–§7)."""
import gzip
import json
import time
import zlib

from lib import clickhouse, env, facts, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

NDJSON = "application/x-ndjson"


def rows_within(server, sql, want, seconds):
    """Polls until the query gives `want`; (last value, seconds it took)."""
    began = time.monotonic()
    got = net.wait_for(lambda: (server.one(sql) == want) or None, seconds, 0.05)
    return (want if got else server.one(sql)), time.monotonic() - began


class Suite:
    """All tests against one server, one daemon."""

    def __init__(self, server):
        self.s = server
        self.db = server.database("e2e_ingest")
        window = " SETTINGS non_replicated_deduplication_window = 1000" if server.modern else ""
        make = f"ENGINE = MergeTree ORDER BY id{window}"
        q = server.query
        q(f"CREATE TABLE {self.db}.ev (id UInt32, name String, note Nullable(String), n Int32 DEFAULT 7,"
          f" at DateTime('UTC') DEFAULT 0, tags Array(String) DEFAULT [], m MATERIALIZED n + 1, a ALIAS n + 2) {make}")
        q(f"CREATE TABLE {self.db}.bulk (id UInt32, text String) {make}")
        q(f"CREATE TABLE {self.db}.lone (id UInt32) {make}")
        q(f"CREATE TABLE {self.db}.mixed (id UInt32, n Int32) {make}")
        q(f"CREATE TABLE {self.db}.`odd;na-me. x` (id UInt32) {make}")
        q(f"CREATE TABLE {self.db}.stamps (id UInt32, d DateTime('UTC'), z DateTime('America/New_York')) {make}")
        facts.create(server, self.db)
        if server.modern:
            q(f"CREATE TABLE {self.db}.stamps3 (id UInt32, t DateTime64(3, 'America/New_York'), u DateTime64(9, 'UTC'),"
              f" received_timestamp DateTime64(9, 'UTC')) {make}")
            q(f"CREATE TABLE {self.db}.eph (id UInt32, raw String EPHEMERAL, up String DEFAULT upper(raw)) {make}")
        self.d = Daemon(server, self.db, name="ingest").start()
        self.d.know("ev", "bulk", "lone", "mixed", "stamps", "access_log")

    def say(self, text):
        return f"{self.s.name}: {text}"

    def error(self, answer, status, text, name):
        ok(answer.status == status and answer.error == text and
           answer.fields.get("content-type", "").startswith("application/json") and
           answer.fields.get("x-content-type-options") == "nosniff",
           self.say(name), f" got {answer} {answer.fields}\nwant {status} {text!r}")

    # ---- service routes
    def health(self):
        d = self.d
        a = d.call("GET", "/livez")
        ok(a.status == 200 and a.json() == {"status": "ok"}, self.say("/livez"), a)
        for path in ("/healthz", "/health"):
            ok(d.call("GET", path).json() == {"status": "ok"}, self.say(f"{path} is an alias"))
        for path in ("/readyz", "/ready"):
            a = d.call("GET", path)
            ok(a.status == 200 and a.json()["status"] == "ready", self.say(path), a)
        a = d.call("GET", "/v1/health")
        ok(a.status == 200 and a.body == b"", self.say("/v1/health has an empty body"), a)
        a = d.call("GET", "/version")
        ok(a.status == 200 and {"version", "git_commit", "build_time"} <= set(a.json() or {}), self.say("/version"), a)
        a = d.call("GET", "/metrics")
        ok(a.status == 200 and a.fields["content-type"].startswith("text/plain") and b"wavehouse_" in a.body,
           self.say("/metrics"), a)
        a = d.call("HEAD", "/livez")
        ok(a.status == 200 and a.body == b"" and a.fields.get("content-length") == "15", self.say("HEAD /livez"),
           f"{a} {a.fields}")

    def routing(self):
        d = self.d
        self.error(d.call("GET", "/nope"), 404, "not found", "unknown path")
        self.error(d.call("GET", "/livez/"), 404, "not found", "a trailing slash is another path")
        self.error(d.call("POST", "/v1/schema"), 404, "not found", "an old spelling")
        self.error(d.call("GET", "/v1/ingest?table=ev"), 405, "method not allowed", "GET on ingest")
        self.error(d.call("POST", "/livez"), 405, "method not allowed", "POST on /livez")
        a = d.call("GET", "/livez", headers={"X-Request-ID": "abc-123"})
        same(a.fields.get("x-request-id"), "abc-123", self.say("X-Request-ID is echoed"))
        ok(d.call("GET", "/livez").fields.get("x-request-id"), self.say("X-Request-ID is generated"))

    def cors(self):
        a = self.d.call("GET", "/livez", headers={"Origin": "https://a.example"})
        same(a.fields.get("access-control-allow-origin"), "*", self.say("CORS: any origin"))
        a = self.d.call("OPTIONS", "/v1/ingest", headers={"Origin": "https://a.example",
                                                          "Access-Control-Request-Method": "POST"})
        ok(a.status == 204 and a.fields.get("access-control-allow-methods") == "GET, POST, PUT, DELETE, OPTIONS"
           and a.fields.get("access-control-max-age") == "3600"
           and a.fields.get("access-control-allow-headers") ==
           "Accept, Authorization, Content-Type, Last-Event-ID, X-Request-ID, Idempotency-Key, X-Ack, X-Ack-Timeout",
           self.say("CORS preflight"), a.fields)
        ok("retry-after" in a.fields.get("access-control-expose-headers", "").lower() and
           "x-request-id" in a.fields.get("access-control-expose-headers", "").lower() and
           "x-wavehouse-offset" in a.fields.get("access-control-expose-headers", "").lower(),
           self.say("CORS exposes X-Request-ID, Retry-After and X-WaveHouse-Offset"), a.fields)
        ok("access-control-allow-origin" not in self.d.call("GET", "/livez").fields,
           self.say("no Origin, no CORS fields"))

    # ---- ingest: single objects
    def single(self):
        d = self.d
        a = d.ingest("ev", {"id": 1, "name": "one", "tags": ["x", "y"]})
        ok(a.status == 200 and a.body.strip() == b'{"ok":true}' and
           a.fields["content-type"].startswith("application/json"), self.say("one object"), a)
        a = d.ingest("ev", '  {"id": 2, "name": "two"}  trailing [', kind=None)
        same((a.status, a.body.strip()), (200, b'{"ok":true}'), self.say("no Content-Type; trailing bytes are ignored"))
        a = d.ingest("ev", {"id": 3, "name": "three", "note": None, "n": None}, kind="text/plain")
        same((a.status, a.body.strip()), (200, b'{"ok":true}'), self.say("null for Nullable and for a default"))
        a = d.ingest("ev", '{"id": 4, "id": 5, "name": "last key wins"}')
        same((a.status, a.body.strip()), (200, b'{"ok":true}'), self.say("duplicate keys"))
        a = d.ingest("ev", {"id": 6, "name": "ünïcode \u0001 \" \\ 漢字 😀"})
        same((a.status, a.body.strip()), (200, b'{"ok":true}'), self.say("UTF-8 and escapes"))
        a = d.ingest("odd%3Bna-me.%20x", {"id": 1})
        same((a.status, a.body.strip()), (200, b'{"ok":true}'), self.say("a percent-encoded table name"))

    def messages(self):
        """The exact texts of §7.3, one object each: nothing of these may be stored (checked by `stored`)."""
        e, d = self.error, self.d
        e(d.ingest("ev", "{nope"), 400, "invalid json", "not JSON")
        e(d.ingest("ev", '{"id": 900, "name"'), 400, "invalid json", "truncated")
        e(d.ingest("ev", '"text"'), 400, "record must be a JSON object", "a JSON string")
        e(d.ingest("ev", {"id": 901, "name": "x", "q": 1}), 400, 'unknown column "q" for table "ev"', "unknown column")
        e(d.ingest("ev", {"id": 902, "Name": "x"}), 400, 'unknown column "Name" for table "ev"', "case matters")
        e(d.ingest("ev", {"id": 903, "name": "x", "m": 1}), 400, 'unknown column "m" for table "ev"', "MATERIALIZED")
        e(d.ingest("ev", {"id": 904, "name": "x", "a": 1}), 400, 'unknown column "a" for table "ev"', "ALIAS")
        e(d.ingest("ev", {"name": "x"}), 400, 'missing required column "id" for table "ev"', "missing column")
        e(d.ingest("ev", {"id": None, "name": "x"}), 400, 'null value for non-nullable column "id"', "null")
        e(d.ingest("ev", {"id": True, "name": "x"}), 400,
          'type mismatch for column "id": cannot store boolean in UInt32', "bool for UInt32")
        e(d.ingest("ev", {"id": [1], "name": "x"}), 400,
          'type mismatch for column "id": cannot store array in UInt32', "array for UInt32")
        e(d.ingest("ev", {"id": {"a": 1}, "name": "x"}), 400,
          'type mismatch for column "id": cannot store object in UInt32', "object for UInt32")
        e(d.ingest("ev", {"id": 905, "name": "x", "tags": "x"}), 400,
          'type mismatch for column "tags": cannot store string in Array(String)', "string for Array")
        e(d.ingest("ev", {"id": 906, "name": "x", "tags": 1}), 400,
          'type mismatch for column "tags": cannot store number in Array(String)', "number for Array")
        e(d.ingest("ev", {"id": 907, "name": "x", "note": {}}), 400,
          'type mismatch for column "note": cannot store object in Nullable(String)', "object for Nullable(String)")

    def order(self):
        """§7.2: what is checked first."""
        e, d = self.error, self.d
        e(d.call("POST", "/v1/ingest", b""), 400, "missing table", "no table")
        e(d.call("POST", "/v1/ingest?table=", b"{}"), 400, "missing table", "an empty table")
        e(d.ingest("nosuch", ""), 404, "unknown table: nosuch", "unknown table comes before an empty body")
        e(d.ingest("ev", ""), 400, "empty body", "empty body")
        e(d.ingest("ev", " \r\n\t "), 400, "empty body", "white space only")
        e(d.ingest("ev", "", kind=NDJSON), 400, "empty ndjson body", "empty NDJSON body")
        e(d.ingest("ev", "\n \n\r\n", kind=NDJSON), 400, "empty ndjson body", "NDJSON of blank lines")

    # ---- ingest: batches
    def batches(self):
        d = self.d
        a = d.ingest("ev", [{"id": 10, "name": "a"}, {"id": 11, "q": 1, "name": "b"}, 5, {"id": 12, "name": "c"}])
        same((a.status, a.json()), (200, {
            "total": 4, "succeeded": 2, "failed": 2, "duplicates": 0,
            "results": [{"index": 1, "ok": True}, {"index": 2, "error": 'unknown column "q" for table "ev"'},
                        {"index": 3, "error": "record must be a JSON object"}, {"index": 4, "ok": True}]}),
             self.say("JSON array, an answer per record"))
        a = d.ingest("ev", [{"id": 13, "name": "solo"}])
        same((a.status, a.json()), (200, {"total": 1, "succeeded": 1, "failed": 0, "duplicates": 0,
                                          "results": [{"index": 1, "ok": True}]}), self.say("an array of one"))
        a = d.ingest("ev", "[]")
        same((a.status, a.json()), (200, {"total": 0, "succeeded": 0, "failed": 0, "duplicates": 0, "results": []}),
             self.say("an empty array"))
        a = d.ingest("ev", '{"id":20,"name":"l1"}\r\n\r\n{broken\n[1]\n{"id":21,"name":"l2"}', kind=NDJSON)
        same((a.status, a.json()), (200, {
            "total": 4, "succeeded": 2, "failed": 2, "duplicates": 0,
            "results": [{"index": 1, "ok": True}, {"index": 2, "error": "invalid json"},
                        {"index": 3, "error": "record must be a JSON object"}, {"index": 4, "ok": True}]}),
             self.say("NDJSON: blank lines, CRLF, a malformed line, no last newline"))
        for kind in ("application/ndjson", "application/jsonl", "application/jsonlines; charset=utf-8"):
            a = d.ingest("ev", '{"id":22,"name":"kind"}\n', kind=kind)
            same((a.status, (a.json() or {}).get("succeeded")), (200, 1), self.say(f"NDJSON as {kind}"))
        a = d.ingest("ev", ' [{"id":23,"name":"array as ndjson"}]', kind=NDJSON)
        same((a.status, (a.json() or {}).get("total")), (200, 1), self.say("an array sent as NDJSON"))
        self.error(d.ingest("ev", '[{"id":950,"name":"x"},'), 400, "invalid json: unterminated json array",
                   "a truncated array stores nothing")
        a = d.ingest("ev", '[{"id":951,"name":"x"} {"id":952}]')
        ok(a.status == 400 and (a.error or "").startswith("invalid json: "), self.say("array syntax error"), a)

    def bodies(self):
        """Chunked, compressed and announced bodies give the same rows as plain ones."""
        d = self.d
        chunked = (b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                   b"5\r\n{\"id\"\r\n12;ext=1\r\n:30,\"name\":\"chunk\"\r\n1\r\n}\r\n0\r\nX-Trailer: y\r\n\r\n")
        got = net.answers(net.raw(d.port, chunked))
        ok(len(got) == 1 and got[0].status == 200 and got[0].json() == {"ok": True}, self.say("chunked body"), got)
        body = gzip.compress(b'{"id":31,"name":"zipped"}\n{"id":32,"name":"zipped"}\n')
        a = d.ingest("ev", body, kind=NDJSON, Content_Encoding="gzip")
        same((a.status, (a.json() or {}).get("succeeded")), (200, 2), self.say("gzip body"))
        a = d.ingest("ev", body[:-9], kind=NDJSON, Content_Encoding="gzip")
        ok(a.status == 400 and a.error, self.say("a cut gzip body is refused"), a)
        for coding, pack, n in (("deflate", zlib.compress, 44), ("zstd", net.zstd_stored, 46)):
            body = pack(b'{"id":%d,"name":"packed"}\n{"id":%d,"name":"packed"}\n' % (n, n + 1))
            a = d.ingest("ev", body, kind=NDJSON, Content_Encoding=coding)
            same((a.status, (a.json() or {}).get("succeeded")), (200, 2), self.say(f"{coding} body"))
        body = b'{"id":33,"name":"expected"}'
        got = net.answers(net.raw(d.port, b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                                          b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body))
        ok([x.status for x in got] in ([100, 200], [200]), self.say("Expect: 100-continue"), got)
        one = b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
        bodies = [b'{"id":%d,"name":"piped"}' % n for n in range(34, 39)]
        bad = b'{"id":39}'
        data = b"".join(one % (len(b), b) for b in bodies + [bad]) + \
            b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        got = net.answers(net.raw(d.port, data))
        same([x.status for x in got], [200] * 5 + [400, 200], self.say("pipelined requests, answered in order"))

    def results_limit(self):
        n = 10100
        a = self.d.ingest("bulk", "\n".join('{"id":%d,"text":"limit"}' % i for i in range(n)), kind=NDJSON)
        v = a.json() or {}
        same((a.status, v.get("total"), v.get("succeeded"), len(v.get("results", []))), (200, n, n, 10000),
             self.say("results hold the first 10,000 outcomes, the counts are exact"))
        got, _ = rows_within(self.s, f"SELECT count() FROM {self.db}.bulk WHERE text = 'limit'", n, 10)
        same(got, n, self.say("all of them stored"))

    def split(self):
        text = "split" * 200000
        a = self.d.ingest("bulk", "\n".join('{"id":%d,"text":"%s"}' % (i, text) for i in range(9)), kind=NDJSON)
        v = a.json() or {}
        same((a.status, v.get("total"), v.get("succeeded")), (200, 9, 9),
             self.say("a body of 9 MB, more than one entry of the log holds"))
        got, _ = rows_within(self.s, f"SELECT count() FROM {self.db}.bulk WHERE length(text) = 1000000", 9, 10)
        same(got, 9, self.say("all of it stored"))

    def visible(self):
        a = self.d.ingest("bulk", [{"id": i, "text": "fast"} for i in range(500)])
        same(a.status, 200, self.say("500 rows accepted"))
        got, took = rows_within(self.s, f"SELECT count() FROM {self.db}.bulk WHERE text = 'fast'", 500, 8)
        ok(got == 500 and took < 3.5, self.say("500 rows are visible without waiting for 5 s"), f"{got} after {took:.2f} s")
        a = self.d.ingest("lone", {"id": 1})
        got, took = rows_within(self.s, f"SELECT count() FROM {self.db}.lone", 1, 8)
        ok(a.status == 200 and got == 1 and took < 6.5, self.say("a single row is visible within 6 s"),
           f"{a} {got} after {took:.2f} s")

    def dead_letters(self):
        """One bad row among ten: kind-correct, not parsable. Nine stored, one dead letter."""
        others = (self.d.dlq() or {}).get("total")
        same(others, 0, self.say("no dead letter so far"))
        before = (self.d.dlq("mixed") or {}).get("total")
        rows = [{"id": i, "n": i} for i in range(9)] + [{"id": 9, "n": "definitely-not-a-number"}]
        a = self.d.ingest("mixed", rows)
        same((a.status, (a.json() or {}).get("succeeded")), (200, 10), self.say("only the kind is judged"))
        net.wait_for(lambda: (self.d.dlq("mixed") or {}).get("total") == 1 and
                     self.s.one(f"SELECT count() FROM {self.db}.mixed") == 9, 15)
        same((before, self.d.dlq("mixed"), self.s.one(f"SELECT count() FROM {self.db}.mixed")),
             (0, {"tables": {"mixed": 1}, "total": 1}, 9), self.say("nine stored and one dead letter within 15 s"))
        same(self.d.dlq("ev"), {"tables": {}, "total": 0}, self.say("no dead letter for another table"))
        same((self.d.dlq() or {}).get("total"), others + 1, self.say("all dead letters"))

    # ---- timestamps (§7.4)
    def timestamps(self):
        d = self.d
        vectors = [  # input, as DateTime('UTC'), as DateTime('America/New_York') in Unix seconds
            ("2026-06-21T04:00:00.9+02:00", 1782007200, 1782007200),
            ("2026-06-21T02:00:00Z", 1782007200, 1782007200),
            ("2026-06-21 02:00:00", 1782007200, 1782021600),
            ("2026-06-21T02:00:00", 1782007200, 1782021600),
            ("2026-06-21 02:00:00.75", 1782007200, 1782021600),
            ("2026-06-21", 1782000000, 1782014400),
            ("1750478400", 1750478400, 1750478400), ("999999999", 999999999, 999999999),
            (1750478400, 1750478400, 1750478400), (0, 0, 0),
            ("2026-01-21 02:00:00", 1768960800, 1768978800),
        ]
        a = d.ingest("stamps", [{"id": i, "d": v, "z": v} for i, (v, _, _) in enumerate(vectors)])
        same((a.status, (a.json() or {}).get("succeeded")), (200, len(vectors)), self.say("timestamp vectors accepted"))
        rows_within(self.s, f"SELECT count() FROM {self.db}.stamps", len(vectors), 8)
        got = {r[0]: r[1:] for r in self.s.rows(
            f"SELECT id, toUnixTimestamp(d), toUnixTimestamp(z) FROM {self.db}.stamps")}
        for i, (v, utc, ny) in enumerate(vectors):
            same([int(x) for x in got.get(i, [])], [utc, ny], self.say(f"DateTime from {v!r}"))
        if self.s.modern:
            self.timestamps64()

    def timestamps64(self):
        d = self.d
        vectors = [  # input, DateTime64(3, New York) in ticks, DateTime64(9, UTC) in ticks (None: not sent)
            ("2026-06-21 00:00:00.1239", 1782014400123, 1782000000123900000),
            ("1750478400.5", 1750478400500, 1750478400500000000),
            (1750478400500, 1750478400500, 1750478400500),
            (1750478400, 1750478400, 1750478400),
            ("2026-06-21T04:00:00.123Z", 1782014400123, 1782014400123000000),
            ("2026-06-21T04:00:00.123456789-04:00", 1782028800123, 1782028800123456789),
            ("2026-06-21", 1782014400000, 1782000000000000000),
        ]
        before = time.time_ns()
        a = d.ingest("stamps3", [{"id": i, "t": v, "u": v} for i, (v, _, _) in enumerate(vectors)])
        after = time.time_ns()
        same((a.status, (a.json() or {}).get("succeeded")), (200, len(vectors)), self.say("DateTime64 vectors accepted"))
        rows_within(self.s, f"SELECT count() FROM {self.db}.stamps3", len(vectors), 8)
        got = {r[0]: r[1:] for r in self.s.rows(
            f"SELECT id, toUnixTimestamp64Milli(t), toUnixTimestamp64Nano(u) FROM {self.db}.stamps3")}
        for i, (v, milli, nano) in enumerate(vectors):
            same(got.get(i), [milli, nano], self.say(f"DateTime64 from {v!r}"))
        stamps = [r[0] for r in self.s.rows(
            f"SELECT toUnixTimestamp64Nano(received_timestamp) FROM {self.db}.stamps3 ORDER BY id")]
        ok(len(set(stamps)) == len(vectors) and stamps == sorted(stamps) and all(
            before - 10**9 <= x <= after + 10**9 for x in stamps),
           self.say("received_timestamp is stamped, strictly increasing, in log order"), f"{before} {stamps} {after}")
        # Values that pass through as they are: ClickHouse decides, as it does when asked directly.
        letters = (d.dlq("stamps3") or {}).get("total", 0)
        for i, v in enumerate((1750478400.5, "20260621", "1750478400500", -5, "2026-06-21 04:00:00+02:00")):
            row = {"id": 100 + i, "t": v, "u": 0}
            same(d.ingest("stamps3", row).json(), {"ok": True}, self.say(f"{v!r} is passed on"))
            try:
                self.s.query(f"INSERT INTO {self.db}.stamps3 (id, t, u) FORMAT JSONEachRow",
                             json.dumps({**row, "id": 200 + i}).encode(), date_time_input_format="best_effort")
            except clickhouse.Failed:
                letters += 1
        net.wait_for(lambda: self.s.one(f"SELECT countIf(id < 200) = countIf(id >= 200) FROM {self.db}.stamps3 WHERE id >= 100")
                     and (d.dlq("stamps3") or {}).get("total", 0) == letters, 12, 0.2)
        got = dict(self.s.rows(f"SELECT id, toUnixTimestamp64Milli(t) FROM {self.db}.stamps3 WHERE id >= 100"))
        same({i: v for i, v in got.items() if i < 200}, {i - 100: v for i, v in got.items() if i >= 200},
             self.say("what is passed on is stored as ClickHouse itself reads it"))
        same((d.dlq("stamps3") or {}).get("total", 0), letters, self.say("and what it refuses is a dead letter"))
        a = d.ingest("eph", {"id": 1, "raw": "abc"})
        rows_within(self.s, f"SELECT count() FROM {self.db}.eph", 1, 8)
        same((a.status, self.s.rows(f"SELECT id, up FROM {self.db}.eph")), (200, [[1, "ABC"]]),
             self.say("EPHEMERAL feeds a DEFAULT"))

    # ---- real data
    def access_log(self):
        path = env.access_log()
        if not path:
            return tap.skip(self.say("access log"), "no shared data folder here")
        with open(path, encoding="utf-8") as f:
            lines = f.readlines()
        accepted = 0
        client = net.Client(self.d.port)
        for i in range(0, len(lines), 1000):
            a = client.call("POST", "/v1/ingest?table=access_log", "".join(lines[i:i + 1000]).encode(),
                            {"Content-Type": NDJSON})
            accepted += (a.json() or {}).get("succeeded", 0)
        client.close()
        same(accepted, 9999, self.say("access log: every record accepted"))
        rows_within(self.s, f"SELECT count() FROM {self.db}.access_log", 9999, 15)
        for fact, got, want in facts.stored(self.s, self.db):
            same(got, want, self.say(f"access log: {fact}"))

    def stored(self):
        """What `single`, `messages`, `batches` and `bodies` left in the table, and nothing else."""
        want = {1, 2, 3, 5, 6, 10, 12, 13, 20, 21, 22, 23, *range(30, 39), *range(44, 48)}
        net.wait_for(lambda: self.s.one(f"SELECT uniqExact(id) FROM {self.db}.ev") >= len(want), 8)
        rows = self.s.rows(f"SELECT id, name, note, n, tags, m, a FROM {self.db}.ev ORDER BY id")
        same({r[0] for r in rows}, want, self.say("exactly the accepted rows are stored"))
        by_id = {r[0]: r[1:] for r in rows}
        same(by_id.get(1), ["one", None, 7, ["x", "y"], 8, 9], self.say("row 1, with DEFAULT, MATERIALIZED and ALIAS"))
        same(by_id.get(3), ["three", None, 7, [], 8, 9], self.say("null takes the DEFAULT"))
        same(by_id.get(6, [""])[0], "ünïcode \u0001 \" \\ 漢字 😀", self.say("text survives byte for byte"))
        same(self.s.one(f"SELECT count() FROM {self.db}.`odd;na-me. x`"), 1, self.say("the odd table's row"))
        same(len(rows), len(want) + 2, self.say("no row twice (id 22 was sent three times)"))

    def stop(self):
        same(self.d.stop(), 0, self.say("SIGTERM: exit status 0"))
        if not tap.failed():
            self.d.remove()
            self.s.query(f"DROP DATABASE {self.db}")


def suite(server):
    def run():
        t = Suite(server)
        for part in (t.health, t.routing, t.cors, t.single, t.messages, t.order, t.batches, t.bodies, t.results_limit, t.split,
                     t.visible, t.dead_letters, t.timestamps, t.access_log, t.stored, t.stop):
            try:
                part()
            except Exception as e:  # one broken part must not hide the others
                ok(False, t.say(f"{part.__name__} ended by {type(e).__name__}: {e}"))
        t.d.stop()
    run.__name__ = f"ingest on {server.name}"
    return run


if __name__ == "__main__":
    servers = clickhouse.generations()
    if not servers:
        tap.skip_all("no ClickHouse to test against")
    tap.run(*tap.together(*map(suite, servers)))
