#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Queries end to end (http-api §8.5–§9, doc/query.md), against real servers of both generations and, for what no server
would send, a proxy that lies. Uses curl for what a person would type."""
import http.client
import http.server
import json
import random
import re
import socket
import subprocess
import threading
import time

from lib import clickhouse, net, tap, tokens
from lib.daemon import Daemon
from lib.tap import ok, same


class Liar:
    """A proxy before a server's HTTP port. What matches a rule gets the rule's bytes instead of an answer."""

    def __init__(self, server):
        rules = self.rules = []  # (regular expression on the statement, function(socket file, handler))
        seen = self.seen = []    # (path, statement)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen.append((self.path, body.decode("utf-8", "replace")))
                for pattern, act in rules:
                    if re.search(pattern, seen[-1][1]):
                        self.close_connection = True
                        try:
                            act(self.wfile, self)
                        except OSError:
                            pass
                        return
                up = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
                try:
                    up.request("POST", self.path, body, {k: v for k, v in self.headers.items() if k != "Host"})
                    r = up.getresponse()
                    self.send_response(r.status)
                    for k, v in r.getheaders():
                        if k.lower() not in ("transfer-encoding", "connection", "content-length", "keep-alive"):
                            self.send_header(k, v)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    while data := r.read1(1 << 18):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.write(b"0\r\n\r\n")
                except (OSError, http.client.HTTPException):
                    self.close_connection = True  # either side has left: the other sees it
                finally:
                    up.close()

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # the daemon closes connections as it likes

        self.httpd = Server(("127.0.0.1", 0), Handler)
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def answers(self, pattern, status, body, *fields, length=None):
        """One rule from now on."""
        head = "".join(f"{f}\r\n" for f in fields)
        data = (f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body) if length is None else length}\r\n"
                "Connection: close\r\n\r\n").encode() + body
        self.rules[:] = [(pattern, lambda w, h: w.write(data))]

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


def flood(w, _):
    """More than anybody wants to hold."""
    w.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            b'{"meta":[{"name":"id","type":"UInt64"}],"data":[[0]')
    for _ in range(1000):
        w.write(b",[18446744073709551615]" * 5000)


# type, value in SQL, JSON. The second list is for servers that know these types.
TYPES = [
    ("Int8", "-128", "-128"), ("UInt8", "255", "255"), ("Int16", "-32768", "-32768"), ("UInt16", "65535", "65535"),
    ("Int32", "-2147483648", "-2147483648"), ("UInt32", "4294967295", "4294967295"),
    ("Int64", "-9223372036854775808", "-9223372036854775808"), ("UInt64", "18446744073709551615", "18446744073709551615"),
    ("Float64", "nan", "null"), ("Float64", "inf", "null"), ("Float64", "-inf", "null"), ("Float64", "1.5", "1.5"),
    ("Float32", "0.1", "0.1"), ("Array(Float64)", "[nan, 1]", "[null,1]"),
    ("String", "'a\"\\\\\\n\\t/\\0é漢'", '"a\\"\\\\\\n\\t/\\u0000é漢"'),
    ("FixedString(4)", "'ab'", '"ab\\u0000\\u0000"'),
    ("String", "unhex('61FF62')", '"a\ufffdb"'),
    ("Date", "'2026-06-21'", '"2026-06-21"'),
    ("DateTime('UTC')", "'2026-06-21 04:00:00'", '"2026-06-21T04:00:00Z"'),
    ("DateTime('America/New_York')", "toDateTime('2026-06-21 00:00:00', 'America/New_York')", '"2026-06-21T04:00:00Z"'),
    ("Nullable(DateTime('UTC'))", "NULL", "null"),
    ("Array(DateTime('America/New_York'))", "[toDateTime('2026-06-21 00:00:00', 'America/New_York')]", '["2026-06-21 00:00:00"]'),
    ("UUID", "'61f0c404-5cb3-11e7-907b-a6006ad3dba0'", '"61f0c404-5cb3-11e7-907b-a6006ad3dba0"'),
    ("Enum8('a\"b' = 1, 'c' = 2)", "'a\"b'", '"a\\"b"'),
    ("Nullable(UInt64)", "NULL", "null"), ("Nullable(String)", "'x'", '"x"'),
    ("Array(UInt64)", "[1, 18446744073709551615]", "[1,18446744073709551615]"), ("Array(String)", "[]", "[]"),
    ("Array(Array(UInt8))", "[[1], []]", "[[1],[]]"),
    ("Tuple(UInt8, String)", "(1, 'x')", '[1,"x"]'),
]
MODERN = [
    ("Int128", "'-170141183460469231731687303715884105728'", "-170141183460469231731687303715884105728"),
    ("UInt256", "toUInt256('115792089237316195423570985008687907853269984665640564039457584007913129639935')",
     "115792089237316195423570985008687907853269984665640564039457584007913129639935"),
    ("Decimal(38, 10)", "'12345678901234567890.0123456789'", "12345678901234567890.0123456789"),
    ("Decimal(9, 2)", "'-1.25'", "-1.25"), ("Bool", "true", "true"), ("Nullable(Bool)", "NULL", "null"),
    ("DateTime64(3, 'America/New_York')", "'2026-06-21 00:00:00.120'", '"2026-06-21T04:00:00.12Z"'),
    ("DateTime64(9, 'UTC')", "'2026-06-21 04:00:00'", '"2026-06-21T04:00:00Z"'),
    ("LowCardinality(Nullable(String))", "'lc'", '"lc"'),
    # the hour that a clock shows twice, the second time
    ("DateTime('America/New_York')", "toDateTime(1762065000)", '"2025-11-02T06:30:00Z"'),
    ("Array(DateTime64(3, 'America/New_York'))", "[toDateTime64('2026-06-21 00:00:00.120', 3, 'America/New_York')]",
     '["2026-06-21 00:00:00.120"]'),
    ("Map(String, DateTime('Asia/Tokyo'))", "map('k', toDateTime('2026-06-21 00:00:00', 'Asia/Tokyo'))",
     '{"k":"2026-06-21 00:00:00"}'),
    ("Tuple(a UInt64, `b c` DateTime('UTC'))", "(7, '2026-06-21 04:00:00')", '{"a":7,"b c":"2026-06-21 04:00:00"}'),
    ("IPv4", "'1.2.3.4'", '"1.2.3.4"'), ("IPv6", "'::1'", '"::1"'), ("Date32", "'1925-01-01'", '"1925-01-01"'),
    ("Map(String, UInt64)", "map('a', 18446744073709551615)", '{"a":18446744073709551615}'),
]


class Suite:
    def __init__(self, server):
        self.s = s = server
        self.db = db = s.database("e2e_query")
        q = s.query
        window = " SETTINGS non_replicated_deduplication_window = 100" if s.modern else ""
        for name in ("ev", "src", "dst"):
            q(f"CREATE TABLE {db}.{name} (id UInt64, name String) ENGINE = MergeTree ORDER BY id{window}")
        q(f"CREATE MATERIALIZED VIEW {db}.src_to_dst TO {db}.dst AS SELECT id, upper(name) AS name FROM {db}.src")
        q(f"CREATE VIEW {db}.over AS SELECT id, name FROM {db}.dst")
        q(f"CREATE VIEW {db}.slow AS SELECT toUInt64(sum(sleep(0.7))) AS n FROM system.one")
        q(f"CREATE VIEW {db}.endless AS SELECT max(cityHash64(number)) AS n FROM numbers(1000000000000)")
        q(f"CREATE TABLE {db}.odd (id UInt64, name String) ENGINE = MergeTree ORDER BY id{window}")
        q(f"CREATE VIEW {db}.broken AS SELECT toUInt64(throwIf(number = 150000)) AS n FROM numbers(200000)")
        q(f"CREATE TABLE {db}.many (n UInt64, at DateTime('UTC'), s String) ENGINE = MergeTree ORDER BY n")
        q(f"INSERT INTO {db}.many SELECT number, toDateTime(number), toString(number) FROM numbers(300000)")
        self.types = TYPES + (MODERN if s.modern else [])
        columns = ", ".join(f"c{i:02} {t}" for i, (t, _, _) in enumerate(self.types))
        q(f"CREATE TABLE {db}.types ({columns}) ENGINE = Memory")
        q(f"INSERT INTO {db}.types SELECT " +
          ", ".join(v if t == "Tuple(UInt8, String)" or v in ("NULL", "[]") or "Array" in t else f"CAST({v} AS {t})"
                    for t, v, _ in self.types))
        self.liar = Liar(s)
        self.d = Daemon(s, db, name="query", settings={
            "clickhouse.http_port": self.liar.port, "clickhouse.query_timeout": "5s", "flush.interval": "50ms",
            "schema.refresh_interval": "1s", "query.default_max_rows": 1000000}).start()
        self.d.know("ev", "src", "dst", "odd")

    def say(self, text):
        return f"{self.s.name}: {text}"

    def q(self, table, body, more="", path="/v1/query", **fields):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.d.call("POST", f"{path}?table={table}{more}", body, {k.replace("_", "-"): v for k, v in fields.items()})

    def all(self, table, more="", **fields):
        return self.q(table, {"select_all": True, "order_by": [{"column": "id"}]}, more, **fields)

    def sql(self, text, **more):
        return self.d.call("POST", "/v1/ops/query", json.dumps({"sql": text, **more}))

    # ---- rendering
    def rendering(self):
        a = self.q("types", {"select_all": True})
        body = a.body.decode()
        want = "[{" + ",".join(f'"c{i:02}":{j}' for i, (_, _, j) in enumerate(self.types)) + "}]"
        # Where a server spells a character as \/ or leaves it is all the same to a reader; digits are not.
        wanted = re.sub(r"\\/", "/", body)
        if not ok(a.status == 200 and wanted == want, self.say(f"{len(self.types)} types, byte for byte")):
            for i, (t, _, j) in enumerate(self.types):
                if f'"c{i:02}":{j}' not in wanted:
                    m = re.search(rf'"c{i:02}":(.*?),"c{i + 1:02}"', wanted)
                    tap.note(f"{t}: got {m.group(1) if m else wanted[:300]} want {j}")
        a = self.q("types", {"select_all": True}, path="/v1/query.ndjson")
        same(re.sub(r"\\/", "/", a.body.decode()), want[1:-1] + "\n", self.say("the same as a line of NDJSON"))
        a = self.q("ev", {"select_all": True, "filters": [{"column": "id", "op": "eq", "value": 404}]})
        same(a.body, b"[]", self.say("no rows are []"))
        a = self.q("ev", {})
        ok(a.status == 200 and a.body == b"[]" and "x-cache" not in a.fields, self.say("nothing asked is [], no X-Cache"), a)
        r = random.Random(7)
        numbers = [r.getrandbits(64) for _ in range(500)] + [0, 2**53 + 1, 2**64 - 1]
        self.s.query(f"CREATE TABLE {self.db}.ints (u UInt64, i Int64, f Float64) ENGINE = Memory")
        floats = [r.uniform(-1, 1) * 10 ** r.randint(-30, 30) for _ in numbers]
        self.s.query(f"INSERT INTO {self.db}.ints VALUES " +
                     ", ".join(f"({n}, {n - 2**63}, {f!r})" for n, f in zip(numbers, floats)))
        self.d.know("ints")
        got = self.q("ints", {"select_all": True}).json()
        same([(x["u"], x["i"]) for x in got], [(n, n - 2**63) for n in numbers], self.say("500 random 64-bit integers survive"))
        if not self.s.modern:  # an old server reads and writes the last digit as it likes
            floats = [float(x[0]) for x in self.s.rows(f"SELECT f FROM {self.db}.ints")]
        same([float(x["f"]) for x in got], floats, self.say("and 500 floats"))

    # ---- cache
    def settle(self):
        """A table that is new makes everything void once the daemon has seen it."""
        key = "wavehouse_schema_refreshes_total"
        now = self.d.metrics()[key]
        net.wait_for(lambda: self.d.metrics()[key] >= now + 3, 10)

    def cache(self):
        self.settle()
        a = self.all("ev")
        b = self.all("ev")
        ok((a.fields["x-cache"], b.fields["x-cache"]) == ("MISS", "HIT") and a.body == b.body, self.say("MISS, then HIT"))
        ok(a.fields["cache-control"] == "private, no-cache" and re.fullmatch(r'"[0-9a-f]{16}"', a.fields["etag"]),
           self.say("Cache-Control and ETag"), a.fields)
        c = self.all("ev", If_None_Match=f'"x", {a.fields["etag"]}')
        ok(c.status == 304 and c.body == b"" and c.fields["etag"] == a.fields["etag"], self.say("304 when it is known"), c)
        ok(self.all("ev", If_None_Match='"x"').status == 200, self.say("200 when it is another"))
        same(self.all("ev", "&fresh=1").fields["x-cache"], "MISS", self.say("fresh=1 asks in any case"))
        i = self.d.ingest("ev", {"id": 1, "name": "one"}, X_Ack="clickhouse")
        same(i.status, 200, self.say("a record is in ClickHouse"))
        a = self.all("ev")
        ok(a.fields["x-cache"] == "MISS" and a.json() == [{"id": 1, "name": "one"}], self.say("an insert makes it void"), a)
        same(self.all("ev").fields["x-cache"], "HIT", self.say("and it is known again"))
        # A materialized view's target, and a view over that.
        same([self.all(t).body for t in ("dst", "over")], [b"[]", b"[]"], self.say("nothing there yet"))
        same([self.all(t).fields["x-cache"] for t in ("dst", "over")], ["HIT", "HIT"], self.say("known"))
        self.d.ingest("src", {"id": 5, "name": "five"}, X_Ack="clickhouse")
        same([self.all(t).json() for t in ("dst", "over")], [[{"id": 5, "name": "FIVE"}]] * 2,
             self.say("an insert makes its view's target void, and a view over that"))
        self.all("over")
        self.s.query(f"DROP TABLE {self.db}.over")
        self.s.query(f"CREATE VIEW {self.db}.over AS SELECT id, lower(name) AS name FROM {self.db}.dst")
        got = net.wait_for(lambda: self.all("over").json() == [{"id": 5, "name": "five"}], 10)
        ok(got, self.say("a view that became another one"))
        self.all("ev")
        same(self.sql(f"INSERT INTO {self.db}.ev VALUES (2, 'two')").json(), [], self.say("SQL that writes"))
        same([r["id"] for r in self.all("ev").json()], [1, 2], self.say("makes everything void"))

    def own_writes(self):
        for n in range(100, 110):
            a = self.d.ingest("ev", {"id": n, "name": "mine"})
            at = a.fields["x-wavehouse-offset"]
            b = self.q("ev", {"columns": ["id"], "filters": [{"column": "id", "op": "eq", "value": n}]}, f"&min_offset={at}")
            if b.json() != [{"id": n}]:
                ok(False, self.say("min_offset= shows one's own write"), f"{n} at {at}: {b}")
                return
        ok(True, self.say("min_offset= shows one's own write, ten times"))
        began = time.monotonic()
        a = self.all("ev", "&min_offset=999999999999")
        ok(a.status == 503 and a.fields["retry-after"] == "1" and time.monotonic() - began < 9,
           self.say("an offset that does not come: 503 after query_timeout"), f"{a} {time.monotonic() - began}")
        same(self.all("ev", "&min_offset=1x").status, 400, self.say("no number"))

    def single_flight(self):
        self.settle()
        before = self.d.metrics()
        self.liar.seen.clear()
        answers = []

        def ask():
            answers.append(self.q("slow", {"columns": ["n"]}))
        threads = [threading.Thread(target=ask) for _ in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        executed = sum("`slow`" in sql for _, sql in self.liar.seen)
        ok(executed == 1 and {(a.status, a.body) for a in answers} == {(200, b'[{"n":0}]')},
           self.say("50 of the same are one query on ClickHouse"), f"{executed}: {answers[:2]}")
        now = self.d.metrics()
        coalesced = now["wavehouse_query_coalesced_total"] - before["wavehouse_query_coalesced_total"]
        hits = sum(a.fields["x-cache"] == "HIT" for a in answers)
        ok(coalesced + hits == 49, self.say("and the metrics say so"), f"{coalesced} {hits}")

    def leaving(self):
        """The client goes away: the query is killed, unless somebody else waits for it."""
        def running():
            return self.s.rows("SELECT count() FROM system.processes WHERE query LIKE '%`endless`%' AND query NOT LIKE '%processes%'")[0][0]
        body = json.dumps({"columns": ["n"], "limit": 77}).encode()
        head = (f"POST /v1/query?table=endless HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n").encode()
        with socket.create_connection(("127.0.0.1", self.d.port)) as one:
            one.sendall(head + body)
            ok(net.wait_for(lambda: running() == 1, 5), self.say("a long query runs"))
        began = time.monotonic()
        ok(net.wait_for(lambda: running() == 0, 10), self.say("its client leaves, and it ends"))
        ok(time.monotonic() - began < 4, self.say("by being killed, not by its deadline"), time.monotonic() - began)

    # ---- failures
    def failure(self, a, status, code, name, **more):
        body = a.json() or {}
        ok(a.status == status and body.get("code") == code and isinstance(body.get("error"), str) and
           all(body.get(k) == v for k, v in more.items()) and a.fields.get("content-type") == "application/json",
           self.say(name), f"{a} {a.fields}")
        return body.get("error", "")

    def failures(self):
        a = self.q("ev", {"columns": ["id"], "filters": [{"column": "id", "op": "eq", "value": "top-secret-value"}]})
        text = self.failure(a, 400, "clickhouse.rejected", "a value of the wrong type is the caller's mistake", retryable=False)
        ok("top-secret" not in text and "SELECT" not in text, self.say("without the value, without the statement"), text)
        a = self.q("endless", {"columns": ["n"]})
        self.failure(a, 503, "clickhouse.unavailable", "too slow", retryable=True)
        same(a.fields.get("retry-after"), "5", self.say("Retry-After"))
        self.failure(self.q("broken", {"columns": ["n"]}), 400, "clickhouse.rejected", "an exception after 150,000 rows", exception_code=395)
        a = self.q("broken", {"columns": ["n"]})
        same(a.status, 400, self.say("errors are not kept"))

    def hostile(self):
        """What stands between us and ClickHouse lies, cuts, hangs, floods."""
        liar, n = self.liar, [0]
        meta = b'{"meta":[{"name":"id","type":"UInt64"}],"data":['

        def ask(more=""):
            n[0] += 1
            return self.q("ev", {"columns": ["id"], "limit": 1000 + n[0]}, more)
        j = "Content-Type: application/json"
        liar.answers("`ev`", 200, meta + b"[1],[2", j)
        self.failure(ask(), 503, "clickhouse.unavailable", "half an answer is none")
        liar.answers("`ev`", 200, meta + b"[1],[2]],\"rows\":2}", j, length=1000)
        self.failure(ask(), 503, "clickhouse.unavailable", "a body shorter than it says")
        liar.answers("`ev`", 200, meta + b"[1],\nCode: 241, e.displayText() = DB::Exception: Memory limit", j)
        self.failure(ask(), 503, "clickhouse.unavailable", "an exception in the middle of a 200", exception_code=241)
        liar.answers("`ev`", 200, meta + b"[1]]\r\n__exception__\r\nabcd\r\nCode: 395. DB::Exception: boo (X)\r\n9 abcd\r\n__exception__\r\n", j,
                     "X-ClickHouse-Exception-Tag: abcd")
        self.failure(ask(), 400, "clickhouse.rejected", "and in the new way", exception_code=395)
        liar.answers("`ev`", 200, b"<html>hello</html>", "Content-Type: text/html")
        self.failure(ask(), 503, "clickhouse.unavailable", "a page")
        liar.answers("`ev`", 502, b"<html>bad gateway</html>")
        text = self.failure(ask(), 503, "clickhouse.unavailable", "a proxy's error")
        ok("127.0.0.1" not in text and "html" not in text, self.say("which does not tell where ClickHouse is"), text)
        liar.answers("`ev`", 200, meta + b"[1]]}", j, "X-ClickHouse-Exception-Code: 60")
        ok(ask().status == 400, self.say("an exception's number beside a fine body is an exception"))
        liar.answers("`ev`", 301, b"", "Location: http://127.0.0.1:1/")
        self.failure(ask(), 503, "clickhouse.unavailable", "a redirect is not followed")
        liar.rules[:] = [("`ev`", flood)]
        self.failure(ask(), 502, "clickhouse.response_too_large", "more than 64 MiB")

        def hang(w, h):
            w.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + meta + b"[1],")
            w.flush()
            h.connection.settimeout(20)
            h.connection.recv(1)  # until the other side gives up
        liar.rules[:] = [("`ev`", hang)]
        began = time.monotonic()
        self.failure(ask(), 503, "clickhouse.unavailable", "an answer that does not go on")
        ok(time.monotonic() - began < 9, self.say("within its deadline"), time.monotonic() - began)
        liar.answers("`ev`", 500, b"Code: 1001, e.displayText() = std::exception\n")
        self.failure(ask(), 500, "clickhouse.unknown", "ClickHouse's own trouble")
        liar.answers("`ev`", 200, meta + b"[1],[2", j)
        self.cut_stream("/v1/query.ndjson?table=ev", self.say("NDJSON: half an answer is cut"))
        liar.answers("`ev`", 200, b'"id"\n1\n2\r\n__exception__\r\nabcd\r\nCode: 241. DB::Exception: x\r\n9 abcd\r\n__exception__\r\n',
                     "Content-Type: text/csv", "X-ClickHouse-Exception-Tag: abcd")
        self.cut_stream("/v1/query.csv?table=ev", self.say("CSV: an exception in the middle is cut off"), forbidden=b"Exception")
        liar.rules.clear()
        same(self.q("ev", {"columns": ["id"], "limit": 999}).status, 200, self.say("and all is well again"))

    def cut_stream(self, path, name, forbidden=b"\0"):
        """The answer must not look complete: curl says so."""
        p = subprocess.run(["curl", "-sS", "-o", "-", "-w", "\n%{http_code}", "-d", '{"columns":["id"]}',
                            f"http://127.0.0.1:{self.d.port}{path}"], capture_output=True, timeout=30)
        status = p.stdout.rpartition(b"\n")[2]
        ok((p.returncode == 18 or int(status) >= 400) and forbidden not in p.stdout, name, f"{p.returncode} {p.stdout[-300:]} {p.stderr}")

    # ---- pieces
    def pieces(self):
        want = 300000
        p = subprocess.run(["curl", "-sS", "-H", "Accept: application/x-ndjson", "-d", '{"select_all":true,"order_by":[{"column":"n"}]}',
                            f"http://127.0.0.1:{self.d.port}/v1/query?table=many"], capture_output=True, timeout=60)
        rows = [json.loads(x) for x in p.stdout.splitlines()]
        ok(p.returncode == 0 and len(rows) == want and all(r["n"] == i and r["s"] == str(i) for i, r in enumerate(rows)),
           self.say("300,000 rows of NDJSON"), f"{p.returncode} {len(rows)} {p.stdout[-200:]}")
        same(rows[61] if rows else None, {"n": 61, "at": "1970-01-01T00:01:01Z", "s": "61"}, self.say("each as in JSON"))
        a = self.q("many", {"columns": ["n", "s"], "order_by": [{"column": "n"}]}, Accept="text/csv;q=1, application/json;q=0.5")
        lines = a.body.decode().splitlines()
        ok(a.fields["content-type"].startswith("text/csv") and lines[0] == '"n","s"' and len(lines) == want + 1 and lines[-1] == '299999,"299999"',
           self.say("CSV by Accept"), lines[:2])
        a = self.q("many", {"columns": ["n"], "limit": 1}, Accept="text/html, */*;q=0.1")
        same(a.body, b'[{"n":0}]', self.say("JSON for everybody else"))
        same(self.q("ev", {"columns": ["id"], "filters": [{"column": "id", "op": "eq", "value": "x"}]}, path="/v1/query.csv").status, 400,
             self.say("an error before the first byte has its status"))
        # A reader that does not read: ClickHouse waits, we hold little.
        before = self.d.rss_bytes()
        body = b'{"select_all":true}'
        with socket.create_connection(("127.0.0.1", self.d.port)) as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(b"POST /v1/query.ndjson?table=many HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            first = c.recv(1000)
            ok(first.startswith(b"HTTP/1.1 200"), self.say("a slow reader's first bytes"), first[:100])
            ok(net.wait_for(lambda: self.d.metrics()["wavehouse_query_running"] == 1, 3), self.say("the query waits for its reader"))
            grown = self.d.rss_bytes() - before
            ok(grown < 12 << 20, self.say("little is held for it"), f"{grown >> 20} MiB")
        ok(net.wait_for(lambda: self.d.metrics()["wavehouse_query_running"] == 0, 5), self.say("its reader leaves, it ends"))

    # ---- raw SQL
    def raw(self):
        a = self.sql("SELECT 1 AS a, 'x' AS b")
        ok(a.status == 200 and a.json() == [{"a": 1, "b": "x"}] and a.fields["cache-control"] == "no-store" and
           a.fields["x-content-type-options"] == "nosniff" and "x-cache" not in a.fields, self.say("SQL"), f"{a} {a.fields}")
        same(self.sql("SELECT 1 AS a WHERE 0").json(), [], self.say("no rows"))
        same(self.sql(f"CREATE TABLE {self.db}.made (a UInt8) ENGINE = Memory").json(), [], self.say("DDL"))
        same(self.sql(f"INSERT INTO {self.db}.made FORMAT JSONEachRow {{\"a\":7}}").json(), [], self.say("INSERT with its data"))
        a = self.sql(f"SELECT a FROM {self.db}.made FORMAT TSV")
        ok(a.body == b"7\n" and a.fields["content-type"].startswith("text/tab-separated-values") and a.fields["cache-control"] == "no-store",
           self.say("its own FORMAT"), f"{a} {a.fields}")
        a = self.sql(f"SELECT a FROM {self.db}.made WHERE 0 FORMAT TSV")
        ok(a.status == 200 and a.body == b"", self.say("its own FORMAT, no rows"), a)
        same(self.sql("SELECT 'FORMAT CSV' AS format").json(), [{"format": "FORMAT CSV"}], self.say("a column called format"))
        for text, status in (("SELEC", 400), ("SELECT nope", 400), ("SELECT * FROM nope", 400), ("SELECT throwIf(1)", 400),
                             ("SELECT toUInt8('x')", 400)):
            a = self.sql(text)
            ok(a.status == status and a.error.startswith("Code: ") and isinstance(a.json().get("exception_code"), int), self.say(f"SQL {status}: {text}"), a)
        for body, text in (("{", "invalid json"), ('{"sql":"SELECT 1"} {}', "invalid json"), ("{}", "missing sql"), ('{"sql":""}', "missing sql"),
                           ('{"sql":null}', "missing sql"), ("[]", "invalid json")):
            a = self.d.call("POST", "/v1/ops/query", body)
            ok(a.status == 400 and a.error == text, self.say(f"SQL refused: {body}"), a)
        same(self.sql("SELECT 2 AS a", other=1).json(), [{"a": 2}], self.say("other members are ignored"))
        same(self.sql("SELECT '" + "x" * 300000 + "' AS s").json()[0]["s"], "x" * 300000, self.say("a long statement"))
        self.liar.rules[:] = [("SELECT 64", flood)]
        a = self.sql("SELECT 64")
        self.liar.rules.clear()
        same((a.status, a.error), (502, "clickhouse response exceeded 67108864 bytes; narrow the query or use FORMAT JSONEachRow with streaming"),
             self.say("SQL: more than 64 MiB"))
        p = subprocess.run(["curl", "-sS", "-d", json.dumps({"sql": "SELECT number FROM numbers(2000000) FORMAT TSV"}),
                            f"http://127.0.0.1:{self.d.port}/v1/ops/query"], capture_output=True, timeout=60)
        same((p.returncode, p.stdout == b"".join(b"%d\n" % i for i in range(2000000))), (0, True), self.say("with its own FORMAT it streams"))
        self.liar.answers("SELECT 31", 502, b"x")
        a = self.sql("SELECT 31")
        ok(a.status == 502 and a.error.startswith("clickhouse request failed: "), self.say("SQL: transport"), a)
        self.liar.rules.clear()
        if self.s.modern:
            a = self.sql("SELECT toDateTime64('2026-06-21 04:00:00.120', 3, 'UTC') AS t")
            same(a.json(), [{"t": "2026-06-21T04:00:00.120Z"}], self.say("SQL: timestamps are ISO"))

    def checks(self):
        d = self.d
        for path, body, status, text in (
                ("/v1/query", "{}", 400, "missing table"), ("/v1/query?table=", "{}", 400, "missing table"),
                ("/v1/query?table=nope", "{", 404, "unknown table: nope"), ("/v1/query?table=ev", "{", 400, "invalid json"),
                ("/v1/query?table=ev", "[]", 400, "invalid json"),
                ("/v1/query?table=ev", '{"columns":["x"]}', 400, "unknown column: x"),
                ("/v1/query?table=ev", "x" * 1100000, 413, "request body exceeded 1048576 bytes")):
            a = d.call("POST", path, body)
            ok(a.status == status and a.error == text, self.say(f"{path} {body[:20]}: {status} {text}"), a)
        same(d.call("GET", "/v1/query?table=ev").status, 405, self.say("GET is not there"))
        long = "é\t'\\" * 20000
        same(self.q("ev", {"columns": ["id"], "filters": [{"column": "name", "op": "eq", "value": long}]}).body, b"[]", self.say("a long value"))
        d.ingest("odd", {"id": 700, "name": "tab\tand\\back'slash`\u0000"}, X_Ack="clickhouse")
        same(self.q("odd", {"columns": ["id"], "filters": [{"column": "name", "op": "eq", "value": "tab\tand\\back'slash`\u0000"}]}).json(),
             [{"id": 700}], self.say("a value with everything in it finds its row"))

    def legacy(self):
        self.d.config["errors"] = {"clickhouse_status": "legacy"}
        self.d.write_config()
        self.d.process.send_signal(1)
        def refused():
            return self.q("ev", {"columns": ["id"], "filters": [{"column": "id", "op": "eq", "value": "no"}]}).status == 500
        ok(net.wait_for(refused, 10), self.say("errors.clickhouse_status: legacy is 500"))

    def end(self):
        log = self.d.log()
        ok("top-secret" not in log and "SELECT" not in log, self.say("no statement and no value is in the log"), log[-2000:])
        same(self.d.stop(), 0, self.say("a clean stop"))
        self.liar.close()
        self.d.remove()


def suite(server):
    s = Suite(server)
    return [s.checks, s.rendering, s.cache, s.own_writes, s.single_flight, s.leaving, s.failures, s.hostile, s.pieces, s.raw, s.legacy, s.end]


POLICY = {"admin_role": "admin", "tables": {"rows": {"select": {
    "tenant": {"filter": {"tenant": {"_eq": "{{jwt.tenant}}"}}},
    "narrow": {"filter": {"tenant": {"_eq": "{{jwt.tenant}}"}}, "max_rows": 1},
    "shy": {"deny_columns": ["tenant"], "denied_aggregations": ["sum"]},
    "reader": {}}}}}


def roles(server):
    """Answers do not cross from one caller to another unless their statements are the same; secrets of a filter are not told."""
    def run():
        def say(text):
            return f"{server.name}: {text}"
        db = server.database("e2e_query_roles")
        server.query(f"CREATE TABLE {db}.rows (id UInt64, tenant String, n UInt8) ENGINE = MergeTree ORDER BY id")
        server.query(f"INSERT INTO {db}.rows VALUES (1, 'acme-secret', 1), (2, 'acme-secret', 2), (3, 'other-secret', 3)")
        with Daemon(server, db, name="query-roles", access=True, settings={
                "auth.jwt_secret": "s" * 40, "auth.operator_key": "k" * 40, "schema.refresh_interval": "1s"}) as d:
            d.start()
            a = d.call("PUT", "/v1/ops/policy", json.dumps(POLICY), {"X-Operator-Key": "k" * 40})
            same(a.status, 200, say("a policy"))

            def ask(role, tenant=None, body=None, **more):
                claims = tokens.claims_of(role, **({"tenant": tenant} if tenant else {}), **more)
                return d.call("POST", "/v1/query?table=rows", json.dumps(body or {"columns": ["id"], "order_by": [{"column": "id"}]}),
                              {"Authorization": "Bearer " + tokens.hs("s" * 40, claims)})

            def got(a):
                return (a.fields.get("x-cache"), [r["id"] for r in a.json()] if a.status == 200 else a.status)
            net.wait_for(lambda: ask("reader").status == 200, 10)
            d.call("POST", "/v1/ops/query", json.dumps({"sql": "CREATE TABLE IF NOT EXISTS x (a UInt8) ENGINE = Memory"}),
                   {"X-Operator-Key": "k" * 40})  # everything is void
            same([got(ask("tenant", t)) for t in ("acme-secret", "other-secret", "acme-secret")],
                 [("MISS", [1, 2]), ("MISS", [3]), ("HIT", [1, 2])], say("each tenant has its own answer"))
            same(got(ask("tenant", "acme-secret", sub="somebody else")), ("HIT", [1, 2]), say("two callers of one tenant share theirs"))
            same(got(ask("narrow", "acme-secret")), ("MISS", [1]), say("a role with fewer rows has another"))
            same(got(ask("reader")), ("MISS", [1, 2, 3]), say("a role without a filter, too"))
            same(got(ask("tenant")), ("MISS", []), say("without the claim nothing passes"))
            same([got(ask(r))[1] for r in ("nobody", None)], [403, 403], say("no role, no answer"))
            for body, words in (({"columns": ["id", "tenant"]}, 'column "tenant" not allowed'),
                                ({"aggregations": [{"fn": "sum", "column": "n"}]}, 'aggregation "sum" not allowed')):
                a = ask("shy", body=body)
                same((a.status, a.error), (403, words), say(words))
                ok(f"reason={json.dumps(words)}" in d.log(), say("which is logged with its reason"), d.log_tail)
            a = d.call("POST", "/v1/query?table=rows", "{}", {"Authorization": "Bearer x.y.z"})
            same((a.status, a.error), (401, "invalid token"), say("a bad token"))
            a = ask("tenant", "acme-secret", {"columns": ["id"], "filters": [{"column": "n", "op": "eq", "value": "not a number"}]})
            ok(a.status == 400 and "secret" not in a.body.decode() and "SELECT" not in a.body.decode(),
               say("an error does not tell the filter's value"), a)
            for method, path in (("POST", "/v1/ops/query"),):
                a = d.call(method, path, '{"sql":"SELECT 1"}', {"Authorization": "Bearer " + tokens.hs("s" * 40, tokens.claims_of("tenant"))})
                same(a.status, 403, say("SQL is for operators"))
    run.__name__ = "roles"
    return run


def busy():
    """query.max_concurrent: the rest waits, and more than a thousand are sent away."""
    s = clickhouse.generations()[0]
    db = s.database("e2e_query_busy")
    s.query(f"CREATE VIEW {db}.slow AS SELECT toUInt64(sum(sleep(0.3))) AS n FROM system.one")
    with Daemon(s, db, name="query-busy", settings={"query.max_concurrent": 1, "clickhouse.query_timeout": "20s"}) as d:
        d.start()
        codes = []

        def ask(n):
            codes.append(d.call("POST", "/v1/query?table=slow", json.dumps({"columns": ["n"], "limit": n + 1})).status)
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        began = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - began
        ok(codes == [200] * 8 and took >= 8 * 0.3, "eight queries, one at a time", f"{codes} {took}")


def slow_readers():
    """Readers that do not read hold some of the places, never all of them."""
    s = clickhouse.generations()[0]
    db = s.database("e2e_query_readers")
    s.query(f"CREATE VIEW {db}.many AS SELECT number AS n, toString(number) AS s FROM numbers(50000000)")
    with Daemon(s, db, name="query-readers", settings={"query.max_concurrent": 4, "query.default_max_rows": 100000000}) as d:
        d.start()
        body = b'{"select_all":true}'
        head = b"POST /v1/query.ndjson?table=many HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        net.wait_for(lambda: d.call("POST", "/v1/query?table=many", '{"columns":["n"],"limit":1}').status == 200, 10)
        readers = []
        for _ in range(6):
            c = socket.create_connection(("127.0.0.1", d.port))
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(head)
            readers.append(c)
        ok(net.wait_for(lambda: d.metrics()["wavehouse_query_running"] == 3, 10), "three of six slow readers have a place of four",
           lambda: d.metrics()["wavehouse_query_running"])
        a = d.call("POST", "/v1/query?table=many", '{"columns":["n"],"limit":2}')
        same((a.status, len(a.json() or [])), (200, 2), "a query passes them")
        same(d.metrics()["wavehouse_query_waiting"], 3, "three wait")
        for c in readers[:3]:
            c.close()
        ok(net.wait_for(lambda: d.metrics()["wavehouse_query_waiting"] == 0, 10), "when some leave, the others come in")
        for c in readers[3:]:
            c.close()
        ok(net.wait_for(lambda: d.metrics()["wavehouse_query_running"] == 0, 10), "and all end")


def stopping():
    """A stop while a query runs: the client is answered, the daemon ends."""
    s = clickhouse.generations()[0]
    db = s.database("e2e_query_stop")
    s.query(f"CREATE VIEW {db}.long AS SELECT max(cityHash64(number)) AS n FROM numbers(1000000000000)")
    d = Daemon(s, db, name="query-stop", settings={"server.shutdown_timeout": "1s"}).start()
    got = []

    def ask():
        try:
            got.append(d.call("POST", "/v1/query?table=long", '{"columns":["n"]}').status)
        except OSError as e:
            got.append(type(e).__name__)
    t = threading.Thread(target=ask)
    t.start()
    net.wait_for(lambda: d.metrics()["wavehouse_query_running"] == 1, 5)
    began = time.monotonic()
    code = d.stop()
    t.join()
    ok(code == 0 and time.monotonic() - began < 8, "a stop does not wait for ClickHouse", f"{code} {time.monotonic() - began} {got}")
    d.remove()


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse runs")
    parts = []
    for one in clickhouse.generations():
        parts += suite(one) + [roles(one)]
    tap.run(*parts, busy, slow_readers, stopping)
