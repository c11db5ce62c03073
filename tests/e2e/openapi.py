#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GET /openapi.json: valid by a public validator, made of the live schema, and of nothing that the caller may not use."""
import json
import os
import shutil
import subprocess
import urllib.parse

import sdk
from lib import clickhouse, daemon, env, net, tap, tokens
from lib.tap import ok, same

SECRET = "a-secret-of-the-tests-that-is-long-enough"
KEY = "operator-key-of-the-tests-0123456789"
# A name that would break out of JSON, a path and a component's name.
ODD = "we/ird \"n_ame\"~1"
POLICY = {
    "default_role": "public",
    "tables": {
        "orders": {"select": {"viewer": {"deny_columns": ["secret"]}},
                   "insert": {"writer": {"allow_columns": ["id", "name", "big"], "check": {"tenant": {"_eq": "{{ jwt.tenant }}"}}}}},
        ODD: {"select": {"viewer": {}}},
    },
}


def prepare(server):
    database = server.database("e2e_openapi")
    modern = """, d64 DateTime64(3, 'UTC') DEFAULT 0, flag Bool DEFAULT true, m Map(String, UInt8) DEFAULT map('k', 1),
        v4 IPv4 DEFAULT '10.0.0.1', named Tuple(a UInt8, b String) DEFAULT (1, 'b')""" if server.modern else ""
    server.query(f"""CREATE TABLE {database}.orders (id UInt64, name String DEFAULT 'none', tenant String, secret String DEFAULT 's',
        big Decimal(30, 4), at DateTime DEFAULT now(), day Date DEFAULT today(), n Nullable(Int32), tags Array(String) DEFAULT ['a'],
        e Enum8('a' = 1, 'it''s' = 2) DEFAULT 'a', f Float64 DEFAULT nan, u UUID DEFAULT '61f0c404-5cb3-11e7-907b-a6006ad3dba0',
        pair Tuple(UInt8, String) DEFAULT (1, 'x'), mat UInt8 MATERIALIZED 1{modern}) ENGINE = MergeTree ORDER BY id""")
    server.query(f"CREATE TABLE {database}.`{ODD}` (id UInt8) ENGINE = MergeTree ORDER BY id")
    server.query(f"CREATE TABLE {database}.hidden (id UInt8) ENGINE = MergeTree ORDER BY id")
    return database


def validate(documents, checks):
    place = os.path.join(env.WORK, "openapi")
    os.makedirs(place, exist_ok=True)
    shutil.copy(os.path.join(env.TOP, "tests", "e2e", "openapi.mjs"), place)
    link = os.path.join(place, "node_modules")
    if not os.path.lexists(link):
        os.symlink(os.path.join(sdk.folder(), "node_modules"), link)
    p = subprocess.run([sdk.node() or "node", "openapi.mjs"], cwd=place, input=json.dumps({"documents": documents, "checks": checks}),
                       capture_output=True, text=True, timeout=120, check=False)
    ok(p.returncode == 0, "the validator runs", p.stderr[-1500:])
    return [json.loads(line) for line in p.stdout.splitlines()]


def generation(server):
    database = prepare(server)
    settings = {"auth.jwt_secret": SECRET, "auth.operator_key": KEY, "flush.interval": "200ms"}
    with daemon.Daemon(server, database, settings, access=True, name="openapi") as d:
        d.start("/livez")

        def get(**headers):
            return d.call("GET", "/openapi.json", None, {k.replace("_", "-"): v for k, v in headers.items()})

        def role(name):
            return {"Authorization": "Bearer " + tokens.hs(SECRET, tokens.claims_of(name, tenant="t1"))}

        bare = get()
        same((bare.status, "/v1/ingest" in bare.json()["paths"]), (200, False), f"{server.name}: without a policy nothing but the public routes")
        a = d.call("PUT", "/v1/ops/policy", json.dumps(POLICY).encode(), {"X-Operator-Key": KEY})
        same(a.status, 200, f"{server.name}: a policy is taken")
        pipes = {"top": {"sql": "SELECT id FROM orders WHERE id > {{min:0}} AND name IN {{names}} LIMIT {{n:10}}", "allowed_roles": ["viewer"],
                         "description": "The first ones", "parameters": [{"name": "min", "type": "number"}, {"name": "names", "type": "array",
                         "required": True}, {"name": "n"}]},
                 ODD + "{x}": {"sql": "SELECT 1", "allowed_roles": ["writer"]}}
        for name, definition in pipes.items():
            a = d.call("PUT", "/v1/ops/pipes/" + urllib.parse.quote(name, safe=""), json.dumps(definition).encode(), {"X-Operator-Key": KEY})
            same(a.status, 200, f"{server.name}: a pipe is taken")
        docs = {"none": bare.json(), "public": get().json(), "viewer": get(**role("viewer")).json(), "writer": get(**role("writer")).json(),
                "admin": get(**role("admin")).json(), "bad token": get(Authorization="Bearer rubbish").json()}
        text = {k: json.dumps(v) for k, v in docs.items()}
        same(docs["public"]["paths"].keys(), docs["none"]["paths"].keys(), f"{server.name}: a role without grants sees the public routes only")
        same(docs["bad token"], docs["public"], f"{server.name}: a bad token sees what the public sees")
        ok("/v1/query" in docs["viewer"]["paths"] and "/v1/ingest" not in docs["viewer"]["paths"], f"{server.name}: a reader sees how to read")
        ok("/v1/ingest" in docs["writer"]["paths"] and "/v1/query" not in docs["writer"]["paths"], f"{server.name}: a writer sees how to write")
        ok(not any("/v1/ops/query" in docs[r]["paths"] for r in ("none", "public", "viewer", "writer")) and
           "/v1/ops/query" in docs["admin"]["paths"], f"{server.name}: only an administrator sees /v1/ops")
        ok(not any("hidden" in text[r] for r in ("none", "public", "viewer", "writer")) and "hidden" in text["admin"],
           f"{server.name}: a table without grant is not named")
        ok("secret" not in text["viewer"] and "secret" not in text["writer"], f"{server.name}: nor is a hidden column")
        odd = "/v1/pipes/" + urllib.parse.quote(ODD + "{x}", safe="")
        same([[p in docs[r]["paths"] for r in ("public", "viewer", "writer", "admin")] for p in ("/v1/pipes/top", odd)],
             [[False, True, False, True], [False, False, True, True]], f"{server.name}: a pipe is there for those who may run it")
        top = docs["viewer"]["paths"]["/v1/pipes/top"]
        same([[p["name"], p["required"]] for p in top["get"]["parameters"]], [["min", False], ["n", False]],
             f"{server.name}: its parameters, arrays in the body only")
        same(top["post"]["requestBody"]["content"]["application/json"]["schema"]["required"], ["names"], f"{server.name}: and which it must have")
        names = docs["viewer"]["paths"]["/v1/query"]["post"]["parameters"][0]["schema"]["enum"]
        same(sorted(names), sorted(["orders", ODD]), f"{server.name}: tables are named as they are")
        record = docs["writer"]["components"]["schemas"]["record.orders"]
        same((sorted(record["properties"]), record["required"]), (["big", "id", "name"], ["id", "big"]),
             f"{server.name}: a record has the columns that the role may write; a stamped or defaulted one is not required")
        row = docs["viewer"]["components"]["schemas"]["row.orders"]["properties"]
        same((row["e"], row["n"]["anyOf"][1], row["id"]["type"]), ({"type": "string", "enum": ["a", "it's"]}, {"type": "null"}, "integer"),
             f"{server.name}: types of a row")
        ok("mat" in row and "mat" not in docs["admin"]["components"]["schemas"]["record.orders"]["properties"],
           f"{server.name}: a computed column is read, not written")

        good = {"id": 7, "name": "x", "big": "1.25"}
        checks = [{"document": "writer", "schema": "record.orders",
                   "values": [[good, True], [{**good, "id": "7"}, True], [{"name": "x", "big": 1}, False], [{**good, "other": 1}, False],
                              [{**good, "id": []}, False]]}]
        a = d.call("POST", "/v1/ingest?table=orders", json.dumps(good).encode(), role("writer"))
        same(a.status, 200, f"{server.name}: a record that fits the schema is stored")
        net.wait_for(lambda: int(server.one(f"SELECT count() FROM {database}.orders")) == 1, 20)
        rows = d.call("POST", "/v1/query?table=orders", b'{"select_all":true}', role("viewer")).json()
        same((len(rows), rows[0]["tenant"]), (1, "t1"), f"{server.name}: and read back")
        checks.append({"document": "viewer", "schema": "row.orders", "values": [[rows[0], True], [{**rows[0], "id": "7"}, False]]})
        said = validate(docs, checks)
        for line in said[:len(docs)]:
            ok(line["valid"] and line["version"] == "3.1", f"{server.name}: valid OpenAPI 3.1 for: {line['document']}", json.dumps(line.get("errors")))
        for line in said[len(docs):]:
            same(line["wrong"], [], f"{server.name}: {line['schema']} fits what ingest takes and a query answers")

        server.query(f"CREATE TABLE {database}.later (id UInt8) ENGINE = MergeTree ORDER BY id")
        fresh = net.wait_for(lambda: "record.later" in get(**role("admin")).json()["components"]["schemas"], 20)
        ok(fresh, f"{server.name}: a new table is there after the next discovery")
        # The loops keep what they made last: more than one connection each, and both kinds of caller in turn.
        again = [(get(**role("viewer")).json(), get(**role("writer")).json()) for _ in range(4)]
        ok(all(v == again[0][0] and w == again[0][1] for v, w in again) and again[0][0] != again[0][1],
           f"{server.name}: asked again, everybody has its own")
        less = {**POLICY, "tables": {"orders": {"insert": POLICY["tables"]["orders"]["insert"]}}}
        a = d.call("PUT", "/v1/ops/policy", json.dumps(less).encode(), {"X-Operator-Key": KEY})
        same((a.status, ["/v1/query" in get(**role("viewer")).json()["paths"] for _ in range(4)]), (200, [False] * 4),
             f"{server.name}: a right that is taken away leaves the document at once")


def main():
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    if not os.path.exists(os.path.join(sdk.folder(), "node_modules", "@seriousme", "openapi-schema-validator")):
        tap.skip_all("the OpenAPI validator is missing: scripts/deps test")
    for server in clickhouse.generations():
        generation(server)


if __name__ == "__main__":
    tap.run(main)
