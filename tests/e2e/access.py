#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Access control as an attacker would try it: tokens, operator keys, gates, column rules, checks and stamps, at both doors."""
import base64
import json
import re
import signal
import subprocess

from lib import clickhouse, env, net, tap, tokens
from lib.daemon import Daemon
from lib.tap import ok, same

SECRET = "a-secret-of-the-tests-that-is-long-enough"
KEY = "operator-key-of-the-tests-0123456789"
NEXT = "operator-key-that-comes-next-0123456"
LONG = "forbidden: request has no role and no public default_role is configured"
s = db = None


def token(role=None, **claims):
    return tokens.hs(SECRET, tokens.claims_of(role, **claims))


def bearer(t):
    return {"Authorization": "Bearer " + t}


def daemon(**settings):
    base = {"auth.jwt_secret": SECRET, "auth.operator_key": KEY, "auth.operator_key_next": NEXT, "flush.interval": "200ms"}
    base.update({k.replace("__", "."): v for k, v in settings.items()})
    d = Daemon(s, db, settings=base, name="access", access=True)
    d.start("/livez")
    return d


def post(d, table, record, headers=None, kind="application/json", query=""):
    body = record if isinstance(record, str) else json.dumps(record)
    return d.call("POST", f"/v1/ingest?table={table}{query}", body.encode(), dict(headers or {}, **{"Content-Type": kind}))


def ops(d, headers=None, path="/v1/ops/schema", method="GET"):
    return d.call(method, path, None, headers or {})


def put(d, policy):
    a = d.call("PUT", "/v1/ops/policy", json.dumps(policy).encode(), {"X-Operator-Key": KEY, "Content-Type": "application/json"})
    if a.status != 200:
        raise RuntimeError(f"policy refused: {a}")


def is_denied(a, status, error, what):
    same((a.status, a.error), (status, error), what)


def reload(d, **settings):
    for key, value in settings.items():
        here = d.config
        *path, last = key.split("__")
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
    d.write_config()
    before = d.log().count("config.reloaded")
    d.process.send_signal(signal.SIGHUP)
    if not net.wait_for(lambda: d.log().count("config.reloaded") > before, 10):
        raise RuntimeError("not reloaded:\n" + d.log_tail())


def no_policy():
    with daemon() as d:
        for what, headers in (("anonymous", {}), ("a good token", bearer(token("viewer"))), ("an admin's token", bearer(token("admin")))):
            error = "forbidden" if headers else LONG
            is_denied(post(d, "ev", {"id": 1}, headers), 403, error, f"no policy, {what}: no ingest")
            is_denied(ops(d, headers), 403, error, f"no policy, {what}: no ops")
            same(d.call("GET", "/v1/offset?table=ev", None, headers).status, 403, f"no policy, {what}: no offset")
        is_denied(post(d, "ev", {"id": 1}, bearer("rubbish")), 401, "invalid token", "no policy, a bad token: 401")
        is_denied(post(d, "ev", {"id": 1}, {"X-Operator-Key": KEY}), 403, LONG, "no policy: the operator key opens no data")
        for headers in ({"X-Operator-Key": KEY}, {"Authorization": "Operator " + KEY}, {"Authorization": "oPeRaToR " + KEY},
                        {"X-Operator-Key": NEXT}):
            same(ops(d, headers).status, 200, f"no policy: {list(headers)[0]} opens ops")
        for path in ("/livez", "/version", "/metrics", "/v1/health"):
            same(d.call("GET", path).status, 200, f"no policy: {path} is open")
        same(d.call("OPTIONS", "/v1/ops/schema", None, {"Origin": "https://a.example"}).status, 204, "no policy: a browser may ask what it may")


def ops_paths(d):
    for path in ("/v1/ops", "/v1/ops/", "/v1/ops/nothing", "/v1/ops/dlq/x/y", "/v1/ops/schema/", "/v1/ops/schema?token=x", "/v1/schema/suggest"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            a = ops(d, path=path, method=method)
            ok(a.status in (401, 403), f"{method} {path} says nothing to a stranger", a)
    for path in ("//v1/ops/schema", "/v1//ops/schema", "/v1/%6fps/schema", "/v1/OPS/schema", "/v1/x/../ops/schema", "/v1/ops%2fschema",
                 "/V1/ops/schema", "/v1/ops;/schema", "/v1/opsx"):
        ok(ops(d, path=path).status in (400, 403, 404), f"{path} leads nowhere", ops(d, path=path))
    key = {"X-Operator-Key": KEY}
    same((ops(d, key, "/v1/ops/nothing").status, ops(d, key, "/v1/ops/schema", "DELETE").status), (404, 405), "the operator sees 404 and 405")
    for path in (f"/v1/ops/schema?operator_key={KEY}", f"/v1/ops/schema?key={KEY}", f"/v1/ops/schema?X-Operator-Key={KEY}"):
        same(ops(d, path=path).status, 403, "an operator key in the address is none")
    same(ops(d, path=f"/v1/ops/schema?token={KEY}").status, 401, "nor as a token")


def operator_keys(d):
    name = "wavehouse_auth_operator_key_failures_total"
    before = d.metrics()[name]
    wrong = [KEY[:-1], KEY + "x", KEY.upper(), "x", KEY[:1], "é"]
    for key in wrong:
        a = d.call("GET", "/v1/ops/schema", None, {"X-Operator-Key": key.encode("utf-8").decode("latin-1")})
        is_denied(a, 403, "forbidden", f"a wrong key ({len(key)} letters) is none")
    same(d.metrics()[name] - before, float(len(wrong)), "each is counted once")
    ok("auth.operator_key_wrong" in d.log(), "and said", d.log_tail)
    same(post(d, "open", {"id": 1}, {"X-Operator-Key": "wrong"}).status, 200, "with a wrong key a public table is still public")
    same(ops(d, dict(bearer(token("viewer")), **{"X-Operator-Key": KEY})).status, 200, "the operator key goes before a token")
    same(ops(d, dict(bearer("rubbish"), **{"X-Operator-Key": KEY})).status, 200, "also before a bad one")
    same(ops(d, {"X-Operator-Key": ""}).status, 403, "an empty key is none")
    used = d.log().count("auth.operator ")
    same(post(d, "ev", {"id": 2, "tenant": "x", "org": 7}, {"X-Operator-Key": KEY}).status, 200, "with a policy the operator key may write")
    same(d.log().count("auth.operator "), used + 1, "an audit line for it, one")
    reload(d, auth__operator_key="")
    same((ops(d, {"X-Operator-Key": KEY}).status, ops(d, {"X-Operator-Key": NEXT}).status), (403, 200), "rotated: the old key is gone")
    reload(d, auth__operator_key=KEY)


def token_edges(d):
    good = {"id": 3, "tenant": "t"}
    same(post(d, "open", {"id": 1}).status, 200, "public role: anonymous may write")
    same(post(d, "open", {"id": 1}, bearer(token("viewer", ttl=-5))).status, 200, "an expired token where the public may: served as public")
    is_denied(post(d, "ev", good, bearer(token("writer", ttl=-5))), 401, "token expired", "an expired token where it may not: 401")
    is_denied(post(d, "ev", good, bearer(tokens.hs("other" * 8, tokens.claims_of("writer")))), 401, "invalid token", "another secret")
    is_denied(post(d, "ev", good, bearer(tokens.unsigned(tokens.claims_of("admin")))), 401, "invalid token", "alg none")
    is_denied(post(d, "ev", good, bearer(token("nobody"))), 403, "forbidden", "a role without a grant")
    is_denied(post(d, "ev", good), 403, "forbidden", "the public role without a grant")
    for what, role in (("a number", 5), ("null", None), ("a list", ["admin"]), ("an object", {"admin": 1}), ("true", True)):
        t = tokens.hs(SECRET, dict(tokens.claims_of(), role=role))
        is_denied(ops(d, bearer(t)), 403, "forbidden", f"a role that is {what} is no role")
    for role in ("Admin", "admin ", " admin", "ADMIN", "admin\0", "аdmin", "*", "public,admin"):
        is_denied(ops(d, bearer(token(role))), 403, "forbidden", f"role {role!r} is not admin")
    same(ops(d, bearer(token("admin"))).status, 200, "admin is")
    same(ops(d, bearer(tokens.hs(SECRET, b'{"ro\\u006ce":"\\u0061dmin"}'))).status, 200, "however it is spelt")
    twice = tokens.b64({"alg": "HS256"}) + "." + tokens.b64(b'{"role":"viewer","role":"admin"}')
    is_denied(ops(d, bearer(twice + "." + "x" * 43)), 401, "invalid token", "a role that stands twice, unsigned")
    for scheme in ("bearer", "BEARER", "Bearer "):
        same(ops(d, {"Authorization": f"{scheme} {token('admin')}"}).status, 200, f"scheme {scheme!r}")
    for value in ("Basic " + base64.b64encode(b"admin:" + KEY.encode()).decode(), token("admin"), "Bearer", "Bearer: " + token("admin"),
                  "Token " + token("admin"), "Bearer\t" + token("admin")):
        ok(ops(d, {"Authorization": value}).status in (401, 403), f"Authorization: {value[:8]}… opens nothing", ops(d, {"Authorization": value}))
    ok(ops(d, bearer("a" * 15000)).status == 401, "a token of 15,000 letters", None)
    same(ops(d, bearer("a" * 20000)).status, 431, "one that fits no head")
    # in the address
    same(ops(d, path=f"/v1/ops/schema?token={token('admin')}").status, 200, "?token=")
    same(ops(d, bearer(token("viewer")), f"/v1/ops/schema?token={token('admin')}").status, 403, "a header goes before it")
    is_denied(ops(d, bearer("x"), f"/v1/ops/schema?token={token('admin')}"), 401, "invalid token", "also a bad one")
    is_denied(ops(d, path="/v1/ops/schema?token=%zz"), 401, "invalid token", "one that cannot be read")
    same(ops(d, path=f"/v1/ops/schema?token=&token={token('admin')}").status, 403, "an empty one is none")
    reload(d, auth__allow_query_token=False)
    same(ops(d, path=f"/v1/ops/schema?token={token('admin')}").status, 403, "auth.allow_query_token: false")
    reload(d, auth__require_exp=True, auth__issuer="me", auth__audience="here")
    same(ops(d, bearer(token("admin"))).status, 401, "auth.issuer, auth.audience")
    same(ops(d, bearer(token("admin", iss="me", aud=["there", "here"]))).status, 200, "both right")
    same(ops(d, bearer(token("admin", ttl=None, iss="me", aud="here"))).status, 401, "auth.require_exp")
    reload(d, auth__allow_query_token=True, auth__require_exp=False, auth__issuer="", auth__audience="", auth__role_claim="app.meta.role")
    t = tokens.hs(SECRET, dict(tokens.claims_of("viewer"), app={"meta": {"role": "admin"}}))
    same(ops(d, bearer(t)).status, 200, "auth.role_claim: a path")
    same(ops(d, bearer(tokens.hs(SECRET, {"role": "admin", "app": {"meta.role": "admin"}}))).status, 403, "and nothing but it")
    reload(d, auth__role_claim="role")


POLICY = {
    "default_role": "public", "admin_role": "admin",
    "tables": {
        "open": {"insert": {"public": {}}},
        "ev": {"insert": {
            "plain": {},
            "writer": {"check": {"tenant": {"_eq": "{{ jwt.tenant }}"}}},
            "member": {"check": {"tenant": {"_in": "{{ jwt.tenants }}"}}},
            "org": {"check": {"org": {"_eq": "{{ jwt.org }}"}, "tenant": {"_eq": "org-{{ jwt.org }}"}}},
            "timed": {"check": {"at": {"_eq": "{{ jwt.at }}"}, "tenant": {"_eq": "t"}}},
            "some": {"allow_columns": ["id", "tenant"]},
            "less": {"deny_columns": ["secret"]},
            "sealed": {"allow_columns": ["id"], "check": {"tenant": {"_eq": "sealed"}}},
            "lost": {"check": {"gone": {"_eq": "x"}}},
            "computed": {"check": {"twice": {"_eq": "4"}}},
            "stamped": {"check": {"received_timestamp": {"_eq": "2020-01-01 00:00:00"}, "tenant": {"_eq": "r"}}}}},
        "missing": {"insert": {"plain": {}}}}}


def checks(d):
    def w(record, role, query="", **claims):
        return post(d, "ev", record, bearer(token(role, **claims)), query=query)
    same(w({"id": 10, "tenant": "a"}, "writer", tenant="a").status, 200, "check: the right value")
    is_denied(w({"id": 11, "tenant": "b"}, "writer", tenant="a"), 403, 'check failed for column "tenant"', "check: another's")
    same(w({"id": 12}, "writer", tenant="a").status, 200, "check: stamped, a required column is not missing then")
    for what, value in (("null", None), ("a list", ["a"]), ("an object", {"a": "a"}), ("a number", 1)):
        a = w({"id": 13, "tenant": value}, "writer", tenant="a")
        ok(a.status in (400, 403), f"check: {what} is not it", a)
    for what, claims in (("absent", {}), ("null", {"tenant": None}), ("a list", {"tenant": ["a"]}), ("an object", {"tenant": {}})):
        is_denied(w({"id": 14, "tenant": "a"}, "writer", **claims), 403, 'check failed for column "tenant"', f"check: a claim that is {what}")
        is_denied(w({"id": 14}, "writer", **claims), 403, 'check failed for column "tenant"', f"check: and nothing is stamped for it ({what})")
    a = post(d, "ev", [{"id": 15}], bearer(token("writer")))
    is_denied(a, 403, 'check failed for column "tenant"', "check: a batch without the claim is refused whole")
    same(w({"id": 16, "tenant": ""}, "writer", tenant="").status, 200, "check: an empty claim is an empty text")
    is_denied(w({"id": 17, "tenant": "a "}, "writer", tenant="a"), 403, 'check failed for column "tenant"', "check: no trimming")
    a = w('{"id":18,"tenant":"a","tenant":"b"}', "writer", tenant="a")
    is_denied(a, 403, 'check failed for column "tenant"', "check: of a key that stands twice the last counts")
    a = w('{"id":19,"tenant":"b","t\\u0065nant":"\\u0061"}', "writer", tenant="a")
    same(a.status, 200, "check: also when it is spelt otherwise")
    a = w([{"id": 20, "tenant": "a"}, {"id": 21, "tenant": "b"}, {"id": 22}], "writer", tenant="a").json()
    same((a["succeeded"], a["failed"], a["results"][1]), (2, 1, {"index": 2, "error": 'check failed for column "tenant"'}), "check: in a batch each for itself")
    same(w({"id": 23, "tenant": "y"}, "member", tenants=["x", "y"]).status, 200, "_in: one of them")
    is_denied(w({"id": 24, "tenant": "z"}, "member", tenants=["x", "y"]), 403, 'check failed for column "tenant"', "_in: none of them")
    for what, value in (("empty", []), ("with an object", ["y", {}]), ("with null", ["y", None])):
        is_denied(w({"id": 25, "tenant": "y"}, "member", tenants=value), 403, 'check failed for column "tenant"', f"_in: a list that is {what}")
    ok(w({"id": 26}, "member", tenants=["x"]).status in (400, 403), "_in: absent is not stamped", None)
    same(w({"id": 27}, "org", org=42).status, 200, "a number is stamped, text is mixed with it")
    same(w('{"id":28,"org":4.2e1}', "org", org=42).status, 200, "a number equals itself in any spelling (which ClickHouse refuses for an integer later)")
    is_denied(w({"id": 29, "org": "42.0"}, "org", org=42), 403, 'check failed for column "org"', "a text only the same text")
    same(w({"id": 30}, "timed", at="2026-06-21 06:00:00.5").status, 200, "a stamped time")
    ok(w({"id": 31}, "timed", at=["x"]).status == 403, "not one that has no text", None)
    same(w({"id": 32}, "stamped").status, 200, "received_timestamp by the policy")
    # columns
    same(w({"id": 40, "tenant": "c"}, "some").status, 200, "columns: those allowed")
    is_denied(w({"id": 41, "tenant": "c", "secret": "s"}, "some"), 403, 'column "secret" not allowed for insert', "columns: one that is not")
    is_denied(w('{"id":41,"tenant":"c","s\\u0065cret":"s"}', "some"), 403, 'column "s\\u0065cret" not allowed for insert', "columns: spelt otherwise")
    is_denied(w({"id": 42, "tenant": "c", "secret": "s"}, "less"), 403, 'column "secret" not allowed for insert', "columns: denied")
    same(w({"id": 43, "tenant": "c", "org": 1}, "less").status, 200, "columns: others are fine")
    same(w({"id": 44}, "sealed").status, 200, "columns: what is stamped may be one that cannot be written")
    is_denied(w({"id": 45, "tenant": "sealed"}, "sealed"), 403, 'column "tenant" not allowed for insert', "columns: not even with the right value")
    is_denied(w({"id": 46, "oops": 1}, "some"), 400, 'unknown column "oops" for table "ev"', "the schema comes before the columns")
    # rules that cannot be kept
    is_denied(w({"id": 47, "tenant": "c"}, "lost"), 403, 'policy check references column "gone", which table "ev" does not have', "a check on a column that is not there")
    is_denied(w({"id": 48, "tenant": "c"}, "computed"), 403, 'policy check references column "twice", which is materialized and cannot be inserted', "on a computed one")
    # dry run
    a = w({"id": 49}, "writer", "&dry_run=1", tenant="dry")
    same((a.status, a.json()["row"]["tenant"]), (200, "dry"), "a dry run shows what is stamped")
    a = w({"id": 50, "tenant": "z"}, "writer", "&dry_run=1", tenant="dry")
    same((a.status, a.json().get("rule")), (403, "check"), "and which rule refuses")
    same(w({"id": 50, "tenant": "z", "secret": "s"}, "some", "&dry_run=1").json().get("rule"), "column", "or which column")
    a = post(d, "ev", "id,tenant\n51,a\n52,b\n", bearer(token("writer", tenant="a")), kind="text/csv; header=present").json()
    same((a["succeeded"], a["failed"]), (1, 1), "CSV goes through the same checks")
    a = post(d, "ev", "id\n53\n", bearer(token("writer", tenant="a")), kind="text/csv; header=present").json()
    same(a["succeeded"], 1, "and the same stamps")


WANT = {10: "a", 12: "a", 16: "", 19: "a", 20: "a", 22: "a", 23: "y", 27: "org-42", 30: "t", 32: "r", 40: "c", 43: "c", 44: "sealed",
        51: "a", 53: "a"}


def stored(d):
    ok(net.wait_for(lambda: d.pending() == 0, 20), "all of it is in ClickHouse", d.log_tail)
    rows = {int(a): b for a, b in (line.split("\t") for line in s.query(f"SELECT id, tenant FROM {db}.ev WHERE id BETWEEN 10 AND 99 ORDER BY id").splitlines())}
    same(rows, WANT, "what is stored is what was let in, stamped")
    same(s.one(f"SELECT org FROM {db}.ev WHERE id = 27"), 42, "the number, too")
    same(s.one(f"SELECT toUnixTimestamp(at) FROM {db}.ev WHERE id = 30"), 1782021600, "and the time")
    same(s.one(f"SELECT toYear(received_timestamp) FROM {db}.ev WHERE id = 32"), 2020, "received_timestamp once, as the policy says")


def clickhouse_door(d):
    def insert(table, rows, headers=None, extra=""):
        q = f"INSERT INTO {table} FORMAT JSONEachRow".replace(" ", "%20")
        return d.call("POST", f"/?query={q}{extra}", rows.encode(), headers or {})

    def fails(a, code, words, what):
        ok(a.status == 403 and a.fields.get("x-clickhouse-exception-code") == str(code) and a.body.decode().startswith(f"Code: {code}. DB::Exception: ")
           and words in a.body.decode(), what, f"{a} {a.fields}")
    plain = token("plain")
    row = '{"id":60,"tenant":"d"}'
    fails(insert("ev", row), 497, "ACCESS_DENIED", "door: anonymous is the public role")
    fails(insert("ev", row, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}), 497, "ACCESS_DENIED", "door: so is a user without a password")
    fails(insert("ev", row, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}), 516, "AUTHENTICATION_FAILED", "door: a wrong password")
    fails(insert("ev", row, {"X-ClickHouse-User": "x", "X-ClickHouse-Key": token("plain", ttl=-5)}), 516, "token expired", "door: an expired token")
    fails(insert("ev", row, extra="&user=default&password=" + tokens.unsigned(tokens.claims_of("admin"))), 516, "invalid token", "door: a forged token")
    fails(insert("ev", '{"id":60,"tenant":"d","secret":"s"}', {"X-ClickHouse-User": "x", "X-ClickHouse-Key": token("some")}), 497, "not allowed for insert", "door: a column")
    fails(insert("ev", row, {"X-ClickHouse-User": "x", "X-ClickHouse-Key": token("writer", tenant="a")}), 497, "check failed", "door: a check")
    for what, headers, extra in (("X-ClickHouse-Key", {"X-ClickHouse-User": "x", "X-ClickHouse-Key": plain}, ""), ("Bearer", bearer(plain), ""),
                                 ("Basic", {"Authorization": "Basic " + base64.b64encode(f"u:{plain}".encode()).decode()}, ""),
                                 ("password=", {}, f"&user=u&password={plain}"), ("operator key", {"X-ClickHouse-User": "x", "X-ClickHouse-Key": KEY}, "")):
        a = insert("ev", row, headers, extra)
        same((a.status, a.body), (200, b""), f"door: {what}")
    same(insert("open", '{"id":5}', {"X-ClickHouse-User": "x", "X-ClickHouse-Key": "wrong"}).status, 200, "door: what the public may, a wrong password may")
    same(insert("ev", '{"id":61}', {"X-ClickHouse-User": "x", "X-ClickHouse-Key": token("writer", tenant="door")}).status, 200, "door: stamped")
    ok(net.wait_for(lambda: s.one(f"SELECT max(tenant) FROM {db}.ev WHERE id = 61") == "door", 20), "door: and stored so")


def surroundings(d):
    is_denied(post(d, "nowhere", {"id": 1}), 404, "unknown table: nowhere", "an unknown table is told to everybody")
    reload(d, api__hide_unknown_tables=True)
    is_denied(post(d, "nowhere", {"id": 1}), 403, "forbidden", "api.hide_unknown_tables: as one that may not be written")
    is_denied(post(d, "nowhere", {"id": 1}, bearer("x")), 401, "invalid token", "or 401")
    is_denied(post(d, "missing", {"id": 1}, bearer(token("plain"))), 404, "unknown table: missing", "404 to whom it is granted")
    is_denied(post(d, "nowhere", {"id": 1}, bearer(token("admin"))), 404, "unknown table: nowhere", "and to admins")
    q = "INSERT%20INTO%20nowhere%20FORMAT%20JSONEachRow"
    same(d.call("POST", f"/?query={q}", b"{}").fields.get("x-clickhouse-exception-code"), "497", "at ClickHouse's door, too")
    for what, headers, want, words in (("nobody", {}, 403, "forbidden"), ("a writer", bearer(token("plain")), 403, "forbidden"),
                                       ("a bad token", bearer("x"), 401, "invalid token")):
        for table in ("nowhere", "ev"):
            for body in ("{}", "no json", '{"columns":["nosuch"]}'):
                a = d.call("POST", f"/v1/query?table={table}", body, headers)
                is_denied(a, want, words, f"a query of {table} by {what}, body {body}: told alike")
    is_denied(d.call("POST", "/v1/query?table=nowhere", "{}", bearer(token("admin"))), 404, "unknown table: nowhere", "admins hear of it")
    for what, headers, want in (("anonymous", {}, 403), ("a writer", bearer(token("plain")), 200), ("nobody", bearer(token("nobody")), 403)):
        same(d.call("GET", "/v1/offset?table=ev", None, headers).status, want, f"offset of a table: {what}")
    same((d.call("GET", "/v1/offset", None, bearer(token("plain"))).status, d.call("GET", "/v1/offset", None, bearer(token("admin"))).status),
         (403, 200), "offset of the log: admins")
    # the log
    log = d.log()
    line = next(l for l in log.splitlines() if "auth.denied" in l and "gate=policy" in l)
    for part in ('reason="', 'role="', 'resolved_role="', 'table="', "route=/v1/ingest", "method=POST", "status=", 'request_id="', 'client="127.0.0.1"'):
        ok(part in line, f"a denial says {part}", line)
    secrets = [SECRET, KEY, NEXT]
    ok(not any(x in log for x in secrets) and not re.search(r"eyJ[A-Za-z0-9_-]{10}", log), "neither keys nor tokens are in the log",
       lambda: [l for l in log.splitlines() if "eyJ" in l][:3])
    evil = 'x"\n<3>forged line\r\x1b[31m'
    post(d, "ev", {"id": 1}, bearer(token(evil)))
    ok("\n<3>forged" not in d.log() and "\x1b" not in d.log(), "a role cannot write lines of its own into the log", d.log_tail)
    gates = d.metrics()
    before = gates['wavehouse_authz_denied_total{gate="admin"}']
    lines = d.log().count("gate=admin")
    for _ in range(200):
        ops(d)
    same(d.metrics()['wavehouse_authz_denied_total{gate="admin"}'] - before, 200.0, "every denial is counted")
    ok(d.log().count("gate=admin") - lines < 150, "not every one is a line", d.log().count("gate=admin") - lines)
    ok(net.wait_for(lambda: re.search(r"auth.denied gate=admin .*repeated=\d+|auth.denied gate=admin repeated=", d.log()), 10), "what was left out is told", d.log_tail)
    # proxies; asked again until the line is not one of those left out
    def seen(value, name, want):
        def check():
            ops(d, {"X-Forwarded-For": value, "X-Request-ID": name})
            return f'request_id="{name}" client=' in d.log()
        return net.wait_for(check, 5, 0.2) and f'request_id="{name}" client="{want}"' in d.log()
    ok(seen("203.0.113.9", "not-trusted", "127.0.0.1"), "X-Forwarded-For of a stranger counts for nothing", d.log_tail)
    reload(d, server__trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"])
    for i, (value, want) in enumerate((("198.51.100.1, 203.0.113.9", "203.0.113.9"), ("203.0.113.9, 10.1.2.3", "203.0.113.9"), ("203.0.113.9, rubbish", "127.0.0.1"),
                                       ("203.0.113.9:1234", "203.0.113.9"), ("[2001:db8::1]:9", "2001:db8::1"), ("", "127.0.0.1"), ("10.1.1.1", "10.1.1.1"))):
        ok(seen(value, f"proxy-{i}", want), f"behind a proxy of ours: {value!r}", d.log_tail)


def explained(d):
    """wavehousectl policy explain, offline, says what the daemon does: for each role, token and record."""
    files = {"policy": json.dumps(POLICY), "secret": SECRET, "schema": ops(d, {"X-Operator-Key": KEY}).body.decode()}
    paths = {}
    for name, text in files.items():
        paths[name] = f"{d.dir}/{name}"
        with open(paths[name], "w", encoding="utf-8") as f:
            f.write(text)

    def ctl(*args):
        p = subprocess.run([env.program("wavehousectl"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        return p.stdout

    def offline(t, record):
        """The status that insert would get, and ops."""
        text = ctl("policy", "explain", "--policy", paths["policy"], *(["--token", t, "--secret-file", paths["secret"]] if t else []),
                   "--schema", paths["schema"], "--record", record, "ev")
        insert = re.search(r"^insert .*?(?=^ops )", text, re.S | re.M).group(0)
        denied = re.search(r"denied, (\d+)", insert) or re.search(r"is refused, (\d+)", insert)
        status = int(denied.group(1)) if denied else 403 if "every record is refused" in insert else 200
        gate = re.search(r"^ops +denied, (\d+)", text, re.M)
        return status, int(gate.group(1)) if gate else 200
    good = {"tenant": "a", "tenants": ["a", "b"], "org": 7, "at": "2026-01-01 00:00:00"}
    wrong = 0
    cases = 0
    for role in ("plain", "writer", "member", "org", "timed", "some", "less", "sealed", "lost", "computed", "admin", "nobody", None):
        for claims in (good, {}):
            t = ctl("token", "new", "--secret-file", paths["secret"], "--claims", json.dumps(claims), *(["--role", role] if role else [])).strip()
            for record in ('{"id":1,"tenant":"a"}', '{"id":1,"tenant":"c"}', '{"id":1,"tenant":"a","secret":"s"}', '{"id":1,"tenant":"org-7","org":7}'):
                got = post(d, "ev", record, bearer(t), query="&dry_run=1").status, ops(d, bearer(t)).status
                want = offline(t, record)
                cases += 1
                if got != want:
                    wrong += 1
                    ok(False, f"role {role}, claims {claims}, record {record}", f"daemon {got}, explain {want}")
    for what, t in (("none", ""), ("expired", token("plain", ttl=-5)), ("forged", tokens.hs("x" * 40, tokens.claims_of("admin")))):
        a = post(d, "ev", '{"id":1,"tenant":"a"}', bearer(t) if t else {}, query="&dry_run=1").status, ops(d, bearer(t) if t else {}).status
        same(offline(t, '{"id":1,"tenant":"a"}'), a, f"explain: token {what}")
    same((wrong, cases), (0, 104), "explain says what the daemon does")


def limits(d):
    reload(d, limits__roles={"plain": {"rows_per_second": 10, "burst": "1s"}})
    batch = [{"id": 1000 + i, "tenant": "l"} for i in range(100)]
    same(post(d, "ev", batch, bearer(token("plain"))).status, 200, "limits.roles: a batch of the role")
    a = post(d, "ev", batch[:1], bearer(token("plain")))
    ok(a.status == 503 and 'role "plain"' in a.error, "limits.roles: then it is over its rate", a)
    same(post(d, "ev", {"id": 2000}, bearer(token("writer", tenant="x"))).status, 200, "limits.roles: another role is not")
    reload(d, limits__roles={})


def replaced(d):
    good = bearer(token("plain"))
    same(post(d, "ev", {"id": 3000, "tenant": "p"}, good).status, 200, "before the policy is replaced")
    put(d, {"default_role": "", "tables": {}})
    is_denied(post(d, "ev", {"id": 3001, "tenant": "p"}, good), 403, "forbidden", "after it: the next request obeys")
    is_denied(post(d, "open", {"id": 1}), 403, LONG, "nobody without a role")
    same(ops(d, bearer(token("admin"))).status, 200, "admin goes on, remembered tokens or not")
    put(d, {"admin_role": "root", "tables": {}})
    same((ops(d, bearer(token("admin"))).status, ops(d, bearer(token("root"))).status), (403, 200), "another admin role")
    put(d, {"default_role": "admin", "tables": {}})
    same(ops(d).status, 200, "default_role == admin_role opens everything, as it says")


def main():
    global s, db
    s = clickhouse.modern()
    db = s.database("e2e_access")
    s.query(f"CREATE TABLE {db}.ev (id UInt32, tenant String, org UInt32 DEFAULT 0, secret String DEFAULT '', at DateTime64(3, 'UTC') DEFAULT 0, "
            f"received_timestamp DateTime DEFAULT 0, twice UInt64 MATERIALIZED id * 2) ENGINE = MergeTree ORDER BY id")
    s.query(f"CREATE TABLE {db}.open (id UInt32) ENGINE = MergeTree ORDER BY id")
    no_policy()
    with daemon() as d:
        put(d, POLICY)
        ops_paths(d)
        operator_keys(d)
        token_edges(d)
        checks(d)
        stored(d)
        clickhouse_door(d)
        surroundings(d)
        explained(d)
        limits(d)
        replaced(d)
        same(d.stop(), 0, "stops")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(main)
