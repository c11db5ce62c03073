#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""@wavehouse/sdk, as it is published, against the daemon: the scenarios of tests/sdk, with each ClickHouse behind it.

A scenario is tests/sdk/NAME.mjs (tests/sdk/scenario.mjs says what it has) and, where it needs tables or looks at them
afterwards, an entry in SCENARIOS. `tests/run sdk -- NAME` runs one."""
import json
import os
import shutil
import subprocess
import sys

from lib import clickhouse, daemon, env, net, tap
from lib.tap import ok, same

HERE = os.path.join(env.TOP, "tests", "sdk")


class Smoke:
    """Per scenario: settings of the daemon, tables made before, and what is asked of ClickHouse afterwards."""
    settings = {}
    tables = {"smoke": "(id UInt32, name String DEFAULT 'none') ENGINE = MergeTree ORDER BY id"}

    @staticmethod
    def afterwards(server, database):
        def rows():
            return server.rows(f"SELECT id, name FROM {database}.smoke ORDER BY id")
        net.wait_for(lambda: len(rows()) >= 5, 20)
        same(rows(), [[1, "one"], [2, "two"], [3, "none"], [4, "four"], [5, "none"]], "the rows are in ClickHouse, once")


SCENARIOS = {"smoke": Smoke}


def folder():
    return os.environ.get("WH_SDK_DIR") or env.cached("sdk")


def node():
    """A Node that the SDK is made for (22 or later), or None."""
    for path in (os.path.join(folder(), "bin", "node"), shutil.which("node")):
        if path and os.path.exists(path):
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if version.startswith("v") and int(version[1:].split(".")[0]) >= 22:
                return path
    return None


def modules():
    """tests/sdk with node_modules beside it: a program in ES modules finds packages in no other way."""
    place = os.path.join(env.WORK, "sdk")
    os.makedirs(place, exist_ok=True)
    for name in os.listdir(HERE):
        shutil.copy(os.path.join(HERE, name), place)
    link = os.path.join(place, "node_modules")
    if not os.path.lexists(link):
        os.symlink(os.path.join(folder(), "node_modules"), link)
    return place


def run(program, place, server, name):
    s, database = SCENARIOS[name], f"sdk_{name}"
    server.database(database)
    for table, definition in s.tables.items():
        server.query(f"CREATE TABLE {database}.{table} {definition}")
    with daemon.Daemon(server, database, {"flush.interval": "200ms", **s.settings}, name=database) as d:
        d.start("/readyz")
        d.know(*s.tables)
        about = json.dumps({"server": server.name, "database": database})
        p = subprocess.run([program, name + ".mjs", f"http://127.0.0.1:{d.port}", about], cwd=place, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=120, check=False)
        said = 0
        for line in p.stdout.splitlines():
            try:
                v = json.loads(line)
            except ValueError:
                tap.note(line)
                continue
            said += 1
            title = f"{server.name}: {name}: {v['name']}"
            if "skip" in v:
                tap.skip(title, v["skip"])
            else:
                ok(v["ok"], title, json.dumps(v.get("detail")))
        ok(p.returncode == 0 and said > 0, f"{server.name}: {name}: the program ends well", p.stderr[-2000:])
        s.afterwards(server, database)
        same(d.stop(), 0, f"{server.name}: {name}: SIGTERM: exit status 0")


def main():
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    if not os.path.exists(os.path.join(folder(), "node_modules", "@wavehouse", "sdk")):
        tap.skip_all("@wavehouse/sdk is missing: scripts/deps test")
    program = node()
    if not program:
        tap.skip_all("no Node 22 or later: scripts/deps test")
    files = {n[:-4] for n in os.listdir(HERE) if n.endswith(".mjs")} - {"scenario"}
    same(files, set(SCENARIOS), "each scenario has its program and its setup")
    place = modules()
    for name in sys.argv[1:] or sorted(SCENARIOS):
        for server in clickhouse.generations():
            run(program, place, server, name)


if __name__ == "__main__":
    tap.run(main)
