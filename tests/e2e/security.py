#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The read side as somebody would attack it who has a token, or none: queries, pipes, streams and ops of a daemon with access
control, before real servers of both generations."""
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import os
import random
import socket
import stat
import threading
import time
import urllib.parse

from lib import clickhouse, net, tap, tokens
from lib.daemon import Daemon
from lib.tap import ok, same

SECRET = "a-secret-of-the-tests-that-is-long-enough"
KEY = "operator-key-of-the-tests-0123456789"
JSON = {"Content-Type": "application/json"}
# What a caller of tenant mine must never see, whatever it asks.
THEIRS, HIDDEN, PAY = "theirs-5ad1", "hidden-77c3", 987654321
MARKS = (THEIRS.encode(), HIDDEN.encode(), str(PAY).encode(), b"pay_2f", b"owner_9b", b"note_4e")
HOSTILE = ["'", "''", "\\", "\\'", "`", "``", "\\`", '"', "it's", "a\0b", "\0", "a\nb", "\r\nX-Evil: 1\r\n\r\n", "\t", "{p0:String}", "{{x}}", "{{ jwt.owner }}",
           "--", "-- x\n", "/*", "*/", "/* x */", "#", "# x", "' OR 1=1 --", "\\' OR 1=1 --", "') OR 1=1 --", "x' UNION ALL SELECT id FROM shut --",
           "`) FROM ev --", "1; DROP TABLE ev", "$$", "$x$", "‘x’", "“x”", "＇", "ʼ", "é漢💥", "\u202e", "\ufeff", "%", "_", "%27", "+", "&param_p0=x",
           "a" * 900, "'" * 400, "\\" * 401, "NULL", "\\N", "true", "0x1", "-1", "1e400", "*", "?", "\x7f", "\x1f"]


def token(role="reader", owner="mine", **claims):
    return tokens.hs(SECRET, tokens.claims_of(role, owner=owner, **claims))


def bearer(*args, **claims):
    return {"Authorization": "Bearer " + token(*args, **claims), **JSON}


def chunks(sock, until, seconds=10, data=b""):
    """What comes until the text `until` does; all of it, behind `data`, which has come already."""
    end = time.monotonic() + seconds
    while until not in data and time.monotonic() < end:
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            piece = sock.recv(65536)
        except OSError:
            break
        if not piece:
            break
        data += piece
    return data


class Suite:
    def __init__(self, server):
        self.s, self.db = server, server.database("e2e_security")
        q, db = server.query, self.db
        window = " SETTINGS non_replicated_deduplication_window = 100" if server.modern else ""
        for name in ("ev", "shut"):
            q(f"CREATE TABLE {db}.{name} (id UInt64, owner_9b String, page String, note_4e String, pay_2f Int64, at DateTime('UTC')) "
              f"ENGINE = MergeTree ORDER BY id{window}")
        q(f"INSERT INTO {db}.ev SELECT number, if(number % 2, 'mine', '{THEIRS}'), concat('/', toString(number % 3)), '{HIDDEN}', {PAY}, "
          "toDateTime('2026-01-01 00:00:00', 'UTC') + number FROM numbers(20)")
        q(f"CREATE TABLE {db}.odd (id UInt64, owner_9b String, page String) ENGINE = MergeTree ORDER BY id{window}")
        q(f"CREATE VIEW {db}.slow AS SELECT toUInt64(number) AS n, sleepEachRow(0.5) AS z FROM numbers(6)"
          if server.modern else f"CREATE VIEW {db}.slow AS SELECT toUInt64(sleep(2)) AS n, toUInt8(0) AS z FROM system.one")
        q(f"CREATE VIEW {db}.much AS SELECT number AS n, 'a text that makes an answer long' AS t FROM numbers(4000000)" if server.modern else
          f"CREATE VIEW {db}.much AS SELECT number AS n, 'a text that makes an answer long' AS t FROM system.numbers LIMIT 4000000")
        self.policy = {"default_role": "public", "admin_role": "admin", "tables": {
            "ev": {"select": {"reader": {"filter": {"owner_9b": {"_eq": "{{ jwt.owner }}"}}, "deny_columns": ["owner_9b", "note_4e", "pay_2f"],
                                         "denied_aggregations": ["grouparray"]},
                              "all": {"deny_columns": ["note_4e", "pay_2f"]}},
                   "insert": {"writer": {}}},
            "odd": {"select": {"reader": {"filter": {"owner_9b": {"_eq": "{{ jwt.owner }}"}}, "deny_columns": ["owner_9b"]}, "all": {}}, "insert": {"writer": {}}},
            "slow": {"select": {"reader": {}, "all": {}}}, "much": {"select": {"reader": {"max_rows": 4000000}, "all": {}}}}}
        self.d = Daemon(server, db, name="security", access=True, settings={
            "auth.operator_key": KEY, "auth.jwt_secret": SECRET, "flush.interval": "100ms", "server.threads": 2,
            "stream.close_on_token_expiry": True, "query.default_max_rows": 4000000, "query.max_concurrent": 4, "clickhouse.query_timeout": "8s"})
        self.d.start("/readyz")
        self.put_policy()
        self.admin = {"X-Operator-Key": KEY, **JSON}
        self.sent = []  # tokens by URL
        self.come = {}  # a stream's first bytes

    def put_policy(self):
        a = self.d.call("PUT", "/v1/ops/policy", json.dumps(self.policy).encode(), {"X-Operator-Key": KEY, **JSON})
        if a.status != 200:
            raise RuntimeError(f"policy: {a}")

    def put_pipe(self, name, sql, **more):
        a = self.d.call("PUT", "/v1/ops/pipes/" + urllib.parse.quote(name, safe=""),
                        json.dumps({"sql": sql, "allowed_roles": ["reader"], **more}).encode(), self.admin)
        if a.status != 200:
            raise RuntimeError(f"pipe {name}: {a}")

    def ask(self, body, table="ev", headers=None, path="/v1/query", query=""):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.d.call("POST", f"{path}?table={urllib.parse.quote(table)}{query}", data, headers or bearer())

    def say(self, text):
        return f"{self.s.name}: {text}"

    def tight(self, a, what, statuses=(200, 400, 403, 404)):
        """An answer that is one of these, and tells nothing that is not the caller's."""
        head = json.dumps(a.fields).encode()
        told = [m for m in MARKS if m in a.body or m in head]
        return ok(a.status in statuses and not told and "x-evil" not in a.fields, self.say(what), f"{told} {a.fields} {a}")

    def quiet(self, answers, what, statuses=(200, 400, 403, 404)):
        """As tight, over many: one line."""
        bad = [(k, a) for k, a in answers if a.status not in statuses or "x-evil" in a.fields or
               any(m in a.body or m in json.dumps(a.fields).encode() for m in MARKS)]
        ok(not bad and self.d.alive(), self.say(f"{what} ({len(answers)} tries)"), lambda: "\n".join(f"{k!r}: {a.fields} {a}" for k, a in bad[:5]))

    # ---- what is said with names and values ----

    def injection(self):
        places = {
            "table": None,
            "column": lambda h: {"columns": [h]}, "column text": lambda h: {"columns": h},
            "function": lambda h: {"aggregations": [{"fn": h, "column": "id"}]},
            "aggregated": lambda h: {"aggregations": [{"fn": "max", "column": h}]},
            "alias": lambda h: {"columns": ["page"], "aggregations": [{"fn": "count", "column": "*", "alias": h}], "group_by": ["page"]},
            "alias, ordered": lambda h: {"aggregations": [{"fn": "max", "column": "id", "alias": h}], "order_by": [{"column": h, "dir": "desc"}]},
            "filtered": lambda h: {"columns": ["id"], "filters": [{"column": h, "op": "eq", "value": 1}]},
            "operator": lambda h: {"columns": ["id"], "filters": [{"column": "id", "op": h, "value": 1}]},
            "text value": lambda h: {"columns": ["id"], "filters": [{"column": "page", "op": "eq", "value": h}]},
            "number value": lambda h: {"columns": ["id"], "filters": [{"column": "id", "op": "eq", "value": h}]},
            "time value": lambda h: {"columns": ["id"], "filters": [{"column": "at", "op": "gte", "value": h}]},
            "like": lambda h: {"columns": ["id"], "filters": [{"column": "page", "op": "like", "value": h}]},
            "in": lambda h: {"columns": ["id"], "filters": [{"column": "page", "op": "in", "value": [h, "x"]}]},
            "in numbers": lambda h: {"columns": ["id"], "filters": [{"column": "id", "op": "in", "value": [h, 1]}]},
            "grouped": lambda h: {"columns": ["page"], "group_by": ["page", h]},
            "ordered": lambda h: {"columns": ["id"], "order_by": [{"column": h}]},
            "direction": lambda h: {"columns": ["id"], "order_by": [{"column": "id", "dir": h}]},
            "time column": lambda h: {"columns": ["id"], "time_range": {"column": h, "since": "1h"}},
            "since": lambda h: {"columns": ["id"], "time_range": {"column": "at", "since": h}},
            "until": lambda h: {"columns": ["id"], "time_range": {"column": "at", "since": "1h", "until": h}},
            "key": lambda h: {"columns": ["id"], h: h},
        }
        for place, make in places.items():
            got = [(h, self.ask({"columns": ["id"]}, table=h) if make is None else self.ask(make(h))) for h in HOSTILE]
            self.quiet(got, f"hostile words as {place}")
            if place in ("text value", "in"):
                same([(h, a.body) for h, a in got if a.status != 200 or a.body != b"[]"], [], self.say(f"no row for them as {place}"))
            if place == "alias":
                lost = [(h, a) for h, a in got if h not in ("*",) and (a.status != 200 or any(h not in row for row in json.loads(a.body)))]
                ok(not lost, self.say("an alias may be called anything"), lambda bad=lost: repr(bad[:5]))
        same(self.s.one(f"SELECT count() FROM {self.db}.ev"), 20, self.say("the table is as it was"))

    def round_trip(self):
        """Hostile values that are there are found, each by itself, by filters and by claims."""
        rows = [{"id": i, "owner_9b": h, "page": h} for i, h in enumerate(HOSTILE)]
        writer = bearer("writer")
        a = self.d.call("POST", "/v1/ingest?table=odd", json.dumps(rows).encode(), writer)
        same(a.status, 200, self.say("hostile rows are written"))
        if not net.wait_for(lambda: self.s.one(f"SELECT count() FROM {self.db}.odd") == len(rows), 20):
            raise RuntimeError("rows are not there")
        every = bearer("all")
        wrong = []
        for i, h in enumerate(HOSTILE):
            for f in ({"op": "eq", "value": h}, {"op": "in", "value": [h]}):
                a = self.ask({"columns": ["id"], "filters": [{"column": "page", **f}]}, "odd", every)
                if a.status != 200 or a.json() != [{"id": i}]:
                    wrong.append((h, f["op"], a))
            a = self.ask({"columns": ["id"]}, "odd", bearer("reader", h))
            if a.status != 200 or a.json() != [{"id": i}]:
                wrong.append((h, "claim", a))
        ok(not wrong, self.say("each value finds its row, as filter, in a list and as claim"), lambda: "\n".join(map(repr, wrong[:6])))
        got = [(v, self.ask({"columns": ["id", "page"]}, headers=bearer("reader", v)))
               for v in (None, [], ["mine"], {"a": "mine"}, True, 0, 1.5, 1e300, "", "mine ", "Mine", "mine\0", "{{ jwt.role }}")]
        same([(v, a.status, a.body) for v, a in got if (a.status, a.body) != (200, b"[]")], [], self.say("a claim that is not the owner sees nothing"))

    def pipes(self):
        self.put_pipe("x", "SELECT {{x}} AS x")
        self.put_pipe("q", "SELECT '{{x}}' AS x, `page` FROM ev WHERE owner_9b = '{{x}}' -- {{x}}\nAND /* {{x}} */ 1 = 1")
        self.put_pipe("n", "SELECT -{{x}} AS x", parameters=[{"name": "x", "type": "number"}])
        self.put_pipe("l", "SELECT id FROM ev WHERE page IN {{x}}", parameters=[{"name": "x", "type": "array"}])
        self.put_pipe("c", "SELECT 1 AS x {% if x == 'yes' %} FROM ev {% end %}")
        wrong, got = [], []
        for h in HOSTILE:
            for a in (self.d.call("POST", "/v1/pipes/x", json.dumps({"x": h}).encode(), bearer()),
                      self.d.call("GET", "/v1/pipes/x?x=" + urllib.parse.quote(h, safe=""), None, bearer())):
                same_back = (a.status == 400 and h == "1e400") or a.status == 200 and (a.json() == [{"x": h}] or (h == "-1" and a.json() == [{"x": -1}]) or str(a.json()[0]["x"]) == h)
                if not same_back:
                    wrong.append((h, a))
            for name in "qnlc":
                got.append(((name, h), self.d.call("GET", f"/v1/pipes/{name}?x=" + urllib.parse.quote(h, safe=""), None, bearer())))
                got.append(((name, [h]), self.d.call("POST", f"/v1/pipes/{name}", json.dumps({"x": [h, h]}).encode(), bearer())))
                got.append(((name, "key", h), self.d.call("POST", f"/v1/pipes/{name}", json.dumps({h: h, "x": "1"}).encode(), bearer())))
            got.append(("name", self.d.call("GET", "/v1/pipes/" + urllib.parse.quote(h, safe=""), None, bearer())))
        ok(not wrong, self.say("a pipe's argument comes back as it was sent"), lambda: "\n".join(map(repr, wrong[:6])))
        self.quiet(got, "hostile arguments in every place of a template")

    def headers(self):
        got = []
        for h in HOSTILE:
            v = h.replace("\r", "").replace("\n", "").replace("\0", "")
            for name in ("Accept", "If-None-Match", "X-Request-Id", "X-Forwarded-For", "Origin", "Authorization", "X-Operator-Key", "Last-Event-ID"):
                field = {**bearer(), name: v.encode()} if name != "Authorization" else {**JSON, name: b"Bearer " + v.encode()}
                got.append(((name, h), self.ask({"columns": ["id"]}, headers=field)))
        self.quiet(got, "hostile fields", (200, 304, 400, 401, 403))
        for raw in ("\0", "\n", "\r"):
            data = net.raw(self.d.port, f"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a{raw}X-Evil: 1\r\nConnection: close\r\n\r\n".encode(), 5)
            ok(b"x-evil" not in data.lower(), self.say(f"{raw!r} in a field makes no other"), data)

    # ---- what belongs to others ----

    def crossing(self):
        body = {"columns": ["id"], "order_by": [{"column": "id"}]}
        mine, theirs = [{"id": i} for i in range(1, 20, 2)], [{"id": i} for i in range(0, 20, 2)]
        a, b = bearer(), bearer("reader", THEIRS)
        everything = bearer("all")
        first = self.ask(body, headers=a)
        same(first.json(), mine, self.say("mine"))
        # A look at the schema in between makes everything void.
        ok(net.wait_for(lambda: self.ask(body, headers=a).fields.get("x-cache") == "HIT", 10), self.say("and again from the cache"))
        other = self.ask(body, headers=b)
        same((other.json(), other.fields.get("x-cache")), (theirs, "MISS"), self.say("the same body of another tenant is another query"))
        same(self.ask(body, headers=everything).json(), [{"id": i} for i in range(20)], self.say("and of another role"))
        tags = {x.fields["etag"] for x in (first, other)}
        same(len(tags), 2, self.say("their tags differ"))
        for tag in (first.fields["etag"], "W/" + first.fields["etag"], first.fields["etag"] + ", x"):
            x = self.ask(body, headers={**b, "If-None-Match": tag})
            same((x.status, x.json()), (200, theirs), self.say(f"{tag[:6]}… of another tenant is not known to this one"))
            same(self.ask(body, headers={**a, "If-None-Match": tag}).status, 304, self.say("but to its own"))
        x = self.ask(body, headers={**JSON, "If-None-Match": first.fields["etag"]})
        same((x.status, x.fields.get("etag"), x.fields.get("x-cache")), (403, None, None), self.say("a stranger learns nothing by a tag"))
        wrong = []

        def one(i):
            who, want = ((a, mine), (b, theirs))[i % 2]
            x = self.ask({**body, "limit": 100 + i // 8}, headers=who)
            if x.json() != want:
                wrong.append((i % 2, x))
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(160)))
        ok(not wrong, self.say("two tenants who ask the same at once get their own rows"), lambda: wrong[:3])

    def hidden(self):
        for name in ("owner_9b", "note_4e", "pay_2f"):
            asks = [{"columns": [name]}, {"columns": ["id", name]}, {"aggregations": [{"fn": "max", "column": name}]},
                    {"aggregations": [{"fn": "count", "column": name}]}, {"columns": ["id"], "filters": [{"column": name, "op": "like", "value": "h%"}]},
                    {"columns": ["id"], "filters": [{"column": name, "op": "in", "value": ["x"]}]},
                    {"columns": ["page"], "group_by": ["page", name]}, {"columns": ["id"], "order_by": [{"column": name}]},
                    {"columns": ["id"], "time_range": {"column": name, "since": "1h"}}, {"columns": ["id"], "time_range": {"column": name}},
                    {"aggregations": [{"fn": "max", "column": "id", "alias": name}], "order_by": [{"column": name}]}]
            got = [self.ask(x) for x in asks]
            ok(all((x.status, x.error) == (403, f'column "{name}" not allowed') for x in got), self.say(f"{name} is refused in every clause"), got)
        for fn in ("uniq", "max", "any", "groupArray", "argMax", "uniqExact"):
            x = self.ask({"aggregations": [{"fn": fn, "column": "*"}]})
            ok(x.status in (400, 403), self.say(f"{fn}(*) is refused"), x)
        same(self.ask({"aggregations": [{"fn": "GROUPARRAY", "column": "id"}]}).status, 403, self.say("a denied aggregation in another spelling"))
        # an alias of a hidden column's name must not take the filter's place
        for alias in ("owner_9b", "note_4e", "pay_2f", "id", "page"):
            x = self.ask({"aggregations": [{"fn": "count", "column": "*", "alias": alias}]})
            same((x.status, x.json()), (200, [{alias: 10}]), self.say(f"an alias {alias} does not capture the filter"))
            x = self.ask({"aggregations": [{"fn": "max", "column": "page", "alias": alias}], "filters": [{"column": "id", "op": "gt", "value": 0}]})
            same((x.status, [len(r) for r in x.json() or []]), (200, [1]), self.say(f"nor max as {alias}"))
        star = self.ask({"select_all": True})
        ok(star.status == 200 and all(set(r) == {"id", "page", "at"} for r in star.json()), self.say("* is what may be seen"), star)
        self.tight(star, "and nothing else")
        a = self.d.call("GET", "/openapi.json", None, bearer())
        ok(b'"ev"' in a.body or b".ev" in a.body, self.say("the API's description has the table"), a)
        self.tight(a, "but no hidden column")
        a = self.d.call("GET", "/openapi.json")
        ok(a.status == 200 and b".ev" not in a.body and b'"page"' not in a.body, self.say("and a stranger's has no table"), a)
        got = []
        for fn in ("sum", "avg", "median", "quantile", "stddevPop", "argMax", "varSamp"):
            for column in ("page", "at", "id"):
                got.append(((fn, column), self.ask({"aggregations": [{"fn": fn, "column": column}]})))
        for column in ("id", "page", "at"):
            for op in ("eq", "gt", "like", "not_like", "in"):
                for value in ("x", -1, 1e300, 10 ** 40, "18446744073709551616", "2026-99-99", True):
                    f = {"column": column, "op": op, "value": [value] if op == "in" else value}
                    got.append((f, self.ask({"columns": ["id"], "filters": [f]})))
        got.append(("group", self.ask({"columns": ["id"], "group_by": ["page"]})))
        got.append(("nested", self.ask({"columns": ["id"], "aggregations": [{"fn": "count", "column": "*", "alias": "owner_9b"}]})))
        self.quiet(got, "what ClickHouse refuses tells no hidden name or value")
        errors = {a.status for _, a in got}
        ok(400 in errors, self.say("and it did refuse something"), errors)
        for limit in ({"max_rows_to_read": 1}, {"max_memory_usage": 1}, {"max_execution_time": 1}):
            self.policy["tables"]["ev"]["select"]["reader"].update(limit)
            self.put_policy()
            self.tight(self.ask({"columns": ["id"], "limit": 77}), f"{list(limit)[0]} tells nothing")
            for k in limit:
                del self.policy["tables"]["ev"]["select"]["reader"][k]
        self.put_policy()

    # ---- streams ----

    def listen(self, query, headers):
        s = socket.create_connection((net.HOST, self.d.port), timeout=10)
        head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        s.sendall(f"GET /v1/stream?{query} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        first = chunks(s, b": connected")
        if b" 200 " not in first.split(b"\r\n")[0]:
            raise RuntimeError(f"stream: {first}")
        self.come[s] = first
        return s

    def streams(self):
        good = token()
        self.sent.append(good)
        asked = {"reader": ("table=ev", bearer()), "by URL": (f"table=ev&token={good}", {}), "twice": ("table=ev&table=ev", bearer()),
                 "positional": ("table=ev&frames=positional", bearer()), "replay": ("table=ev&since=2020-01-01T00:00:00Z", bearer())}
        silent = {"stranger": ("table=ev", {}), "no grant": ("table=shut", bearer()), "dead letters": ("table=dlq", bearer()),
                  "no claim": ("table=ev", {"Authorization": "Bearer " + tokens.hs(SECRET, tokens.claims_of("reader"))}),
                  "a bad token": ("table=ev&token=x.y.z", {}), "an expired token": ("table=ev", bearer(ttl=-900)), "two tables": ("table=shut&table=dlq", bearer())}
        socks = {k: self.listen(*v) for k, v in {**asked, **silent}.items()}
        rows = [{"id": 1000 + i, "owner_9b": (THEIRS, "mine")[i % 2], "page": f"p{i}", "note_4e": HIDDEN, "pay_2f": PAY,
                 "at": "2026-01-01T00:00:00Z"} for i in range(10)]
        a = self.d.call("POST", "/v1/ingest?table=ev", json.dumps(rows).encode(), bearer("writer"))
        same(a.status, 200, self.say("rows of two tenants"))
        for name in asked:
            data = chunks(socks[name], b"p9", data=self.come[socks[name]])
            ok(b"p9" in data and data.count(b"\nid: ") + data.count(b"id: 2") >= 5, self.say(f"{name}: its events come"), data[-600:])
            ok(not any(m in data for m in (MARKS[:3] if name == "positional" else MARKS)) and not any(f'"p{i}"'.encode() in data for i in range(0, 10, 2)),
               self.say(f"{name}: and no others"), data)
        for name in silent:
            socks[name].settimeout(0.3)
            try:
                data = self.come[socks[name]] + socks[name].recv(65536)
            except OSError:
                data = self.come[socks[name]]
            ok(b"data:" not in data, self.say(f"{name}: silence"), data)
            note = {"a bad token": b": invalid token\n\n", "an expired token": b": token expired\n\n"}.get(name, b"")
            ok(b": connected\n\n" + note in data and data.count(b"token") == note.count(b"token"),
               self.say(f"{name}: a comment says what is wrong with a token, and nothing else"), data)
        # the policy takes the table away: from the next event on there is nothing
        kept = self.policy["tables"]["ev"]["select"].pop("reader")
        self.put_policy()
        a = self.d.call("POST", "/v1/ingest?table=ev", json.dumps([{**r, "page": "late", "owner_9b": "mine"} for r in rows]).encode(), bearer("writer"))
        every = self.listen("table=ev&since=2020-01-01T00:00:00Z", bearer("all"))
        ok(b"late" in chunks(every, b"late", data=self.come[every]), self.say("another role has them"))
        for name in asked:
            socks[name].settimeout(0.2)
            try:
                data = socks[name].recv(65536)
            except OSError:
                data = b""
            ok(b"late" not in data, self.say(f"{name}: nothing after the right is gone"), data)
        self.policy["tables"]["ev"]["select"]["reader"] = kept
        self.put_policy()
        for s in (*socks.values(), every):
            s.close()

    def expiry(self):
        """However an expiry is spelt, the stream ends with it."""
        for rest in ("", "." + "0" * 40):
            exp = f"{int(time.time()) + 4}{rest}"
            text = tokens.b64({"alg": "HS256"}) + "." + tokens.b64(b'{"role":"reader","owner":"mine","exp":%s}' % exp.encode())
            mac = tokens.b64(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest())
            s = self.listen("table=ev", {"Authorization": f"Bearer {text}.{mac}"})
            ok(b"0\r\n\r\n" in chunks(s, b"0\r\n\r\n", 15), self.say(f"the stream ends at {len(exp)} characters of exp"))
            s.close()

    # ---- ops ----

    def ops(self):
        routes = [("POST", "/v1/ops/query"), ("GET", "/v1/ops/schema"), ("POST", "/v1/ops/schema/refresh"), ("GET", "/v1/ops/dlq/stats"),
                  ("GET", "/v1/ops/dlq"), ("DELETE", "/v1/ops/dlq"), ("POST", "/v1/ops/dlq/replay"), ("GET", "/v1/ops/drift"), ("POST", "/v1/ops/replay"),
                  ("GET", "/v1/ops/replay"), ("GET", "/v1/ops/policy"), ("PUT", "/v1/ops/policy"), ("POST", "/v1/ops/policy/validate"),
                  ("GET", "/v1/ops/pipes"), ("PUT", "/v1/ops/pipes/"), ("POST", "/v1/ops/settings/reload"), ("GET", "/v1/ops/dlq/x"), ("PUT", "/v1/ops/dlq/x"),
                  ("DELETE", "/v1/ops/dlq/x"), ("GET", "/v1/ops/replay/x"), ("DELETE", "/v1/ops/replay/x"), ("GET", "/v1/ops/pipes/x"), ("PUT", "/v1/ops/pipes/x"),
                  ("DELETE", "/v1/ops/pipes/x"), ("POST", "/v1/schema/suggest"), ("GET", "/v1/offset")]
        callers = {"a reader": (bearer(), 403), "a stranger": (JSON, 403), "a bad token": ({**JSON, "Authorization": "Bearer a.b.c"}, 401),
                   "no role": ({**JSON, "Authorization": "Bearer " + tokens.hs(SECRET, tokens.claims_of(None))}, 403),
                   "Admin": (bearer("Admin"), 403), "an admin of another issuer": ({**JSON, "Authorization": "Bearer " + tokens.hs("x" * 40, tokens.claims_of("admin"))}, 401),
                   "an unsigned admin": ({**JSON, "Authorization": "Bearer " + tokens.unsigned(tokens.claims_of("admin"))}, 401),
                   "a list of roles": (bearer(["admin"]), 403)}
        body = json.dumps({"sql": f"SELECT note_4e FROM {self.db}.ev"}).encode()
        for who, (headers, status) in callers.items():
            got = [((m, p), self.d.call(m, p, body if m != "GET" else None, headers)) for m, p in routes]
            same([(k, a.status) for k, a in got if a.status != status or any(m in a.body for m in MARKS)], [], self.say(f"{who} opens no ops route"))
        for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "GETT"):
            data = net.raw(self.d.port, f"{method} /v1/ops/policy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), 5)
            ok(b"tables" not in data and b" 200 " not in data.split(b"\r\n")[0], self.say(f"{method} on ops"), data)

    def paths(self):
        targets = ["/v1/ops/../ops/policy", "/v1/ops/./policy", "/v1/./ops/policy", "/v1/x/../ops/policy", "/v1/%6fps/policy", "/v1/ops%2fpolicy", "/v1/ops%2Fpolicy",
                   "/v1%2fops/policy", "/v1/ops/%70olicy", "/v1/%2e%2e/v1/ops/policy", "/v1/ops/%2e%2e/ops/policy", "//v1/ops/policy", "/v1//ops/policy",
                   "/v1/ops//policy", "/v1/ops/policy/", "/v1/ops/policy.", "/v1/ops./policy", "/V1/ops/policy", "/v1/OPS/policy", "/v1/ops/POLICY", "/v1/ops;x/policy",
                   "/v1/ops/policy;x", "/v1/ops\\policy", "\\v1\\ops\\policy", "/v1/ops/policy%00", "/v1/ops/policy%0a", "/v1/ops/policy?", "/v1/ops/policy#x",
                   "http://x/v1/ops/policy", "HTTP://x/v1/ops/policy", "http://x:80/v1/ops/policy", "http:///v1/ops/policy", "https://x/v1/ops/policy", "http://x/../v1/ops/policy",
                   "http://u:p@x/v1/ops/policy", "x/v1/ops/policy", "*", "/livez/../v1/ops/policy", "/livez?/../v1/ops/policy", "/v1/pipes/../ops/policy",
                   "/v1/pipes/..%2fops%2fpolicy", "/v0/pipes/..%2f..%2fv1%2fops%2fpolicy.json", "/v1/query/../ops/policy", "/v1/ops/pipes/../policy", "/v1/ops/policy?token=",
                   "/v1/ops/policy?operator_key=" + KEY, "/v1/o\u0000ps/policy", "/v1/ops/policy\t", "/\xef\xbc\x8fv1/ops/policy"]
        told, dead = [], []
        for t in targets:
            for head in ("", f"Authorization: Bearer {token()}\r\n"):
                data = net.raw(self.d.port, f"GET {t} HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode("latin-1"), 5)
                line = data.split(b"\r\n")[0]
                if b"admin_role" in data or b"select" in data or (b" 200 " in line and not t.startswith("/livez")):
                    told.append((t, data[:300]))
                if not line.startswith(b"HTTP/1."):
                    dead.append((t, data[:300]))
        same(told, [], self.say("no spelling of a path leads around the gate"))
        same(dead, [], self.say("each is answered"))
        ok(self.d.alive(), self.say("alive"))

    def control_socket(self):
        path = self.d.config["server"]["control_socket"]
        mode = stat.S_IMODE(os.stat(path).st_mode)
        ok(mode & 0o007 == 0, self.say("the control socket is not for everybody"), oct(mode))

        def by_socket(method, target, headers="", body=b""):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(path)
                s.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                return chunks(s, b"\0never")
        ok(b"admin_role" in by_socket("GET", "/v1/ops/policy"), self.say("it is the operator's"))
        ok(b"admin_role" in by_socket("GET", "/v1/ops/policy", f"Authorization: Bearer {token()}\r\n"), self.say("whatever token is sent as well"))
        data = net.raw(self.d.port, b"GET /v1/ops/policy HTTP/1.1\r\nHost: control.sock\r\nX-Forwarded-For: unix\r\nForwarded: for=unix\r\nConnection: close\r\n\r\n", 5)
        ok(b" 403 " in data.split(b"\r\n")[0], self.say("nothing that TCP says makes it the socket"), data)

    # ---- too much ----

    def oversized(self):
        before = self.d.rss_bytes("RssAnon")
        deep = b"[" * 200000 + b"]" * 200000
        tries = {
            "a long head": ("GET", "/livez", None, {f"X-{i}": "y" * 3000 for i in range(8)}, (400, 431)),
            "many fields": ("GET", "/livez", None, {f"X-{i}": "y" for i in range(200)}, (400, 431)),
            "a long target": ("GET", "/v1/pipes/x?x=" + "y" * 9000, None, bearer(), (400, 414, 431)),
            "a long token": ("GET", "/v1/ops/schema", None, {"Authorization": "Bearer " + "a." * 7000 + "a"}, (400, 401, 431)),
            "a long token in the target": ("GET", "/v1/ops/schema?token=" + "a." * 3500 + "a", None, {}, (401, 400, 414)),
            "a token of many claims": ("GET", "/v1/ops/schema", None, bearer("reader", "x", **{f"c{i}": i for i in range(300)}), (403, 401, 431)),
            "a token of deep claims": ("GET", "/v1/ops/schema", None, {"Authorization": "Bearer " + tokens.b64({"alg": "HS256"}) + "." + tokens.b64(b'{"a":' * 1200 + b"1" + b"}" * 1200) + ".x"}, (401,)),
            "a deep query": ("POST", "/v1/query?table=ev", deep, bearer(), (400,)),
            "a deep filter": ("POST", "/v1/query?table=ev", b'{"columns":["id"],"filters":[{"column":"page","op":"eq","value":' + deep + b"}]}", bearer(), (400,)),
            "deep pipe arguments": ("POST", "/v1/pipes/x", b'{"x":' + deep + b"}", bearer(), (400,)),
            "a long list as an argument": ("POST", "/v1/pipes/x", json.dumps({"x": list(range(20001))}).encode(), bearer(), (400,)),
            "a long list of lists": ("POST", "/v1/pipes/x", json.dumps({"x": [[1, 2]] * 10000}).encode(), bearer(), (400,)),
            "nested pipe arguments": ("POST", "/v1/pipes/x", b'{"x":' + b"[" * 900 + b"1" + b"]" * 900 + b"}", bearer(), (200, 400)),
            "a large query": ("POST", "/v1/query?table=ev", b'{"columns":["' + b"x" * (1 << 20) + b'"]}', bearer(), (413,)),
            "many values": ("POST", "/v1/query?table=ev", json.dumps({"columns": ["id"], "filters": [{"column": "id", "op": "in", "value": list(range(20001))}]}).encode(), bearer(), (400,)),
            "many values, twice": ("POST", "/v1/query?table=ev", json.dumps({"columns": ["id"], "filters": [{"column": "id", "op": "in", "value": list(range(15000))}] * 2}).encode(), bearer(), (200, 400)),
            "many filters": ("POST", "/v1/query?table=ev", json.dumps({"columns": ["id"], "filters": [{"column": "id", "op": "gt", "value": 1}] * 1001}).encode(), bearer(), (400,)),
            "many columns": ("POST", "/v1/query?table=ev", json.dumps({"columns": ["id"] * 4097}).encode(), bearer(), (400,)),
            "many aggregations": ("POST", "/v1/query?table=ev", json.dumps({"aggregations": [{"fn": "max", "column": "id", "alias": f"a{i}"} for i in range(1001)]}).encode(), bearer(), (400,)),
            "a long name": ("POST", "/v1/query?table=ev", json.dumps({"columns": ["x" * 500000]}).encode(), bearer(), (400,)),
            "a long table": ("POST", "/v1/query?table=" + "x" * 2000, b"{}", bearer(), (400, 404)),
            "a huge number": ("POST", "/v1/query?table=ev", b'{"columns":["id"],"filters":[{"column":"id","op":"eq","value":' + b"9" * 500000 + b"}]}", bearer(), (200, 400)),
            "a large policy": ("PUT", "/v1/ops/policy", b'{"tables":{"' + b"x" * (2 << 20) + b'":{}}}', self.admin, (400, 413)),
            "a deep policy": ("PUT", "/v1/ops/policy", deep, self.admin, (400,)),
            "a large pipe": ("PUT", "/v1/ops/pipes/big", json.dumps({"sql": "x" * (300 << 10), "allowed_roles": []}).encode(), self.admin, (400, 413)),
            "nested conditions": ("PUT", "/v1/ops/pipes/big", json.dumps({"sql": "SELECT 1 {% if " + "(" * 5000 + "x" + ")" * 5000 + " %}{% end %}", "allowed_roles": []}).encode(), self.admin, (400,)),
            "many nots": ("PUT", "/v1/ops/pipes/big", json.dumps({"sql": "SELECT 1 {% if " + "not " * 20000 + "x %}{% end %}", "allowed_roles": []}).encode(), self.admin, (400,)),
            "many arguments": ("GET", "/v1/pipes/x?" + "&".join(f"a{i}=1" for i in range(600)), None, bearer(), (400,)),
            "many tables": ("GET", "/v1/stream?" + "table=a&" * 200, None, bearer(), (400,)),
        }
        for what, (method, target, body, headers, statuses) in tries.items():
            try:
                a = self.d.call(method, target, body, headers)
            except (OSError, http.client.HTTPException) as e:
                ok(False, self.say(f"{what} is answered"), e)
                continue
            self.tight(a, f"{what}: {a.status}", statuses)
        ok(self.d.alive(), self.say("alive after too much of everything"), self.d.log_tail)
        grown = self.d.rss_bytes("RssAnon") - before
        ok(grown < (96 << 20) * (4 if self.d.asan else 1), self.say(f"and no fatter than before ({grown >> 20} MiB)"))

    # ---- one connection, several requests ----

    def smuggling(self):
        inner = b"GET /v1/ops/policy HTTP/1.1\r\nHost: x\r\nX-Operator-Key: " + KEY.encode() + b"\r\n\r\n"
        ends = b"Host: x\r\nContent-Type: application/json\r\nAuthorization: Bearer " + token().encode() + b"\r\n"
        post = b"POST /v1/query?table=ev HTTP/1.1\r\n" + ends
        tries = {
            "both lengths": post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
            "two lengths": post + b"Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}" + inner,
            "a list of lengths": post + b"Content-Length: 2, 200\r\n\r\n{}" + inner,
            "a signed length": post + b"Content-Length: +2\r\n\r\n{}" + inner,
            "a length with a space": post + b"Content-Length : 2\r\n\r\n{}" + inner,
            "an obscure coding": post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
            "two codings": post + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
            "a folded field": post + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + inner,
            "a bad chunk size": post + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + inner,
            "a huge chunk size": post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff2\r\n{}\r\n0\r\n\r\n" + inner,
            "a chunk without its end": post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n" + inner,
        }
        for what, data in tries.items():
            got = net.raw(self.d.port, data, 4, half_close=True)
            ok(b"admin_role" not in got and got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), self.say(f"{what}: nothing behind it is a request"), got[:800])
        body = b'{"columns":["id"],"filters":[{"column":"page","op":"eq","value":"' + inner.replace(b"\r\n", b"\\r\\n") + b'"}]}'
        got = net.answers(net.raw(self.d.port, post + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body, 6))
        same([a.status for a in got], [200], self.say("a request in a body is a value"))
        # behind an open stream nothing is ever answered
        s = self.listen("table=ev", bearer())
        s.sendall(inner * 50)
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        data = chunks(s, b"admin_role", 1)
        ok(b"admin_role" not in data and b'"ok"' not in data, self.say("behind an open stream nothing is answered"), data[:500])
        s.close()
        # behind an answer in pieces: in order, whole
        body = b'{"columns":["n"],"limit":200000}'
        with socket.create_connection((net.HOST, self.d.port), timeout=30) as s:
            s.sendall(b"POST /v1/query.csv?table=much HTTP/1.1\r\n" + ends + b"Content-Length: %d\r\n\r\n" % len(body) + body +
                      b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/ops/policy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            f = s.makefile("rb")
            got = []
            for _ in range(3):
                line = f.readline()
                size, chunked = 0, False
                while (h := f.readline()) not in (b"\r\n", b""):
                    size = int(h.split(b":")[1]) if h.lower().startswith(b"content-length") else size
                    chunked = chunked or h.lower().startswith(b"transfer-encoding")
                data = b""
                while chunked and (n := int(f.readline(), 16)) >= 0:
                    data += f.read(n)
                    f.readline()
                    if n == 0:
                        break
                data += f.read(size)
                got.append((line.split()[1], data))
            same([x for x, _ in got], [b"200", b"200", b"403"], self.say("behind an answer in pieces each request has its own, in order"))
            same((got[0][1].count(b"\n"), b"git_commit" in got[1][1]), (200001, True), self.say("and all of it"))

    # ---- time and places ----

    def running(self):
        return self.d.metrics()["wavehouse_query_running"] + self.d.metrics()["wavehouse_query_waiting"]

    def one_query(self, path, table, body, headers=None, read=0):
        """A connection with a query on its way; the caller leaves when it likes."""
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(30)
        s.connect((net.HOST, self.d.port))
        data = json.dumps(body).encode()
        head = "".join(f"{k}: {v}\r\n" for k, v in (headers or bearer()).items())
        s.sendall(f"POST {path}?table={table} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        if read:
            s.recv(read)
        return s

    def leaving(self):
        """Whoever leaves before the first byte of an answer in pieces gives the place back."""
        settled = net.wait_for(lambda: self.running() == 0, 20)
        ok(settled, self.say("no query runs"))
        socks = [self.one_query("/v1/query.csv", "slow", {"columns": ["n", "z"], "limit": 10 + i}) for i in range(12)]
        net.wait_for(lambda: self.running() >= 3, 10)
        for s in socks:
            s.close()
        began = time.monotonic()
        ok(net.wait_for(lambda: self.running() == 0, 20), self.say("all places are free again"))
        took = time.monotonic() - began
        ok(took < 3.5 or not self.s.modern, self.say(f"soon: the queries of twelve who left are not run ({took:.1f} s)"))

    def storm(self):
        rnd = random.Random(5)
        before = self.d.rss_bytes("RssAnon")

        def one(i):
            path = rnd.choice(("/v1/query", "/v1/query.csv", "/v1/query.ndjson"))
            table = rnd.choice(("slow", "much", "ev"))
            columns = ["n"] if table != "ev" else ["id"]
            s = self.one_query(path, table, {"columns": columns, "limit": 100000 + i % 40})
            time.sleep(rnd.random() * 0.2)
            if i % 3 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(600)))
        ok(net.wait_for(lambda: self.running() == 0, 40), self.say("a storm of queries that are left ends"), self.d.log_tail)
        a = self.ask({"columns": ["id"], "limit": 12345})
        same(a.status, 200, self.say("and others are served"))
        grown = self.d.rss_bytes("RssAnon") - before
        ok(grown < (128 << 20) * (4 if self.d.asan else 1), self.say(f"in the memory of before ({grown >> 20} MiB)"))

    def slow_readers(self):
        """Readers that take nothing do not keep others from answers in pieces for ever."""
        ok(net.wait_for(lambda: self.running() == 0, 30), self.say("no query runs"))
        socks = [self.one_query("/v1/query.csv", "much", {"columns": ["n", "t"], "limit": 3000000 + i}, read=1) for i in range(6)]
        began = time.monotonic()
        a = self.ask({"columns": ["id"], "limit": 54321})
        ok(a.status == 200 and time.monotonic() - began < 5, self.say("a query is answered beside slow readers"), a)
        alive = [True]

        def drip():
            while alive[0]:
                for s in socks:
                    try:
                        s.recv(600)
                    except OSError:
                        pass
                time.sleep(0.4)
        t = threading.Thread(target=drip)
        t.start()
        try:
            a = self.ask({"columns": ["n"], "limit": 3}, "much", path="/v1/query.csv")
            took = time.monotonic() - began
            ok(took < 30 and a.status in (200, 503), self.say(f"an answer in pieces beside them: {a.status} after {took:.0f} s"), a)
            ok(net.wait_for(lambda: self.ask({"columns": ["n"], "limit": 4}, "much", path="/v1/query.csv").status == 200, 40),
               self.say("and then they have made room"))
        finally:
            alive[0] = False
            t.join()
            for s in socks:
                s.close()

    def waiting_for_an_offset(self):
        """A pipe that has waited is the one that was asked for."""
        self.put_pipe("first", "SELECT 'first' AS x")
        self.put_pipe("second", "SELECT 'second' AS x")
        offset = self.d.call("GET", "/v1/offset", None, self.admin).json()["accepted"]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            waiting = [pool.submit(self.d.call, "GET", f"/v1/pipes/first?min_offset={offset + 1}&n={i}", None, bearer()) for i in range(12)]
            stop = threading.Event()

            def others():
                while not stop.is_set():
                    self.d.call("GET", "/v1/pipes/second?x=" + "y" * 3000, None, bearer())
                    self.d.call("GET", "/livez")
            noise = [pool.submit(others) for _ in range(4)]
            time.sleep(0.5)  # the requests are at the daemon; nothing tells when
            a = self.d.call("POST", "/v1/ingest?table=ev", json.dumps({
                "id": 5000, "owner_9b": "none", "page": "x", "note_4e": HIDDEN, "pay_2f": PAY, "at": "2026-01-01T00:00:00Z"}).encode(), bearer("writer"))
            got = [f.result() for f in waiting]
            stop.set()
            for f in noise:
                f.result()
        same(({(x.status, x.body) for x in got}, a.status), ({(200, b'[{"x":"first"}]')}, 200), self.say("whoever waited for an offset gets its own pipe"))

    def logs(self):
        for t in (token("reader", "mine", x=1), token("writer"), "not.a.token-but-secret-4711"):
            self.sent.append(t)
            for target in (f"/v1/ops/schema?token={t}", f"/v1/query?table=ev&token={t}", f"/v1/pipes/x?token={t}", f"/v1/nothing?token={t}"):
                self.d.call("GET", target)
                self.d.call("POST", target, b"{}", JSON)
            net.raw(self.d.port, f"GET /v1/ops/schema?token={t}&{'x' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 3)
        log = self.d.log()
        same([t for t in self.sent if t.split(".")[-1] in log], [], self.say("no token of a URL is in the log"))
        ok(KEY not in log and SECRET not in log, self.say("nor a key"))

    def end(self):
        same(self.s.one(f"SELECT count() FROM {self.db}.ev WHERE id < 20"), 20, self.say("the table is as it was"))
        # it ends with everything under way, and with clients that do not read
        socks = [self.one_query(path, "slow", {"columns": ["n"], "limit": 900 + i}) for i, path in
                 enumerate(("/v1/query", "/v1/query.csv", "/v1/query.ndjson") * 4)]
        socks += [self.one_query("/v1/query.csv", "much", {"columns": ["n", "t"], "limit": 3500000 + i}) for i in range(4)]
        socks += [self.listen(q, bearer()) for q in ("table=ev", "table=ev&since=2020-01-01T00:00:00Z", "table=shut")]
        for target in ("/v1/pipes/first?min_offset=999999", "/v1/pipes/first?min_offset=999998"):
            s = socket.create_connection((net.HOST, self.d.port))
            s.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token()}\r\n\r\n".encode())
            socks.append(s)
        ok(net.wait_for(lambda: self.running() > 3, 10), self.say("much is under way"))
        socks[0].close()
        same(self.d.stop(60), 0, self.say("the daemon ends as it should, whatever is under way"))
        for s in socks:
            s.close()
        log = self.d.log()
        ok("Sanitizer" not in log and "runtime error" not in log, self.say("no complaint of a sanitizer"), self.d.log_tail(60))
        self.d.remove()


def suite(server):
    s = []

    def start():
        s.append(Suite(server))
        with open(f"/proc/{s[0].d.process.pid}/maps", encoding="ascii", errors="replace") as f:
            s[0].d.asan = "asan" in f.read()
    parts = [start]
    for name in ("injection", "round_trip", "pipes", "headers", "crossing", "hidden", "streams", "expiry", "ops", "paths", "control_socket", "oversized", "smuggling",
                 "waiting_for_an_offset", "leaving", "slow_readers", "storm", "logs", "end"):
        def part(name=name):
            getattr(s[0], name)()
        part.__name__ = name
        parts.append(part)
    return parts


servers = clickhouse.generations()
if not servers:
    tap.skip_all("no ClickHouse runs (tests/run starts them)")
tap.run(*[part for server in servers for part in suite(server)])
