#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pipes end to end (pipes.md, doc/pipes.md) on real servers of both generations: who may run them, arguments, conditions,
the cache and what makes it void, pipes that write, the alias under /v0."""
import json
import urllib.parse

from lib import clickhouse, net, tap, tokens
from lib.daemon import Daemon
from lib.tap import ok, same

OPERATOR, SECRET = "o" * 40, "s" * 40
POLICY = {"default_role": "public", "admin_role": "admin",
          "tables": {"ev": {"insert": {"writer": {}}, "select": {"viewer": {}}}}}
JSON = {"Content-Type": "application/json", "Accept": "application/json"}


class Suite:
    def __init__(self, server):
        self.s = server
        self.db = server.database("e2e_pipes")
        window = " SETTINGS non_replicated_deduplication_window = 100" if server.modern else ""
        server.query(f"CREATE TABLE {self.db}.ev (id UInt64, page String) ENGINE = MergeTree ORDER BY id{window}")
        server.query(f"CREATE TABLE {self.db}.copy (id UInt64) ENGINE = MergeTree ORDER BY id{window}")
        server.query(f"CREATE VIEW {self.db}.over AS SELECT id, page FROM {self.db}.ev")
        server.query(f"INSERT INTO {self.db}.ev VALUES (1, '/a'), (2, 'it''s'), (3, '/c')")
        self.d = Daemon(server, self.db, name="pipes", access=True, settings={
            "auth.operator_key": OPERATOR, "auth.jwt_secret": SECRET, "flush.interval": "200ms"})
        self.d.start("/readyz")
        self.viewer = self.bearer("viewer")
        same(self.ops("PUT", "/v1/ops/policy", POLICY).status, 200, f"{server.name}: a policy")

    @staticmethod
    def bearer(role, **claims):
        return {"Authorization": "Bearer " + tokens.hs(SECRET, tokens.claims_of(role, **claims)), **JSON}

    def ops(self, method, path, body=None):
        return self.d.call(method, path, None if body is None else json.dumps(body).encode(),
                           {"X-Operator-Key": OPERATOR, **JSON})

    def put(self, name, sql, roles=("viewer",), **more):
        r = self.ops("PUT", "/v1/ops/pipes/" + urllib.parse.quote(name, safe=""),
                     {"sql": sql, "allowed_roles": list(roles), **more})
        if r.status != 200:
            raise RuntimeError(f"{name}: {r.status} {r.body}")
        return json.loads(r.body)

    def run(self, path, body=None, headers=None, method=None):
        r = self.d.call(method or ("POST" if body is not None else "GET"), path,
                        json.dumps(body).encode() if body is not None else None, headers or self.viewer)
        return r

    def got(self, path, body=None, headers=None):
        r = self.run(path, body, headers)
        return r.status, json.loads(r.body)

    def access(self):
        self.put("top", "SELECT id, page FROM ev ORDER BY id LIMIT {{limit:10}}")
        self.put("closed", "SELECT 1 AS x", roles=())
        rows = [{"id": 1, "page": "/a"}, {"id": 2, "page": "it's"}, {"id": 3, "page": "/c"}]
        same(self.got("/v1/pipes/top"), (200, rows), "all rows")
        same(self.got("/v1/pipes/top", {}), (200, rows), "as the client asks")
        same(self.got("/v1/pipes/top?limit=1"), (200, rows[:1]), "a query string")
        same(self.got("/v1/pipes/top?limit=1", {"limit": 2}), (200, rows[:2]), "the body wins")
        same(self.got("/v1/pipes/none"), (404, {"error": "pipe not found"}), "no such pipe")
        same(self.got("/v1/pipes/none", headers=JSON), (404, {"error": "pipe not found"}), "whoever asks")
        same(self.got("/v1/pipes/top", headers=JSON), (403, {"error": "forbidden"}), "not for the public")
        same(self.got("/v1/pipes/top", headers=self.bearer("writer")), (403, {"error": "forbidden"}), "another role")
        same(self.got("/v1/pipes/top", headers={"Authorization": "Bearer x", **JSON}), (401, {"error": "invalid token"}),
             "a bad token")
        same(self.got("/v1/pipes/closed"), (403, {"error": "forbidden"}), "no allowed_roles: closed")
        same(self.got("/v1/pipes/closed", headers=self.bearer("admin")), (200, [{"x": 1}]), "but for admins")
        token = self.viewer["Authorization"].split()[1]
        self.put("echo", "SELECT {{token:none}} AS x")
        same(self.got(f"/v1/pipes/echo?token={token}", headers=JSON), (200, [{"x": "none"}]), "a token is no argument")
        name = "we`ird/ né?"
        self.put(name, "SELECT 7 AS x")
        same(self.got("/v1/pipes/" + urllib.parse.quote(name, safe="")), (200, [{"x": 7}]), "any name")
        same(self.run("/v1/pipes/top", method="DELETE").status, 405, "no other method")
        r = self.d.call("POST", "/v1/pipes/top", b"x" * (1 << 20) + b"y", self.viewer)
        same((r.status, json.loads(r.body)), (413, {"error": "request body exceeded 1048576 bytes"}), "a large body")

    def arguments(self):
        self.put("x", "SELECT {{x}} AS x")
        for value in ("it's \\ `\"", "a' OR 1=1 --", "{{y}}", "x\ny\tz", "é💥", ""):
            same(self.got("/v1/pipes/x", {"x": value}), (200, [{"x": value}]), f"{value!r} comes back from a body")
            same(self.got("/v1/pipes/x?x=" + urllib.parse.quote(value)), (200, [{"x": value}]), "and from a query string")
        same(self.got("/v1/pipes/x?x=a+b"), (200, [{"x": "a b"}]), "plus is a space")
        same(self.got("/v1/pipes/x"), (400, {"error": "missing required parameter: x"}), "nothing for x")
        same(self.got("/v1/pipes/x", {"x": []}), (400, {"error": 'parameter "x": array parameter must not be empty'}), "[]")
        same(self.got("/v1/pipes/x", {"x": {}}), (400, {"error": 'parameter "x": unsupported parameter type object'}), "{}")
        same(self.got("/v1/pipes/x", {"x": None}), (200, [{"x": None}]), "null")
        self.put("pages", "SELECT id FROM ev WHERE page IN {{p}} ORDER BY id")
        same(self.got("/v1/pipes/pages", {"p": ["/a", "it's"]}), (200, [{"id": 1}, {"id": 2}]), "an array")
        self.put("typed", "SELECT {{n}} AS n", parameters=[{"name": "n", "type": "number"}])
        same(self.got("/v1/pipes/typed?n=a"), (400, {"error": 'parameter "n": expected number, got string'}), "a type")
        self.put("cond", "SELECT id FROM ev {% if defined(page) %}WHERE page = {{page}}{% elif all != 'yes' %}"
                         "{{ error('say which page, or all=yes') }}{% end %} ORDER BY id")
        same(self.got("/v1/pipes/cond?page=/c"), (200, [{"id": 3}]), "a condition")
        same(self.got("/v1/pipes/cond?all=yes"), (200, [{"id": 1}, {"id": 2}, {"id": 3}]), "the other way")
        same(self.got("/v1/pipes/cond"), (400, {"error": "say which page, or all=yes"}), "the template's own refusal")
        r = self.ops("PUT", "/v1/ops/pipes/bad", {"sql": "SELECT 1\n{% if x %}"})
        same((r.status, json.loads(r.body)),
             (400, {"error": "pipe SQL, line 2, column 1: an if is not ended by {% end %}"}), "a mistake is told at PUT")
        ok("stands in quotes" in self.put("quoted", "SELECT '{{x}}' AS x")["warnings"][0], "quotes are warned about")
        same(self.got("/v1/pipes/quoted", {"x": "it's"}), (200, [{"x": "it's"}]), "and hold")
        self.put("broken", "SELECT nonsense FROM ev")
        same(self.run("/v1/pipes/broken").status, 400, "ClickHouse's refusal")

    def caching(self):
        self.put("n", "SELECT toUInt32(count()) AS n FROM over")
        self.put("never", "SELECT 1 AS n", cache_ttl=0)
        writer = self.bearer("writer")

        def ask(name="n"):
            r = self.run("/v1/pipes/" + name)
            return r.fields.get("x-cache"), json.loads(r.body)
        same(ask(), ("MISS", [{"n": 3}]), "a first time")
        same(ask(), ("HIT", [{"n": 3}]), "a second time")
        r = self.d.call("POST", "/v1/ingest?table=ev", b'{"id":4,"page":"/d"}', writer)
        same(r.status, 200, "a row comes")
        ok(net.wait_for(lambda: ask()[1] == [{"n": 4}], 10), "and is seen through the view, though it was cached", ask)
        same((ask("never")[0], ask("never")[0]), ("MISS", "MISS"), "cache_ttl 0")
        self.put("n", "SELECT toUInt32(count() + 100) AS n FROM over")
        same(ask()[1], [{"n": 104}], "a pipe that was replaced")
        self.put("far", "SELECT toUInt8(number) AS n FROM system.numbers LIMIT 1")
        ask("far")
        ok(self.d.metrics()["wavehouse_pipe_dep_resolution_fallback_total"] >= 1, "another database is not known")
        same(self.ops("DELETE", "/v1/ops/pipes/n").status, 200, "deleted")
        same(self.run("/v1/pipes/n").status, 404, "and gone")

    def writing(self):
        self.put("write", "-- c\nINSERT INTO copy SELECT toUInt64({{id}})")
        for _ in range(2):
            r = self.run("/v1/pipes/write?id=7")
            same((r.status, r.body, r.fields.get("x-cache"), r.fields.get("cache-control")),
                 (200, b"[]", "BYPASS", "no-store"), "a write is done each time")
        same(self.s.query(f"SELECT count() FROM {self.db}.copy").strip(), "2", "twice")
        self.put("bad", "INSERT INTO nowhere SELECT 1")
        status, body = self.got("/v1/pipes/bad")
        ok(status >= 400 and body.get("retryable") is False, "a write that fails is not to be repeated", f"{status} {body}")

    def v0(self):
        status, body = self.got("/v0/pipes/top.json?limit=2")
        same((status, [m["name"] for m in body["meta"]], body["rows"]), (200, ["id", "page"], 2), "meta and rows")
        same([str(row["id"]) for row in body["data"]], ["1", "2"], "data")
        ok("type" in body["meta"][0] and "elapsed" in body["statistics"], "types and statistics", body)
        same(self.got("/v0/pipes/top")[0], 404, "without .json there is none")
        same(self.got("/v0/pipes/none.json"), (404, {"error": "pipe not found"}), "no such pipe")
        same(self.got("/v0/pipes/top.json", headers=JSON), (403, {"error": "forbidden"}), "the same gate")
        r = self.run("/v1/pipes/top.ndjson?limit=1")
        same((r.status, r.json(), r.body.count(b"\n")), (200, {"id": 1, "page": "/a"}, 1), "NDJSON by the ending")
        r = self.run("/v1/pipes/top.csv?limit=1")
        same((r.status, r.body), (200, b'"id","page"\n1,"/a"\n'), "CSV")

    def restart(self):
        same(self.d.stop(), 0, "a stop")
        self.d.start("/readyz")
        same(self.got("/v1/pipes/top?limit=1"), (200, [{"id": 1, "page": "/a"}]), "pipes are there after a restart")
        self.d.stop()
        self.d.remove()


def suite(server):
    one = []

    def begin():
        one.append(Suite(server))

    def part(name):
        def run():
            getattr(one[0], name)()
        run.__name__ = f"{name} {server.name}"
        return run
    return [begin] + [part(n) for n in ("access", "arguments", "caching", "writing", "v0", "restart")]


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse runs")
    parts = []
    for one_server in clickhouse.generations():
        parts += suite(one_server)
    tap.run(*parts)
