#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""@wavehouse/sdk, as it is published, against the daemon: the scenarios of tests/sdk, with each ClickHouse behind it.

A scenario is tests/sdk/NAME.mjs (tests/sdk/scenario.mjs says what it has); what its daemon needs other than access control
is in SETUP. `tests/run sdk -- NAME…` runs some. The two generations go side by side."""
import contextlib
import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from lib import clickhouse, daemon, env, net, servers, tap
from lib.tap import ok, same

HERE = os.path.join(env.TOP, "tests", "sdk")
SECRET = "a-secret-of-the-sdk-that-is-long-enough"
KEY = "operator-key-of-the-sdk-0123456789abcdef"
SECONDS = 120  # for a scenario

# settings: of the daemon. zone: servers of its own that are there. relay: ClickHouse can be cut off from the daemon.
SETUP = {
    "ingest": {"settings": {"flush.interval": "5s"}},  # the default: it is about how soon rows can be seen
    "dedupe": {"settings": {"dedupe.tables": {"orders": {"enabled": True}, "strict": {"enabled": True, "require_id": True}}}},
    "query_pages": {"zone": "Asia/Kathmandu"},
    "restart": {"relay": True},
    "retry": {"settings": {"limits.tables": {"narrow": {"rows_per_second": 1000, "burst": "1s"}}}},
}


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


@contextlib.contextmanager
def own_server(server, zone):
    """One of the same generation in another time zone."""
    kind = servers.Modern if server.modern else servers.Old
    child = kind(os.path.join(env.WORK, "sdk-" + server.name), zone)
    try:
        yield child.server
    finally:
        child.stop()


@contextlib.contextmanager
def cuttable(server):
    """The server behind relays."""
    behind = copy.copy(server)
    behind.relays = [net.Relay(server.tcp), net.Relay(server.http)]
    behind.tcp, behind.http = (r.port for r in behind.relays)
    try:
        yield behind
    finally:
        for r in behind.relays:
            r.off()


def do(what, d, server):
    """What a program asked for, and what came of it."""
    if what == "kill":
        d.kill()
    elif what == "stop":
        began = time.monotonic()
        return {"status": d.stop(), "seconds": time.monotonic() - began}
    elif what == "start":
        d.start("/livez")
    elif what in ("clickhouse down", "clickhouse up"):
        for r in server.relays:
            (r.on if what.endswith("up") else r.off)()
    else:
        raise ValueError("nobody knows how")
    return {}


def answer(what, d, server):
    try:
        return do(what, d, server)
    except Exception as e:
        return {"error": repr(e)}


def talk(p, title, d, server):
    """Counts what the program says until it ends; how much that was."""
    said = 0
    for line in p.stdout:
        try:
            v = json.loads(line)
        except ValueError:
            tap.note(line)
            continue
        if "ask" in v:
            p.stdin.write(json.dumps(answer(v["ask"], d, server)) + "\n")
            p.stdin.flush()
            continue
        said += 1
        if "skip" in v:
            tap.skip(f"{title}: {v['name']}", v["skip"])
        else:
            ok(v["ok"], f"{title}: {v['name']}", json.dumps(v.get("detail")))
    return said


def run(program, place, server, name):
    title, database, setup = f"{server.name}: {name}", f"sdk_{name}", SETUP.get(name, {})
    with contextlib.ExitStack() as stack:
        if "zone" in setup:
            server = stack.enter_context(own_server(server, setup["zone"]))
        if setup.get("relay"):
            server = stack.enter_context(cuttable(server))
        server.database(database)
        settings = {"auth.jwt_secret": SECRET, "auth.operator_key": KEY, "flush.interval": "200ms", **setup.get("settings", {})}
        d = stack.enter_context(daemon.Daemon(server, database, settings, name=database, access=True))
        d.start("/readyz")
        about = json.dumps({"server": server.name, "secret": SECRET, "key": KEY, "zone": setup.get("zone", "UTC"), "folder": place,
                            "modules": os.path.join(place, "node_modules")})
        errors = os.path.join(d.dir, "errors.txt")
        with open(errors, "wb") as f:
            p = subprocess.Popen([program, name + ".mjs", f"http://127.0.0.1:{d.port}", about], cwd=place, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=f, text=True, encoding="utf-8")
        end = threading.Timer(SECONDS, p.kill)
        end.start()
        try:
            said = talk(p, title, d, server)
            code = p.wait()
        finally:
            end.cancel()
            p.kill()
        with open(errors, encoding="utf-8", errors="replace") as f:
            text = f.read()
        ok(code == 0 and said > 0, f"{title}: the program ends well", f"status {code}\n{text[-2000:]}")
        same(d.stop(), 0, f"{title}: SIGTERM: exit status 0")


def main():
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    if not os.path.exists(os.path.join(folder(), "node_modules", "@wavehouse", "sdk")):
        tap.skip_all("@wavehouse/sdk is missing: scripts/deps test")
    program = node()
    if not program:
        tap.skip_all("no Node 22 or later: scripts/deps test")
    scenarios = sorted(n[:-4] for n in os.listdir(HERE) if n.endswith(".mjs") and n != "scenario.mjs")
    same(set(SETUP) - set(scenarios), set(), "each setup has its scenario")
    place = modules()

    def each_on(server):
        for name in sys.argv[1:] or scenarios:
            began = time.monotonic()
            try:
                run(program, place, server, name)
                tap.note(f"{server.name}: {name}: {time.monotonic() - began:.1f} s")
            except Exception as e:
                ok(False, f"{server.name}: {name}: {e!r}")

    threads = [threading.Thread(target=each_on, args=(s,)) for s in clickhouse.generations()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


if __name__ == "__main__":
    tap.run(main)
