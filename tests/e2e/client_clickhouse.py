#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ClickHouse's official client for Node: the same program against a real server and through wavehoused sees the same and
leaves the same table. With 18.16 behind wavehoused it sees what it would see of 26.7."""
import json
import os
import shutil
import subprocess

from lib import clickhouse, daemon, env, net, tap
from lib.tap import ok, same

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "client_clickhouse.js")
SQL = "SELECT * FROM {}.c ORDER BY id, name"


def client_folder():
    return os.environ.get("WH_CLIENT_DIR") or env.cached("client")


def make(server, name):
    maps = "m Map(String, Int8), at DateTime64(3, 'UTC')" if server.modern else "m Array(Int8), at DateTime('UTC')"
    server.database(name)
    server.query(f"""CREATE TABLE {name}.c (id UInt32, name String DEFAULT 'none', n Nullable(Float64), tags Array(String), {maps},
        mat Int32 MATERIALIZED 5) ENGINE = MergeTree ORDER BY id""")
    return name


def run_client(port, database):
    """step → what the program saw."""
    p = subprocess.run(["node", SCRIPT, f"http://127.0.0.1:{port}", database], capture_output=True, timeout=120, text=True,
                       env=dict(os.environ, NODE_PATH=os.path.join(client_folder(), "node_modules")), check=False)
    ok(p.returncode == 0, f"the program ends well on port {'of the server' if database == 'client_direct' else 'ours'}", p.stderr)
    lines = [json.loads(line) for line in p.stdout.splitlines()]
    return {v.pop("step"): v for v in lines}


def through(server, name, rows):
    with daemon.Daemon(server, make(server, name), {"flush.interval": "200ms"}) as d:
        d.start()
        d.know("c")
        seen = run_client(d.port, name)
        net.wait_for(lambda: server.one(f"SELECT count() FROM {name}.c") >= rows, 20)
        same(d.stop(), 0, f"{server.name}: SIGTERM: exit status 0")
    return seen


def main():
    servers = {s.name: s for s in clickhouse.generations()}
    modern, old = servers.get("26.7"), servers.get("18.16")
    if not modern:
        tap.skip_all("no ClickHouse 26.7 to test against")
    if not shutil.which("node") or not os.path.exists(os.path.join(client_folder(), "node_modules", "@clickhouse", "client")):
        tap.skip_all("@clickhouse/client is missing: scripts/deps test")
    make(modern, "client_direct")
    want = run_client(modern.direct, "client_direct")
    rows = modern.one("SELECT count() FROM client_direct.c")
    got = through(modern, "client_through", rows)
    for step, value in want.items():
        same(got.get(step), value, f"26.7: {step}")
    direct = modern.query(SQL.format("client_direct") + " FORMAT JSONCompactEachRow")
    same(modern.query(SQL.format("client_through") + " FORMAT JSONCompactEachRow"), direct, "26.7: the same table")
    ok(direct.count("\n") > 800, "which is not empty", direct.count("\n"))
    if old:
        got = through(old, "client_through", rows - 2)
        for step, value in want.items():
            if step != "JSONEachRow array":  # 18.16 has no maps
                same(got.get(step), value, f"18.16: {step}")
        # What both generations show alike, of the rows that both took.
        sql = "SELECT id, name, n FROM {}.c WHERE id > 2 ORDER BY id, name"
        same(old.rows(sql.format("client_through")), modern.rows(sql.format("client_direct")), "18.16: the same table")


if __name__ == "__main__":
    tap.run(main)
