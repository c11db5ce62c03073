# SPDX-License-Identifier: Apache-2.0
"""Starts the real ClickHouse servers on free loopback ports: 26.7 behind the fault-injecting front, and 18.16."""
import json
import os
import select
import shutil
import signal
import subprocess
import time

from . import clickhouse, env, net

FRONT = os.path.join(env.TOP, "tests", "lib", "servers", "front.js")
RUN18 = os.path.join(env.TOP, "tests", "lib", "servers", "run18.sh")


class Missing(Exception):
    """A server cannot be had on this machine; the text says why."""


def engine_library():
    return os.environ.get("WH_ENGINE_LIB") or os.path.join(env.cached("engine"), "libchdb.so")


def need_file(path, how):
    if not path or not os.path.exists(path):
        raise Missing(f"{os.path.basename(path)} is missing: {how}")
    return path


class Child:
    """A process in a session of its own, ended by its pid; SIGKILL for the whole group when it does not listen.

    follows: standard input is a pipe from us, so that wavehoused-engine ends with us even when we are killed."""

    def __init__(self, command, log_path, extra_env=None, stdout=None, follows=False):
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE if follows else subprocess.DEVNULL,
                                            stdout=stdout or log, stderr=log,
                                            env=dict(os.environ, **(extra_env or {})), start_new_session=True)

    def stop(self, seconds=10):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Modern(Child):
    """The 26.7 engine and its front; `vars` is what tests get in their environment. zone: the server's, else UTC."""

    def __init__(self, folder, zone=None):
        node = shutil.which("node")
        if not node:
            raise Missing("node is missing: scripts/deps test")
        front = need_file(os.environ.get("WH_FRONT") or FRONT, "not in this tree")
        library = need_file(engine_library(), "scripts/deps engine")
        launcher = need_file(env.program("wavehoused-engine"), "build it: make all")
        os.makedirs(folder, exist_ok=True)
        tcp, http, admin = net.free_port(), net.free_port(), net.free_port()
        super().__init__([node, front], os.path.join(folder, "front.log"), {
            "CHS_BIN": launcher, "CHS_LIB": library, "CHS_DIR": os.path.join(folder, "engine"),
            "CHS_TCP": str(tcp), "CHS_HTTP": str(http), "CHS_ADMIN": str(admin),
            **({"TZ": zone} if zone else {})}, stdout=subprocess.PIPE)
        ready = self._ready_line(60)
        backend = ready["backend"]
        self.server = clickhouse.Server("26.7", backend["tcp"], backend["http"], backend["http"], admin)
        self.engine_pid = ready.get("engine_pid")
        self.vars = {"WH_CH26_TCP": tcp, "WH_CH26_HTTP": http, "WH_CH26_ADMIN": admin,
                     "WH_CH26_DIRECT_TCP": backend["tcp"], "WH_CH26_DIRECT_HTTP": backend["http"]}

    def _ready_line(self, seconds):
        end = time.monotonic() + seconds
        data = b""
        while b"\n" not in data:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            piece = os.read(self.process.stdout.fileno(), 4096) if readable else b""
            if not piece:
                self.stop()
                raise RuntimeError("the front did not become ready; see front.log")
            data += piece
        return json.loads(data.split(b"\n")[0])


class Old(Child):
    """Debian's clickhouse-server 18.16. zone: the server's, else UTC."""

    def __init__(self, folder, zone=None):
        if not (shutil.which("clickhouse-server") or os.path.exists("/usr/sbin/clickhouse-server")):
            raise Missing("clickhouse-server 18.16 is not installed: scripts/deps old")
        need_file(RUN18, "not in this tree")
        os.makedirs(folder, exist_ok=True)
        tcp, http = net.free_port(), net.free_port()
        super().__init__(["sh", RUN18, os.path.abspath(folder), str(tcp), str(http)],
                         os.path.join(folder, "server.out"),
                         {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "CH18_ZONE": zone or "UTC"})
        self.server = clickhouse.Server("18.16", tcp, http, http)
        self.vars = {"WH_CH18_TCP": tcp, "WH_CH18_HTTP": http}
        if not net.wait_for(self.server.up, 30):
            self.stop()
            raise RuntimeError("clickhouse-server 18.16 did not start; see " + folder)
