#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon as its operator sees it: options, exit statuses, signals, locks, readiness, and life without ClickHouse."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

server = database = None


def prepare():
    global server, database
    server = clickhouse.modern() or clickhouse.old()
    database = server.database("e2e_lifecycle")
    server.query(f"CREATE TABLE {database}.ev (id UInt32, name String) ENGINE = MergeTree ORDER BY id")


def daemon(name="lifecycle", **more):
    return Daemon(server, database, name=name, **more)


def program(*args):
    p = subprocess.run([env.program("wavehoused"), *args], stdin=subprocess.DEVNULL, timeout=20,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return p.returncode, p.stdout, p.stderr


def command_line():
    status, out, _ = program("--version")
    ok(status == 0 and out.startswith("wavehoused "), "--version", out)
    for option in ("-h", "--help"):
        status, out, _ = program(option)
        ok(status == 0 and "--config" in out and "--check" in out, option, out)
    status, _, err = program("--nosuch")
    ok(status == 2 and "nosuch" in err, "an unknown option: status 2", err)
    status, _, err = program("--config", "/nonexistent/wavehoused.yaml", "--check")
    ok(status == 1 and "/nonexistent/wavehoused.yaml" in err, "--check of a missing configuration: status 1", err)
    status, _, err = program("--config", "/nonexistent/wavehoused.yaml")
    ok(status == 2 and "/nonexistent/wavehoused.yaml" in err, "a missing configuration: status 2, the file is named", err)


def check_and_print():
    d = daemon()
    status, _, err = d.run("--check")
    same(status, 0, f"--check of a good configuration {err}")
    ok(not os.path.exists(d.config["data_dir"]), "--check creates nothing")
    d.config["clickhouse"]["password"] = "hush-hush"
    status, out, err = d.run("--print-config")
    ok(status == 0 and re.search(r'database: "?e2e_lifecycle', out) and f"port: {d.port}" in out, "--print-config", out + err)
    ok("hush-hush" not in out + err, "--print-config keeps secrets to itself")
    d.config["clickhouse"].pop("password")
    status, out, _ = d.run("--print-config", "--set", "flush.interval=17s")
    ok(status == 0 and "17s" in out, "--set wins over the file", out)
    d.env["WH_FLUSH_MAX_ROWS"] = "1234"
    status, out, _ = d.run("--print-config")
    ok(status == 0 and "1234" in out, "WH_FLUSH_MAX_ROWS wins over the default", out)


def bad_configurations():
    d = daemon()
    path = d.config_path

    def bad(text, *words):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        status, _, err = program("--config", path, "--check")
        ok(status == 1 and all(w in err for w in words), f"refused: {text!r}", f"status {status}: {err}")
    bad("servr:\n  port: 1\n", path + ":1:", "server")
    bad("server:\n  prot: 8080\n", path + ":2:", "server.port")
    bad("server:\n  port: 8080\n  port: 8081\n", path + ":3:")
    bad("server:\n  port: eighty\n", path + ":2:")
    bad("server:\n  port: 70000\n", path + ":2:")
    bad("flush:\n  interval: 5 parsecs\n", path + ":2:")
    bad("wal:\n  segment_size: 64\n", path + ":2:")
    bad("server: [1, 2\n", path + ":")
    bad("clickhouse:\n  embedded: maybe\n", path + ":2:")
    bad("data_dir: relative/path\n", path + ":1:")
    bad("server:\n\tport: 8080\n", path + ":2:", "tab")
    bad("clickhouse:\n  embedded: true\n  addr: db1:9000\n", path + ":3:", "clickhouse.embedded")
    bad("clickhouse:\n  embedded: true\n  addr: ['127.0.0.1:9000', '127.0.0.1:9001']\n", path + ":3:")


def cannot_start():
    """What stops a start is named: file, setting, cause."""
    d = daemon()
    plain = os.path.join(d.dir, "plain")
    open(plain, "w", encoding="utf-8").close()
    for folder, words in ((plain, "not a folder"), (plain + "/data", "Not a directory"), (d.dir + "/no/data", "No such file")):
        d.config["data_dir"] = folder
        status, _, err = d.run()
        ok(status == 1 and f"{folder}" in err and words in err and "data_dir" in err, f"data_dir: {words}", f"{status}: {err}")
    d.remove()
    # A server that is there already must not be taken for the embedded engine.
    d = daemon(settings={"clickhouse.embedded": True, "clickhouse.embedded_library": env.program("wavehoused")})
    status, _, err = d.run()
    ok(status == 1 and str(server.tcp) in err and "clickhouse.addr" in err, "embedded: a taken port is named", f"{status}: {err}")
    d.remove()


def open_listener():
    with daemon(settings={"server.listen": "0.0.0.0"}, access=True) as d:
        d.start()
        ok("daemon.plain" in d.log(), "a public address is served, with a warning about TLS", d.log())
        same(d.call("GET", "/v1/ops/schema").status, 403, "and nobody may do anything there yet")
    with daemon(settings={"server.listen": "0.0.0.0"}) as d:
        d.start()
        ok("daemon.open" in d.log() and "beyond this machine" in d.log(), "--insecure-open warns and serves", d.log())


def metrics_port():
    """prometheus.port: the metrics there and nothing else, and the API without them."""
    apart = net.free_port()
    with daemon(settings={"prometheus.port": apart}, access=True) as d:
        d.start()
        a = net.call(apart, "GET", "/metrics")
        ok(a.status == 200 and b"wavehouse_http_connections" in a.body, "the metrics have a port of their own", a)
        same(net.call(apart, "HEAD", "/metrics").status, 200, "HEAD is answered too")
        same(net.call(apart, "POST", "/metrics", b"x").status, 405, "nothing is posted there")
        for method, path in (("GET", "/livez"), ("GET", "/readyz"), ("GET", "/v1/ops/schema"), ("POST", "/v1/ingest?table=ev"), ("GET", "/"),
                             ("POST", "/?query=SELECT+1"), ("GET", "/v1/stream?table=ev"), ("GET", "/openapi.json"), ("GET", "/metrics/")):
            same(net.call(apart, method, path, b"{}" if method == "POST" else None).status, 404, f"not there: {method} {path}")
        same(d.call("GET", "/metrics").status, 404, "the API has them no more")
        same(d.call("GET", "/livez").status, 200, "and the rest as ever")
        same(d.call("POST", "/livez").status, 405, "wrong methods too")
        out = subprocess.run(["curl", "-sS", "--unix-socket", d.config["server"]["control_socket"], "http://x/metrics"],
                             stdout=subprocess.PIPE, text=True).stdout
        ok("wavehouse_http_connections" in out, "the control socket has everything", out[:200])
        ok(f"port={apart}" in d.log() and "for=metrics" in d.log(), "the log names it", d.log())
        taken = daemon(settings={"prometheus.port": apart})
        status, _, err = taken.run()
        ok(status in (1, 2) and str(apart) in err and "prometheus.port" in err, "a taken port is named", f"{status}: {err}")
        taken.remove()
    with daemon(settings={"prometheus.port": apart, "prometheus.enabled": False}) as d:
        d.start()
        same((net.call(d.port, "GET", "/metrics").status, net.listening(apart)), (404, False), "prometheus.enabled: false: nowhere")
    d = daemon()
    d.config["prometheus"] = {"port": d.port}
    with d:
        d.start()
        same(d.call("GET", "/metrics").status, 200, "the API's own port is no port of their own")


def lock():
    with daemon() as d:
        d.start()
        second = daemon(settings={"data_dir": d.config["data_dir"]})
        began = time.monotonic()
        status, _, err = second.run()
        ok(status == 1 and d.config["data_dir"] in err and time.monotonic() - began < 5,
           "a second instance on the same data_dir is refused", f"{status}: {err}")
        same(d.call("GET", "/livez").status, 200, "the first one is not disturbed")
        taken = daemon(settings={"server.port": d.port})
        status, _, err = taken.run()
        ok(status in (1, 2) and str(d.port) in err, "a taken port is named", f"{status}: {err}")
        second.remove()
        taken.remove()


def reload():
    with daemon() as d:
        d.start()
        d.config["cors"] = {"allowed_origins": ["https://only.example"]}
        d.config["server"]["threads"] = 2
        d.write_config()
        d.process.send_signal(signal.SIGHUP)

        def adopted():
            a = d.call("GET", "/livez", headers={"Origin": "https://only.example"})
            return a.fields.get("access-control-allow-origin") == "https://only.example"
        ok(net.wait_for(adopted, 5), "SIGHUP adopts a new value")
        ok("server.threads" in d.log(), "and names the key that needs a restart", d.log())
        ok(net.wait_for(lambda: re.search(r"warn config.changed server.threads.*restart needed", d.log()), 5)
           and re.search(r"info config.changed cors", d.log()), "only that one is a warning", d.log())
        with open(d.config_path, "w", encoding="utf-8") as f:
            f.write("cors: {allowed_origins: [\n")
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: d.log().count(d.config_path + ":"), 5), "a broken file is reported", d.log())
        ok(adopted(), "the last good settings stay")


def drain():
    """A request in flight at SIGTERM is answered; new connections are not taken; then the process ends with 0."""
    with daemon(settings={"server.shutdown_timeout": "5s"}) as d:
        d.start()
        d.know("ev")
        body = b'{"id":5,"name":"in flight"}'
        s = socket.create_connection((net.HOST, d.port), timeout=10)
        s.sendall(b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])
        time.sleep(0.3)  # let the head arrive before the signal
        d.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        s.sendall(body[5:])
        data = b""
        while piece := s.recv(4096):
            data += piece
        got = net.answers(data)
        ok(len(got) == 1 and got[0].status == 200, "a request in flight is answered", got)
        ok(got and got[0].fields.get("connection", "").lower() == "close", "with Connection: close", got and got[0].fields)
        same(d.process.wait(10), 0, "exit status 0")
        d.start()
        ok(net.wait_for(lambda: server.one(f"SELECT count() FROM {database}.ev WHERE id = 5") == 1, 8),
           "and its record is stored")
        s = socket.create_connection((net.HOST, d.port), timeout=10)
        s.sendall(b"POST /v1/ingest?table=ev HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        d.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        began = time.monotonic()
        d.process.send_signal(signal.SIGTERM)
        d.process.wait(10)
        ok(time.monotonic() - began < 2, "a second SIGTERM stops at once", time.monotonic() - began)
        s.close()


def readiness():
    """READY=1 comes when the log is recovered and the socket is open, and not before."""
    folder = daemon()
    path = os.path.join(folder.dir, "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(10)
    seen = []

    def listen():
        try:
            while True:
                seen.append(s.recv(4096).decode())
        except OSError:
            pass
    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    with daemon(extra_env={"NOTIFY_SOCKET": path}) as d:
        d.start(wait=None)
        ok(net.wait_for(lambda: any("READY=1" in x for x in seen), 10), "sd_notify READY=1", f"{seen} {d.log()}")
        same(d.call("GET", "/version").status, 200, "at READY=1 the socket is open")
        d.stop()
        ok(net.wait_for(lambda: any("STOPPING=1" in x for x in seen), 5), "sd_notify STOPPING=1", seen)
    s.close()
    folder.remove()


def without_clickhouse():
    """With ClickHouse away at the start, ingest is served from the schema that the last run stored."""
    if not server.admin:
        return tap.skip("start with ClickHouse down", "needs the front of 26.7")
    with daemon(settings={"flush.retry_max": "1s"}) as d:
        server.control("/engine/stop")
        try:
            d.start(wait=None)
            ok(net.wait_for(lambda: _status(d, "/livez") == 503, 10), "never any schema: /livez 503", d.log_tail())
            a = d.call("GET", "/livez")
            ok((a.json() or {}).get("status") == "degraded" and (a.error or "").startswith("schema discovery: "),
               "/livez names the cause", a)
            same((d.call("GET", "/readyz").status, d.call("GET", "/v1/health").status, d.call("GET", "/v1/health").body),
                 (503, 503, b""), "/readyz and /v1/health 503")
            a = d.ingest("ev", {"id": 1, "name": "too early"})
            same((a.status, a.error, a.fields.get("retry-after")), (503, "schema not loaded yet", "5"),
                 "ingest says: schema not loaded yet")
        finally:
            server.control("/engine/start")
        d.wait_200("/readyz", 30)
        ok(True, "it recovers when ClickHouse comes")
        d.know("ev")
        d.kill()
        server.control("/engine/stop")
        try:
            d.start(wait=None)
            ok(net.wait_for(lambda: _status(d, "/livez") == 200, 10), "persisted schema: /livez 200", d.log_tail())
            same(d.call("GET", "/readyz").status, 503, "/readyz 503")
            a = d.ingest("ev", {"id": 77, "name": "without clickhouse"})
            same((a.status, a.json()), (200, {"ok": True}), "ingest is served")
            same(d.ingest("ev", {"nosuch": 1}).error, 'unknown column "nosuch" for table "ev"', "and validated")
        finally:
            server.control("/engine/start")
        ok(net.wait_for(lambda: server.one(f"SELECT count() FROM {database}.ev WHERE id = 77") == 1, 20),
           "the record arrives when ClickHouse is back", d.log_tail())


def _status(d, path):
    try:
        return d.call("GET", path, timeout=2).status
    except OSError:
        return None


def schema_refresh():
    """A new table and a new column are found; POST /v1/ops/schema/refresh finds them at once."""
    with daemon(settings={"schema.refresh_interval": "1h"}) as d:
        d.start()
        d.know("ev")
        server.query(f"CREATE TABLE {database}.later (id UInt32) ENGINE = MergeTree ORDER BY id")
        same(d.ingest("later", {"id": 1}).error, "unknown table: later", "a table created later is unknown")
        a = d.call("POST", "/v1/ops/schema/refresh")
        ok(a.status == 200 and "later" in [t["name"] for t in a.json()], "refresh returns the tables", a)
        same(d.ingest("later", {"id": 1}).json(), {"ok": True}, "and it can be used at once")
        a = d.call("GET", "/v1/ops/schema?table=later")
        column = (a.json() or {}).get("columns", [{}])[0]
        same({k: column.get(k) for k in ("name", "type", "is_nullable", "has_default")},
             {"name": "id", "type": "UInt32", "is_nullable": False, "has_default": False}, "GET /v1/ops/schema")
        ok(json.loads(a.body)["name"] == "later", "of one table")
        server.query(f"ALTER TABLE {database}.later ADD COLUMN x String")
        same(d.ingest("later", {"id": 2, "x": "y"}).error, 'unknown column "x" for table "later"', "a column added later is unknown")
        ok(net.wait_for(lambda: d.ingest("later", {"id": 2, "x": "y"}).status == 200, 5), "and known within seconds, without being told")
        made = d.call("POST", "/v1/ops/query", json.dumps({"sql": f"CREATE TABLE {database}.made (id UInt32) ENGINE = MergeTree ORDER BY id"}))
        ok(made.status == 200 and net.wait_for(lambda: d.call("GET", "/v1/ops/schema?table=made").status == 200, 5),
           "a table that was made through the daemon is known within seconds, too", made)


def ready_beside_a_hung_refresh():
    """A discovery that ClickHouse does not answer does not keep /readyz waiting; nor does a server that hangs itself."""
    if not server.admin:
        return tap.skip("hung servers", "needs the front of 26.7")
    with daemon(settings={"schema.refresh_interval": "1h"}) as d:
        d.start("/readyz")
        hung = threading.Thread(target=lambda: d.call("POST", "/v1/ops/schema/refresh", timeout=60), daemon=True)

        def ready(within_s, want, what):
            began = time.monotonic()
            a = d.call("GET", "/readyz")
            took = time.monotonic() - began
            ok(a.status == want and took < within_s, f"{what} within {within_s} s", f"{a} after {took:.1f} s")
        server.control("/fault", {"proto": "http", "at": "query", "kind": "hang", "times": 1, "match": "system.columns|system.tables"})
        try:
            hung.start()
            ok(net.wait_for(lambda: server.state()["stats"]["injected"].get("http.query.hang"), 10), "a refresh hangs", server.state())
            ready(1, 200, "/readyz says ready beside it")
            server.control("/cut")
            server.control("/fault", {"proto": "native", "at": "connect", "kind": "hang", "times": 1})
            ready(3, 503, "a server that says nothing: /readyz says so")
            ready(1, 200, "and the next one asks anew")
        finally:
            server.control("/clear")
        d.kill()


if __name__ == "__main__":
    if not (clickhouse.modern() or clickhouse.old()):
        tap.skip_all("no ClickHouse to test against")
    tap.run(prepare, command_line, check_and_print, bad_configurations, cannot_start, open_listener, metrics_port, lock, reload, drain, readiness,
            without_clickhouse, schema_refresh, ready_beside_a_hung_refresh)
