#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ClickHouse's door, request by request: the same bytes to a real 26.7 and to wavehoused get the same status, error number,
headers and rows; curl as in ClickHouse's documentation; what is refused and how."""
import json
import os
import re
import shutil
import subprocess
import urllib.parse

from lib import clickhouse, daemon, env, net, tap
from lib.tap import ok, same

Q = urllib.parse.quote
TABLE = """CREATE TABLE {}.t (a Int32, b String, n Nullable(Int32) DEFAULT 7, m Int32 MATERIALIZED 3, e String EPHEMERAL 'x', x Int32 ALIAS 1)
    ENGINE = MergeTree ORDER BY a"""
# Of the transport, of one side only by design, or different in each answer.
OWN = {"date", "connection", "keep-alive", "transfer-encoding", "content-length", "x-request-id", "x-content-type-options",
       "access-control-expose-headers", "x-clickhouse-exception-tag", "vary", "x-wavehouse-offset"}


def insert(rest, body=b"", **params):
    more = "".join(f"&{k}={Q(str(v))}" for k, v in params.items())
    return "POST", f"/?query={Q('INSERT INTO ' + rest)}{more}", body


# name → request; each uses ids of its own, so that the tables tell which rows came in.
SAME = {
    "CSV": insert("t FORMAT CSV", b"1,x,\n2,y,\\N\n"),
    "CSV, CRLF, blanks, quotes": insert("t FORMAT CSV", b' 3 , "a ""b""" ,5\r\n4,c d ,\r\n'),
    "CSV with a header nobody announced": insert("t FORMAT CSV", b"b,a\nz,5\n"),
    "header detection off": insert("t (b, a) FORMAT CSV", b"b,6\n", input_format_csv_detect_header=0),
    "CSVWithNames, an unknown one": insert("t FORMAT CSVWithNames", b"zz,a\n1,7\n"),
    "CSVWithNames, an unknown one refused": insert("t FORMAT CSVWithNames", b"zz,a\n1,7\n", input_format_skip_unknown_fields=0),
    "CSVWithNames, one twice": insert("t FORMAT CSVWithNames", b"a,a\n1,7\n"),
    "CSVWithNamesAndTypes": insert("t FORMAT CSVWithNamesAndTypes", b"a,b\nInt32,String\n8,t\n"),
    "CSVWithNamesAndTypes, a wrong type": insert("t FORMAT CSVWithNamesAndTypes", b"a,b\nInt64,String\n8,t\n"),
    "another delimiter": insert("t FORMAT CSV", b"9;a,b;1\n", format_csv_delimiter=";"),
    "TSV": insert("t FORMAT TSV", b"10\ta\\tb\\\\c\t\\N\n"),
    "TSV, CRLF": insert("t FORMAT TSV", b"11\ta\t1\r\n"),
    "TabSeparatedWithNames": insert("t FORMAT TabSeparatedWithNames", b"b\ta\nq\t12\n"),
    "Values": insert("t VALUES", b"(13,'it''s \\'q\\'',NULL),(14,'b',DEFAULT);"),
    "Values in the URL": insert("t (a,b) VALUES (15,'u')"),
    "Values, too few": insert("t VALUES", b"(1,'x')"),
    "JSONEachRow": insert("t FORMAT JSONEachRow", b'{"a":16,"b":"\\u00e9"}\n{"a":17}'),
    "JSONEachRow in one line": insert("t FORMAT JSONEachRow", b'{"a":18}{"a":19},{"a":20,\n"b":"x"}'),
    "JSONEachRow array": insert("t FORMAT JSONEachRow", b'[{"a":21},{"a":22,"zz":[1]}]'),
    "JSONEachRow nulls": insert("t FORMAT JSONEachRow", b'{"a":null,"b":null,"n":null}'),
    "JSONEachRow, unknown field refused": insert("t FORMAT JSONEachRow", b'{"a":1,"zz":1}', input_format_skip_unknown_fields=0),
    "JSONEachRow, not closed": insert("t FORMAT JSONEachRow", b'[{"a":1},{"a":2}'),
    "JSONCompactEachRow": insert("t FORMAT JSONCompactEachRow", b'[23,"x",null]\n[24,"y",1]'),
    "JSONCompactEachRow, too few": insert("t FORMAT JSONCompactEachRow", b"[23]"),
    "JSONCompactEachRowWithNamesAndTypes": insert("t FORMAT JSONCompactEachRowWithNamesAndTypes", b'["b","a"]\n["String","Int32"]\n["x",25]'),
    "columns": insert("t (b, a) FORMAT CSV", b"x,26\n"),
    "columns, EPHEMERAL": insert("t (a, e) FORMAT CSV", b"27,q\n"),
    "columns except": insert("t (* EXCEPT (b)) FORMAT JSONEachRow", b'{"a":28,"b":"no"}'),
    "columns, none such": insert("t (zz) FORMAT CSV", b"1\n"),
    "columns, one twice": insert("t (a, a) FORMAT CSV", b"1,1\n"),
    "columns, MATERIALIZED": insert("t (m) FORMAT CSV", b"1\n"),
    "columns, ALIAS": insert("t (x) FORMAT CSV", b"1\n"),
    "a bad row among good ones": insert("t FORMAT CSV", b"900,x,1\nz,y,1\n901,z,1\n"),
    "a bad row allowed": insert("t FORMAT CSV", b"29,x,1\nz,y,1\n30,z,1\n", input_format_allow_errors_num=1),
    "two bad rows, one allowed": insert("t FORMAT CSV", b"902,x,1\nz,y,1\nz,z,1\n", input_format_allow_errors_num=1),
    "bad rows by ratio": insert("t FORMAT CSV", b"31,x,1\nz,y,1\n32,z,1\n", input_format_allow_errors_ratio=0.6),
    "a table that is not there": insert("nosuch FORMAT CSV", b"1\n"),
    "a database that is not there": insert("nosuch.t FORMAT CSV", b"1\n"),
    "a format that is not there": insert("t FORMAT Nope", b"1\n"),
    "a setting that is not there": insert("t FORMAT CSV", b"1\n", nosuch=1),
    "SETTINGS": insert("t SETTINGS async_insert=0, input_format_skip_unknown_fields=1 FORMAT JSONEachRow", b'{"a":33,"zz":1}'),
    "SETTINGS, none such": insert("t SETTINGS nosuch=1 FORMAT CSV", b"1\n"),
    "no rows": insert("t FORMAT CSV"),
    "a misspelt word": ("POST", "/?query=" + Q("INSERT INTOO t FORMAT CSV"), b"1\n"),
    "no query": ("POST", "/", b""),
    "no query, GET": ("GET", "/?query=", b""),
    "INSERT by GET": ("GET", "/?query=" + Q("INSERT INTO t VALUES (1,'x',1)"), b""),
    "the statement in the body": ("POST", "/", b"INSERT INTO t (a, b) FORMAT CSV\n34,body\n"),
    "the statement in the body, Values": ("POST", "/", b"/* c */ insert into `t` (`a`, \"b\") -- c\n values (35,'body')"),
    "half in the URL": ("POST", "/?query=" + Q("INSERT INTO t (a, b)"), b"FORMAT CSV\n36,half\n"),
    "data on both sides": insert("t (a, b) FORMAT CSV 37,url", b"38,body\n"),
    "query_id": insert("t FORMAT JSONEachRow", b'{"a":39}', query_id="abc def"),
    "health": ("GET", "/", b""),
    "health by HEAD": ("HEAD", "/", b""),
    "ping": ("GET", "/ping", b""),
}
# Where we say no and ClickHouse does not, on purpose.
REFUSED = {
    "expressions": (insert("t VALUES", b"(1,lower('X'),1)"), 400, 62, "only literals|not evaluated"),
    "SELECT": (("POST", "/?query=" + Q("SELECT 1"), b""), 501, 48, "Only INSERT is served here"),
    "SELECT by GET": (("GET", "/?query=" + Q("SELECT 1"), b""), 501, 48, "Only INSERT is served here"),
    "INSERT SELECT": (insert("t SELECT 1, 'x', 1"), 501, 48, "only data that is sent"),
    "ClickHouse's own compression": (insert("t FORMAT CSV", b"1\n", decompress=1), 501, 48, "gzip, deflate or zstd"),
    "American dates": (insert("t FORMAT CSV", b"1\n", date_time_input_format="best_effort_us"), 500, 36, "can only be basic or best_effort"),
    "NULLs refused": (insert("t FORMAT CSV", b"1\n", input_format_null_as_default=0), 500, 36, "can only be 1"),
    "other quotes": (insert("t FORMAT CSV", b"1\n", format_csv_allow_single_quotes=1), 500, 36, "can only be 0"),
    "another NULL": (insert("t FORMAT CSV", b"1,x,0\n", format_csv_null_representation=0), 500, 36, "can only be .N"),
    "another NULL in TSV": (insert("t FORMAT TSV", b"1\tx\tfalse\n", format_tsv_null_representation="false"), 500, 36, "can only be .N"),
    "not UTF-8": (insert("t FORMAT CSV", b"1,\xff,1\n"), 400, 117, "not UTF-8"),
}


def ask(port, request, database=None):
    method, path, body = request
    headers = {"X-ClickHouse-Database": database} if database else {}
    return net.call(port, method, path, body, headers)


def code_of(a):
    found = re.match(rb"Code: (\d+)\. DB::Exception: ", a.body)
    return int(found[1]) if found else None


def facts(a):
    """What must be the same on both sides."""
    summary = json.loads(a.fields.get("x-clickhouse-summary") or "{}")
    return {"status": a.status, "code": code_of(a), "header code": a.fields.get("x-clickhouse-exception-code"),
            "rows": [summary.get(k) for k in ("written_rows", "result_rows")] if a.status == 200 else None,
            "type": a.fields.get("content-type"), "zone": a.fields.get("x-clickhouse-timezone"),
            "error name": (re.search(rb"\(([A-Z_0-9]+)\) \(version [0-9.]+\)\n$", a.body) or [None, None])[1]}


# The real server leaves these out of what it refuses before it has read the query.
LATE = {"x-clickhouse-query-id", "x-clickhouse-timezone"}


def compare(server, d):
    for name, request in SAME.items():
        want, got = ask(server.direct, request, "door_direct"), ask(d.port, request)
        early = "x-clickhouse-query-id" not in want.fields
        health = request[0] != "POST" and "query" not in request[1]  # not worth a summary
        a, b = facts(want), facts(got)
        if early:
            a["zone"] = b["zone"] = None
        if health:
            a["rows"] = b["rows"]
        same(b, a, name)
        if health:
            same(got.body, want.body, f"{name}: the text")
            continue
        drop = OWN | (LATE if early else set())
        same(sorted(set(got.fields) - drop), sorted(set(want.fields) - drop), f"{name}: the same headers")
        same(sorted(json.loads(got.fields["x-clickhouse-summary"])), sorted(json.loads(want.fields["x-clickhouse-summary"])),
             f"{name}: the same summary")
    a = ask(d.port, insert("t FORMAT JSONEachRow", b"", query_id="abc def"))
    same(a.fields.get("x-clickhouse-query-id"), "abc def", "query_id comes back")
    a = ask(d.port, SAME["a bad row among good ones"])
    ok(b"(at row 2)" in a.body, "the number of the bad row", a.body)


def refusals(d):
    for name, (request, status, code, text) in REFUSED.items():
        a = ask(d.port, request)
        ok((a.status, code_of(a), a.fields.get("x-clickhouse-exception-code")) == (status, code, str(code))
           and re.search(text.encode(), a.body), f"refused: {name}", a)


def credentials(d):
    row = b'{"a":40}'
    for name, headers, more in (("X-ClickHouse-User", {"X-ClickHouse-User": "u", "X-ClickHouse-Key": "k"}, ""),
                                ("Basic", {"Authorization": "Basic dTpr"}, ""), ("user and password", {}, "&user=u&password=k"),
                                ("database", {"X-ClickHouse-Database": d.config["clickhouse"]["database"]}, "")):
        a = net.call(d.port, "POST", "/?query=" + Q("INSERT INTO t (a) FORMAT JSONEachRow") + more, row, headers)
        same(a.status, 200, f"{name}: taken, as long as there is no access control")
    a = net.call(d.port, "POST", "/?query=" + Q("INSERT INTO t (a) FORMAT JSONEachRow"), row, {"Authorization": "Basic !"})
    same((a.status, code_of(a)), (403, 516), "Basic that is none")


def tokens(server, d, database):
    """insert_deduplication_token: once, whatever the format."""
    for body in (b"50,x\n51,y\n", b"50,x\n51,y\n"):
        a = ask(d.port, insert("t (a, b) FORMAT CSV", body, insert_deduplication_token="tok"))
        same(a.status, 200, "with a token")
    a = ask(d.port, insert("t (a, b) FORMAT CSV", b"52,x\n", insert_deduplication_token="other"))
    same(a.status, 200, "with another")
    net.wait_for(lambda: server.one(f"SELECT count() FROM {database}.t WHERE a = 52") == 1, 10)
    same(server.one(f"SELECT count() FROM {database}.t WHERE a IN (50, 51)"), 2, "the repeated request is stored once")


def curl(server, d, database):
    if not shutil.which("curl"):
        tap.skip("curl as in ClickHouse's documentation", "no curl here")
        return
    path = os.path.join(d.dir, "data.csv")
    with open(path, "w", encoding="utf-8") as f:
        f.write("60,file,1\n61,file,2\n")
    url = f"http://127.0.0.1:{d.port}"
    pipes = [["curl", "-sSf", f"{url}/?query=INSERT%20INTO%20t%20FORMAT%20CSV", "--data-binary", "@" + path],
             ["curl", "-sSf", f"{url}/", "-d", "INSERT INTO t (a, b) VALUES (62, 'inline')"],
             ["sh", "-c", f"printf \"(63, 'x', 1),(64, 'y', 2)\" | curl -sSf '{url}/?query=INSERT%20INTO%20t%20VALUES' --data-binary @-"],
             ["sh", "-c", f"gzip -c '{path}' | curl -sSf -H 'Content-Encoding: gzip' --data-binary @- '{url}/?query=INSERT%20INTO%20t%20FORMAT%20CSV'"],
             ["sh", "-c", f"printf '65,chunked,1\\n' | curl -sSf -T - -X POST '{url}/?query=INSERT%20INTO%20t%20FORMAT%20CSV'"]]
    for command in pipes:
        p = subprocess.run(command, capture_output=True, timeout=30, check=False)
        same((p.returncode, p.stdout), (0, b""), "curl: " + command[-1].replace(url, "")[:70])
    net.wait_for(lambda: server.one(f"SELECT count() FROM {database}.t WHERE a BETWEEN 60 AND 69") >= 8, 10)
    same(server.rows(f"SELECT a, count() FROM {database}.t WHERE a BETWEEN 60 AND 69 GROUP BY a ORDER BY a"),
         [[60, 2], [61, 2], [62, 1], [63, 1], [64, 1], [65, 1]], "what curl has stored")


def closed(server):
    """doors.clickhouse: false, and true again by reload."""
    with daemon.Daemon(server, "door_through", {"doors.clickhouse": False}) as d:
        d.start()
        for method, path in (("POST", "/?query=x"), ("GET", "/"), ("GET", "/ping")):
            a = d.call(method, path, b"" if method == "POST" else None)
            same((a.status, a.error), (404, "not found"), f"a closed door: {method} {path}")
        d.config["doors"]["clickhouse"] = True
        d.write_config()
        os.kill(d.process.pid, 1)
        ok(net.wait_for(lambda: d.call("GET", "/ping").status == 200, 10), "opened by a reload")


def outage(server):
    """Without a schema and with a full queue the answer is one to come back to."""
    with daemon.Daemon(None, settings={"clickhouse.addr": f"127.0.0.1:{net.free_port()}"}) as d:
        d.start(wait=None)
        net.wait_for(lambda: reachable(d), 10)
        a = ask(d.port, insert("t FORMAT CSV", b"1\n"))
        same((a.status, code_of(a), a.fields.get("retry-after")), (503, 210, "5"), "no schema yet")


def reachable(d):
    try:
        return d.call("GET", "/ping").status == 200
    except OSError:
        return False


def main():
    servers = {s.name: s for s in clickhouse.generations()}
    modern = servers.get("26.7")
    if not modern:
        tap.skip_all("no ClickHouse 26.7 to test against")
    for name in ("door_direct", "door_through"):
        modern.database(name)
        modern.query(TABLE.format(name))
    with daemon.Daemon(modern, "door_through", {"flush.interval": "200ms"}) as d:
        d.start()
        d.know("t")
        compare(modern, d)
        sql = "SELECT a, b, n, m FROM {}.t ORDER BY ALL FORMAT JSONCompactEachRow"
        want = modern.query(sql.format("door_direct"))
        net.wait_for(lambda: modern.query(sql.format("door_through")) == want, 10)
        same(modern.query(sql.format("door_through")), want, "the same rows")
        refusals(d)
        credentials(d)
        tokens(modern, d, "door_through")
        curl(modern, d, "door_through")
        same(d.stop(), 0, "SIGTERM: exit status 0")
    closed(modern)
    outage(modern)


if __name__ == "__main__":
    tap.run(main)
