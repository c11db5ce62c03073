#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clickhouse.embedded: true — the engine as a supervised child of the daemon."""
import os
import re
import signal
import socket
import subprocess

from lib import clickhouse, env, net, servers, tap
from lib.daemon import Daemon
from lib.tap import ok, same


def children(pid):
    """Direct children by /proc: pid → command line."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="latin-1") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
            if parent == pid:
                with open(f"/proc/{entry}/cmdline", encoding="latin-1") as f:
                    found[int(entry)] = f.read().replace("\0", " ")
        except OSError:
            pass
    return found


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def embedded():
    tcp, http = net.free_port(), net.free_port()
    d = Daemon(name="embedded", settings={
        "clickhouse.embedded": True, "clickhouse.embedded_library": servers.engine_library(),
        "clickhouse.addr": f"127.0.0.1:{tcp}", "clickhouse.http_port": http, "flush.interval": "300ms"})
    s = clickhouse.Server("26.7", tcp, http, http)
    with d:
        d.start("/readyz", 60)
        ok(True, "the daemon starts its engine and becomes ready")
        s.query("CREATE TABLE ev (id UInt32) ENGINE = MergeTree ORDER BY id")
        d.call("POST", "/v1/ops/schema/refresh")
        d.know("ev")
        same(d.ingest("ev", [{"id": i} for i in range(100)]).json()["succeeded"], 100, "events are taken")
        ok(net.wait_for(lambda: s.one("SELECT count() FROM ev") == 100, 10), "and stored")
        kids = children(d.process.pid)
        same(len(kids), 1, f"one child: {list(kids.values())}")
        child = next(iter(kids))
        os.kill(child, signal.SIGKILL)
        same(d.ingest("ev", {"id": 500}).json(), {"ok": True}, "with the engine killed, events are still taken")
        ok(net.wait_for(lambda: s.up() and s.one("SELECT count() FROM ev") == 101, 30, 0.2),
           "the engine is restarted, its rows are kept, the new one arrives", d.log_tail())
        child = next(iter(children(d.process.pid)), 0)
        same(d.stop(), 0, "SIGTERM: exit status 0")
        ok(net.wait_for(lambda: gone(child), 5), "the engine ends with the daemon")
        d.start("/readyz", 60)
        same(s.one("SELECT count() FROM ev"), 101, "a restart finds the rows")
        child = next(iter(children(d.process.pid)), 0)
        d.kill()
        ok(net.wait_for(lambda: gone(child), 10), "a killed daemon leaves no engine behind")
        data = subprocess.run(["du", "-s", d.config["data_dir"]], stdout=subprocess.PIPE, text=True).stdout.split()[0]
        ok(int(data) > 0, "its data is under data_dir")
        d.start("/readyz", 60)
        same(s.one("SELECT count() FROM ev"), 101, "and the next one works on the same data")


def taken_port():
    """Another listener on the engine's port: refused at the start; later, what the engine says is in the daemon's log."""
    tcp = net.free_port()
    d = Daemon(name="embedded", settings={
        "clickhouse.embedded": True, "clickhouse.embedded_library": servers.engine_library(),
        "clickhouse.addr": f"127.0.0.1:{tcp}", "clickhouse.http_port": net.free_port()})

    def take():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((net.HOST, tcp))
            s.listen()
            return s
        except OSError:
            s.close()

    def take_after_kill():
        """Before the supervisor's pause is over: 1 s at first, twice as long each time."""
        for _ in range(5):
            for child in children(d.process.pid):
                os.kill(child, signal.SIGKILL)
            taken = net.wait_for(take, 0.9)
            if taken:
                return taken
            net.wait_for(lambda: children(d.process.pid), 20)
        raise RuntimeError("the port was never free:\n" + d.log_tail())
    with d:
        with take():
            status, _, err = d.run()
            ok(status == 1 and f"port {tcp} " in err and "clickhouse.addr" in err, "taken at the start: named, status 1", err)
        d.start("/readyz", 60)
        with take_after_kill():
            ok(net.wait_for(lambda: re.search(r"engine\.exited status=2;.* printed: .*Address already in use", d.log()), 20),
               "taken before its restart: named in the daemon's log", d.log_tail())


if __name__ == "__main__":
    if not os.path.exists(servers.engine_library()):
        tap.skip_all("the engine is not here: scripts/deps engine")
    if not os.path.exists(env.program("wavehoused-engine")):
        tap.skip_all("wavehoused-engine is not built")
    tap.run(embedded, taken_port)
