#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wavehoused-engine by itself: what it refuses, what it writes, what ends it, what it survives."""
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from lib import env, net, servers, tap
from lib.tap import ok, same

ENGINE = env.program("wavehoused-engine")
LIBRARY = servers.engine_library()
FOLDER = tempfile.mkdtemp(prefix="engine-", dir=env.WORK)


class Engine:
    def __init__(self, name, stdin=subprocess.DEVNULL):
        self.folder = os.path.join(FOLDER, name)
        self.tcp, self.http = net.free_port(), net.free_port()
        self.log = self.folder + ".log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [ENGINE, LIBRARY, self.folder, str(self.tcp), str(self.http)], stdin=stdin, stdout=log, stderr=log)

    def ask(self, sql, user="default", password=None):
        """The answer, or the status of a refusal; None when nobody listens."""
        fields = {"X-ClickHouse-User": user, **({"X-ClickHouse-Key": password} if password else {})}
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/", sql.encode(), fields)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode().strip()
        except urllib.error.HTTPError as e:
            return e.code
        except OSError:
            return None

    def ready(self):
        return net.wait_for(lambda: self.ask("SELECT 1") is not None, 30)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def ended(self, seconds=20):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed by the test"


def refusals():
    def run(*args):
        p = subprocess.run([ENGINE, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                           check=False)
        return p.returncode, p.stderr
    folder = os.path.join(FOLDER, "refused")
    for args, words in ((("x",), "usage:"), ((LIBRARY, folder, "0", "8123"), "TCP_PORT"),
                        ((LIBRARY, folder, "9000", "9000"), "two different"),
                        ((LIBRARY, folder, "9000x", "8123"), "TCP_PORT"),
                        (("/nonexistent.so", folder, str(net.free_port()), str(net.free_port())), "nonexistent.so"),
                        ((LIBRARY, "/proc/nothing/here", "9000", "8123"), "/proc/nothing/here")):
        code, text = run(*args)
        ok(code == 2 and words in text, f"{args[1:]}: exit status 2 and a reason", f"{code}: {text}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = run(LIBRARY, folder, str(port), str(net.free_port()))
        ok(code == 2 and f"127.0.0.1:{port}" in text, "a port in use is named", text)


def normal_life():
    e = Engine("normal")
    ok(e.ready(), "it answers", e.said())
    same(e.ask("SELECT 1", password="wrong"), 401, "not with a wrong password")
    for name in ("config.xml", "users.xml"):
        same(os.stat(os.path.join(e.folder, name)).st_mode & 0o777, 0o600, f"{name} is the owner's only")
    with open(f"/proc/{e.process.pid}/oom_score_adj", encoding="ascii") as f:
        same(f.read().strip(), "500", "the kernel would take it before the daemon")
    same(e.ask("SELEC"), 400, "a syntax error is one, as on a server")
    same(e.ask("SELECT count() FROM system.tables WHERE database = 'system' AND name LIKE '%_log'"), "0",
         "no system log tables")
    same(e.ask("CREATE TABLE t (k UInt32) ENGINE = MergeTree ORDER BY k"), "", "a table")
    same(e.ask("INSERT INTO t VALUES (1)"), "", "a row")
    for _ in range(20):  # clients that reset in the middle of a handshake
        s = socket.create_connection(("127.0.0.1", e.tcp))
        s.sendall(b"\x00\x05probe\x01")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    same(e.ask("SELECT count() FROM t"), "1", "clients that reset do it no harm")
    e.process.kill()
    e.ended()
    again = Engine("normal")
    ok(again.ready(), "it starts on the folder of a killed one", again.said())
    same(again.ask("SELECT count() FROM t"), "1", "the row is there")
    again.process.send_signal(signal.SIGTERM)
    same(again.ended(), 0, "SIGTERM: exit status 0")
    lines = [line for line in again.said().splitlines() if line.strip()]
    ok(len(lines) < 12, "it says little", "\n".join(lines))


def own_files():
    folder = os.path.join(FOLDER, "own")
    os.makedirs(os.path.join(folder, "config.d"))
    os.makedirs(os.path.join(folder, "users.d"))
    with open(os.path.join(folder, "config.d", "x.xml"), "w", encoding="ascii") as f:
        f.write("<clickhouse><max_connections>77</max_connections></clickhouse>")
    users = "<clickhouse><profiles><default/><readonly/></profiles><users><default><password></password>" \
            "<networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>" \
            "<mine><password>own</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>" \
            "<quota>default</quota></mine></users><quotas><default/></quotas></clickhouse>"
    with open(os.path.join(folder, "users.xml"), "w", encoding="ascii") as f:
        f.write(users)
    e = Engine("own")
    ok(e.ready(), "it answers", e.said())
    same(e.ask("SELECT value FROM system.server_settings WHERE name = 'max_connections'", "mine", "own"),
         "77",
         "config.d is merged in, a users.xml of the operator is used")
    e.process.send_signal(signal.SIGINT)
    same(e.ended(), 0, "SIGINT: exit status 0")
    with open(os.path.join(folder, "users.d", "x.xml"), "w", encoding="ascii") as f:
        f.write("<clickhouse><users><default><password>x</password></default></users></clickhouse>")
    e = Engine("own")
    same(e.ended(), 1, "an engine that cannot start: exit status 1")
    ok("engine.failed" in e.said() and "516" in e.said(), "and its reason", e.said())
    with open(os.path.join(folder, "users.xml"), encoding="ascii") as f:
        same(f.read(), users, "and not overwritten")


def supervised():
    e = Engine("supervised", stdin=subprocess.PIPE)
    ok(e.ready(), "it answers", e.said())
    e.process.stdin.write(b"words have no meaning\n")
    e.process.stdin.flush()
    same(e.ask("SELECT 1"), "1", "what the supervisor writes has no meaning")
    e.process.stdin.close()
    same(e.ended(), 0, "the end of standard input ends it")
    # A supervisor that is killed: a process in between that does nothing but hold the pipe.
    tcp, http = net.free_port(), net.free_port()
    code = ("import subprocess, sys, time\n"
            f"p = subprocess.Popen([{ENGINE!r}, {LIBRARY!r}, {os.path.join(FOLDER, 'orphan')!r}, '{tcp}', '{http}'],"
            " stdin=subprocess.PIPE)\nprint(p.pid, flush=True)\ntime.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as middle:
        pid = int(middle.stdout.readline())
        e.http = http
        ok(e.ready(), "one with a supervisor answers")
        middle.kill()
        middle.wait()
    ok(net.wait_for(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in state(pid), 20),
       "it ends when the supervisor is killed")


def state(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


if not os.path.exists(LIBRARY):
    tap.skip_all("libchdb.so is missing: scripts/deps engine")
if not os.path.exists(ENGINE):
    tap.skip_all("wavehoused-engine is not built")
tap.run(refusals, normal_life, own_files, supervised)
