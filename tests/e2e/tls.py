#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTPS with real clients: curl and Python's OpenSSL; certificates renewed, wrong, and asked of clients; and the control socket."""
import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import stat
import subprocess

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.pki import Pki
from lib.tap import ok, same

server = database = None
pki = Pki("tls-pki")
path = pki.path


def daemon(cert="one", key=None, **settings):
    s = {"server.tls.cert": path(cert + ".pem"), "server.tls.key": path((key or cert) + ".key"), "flush.interval": "200ms"}
    s.update({k.replace("__", "."): v for k, v in settings.items()})
    return Daemon(server, database, settings=s, name="tls")


def curl(d, *args, ca="ca", **more):
    return subprocess.run(["curl", "-sS", "--cacert", path(ca + ".pem"), *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, **more)


def url(d, what):
    return f"https://localhost:{d.port}{what}"


def context(ca="ca", cert=None):
    c = ssl.create_default_context(cafile=path(ca + ".pem"))
    if cert:
        c.load_cert_chain(path(cert + ".pem"), path(cert + ".key"))
    return c


def dial(d, ctx=None, session=None):
    raw = socket.create_connection(("127.0.0.1", d.port), timeout=20)
    return (ctx or context()).wrap_socket(raw, server_hostname="localhost", session=session)


def client_hello(ctx):
    outgoing = ssl.MemoryBIO()
    o = ctx.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        o.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def started(d):
    d.start(None)
    up = net.wait_for(lambda: d.alive() and curl(d, "-o", "/dev/null", "-w", "%{http_code}", url(d, "/livez")).stdout == "200",
                      20, 0.05)
    if not up:
        raise RuntimeError(d.log_tail())
    return d


def requests():
    with daemon() as d:
        started(d)
        ok("scheme=https" in d.log(), "the log says which scheme is served")
        a = curl(d, "-d", '{"id":1,"name":"tls"}', url(d, "/v1/ingest?table=ev"))
        same(a.stdout, '{"ok":true}', "curl posts a record over HTTPS")
        c = http.client.HTTPSConnection("localhost", d.port, context=context(), timeout=30)
        good = 0
        for i in range(300):
            c.request("POST", "/v1/ingest?table=ev", json.dumps({"id": 2, "name": "x" * (i * 37 % 5000)}))
            good += c.getresponse().read() == b'{"ok":true}'
        same(good, 300, "300 requests of many sizes on one connection")
        line = json.dumps({"id": 3, "name": "y" * 200}) + "\n"
        many = 50000
        c.request("POST", "/v1/ingest?table=ev", line * many, {"Content-Type": "application/x-ndjson"})
        answer = json.loads(c.getresponse().read())
        same((answer["succeeded"], len(answer["results"])), (many, 10000), "a body of 11 MB, and an answer of 200 KB")
        with dial(d) as s:
            one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
            s.sendall(one * 200)
            got = b""
            while got.count(b'{"status":"ok"}') < 200:
                part = s.recv(65536)
                if not part:
                    break
                got += part
            same(got.count(b"HTTP/1.1 200"), 200, "200 pipelined requests are answered")
        got = net.wait_for(lambda: int(server.one(f"SELECT count() FROM {database}.ev")) == 301 + many, 30)
        ok(got, "everything is in ClickHouse", lambda: server.one(f"SELECT count() FROM {database}.ev"))


def slow_reader():
    # Less patience than it takes until the kernel says that the socket takes bytes again.
    with daemon(server__body_timeout="2s") as d:
        started(d)
        c = dial(d)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wanted = 60
        one = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        c.settimeout(0.2)
        sent = 0
        try:
            while sent < wanted:
                c.sendall(one)
                sent += 1
        except (TimeoutError, ssl.SSLWantWriteError, OSError):
            pass
        c.settimeout(20)
        tail, ends = b"", 0
        while ends < sent:
            part = c.recv(1000)
            if not part:
                break
            ends += (tail + part).count(b"HTTP/1.1 200 OK")
            tail = (tail + part)[-14:]
        same(ends, sent, "a client that reads slowly gets every answer")
        c.close()


def protocols():
    with daemon() as d:
        started(d)
        a = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{d.port}/livez"], capture_output=True, text=True, timeout=20)
        ok("this port speaks HTTPS" in a.stdout, "plain HTTP is told what is wrong", a.stdout + a.stderr)
        with dial(d) as s:
            same(s.version(), "TLSv1.2", "TLS 1.2")
            ok(re.match(r"ECDHE-(RSA|ECDSA)-(AES|CHACHA)", s.cipher()[0]) and "CBC" not in s.cipher()[0],
               "forward secrecy and authenticated encryption", s.cipher()[0])
        # A ClientHello of TLS 1.2 with the number of 1.1 in it.
        ctx = context()
        ctx.maximum_version = ssl.TLSVersion.TLSv1_2
        hello = bytearray(client_hello(ctx))
        hello[9:11] = b"\x03\x02"
        with socket.create_connection(("127.0.0.1", d.port), timeout=10) as s:
            s.sendall(hello)
            got = s.recv(100)
            ok(got[:1] == b"\x15" and got[5:7] == b"\x02\x46", "TLS 1.1 is refused: alert protocol_version", got.hex())
        weak = context()
        weak.set_ciphers("AES128-SHA:@SECLEVEL=0")
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            dial(d, weak).close()
            ok(False, "a suite without forward secrecy is refused")
        except (ssl.SSLError, ConnectionError, OSError):
            ok(True, "a suite without forward secrecy is refused")
        ctx = context()
        with dial(d, ctx) as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while s.recv(4096):
                pass
            session = s.session
        with dial(d, ctx, session) as s:
            ok(s.session_reused, "a second connection resumes the session")


def hostile():
    with daemon(server__header_timeout="500ms") as d:
        started(d)
        rng = random.Random(7)
        silent = [socket.create_connection(("127.0.0.1", d.port)) for _ in range(20)]
        hello = client_hello(context())  # to be cut and bent
        for i in range(300):
            data = bytearray(hello[:rng.randrange(1, len(hello) + 1)])
            for _ in range(rng.randrange(0, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            if rng.random() < 0.2:
                data = bytearray(rng.randbytes(rng.randrange(1, 2000)))
            s = socket.create_connection(("127.0.0.1", d.port))
            try:
                s.sendall(data)
            except OSError:
                pass
            s.close()
        ok(d.alive(), "300 bent ClientHellos do not end the daemon")
        for s in silent:
            s.settimeout(10)
        same([s.recv(1) for s in silent], [b""] * 20, "connections that never shake hands are closed after server.header_timeout")
        same(curl(d, url(d, "/livez")).stdout, '{"status":"ok"}', "and others are served")
        gone = net.wait_for(lambda: metric(d, "wavehouse_http_connections") <= 1, 10)
        ok(gone, "no connection is left over")


def metric(d, name):
    for line in curl(d, url(d, "/metrics")).stdout.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return None


def client_certificates():
    with daemon(server__tls__client_ca=path("clients.pem")) as d:
        d.start(None)
        good = ["--cert", path("alice.pem"), "--key", path("alice.key")]
        up = net.wait_for(lambda: curl(d, *good, url(d, "/livez")).stdout == '{"status":"ok"}', 20, 0.05)
        ok(up, "a client with a certificate of the authority gets in", lambda: d.log_tail())
        a = curl(d, url(d, "/livez"))
        ok(a.returncode != 0 and a.stdout == "", "one without gets no connection", a.stdout + a.stderr)
        a = curl(d, "--cert", path("one.pem"), "--key", path("one.key"), url(d, "/livez"))
        ok(a.returncode != 0 and a.stdout == "", "one of another authority gets no connection", a.stdout + a.stderr)


def renewal():
    for f in ("pem", "key"):
        with open(path("one." + f), "rb") as src, open(path("live." + f), "wb") as dst:
            dst.write(src.read())
    with daemon(cert="live") as d:
        started(d)
        old = http.client.HTTPSConnection("localhost", d.port, context=context(), timeout=10)
        old.request("GET", "/livez")
        old.getresponse().read()

        def served(ca):
            return curl(d, url(d, "/livez"), ca=ca).stdout == '{"status":"ok"}'
        for f in ("pem", "key"):
            os.replace(path("two." + f), path("live." + f))
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: served("ca2"), 10), "after a reload new connections see the new certificate")
        ok(not served("ca"), "and no longer the old one")
        old.request("GET", "/livez")
        same(old.getresponse().read(), b'{"status":"ok"}', "a connection of before goes on")
        with open(path("live.pem"), "wb") as f:
            f.write(b"not a certificate\n")
        at = len(d.log())
        d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: "live.pem" in d.log()[at:] and "config.refused" in d.log()[at:], 10),
           "a broken file is named at the reload", lambda: d.log()[at:])
        ok(served("ca2"), "and the certificate in force stays")


def refusals():
    cases = [
        ({"key": "other"}, "does not belong to the first certificate"),
        ({"cert": "nothing"}, "nothing.pem"),
        ({"server__tls__client_ca": path("one.key")}, "no PEM certificate"),
    ]
    for more, want in cases:
        d = daemon(**more)
        d.start(None)
        net.wait_for(lambda: not d.alive(), 20)
        ok(not d.alive() and d.process.returncode == 1 and want in d.log(), f"a start with {sorted(more)} says: {want}", d.log_tail)
        d.stop()
        status, _, err = d.run("--check")
        ok(status == 1 and want in err, "and so does --check", f"{status} {err}")
        d.remove()
    d = daemon()
    del d.config["server"]["tls"]["key"]
    status, _, err = d.run("--check")
    ok(status == 1 and "belong together" in err, "a certificate without key is refused by name", err)
    d.remove()
    with daemon(cert="soon") as d:
        started(d)
        ok(re.search(r"tls\.certificate.*days_left=[01]: renew", d.log()), "a certificate that ends soon is warned about", d.log_tail)


def metrics_port():
    apart = net.free_port()
    with daemon(prometheus__port=apart) as d:
        d.start(None)
        net.wait_for(lambda: curl(d, url(d, "/livez")).returncode == 0, 20)
        out = curl(d, f"https://localhost:{apart}/metrics").stdout
        ok("wavehouse_http_connections" in out, "prometheus.port has the API's certificate", out[:200])
        out = curl(d, f"http://localhost:{apart}/metrics").stdout
        ok("wavehouse_" not in out, "and gives nothing in plain text", out[:200])


def control_socket():
    with Daemon(server, database, settings={"flush.interval": "200ms"}, name="tls") as d:
        d.start()
        sock = d.config["server"]["control_socket"]
        same(stat.S_IMODE(os.stat(sock).st_mode), 0o660, "owner and group may use the control socket, others not")
        a = subprocess.run(["curl", "-sS", "--unix-socket", sock, "http://x/v1/ops/schema?table=ev"], capture_output=True, text=True)
        same(json.loads(a.stdout).get("name"), "ev", "curl asks through it")
        a = subprocess.run([env.program("wavehousectl"), "dlq", "stats", "--server", "unix:" + sock], capture_output=True, text=True)
        same(a.returncode, 0, "so does wavehousectl")
        subprocess.run(["curl", "-sS", "--unix-socket", sock, "-H", "X-Ack: clickhouse", "-H", "X-Request-ID: mine",
                        "http://x/v1/ingest?table=ev", "-d", '{"id":"12x","name":""}'], capture_output=True)
        letters = lambda: d.call("GET", "/v1/ops/dlq").json()["entries"]
        net.wait_for(lambda: len(letters()) == 1, 20)
        same([(e["peer"], e["request"]) for e in letters()], [(f"uid {os.getuid()}", "mine")], "a dead letter names who came by it")
        second = Daemon(server, database, settings={"server.control_socket": sock}, name="tls")
        second.start(None)
        net.wait_for(lambda: not second.alive(), 20)
        ok(second.process.returncode == 1 and "another process answers there" in second.log(),
           "a second daemon does not take it over", second.log_tail)
        second.remove()
        d.kill()
        ok(os.path.exists(sock), "a killed daemon leaves it behind")
        d.start()
        a = subprocess.run(["curl", "-sS", "--unix-socket", sock, "http://x/livez"], capture_output=True, text=True)
        same(a.stdout, '{"status":"ok"}', "the next one replaces it")
        d.stop()
        ok(not os.path.exists(sock), "and removes it when it stops")


def prepare():
    global server, database
    server = clickhouse.generations()[0]
    database = server.database("e2e_tls")
    server.query(f"CREATE TABLE {database}.ev (id UInt32, name String) ENGINE = MergeTree ORDER BY id")
    for name in ("ca", "ca2", "clients"):
        pki.authority(name)
    pki.certificate("one", "ca", "rsa:2048")
    pki.certificate("two", "ca2", "P-384")
    pki.certificate("other", "ca", "rsa:2048")
    pki.certificate("soon", "ca", "P-256", days="1")
    pki.certificate("alice", "clients", "P-256", subject="alice")


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    tap.run(prepare, requests, slow_reader, protocols, hostile, client_certificates, renewal, refusals, metrics_port, control_socket)
