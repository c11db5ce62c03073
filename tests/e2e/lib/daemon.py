# SPDX-License-Identifier: Apache-2.0
"""Starts, watches and kills a wavehoused with a generated configuration in a folder of its own."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

from . import env, net


def to_yaml(value, depth=0):
    """Nested dicts, lists and scalars as block YAML."""
    out = ""
    for key, item in value.items():
        pad = "  " * depth
        if isinstance(item, dict):
            out += f"{pad}{key}:\n" + to_yaml(item, depth + 1)
        elif isinstance(item, (list, tuple)):
            out += f"{pad}{key}: [" + ", ".join(json.dumps(x) for x in item) + "]\n"
        elif isinstance(item, bool) or not isinstance(item, str):
            out += f"{pad}{key}: {json.dumps(item)}\n"
        else:
            out += f"{pad}{key}: {item if re.fullmatch(r'[A-Za-z0-9_./-]+', item) else json.dumps(item)}\n"
    return out


def merge(base, extra):
    """Deep merge; "a.b" keys in extra are paths."""
    for key, item in extra.items():
        here = base
        *path, last = key.split(".")
        for part in path:
            here = here.setdefault(part, {})
        if isinstance(item, dict) and isinstance(here.get(last), dict):
            merge(here[last], item)
        else:
            here[last] = item
    return base


class Daemon:
    """One daemon. Settings are given as {"flush.interval": "1s"}; `server` is the ClickHouse to use. Who may do what is
    no matter of most tests: access=True turns access control on, as it is for everybody else."""

    def __init__(self, server=None, database="default", settings=None, args=(), name="daemon", extra_env=None, access=False):
        self.dir = tempfile.mkdtemp(prefix=name + "-", dir=env.WORK)
        self.port = net.free_port()
        self.args = ([] if access else ["--insecure-open"]) + list(args)
        # Not installed, so the daemon is told where its engine is.
        self.env = dict(os.environ, WAVEHOUSED_ENGINE=env.program("wavehoused-engine"), **(extra_env or {}))
        self.process = None
        self.log_path = os.path.join(self.dir, "daemon.log")
        self.config_path = os.path.join(self.dir, "wavehoused.yaml")
        self.config = {
            "data_dir": os.path.join(self.dir, "data"),
            "server": {"listen": "127.0.0.1", "port": self.port, "control_socket": os.path.join(self.dir, "control.sock")},
            "wal": {"segment_size": "8MiB", "max_bytes": "2GiB", "min_free": "64MiB"},
            "schema": {"refresh_interval": "2s"},
        }
        if server:
            merge(self.config, {
                "clickhouse.addr": f"127.0.0.1:{server.tcp}",
                "clickhouse.http_port": server.http,
                "clickhouse.database": database,
            })
        merge(self.config, settings or {})

    def write_config(self):
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(to_yaml(self.config))

    def command(self, *more):
        return [env.program("wavehoused"), "--config", self.config_path, *self.args, *more]

    def run(self, *more, timeout=20):
        """Runs the program to its end (--check and the like); (status, stdout, stderr)."""
        self.write_config()
        p = subprocess.run(self.command(*more), env=self.env, timeout=timeout, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        return p.returncode, p.stdout, p.stderr

    def start(self, wait="/livez", seconds=20):
        """Starts and waits until GET `wait` answers 200 (None: do not wait)."""
        self.write_config()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        if wait:
            self.wait_200(wait, seconds)
        return self

    def wait_200(self, path, seconds=20):
        def check():
            if self.process.poll() is not None:
                raise RuntimeError(f"wavehoused ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                return self.call("GET", path, timeout=2).status == 200
            except OSError:
                return False
        if not net.wait_for(check, seconds, 0.02):
            raise RuntimeError(f"no 200 from {path} within {seconds} s:\n{self.log_tail()}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """Dies as in a crash."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM; its exit status (a daemon that does not end is killed and reported as None)."""
        if not self.alive():
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=25):
        return "\n".join(self.log().splitlines()[-lines:])

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None and not os.environ.get("WH_KEEP"):
            self.remove()

    # Requests
    def call(self, method, path, body=None, headers=None, timeout=30):
        return net.call(self.port, method, path, body, headers, timeout)

    def ingest(self, table, body, kind="application/json", **headers):
        """POST /v1/ingest of text, bytes, or a value to encode."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body, ensure_ascii=False)
        if isinstance(body, str):
            body = body.encode()
        fields = {k.replace("_", "-"): v for k, v in headers.items()}
        if kind:
            fields["Content-Type"] = kind
        return self.call("POST", f"/v1/ingest?table={table}", body, fields)

    def metrics(self):
        """{'name{labels}': value}"""
        out = {}
        for line in self.call("GET", "/metrics").body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out

    def pending(self):
        """Records accepted and not yet in ClickHouse, over all tables; None when not told."""
        values = [v for k, v in self.metrics().items() if k.startswith("wavehouse_ingest_pending_records")]
        return sum(values) if values else None

    def dlq(self, table=None):
        a = self.call("GET", "/v1/ops/dlq/stats" + (f"?table={table}" if table else ""))
        return a.json()

    def know(self, *tables, seconds=20):
        """Waits until the daemon has discovered these tables (an empty body is answered before storing)."""
        for table in tables:
            if not net.wait_for(lambda: self.ingest(table, b"").status == 400, seconds):
                raise RuntimeError(f"table {table} not discovered:\n{self.log_tail()}")

    def rss_bytes(self, kind="VmRSS"):
        """Resident memory; kind "RssAnon" is without mapped files (the log's pages count as resident, too)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(kind + ":"))


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
