#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Input that no good client sends: each gets its exact answer, none of it is stored, and the daemon goes on.

Every record below has an id from BAD upwards, so one query at the end proves that nothing slipped through.
"""
import gzip
import json
import socket
import time
import zlib

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

BAD = 666000
NDJSON = "application/x-ndjson"
MIB = 1024 * 1024
RECORD = b'{"id":%d,"name":"smuggled"}' % BAD
SECOND = b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(RECORD), RECORD)

server = daemon = database = None


def prepare():
    global server, daemon, database
    server = clickhouse.generations()[0]
    database = server.database("e2e_bad_input")
    server.query(f"CREATE TABLE {database}.ev (id UInt32, name String, tags Array(String) DEFAULT []) ENGINE = MergeTree ORDER BY id")
    daemon = Daemon(server, database, name="bad_input", settings={
        "server.header_timeout": "1s", "server.body_timeout": "1s", "server.idle_timeout": "2s",
        "flush.interval": "300ms"}).start()
    daemon.know("ev")
    same(daemon.ingest("ev", {"id": 1, "name": "good"}).status, 200, "a good record first")


def refused(answer, status, text, name):
    ok(answer.status == status and answer.error == text and
       answer.fields.get("content-type", "").startswith("application/json"),
       name, f" got {answer} {answer.fields}\nwant {status} {text!r}")


# ---- bodies
def json_bodies():
    def one(body, text, name, status=400, table="ev", kind="application/json"):
        refused(daemon.ingest(table, body, kind=kind), status, text, name)
    rec = '{"id":%d,"name":"x"' % BAD
    one(rec, "invalid json", "truncated object")
    one(rec[:-1], "invalid json", "truncated string")
    one("[" + rec + "},", "invalid json: unterminated json array", "truncated array")
    one(rec.encode() + b',"tags":["\xff\xfe"]}', "invalid json", "invalid UTF-8")
    one(rec.encode() + b',"tags":["\xed\xa0\x80"]}', "invalid json", "a UTF-8 surrogate")
    one(rec.encode() + b',"tags":["\xc0\xaf"]}', "invalid json", "overlong UTF-8")
    one(rec.encode() + b',"tags":["a\0b"]}', "invalid json", "NUL byte in a string")
    one(rec.encode() + b"\0}", "invalid json", "NUL byte between tokens")
    one(b"\0" + rec.encode() + b"}", "invalid json", "NUL byte in front")
    one(rec + ',"tags":["a\nb"]}', "invalid json", "raw newline in a string")
    one("\ufeff".encode() + rec.encode() + b"}", "invalid json", "byte order mark")
    one(rec + ",}", "invalid json", "trailing comma")
    one(rec.replace('"', "'") + "}", "invalid json", "single quotes")
    one(rec + ',"tags":[NaN]}', "invalid json", "NaN")
    one('{"id":0%d,"name":"x"}' % BAD, "invalid json", "leading zero")
    one("{" + '"tags":' + "[" * 2000 + "]" * 2000 + "}", "invalid json", "2,000 levels deep")
    one("{" + '"tags":' + "[" * 100000, "invalid json", "100,000 open brackets")
    a = daemon.ingest("ev", "[" * 2000 + "]" * 2000)
    ok(a.status == 400 and (a.error or "").startswith("invalid json: "), "an array 2,000 levels deep", a)
    one(rec + ',"nosuch":1}', 'unknown column "nosuch" for table "ev"', "unknown column")
    one('{"id":{"a":1},"name":"x"}', 'type mismatch for column "id": cannot store object in UInt32', "wrong kind")
    one(rec + "}", "unknown table: nosuch", "unknown table", 404, "nosuch")
    one(rec + "}", "unknown table: ev; DROP TABLE ev", "SQL as a table name", 404, "ev%3B%20DROP%20TABLE%20ev")
    a = daemon.ingest("ev%00", rec + "}")
    ok(a.status in (400, 404) and a.error, "NUL in a table name", a)
    a = daemon.ingest("ev%zz", rec + "}")
    ok(a.status in (400, 404) and a.error, "a bad percent escape in a table name", a)
    a = daemon.ingest("ev", rec + "}", kind=None, Content_Encoding="br")
    ok(a.status == 415 and a.error, "an unknown Content-Encoding", a)
    refused(daemon.ingest("ev", rec + "}", Content_Encoding="gzip"), 400, "request body is not valid gzip",
            "not gzip at all")
    for coding in ("deflate", "zstd"):
        refused(daemon.ingest("ev", rec + "}", Content_Encoding=coding), 400, f"request body is not valid {coding}",
                f"not {coding} at all")


def ndjson_bodies():
    bad = ['{"id":%d' % BAD, '{"id":%d,"name":"x","tags":%s}' % (BAD, "[" * 2000 + "]" * 2000), "\x00", "nul", '"x"']
    a = daemon.ingest("ev", ("\n".join(bad) + "\n").encode() + b'{"id":%d,"name":"\xff"}\n' % BAD, kind=NDJSON)
    v = a.json() or {}
    same((a.status, v.get("total"), v.get("succeeded"), v.get("failed")), (200, 6, 0, 6), "bad NDJSON lines")
    same([r.get("error") for r in v.get("results", [])],
         ["invalid json"] * 4 + ["record must be a JSON object", "invalid json"], "each with its own answer")
    a = daemon.ingest("ev", b'{"id":%d,"name":"' % BAD + b"x" * (10 * MIB) + b'"}\n', kind=NDJSON)
    ok(a.status == 400 and (a.error or "").startswith("invalid json: "), "an NDJSON line over 10 MiB", a)


def big_bodies():
    text = "request body exceeded 16777216 bytes"
    head = b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\n"
    # Announced: the answer comes from the head alone.
    got = net.answers(net.raw(daemon.port, head + b"Content-Length: %d\r\n\r\n" % (17 * MIB), timeout=5))
    ok(len(got) == 1 and (got[0].status, got[0].error) == (413, text), "17 MiB announced", got)
    # Sent in pieces: the answer comes once the cap is passed.
    piece = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    got = net.answers(net.raw(daemon.port, head + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 17 + b"0\r\n\r\n"))
    ok(len(got) == 1 and (got[0].status, got[0].error) == (413, text), "17 MiB in chunks", got)
    bomb = gzip.compress(b" " * (64 * MIB), 9)
    refused(daemon.ingest("ev", bomb, Content_Encoding="gzip"), 413, text,
            f"a gzip bomb ({len(bomb)} bytes become 64 MiB)")
    refused(daemon.ingest("ev", zlib.compress(b" " * (64 * MIB), 9), Content_Encoding="deflate"), 413, text, "a deflate bomb")
    refused(daemon.ingest("ev", net.zstd_zeros(64 * MIB), Content_Encoding="zstd"), 413, text, "a zstd bomb")

    text = "more than 1000000 records in one request: send them in several"
    refused(daemon.ingest("ev", b"{}\n" * 1000001, kind=NDJSON), 413, text, "a million and one lines")
    refused(daemon.ingest("ev", b"[" + b"1," * 1000001 + b"1]"), 413, text, "as many elements")
    a = daemon.ingest("nosuch", b"x" * 100)
    same(a.status, 404, "the connection after it is served")
    body = json.dumps([{"id": 2, "name": "x" * 1000}] * 16000).encode()
    ok(len(body) < 16 * MIB and daemon.ingest("ev", body).status == 200, "just under the cap is taken")


# ---- heads
def heads():
    """Malformed heads and smuggling shapes: one answer, the connection closes, what follows is never a request."""
    post = b"POST /v1/ingest?table=ev HTTP/1.1\r\n"
    body = RECORD
    size = b"Content-Length: %d\r\n" % len(body)
    host = b"Host: x\r\n"

    def case(name, data, status, text):
        out = net.raw(daemon.port, data + SECOND, timeout=5)
        got = net.answers(out)
        ok(len(got) == 1 and got[0].status == status and (text is None and got[0].error or got[0].error == text),
           name, f" got {got}\nwant {status} {text!r}, then the end")
    both = "both Content-Length and Transfer-Encoding were sent"
    chunked = b"Transfer-Encoding: chunked\r\n"
    case("Content-Length and Transfer-Encoding", post + host + size + chunked + b"\r\n0\r\n\r\n", 400, both)
    case("Transfer-Encoding and Content-Length", post + host + chunked + size + b"\r\n0\r\n\r\n", 400, both)
    for value in (b"+5", b"-1", b"0x10", b"5 5", b"5,5", b"5, 6", b"", b"99999999999999999999", b"1e3", b"5;"):
        case(f"Content-Length: {value.decode()!r}", post + host + b"Content-Length: " + value + b"\r\n\r\n", 400,
             "invalid Content-Length")
    case("two Content-Length that differ", post + host + b"Content-Length: 0\r\n" + size + b"\r\n", 400,
         "invalid Content-Length")
    for value in (b"xchunked", b"identity", b"gzip, chunked"):
        case(f"Transfer-Encoding: {value.decode()}", post + host + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n",
             501, "unsupported Transfer-Encoding: only chunked is read")
    for value in (b"chunked, chunked", b"chunked;q=1", b"", b"\x0bchunked"):
        out = net.answers(net.raw(daemon.port, post + host + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + SECOND,
                                  timeout=5))
        ok(len(out) == 1 and out[0].status in (400, 501) and out[0].error, f"Transfer-Encoding: {value!r}", out)
    case("space before the colon", post + host + b"Content-Length : %d\r\n\r\n" % len(body), 400, "malformed header field")
    case("space in a field name", post + host + b"Trans fer: x\r\n\r\n", 400, "malformed header field")
    case("obs-fold", post + host + b"X-A: 1\r\n  folded\r\n" + size + b"\r\n", 400, "malformed header field")
    case("NUL in a field value", post + host + b"X-A: a\0b\r\n\r\n", 400, "malformed header field")
    case("a field without colon", post + host + b"Broken\r\n\r\n", 400, "malformed header field")
    line = "malformed request: a line must end in CRLF"
    case("bare LF after the request line", post[:-2] + b"\n" + host + b"\r\n", 400, line)
    case("bare LF between fields", post + b"Host: x\n" + b"X: y\r\n\r\n", 400, line)
    case("bare CR in a field value", post + host + b"X-A: a\rb\r\n\r\n", 400, None)
    case("no Host", post + size + b"\r\n", 400, "exactly one valid Host header is required")
    case("two Host fields", post + host + b"Host: y\r\n" + size + b"\r\n", 400, "exactly one valid Host header is required")
    case("HTTP/2.0", b"POST /livez HTTP/2.0\r\n" + host + b"\r\n", 505, "HTTP version not supported: use HTTP/1.1")
    case("HTTP/1.0 with Transfer-Encoding", b"POST /v1/ingest?table=ev HTTP/1.0\r\n" + chunked + b"\r\n0\r\n\r\n", 400, None)
    request_line = "malformed request line"
    case("no version", b"GET /livez\r\n" + host + b"\r\n", 400, request_line)
    case("a leading space", b" GET /livez HTTP/1.1\r\n" + host + b"\r\n", 400, request_line)
    case("two spaces", b"GET  /livez HTTP/1.1\r\n" + host + b"\r\n", 400, request_line)
    case("NUL in the request line", b"GET /li\0vez HTTP/1.1\r\n" + host + b"\r\n", 400, request_line)
    case("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 100, 400, None)
    chunk = "malformed chunked request body"
    start = post + host + chunked + b"\r\n"
    for name, data in (("size in hexadecimal notation", b"0x5\r\n{\"id\"\r\n0\r\n\r\n"), ("negative size", b"-1\r\n\r\n"),
                       ("a size of 17 digits", b"1" * 17 + b"\r\n"), ("no size", b"\r\n\r\n"),
                       ("data longer than its size", b"2\r\n{\"id\"\r\n0\r\n\r\n"), ("bare LF", b"2\n{}\n0\n\n"),
                       ("space in the size", b"2 2\r\n{}\r\n0\r\n\r\n")):
        case("chunk: " + name, start + data, 400, chunk)
    case("Expect: something else", post + host + b"Expect: 200-maybe\r\n" + size + b"\r\n", 417,
         "only Expect: 100-continue is supported")


def header_bombs():
    def case(name, data, status, text):
        got = net.answers(net.raw(daemon.port, data, timeout=5))
        ok(len(got) == 1 and (got[0].status, got[0].error) == (status, text), name, f" got {got}\nwant {status} {text!r}")
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    case("65 and more fields", get + b"".join(b"X-%d: y\r\n" % i for i in range(100)) + b"\r\n", 431,
         "more than 64 request header fields")
    case("a field of 20 KiB", get + b"X: " + b"y" * 20480 + b"\r\n\r\n", 431, "request header is larger than 16384 bytes")
    case("an endless field name", get + b"y" * 40000, 431, "request header is larger than 16384 bytes")
    case("a target of 9 KiB", b"GET /" + b"a" * 9216 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "request target is too long")
    got = net.answers(net.raw(daemon.port, b"A" * 100000, timeout=5))
    ok(len(got) <= 1 and all(a.status in (400, 414, 431) for a in got), "100 KB without any structure", got)


def slowloris():
    """Many slow connections: each is ended by the time limit, others are served all the while."""
    slow = []
    for i in range(200):
        s = socket.create_connection((net.HOST, daemon.port), timeout=10)
        s.sendall(b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\n" +
                  (b"X-Slow: " if i % 2 else b"Content-Length: %d\r\n\r\n{" % len(RECORD)))
        slow.append(s)
    began = time.monotonic()
    worst = 0.0
    for i in range(20):
        t = time.monotonic()
        same(daemon.call("GET", "/livez").status, 200, f"served beside 200 slow clients ({i + 1})")
        worst = max(worst, time.monotonic() - t)
    ok(worst < 0.5, "and without delay", f"{worst:.3f} s")
    ends = []
    for i, s in enumerate(slow):
        data = b""
        try:
            while time.monotonic() - began < 8:
                piece = s.recv(4096)
                if not piece:
                    break
                data += piece
        except OSError as e:
            data += repr(e).encode()
        got = net.answers(data)
        ends.append([(a.status, a.error) for a in got])
        s.close()
    took = time.monotonic() - began
    ok(all(e == [(408, "request timeout: the request came too slowly")] for e in ends), "each is answered 408 and closed",
       f"{[e for e in ends if e != ends[0]][:3]} {ends[:2]}")
    ok(took < 6, "within the time limits", f"{took:.1f} s")
    began = time.monotonic()
    same(net.raw(daemon.port, b"", timeout=8), b"", "an idle connection is closed without a word")
    ok(1 < time.monotonic() - began < 6, "after the idle time", f"{time.monotonic() - began:.1f} s")


def nothing_stored():
    same(daemon.ingest("ev", {"id": 3, "name": "good"}).status, 200, "a good record last")
    net.wait_for(lambda: server.one(f"SELECT count() FROM {database}.ev") >= 16002, 10)
    same([r[0] for r in server.rows(f"SELECT DISTINCT id FROM {database}.ev ORDER BY id")], [1, 2, 3],
         "nothing of all this is in the table")
    same((daemon.dlq() or {}).get("total"), 0, "nor among the dead letters")
    ok(daemon.alive(), "the daemon lives", daemon.log_tail())
    same(daemon.stop(), 0, "SIGTERM: exit status 0")


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    try:
        tap.run(prepare, json_bodies, ndjson_bodies, big_bodies, heads, header_bombs, slowloris, nothing_stored)
    finally:
        if daemon:
            daemon.stop()
