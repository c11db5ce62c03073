#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ClickHouse behind TLS: rows and queries go through it; with the wrong authority, name or port nothing goes, it is said why, and
nothing is lost; connections cut in the middle of a block; large blocks both ways."""
import json
import os
import select
import signal
import socket
import ssl
import threading

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.pki import Pki
from lib.tap import ok, same

server = database = None
pki = Pki("clickhouse-tls-pki")
path = pki.path
NDJSON = "application/x-ndjson"


class Front:
    """A port that speaks TLS and leads to a plain one. fault(kind, after): the next connection that has brought more than so many
    bytes is cut there ("up"), or is cut when the server answers afterwards ("answer")."""
    HELD = 1 << 20

    def __init__(self, to, cert):
        self.to, self.port, self.faults, self.cuts, self.bytes = to, net.free_port(), [], 0, [0, 0]
        self.shaken, self.lock = 0, threading.Lock()
        self.present(cert)
        self.listener = socket.create_server((net.HOST, self.port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def present(self, cert, version=ssl.TLSVersion.TLSv1_2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = version
        context.load_cert_chain(path(cert + ".pem"), path(cert + ".key"))
        self.context = context

    def fault(self, kind, after, times):
        self.faults += [(kind, after)] * times

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                raw = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        raw.settimeout(20)
        near = far = None
        try:
            near = self.context.wrap_socket(raw, server_side=True)
            self.shaken += 1
            far = socket.create_connection((net.HOST, self.to))
            self._copy(near, far)
        except OSError:
            pass
        for s in (near or raw, far):
            if s:
                s.close()

    def _cuts(self, came, answers):
        with self.lock:
            if self.faults and came > self.faults[0][1] and (self.faults[0][0] == "up" or answers):
                self.faults.pop(0)
                self.cuts += 1
                return True
        return False

    # One thread for both directions: OpenSSL's connections are not for two at once.
    def _copy(self, near, far):
        near.setblocking(False)
        far.setblocking(False)
        pipes = ((near, far, bytearray()), (far, near, bytearray()))
        came = 0
        while True:
            moved = 0
            for i, (source, sink, held) in enumerate(pipes):
                try:
                    part = source.recv(65536) if len(held) < self.HELD else None
                    if part == b"":
                        return
                    if part:
                        held += part
                        moved += 1
                        self.bytes[i] += len(part)
                        came += len(part) if i == 0 else 0
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    pass
                if self._cuts(came, i == 1 and held):
                    return
                try:
                    if held:
                        del held[:sink.send(held)]
                        moved += 1
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                    pass
            if not moved:
                select.select([s for s, _, held in pipes if len(held) < self.HELD],
                              [s for _, s, held in pipes if held], [], 1)


class Fronts:
    """Both ports of the server."""

    def __init__(self, cert="good"):
        self.tcp, self.http = Front(server.tcp, cert), Front(server.http, cert)

    def present(self, cert, **more):
        for f in (self.tcp, self.http):
            f.present(cert, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tcp.close()
        self.http.close()


def daemon(fronts, host="localhost", ca="ca", **settings):
    s = {"clickhouse.addr": f"{host}:{fronts.tcp.port}", "clickhouse.http_port": fronts.http.port,
         "clickhouse.tls.enabled": True, "flush.interval": "100ms", "flush.retry_min": "50ms", "flush.retry_max": "500ms",
         "schema.refresh_interval": "1s"}
    if ca:
        s["clickhouse.tls.ca"] = path(ca + ".pem")
    s.update({k.replace("__", "."): v for k, v in settings.items()})
    return Daemon(server, database, settings=s, name="chtls")


def count(table="ev", what="count()"):
    return int(server.one(f"SELECT {what} FROM {database}.{table}"))


def arrives(number, table="ev", seconds=20):
    return net.wait_for(lambda: count(table) >= number, seconds) and \
        (count(table), count(table, "uniqExact(id)")) == (number, number)


def hup(d):
    d.write_config()
    at = len(d.log())
    d.process.send_signal(signal.SIGHUP)
    net.wait_for(lambda: any(w in d.log()[at:] for w in ("config.reloaded", "settings in force stay")), 10)
    return d.log()[at:]


def empty(*tables):
    for t in tables or ("ev",):
        server.query(f"TRUNCATE TABLE {database}.{t}")


def readyz_says(d, *words):
    """/readyz is 503 and names the cause."""
    def check():
        a = d.call("GET", "/readyz")
        return a.status == 503 and all(w in (a.error or "") for w in words)
    return net.wait_for(check, 15)


def through():
    for cert, host in (("good", "localhost"), ("good", "127.0.0.1"), ("rsa", "localhost")):
        empty()
        with Fronts(cert) as f, daemon(f, host) as d:
            d.start("/readyz")
            d.know("ev")
            body = "\n".join(json.dumps({"id": i, "text": "x" * (i % 300)}) for i in range(5000))
            same(d.ingest("ev", body, kind=NDJSON).status, 200, f"{cert}, {host}: rows are taken")
            ok(arrives(5000), f"{cert}, {host}: they are stored, once", d.log_tail)
            a = d.call("POST", "/v1/query?table=ev", json.dumps(
                {"columns": ["text"], "filters": [{"column": "id", "op": "eq", "value": 7}]}).encode())
            same(a.json(), [{"text": "x" * 7}], f"{cert}, {host}: and queried")
            ok(f.tcp.shaken > 0 and f.http.shaken > 0, f"{cert}, {host}: by TLS on both ports", (f.tcp.shaken, f.http.shaken))
            a = d.ingest("ev", {"id": 5000, "text": "ack"}, X_Ack="clickhouse")
            same(a.status, 200, f"{cert}, {host}: X-Ack: clickhouse answers")
            before = f.tcp.shaken
            good = [d.ingest("ev", {"id": 5001 + i, "text": "again"}, X_Ack="clickhouse").status for i in range(10)]
            same(good, [200] * 10, f"{cert}, {host}: ten blocks more")
            ok(f.tcp.shaken - before <= 2, f"{cert}, {host}: on connections that are kept", f.tcp.shaken - before)
            same(d.stop(), 0, f"{cert}, {host}: it stops in order")


def refused(f, d, words, http_words, mend, name):
    """Nothing goes through, it is said why, rows wait; after mend() and a reload they arrive once."""
    empty()
    same(d.ingest("ev", "\n".join(f'{{"id":{i},"text":"waits"}}' for i in range(100)), kind=NDJSON).status, 200,
         f"{name}: rows are taken")
    ok(readyz_says(d, "TLS handshake", words), f"{name}: /readyz says: {words}", d.call("GET", "/readyz"))
    ok(net.wait_for(lambda: words in d.log() and http_words in d.log(), 15), f"{name}: the log says it, of both ports", d.log_tail)
    ok(net.wait_for(lambda: d.pending() == 100, 10), f"{name}: they wait", d.pending)
    same((count(), d.dlq()["total"]), (0, 0), f"{name}: none is stored, none is a dead letter")
    mend()
    log = hup(d)
    ok("config.reloaded" in log, f"{name}: a reload with what is right", log)
    ok(arrives(100), f"{name}: they arrive, once", d.log_tail)
    ok(net.wait_for(lambda: d.call("GET", "/readyz").status == 200, 10), f"{name}: /readyz 200")


def known(d, f, words, http_words, wrong, mend, name):
    """A daemon that knows the tables already meets what is wrong by a reload."""
    d.start("/readyz")
    d.know("ev")
    wrong()
    d.stop()
    d.start("/livez")
    refused(f, d, words, http_words, mend, name)


def authorities():
    with Fronts() as f, daemon(f) as d:
        tls = d.config["clickhouse"]["tls"]
        known(d, f, "not signed by a known authority", "TLS handshake: SSL certificate problem",
              lambda: tls.update(ca=path("ca2.pem")), lambda: tls.update(ca=path("ca.pem")), "another authority")
    with Fronts() as f, daemon(f) as d:
        tls = d.config["clickhouse"]["tls"]
        known(d, f, "not signed by a known authority", "TLS handshake: SSL certificate problem",
              lambda: tls.pop("ca"), lambda: tls.update(ca=path("ca.pem")), "the system's authorities")
    with Fronts() as f, daemon(f, ca="live") as d:
        def live(name):
            with open(path(name + ".pem"), "rb") as src, open(path("live.pem"), "wb") as dst:
                dst.write(src.read())
        live("ca")
        known(d, f, "not signed by a known authority", "TLS handshake: SSL certificate problem",
              lambda: live("ca2"), lambda: live("ca"), "other contents of the same file")


def names():
    with Fronts() as f, daemon(f) as d:
        known(d, f, "is for another name", "TLS handshake: SSL: no alternative certificate subject name",
              lambda: f.present("elsewhere"), lambda: f.present("good"), "another name")
    with Fronts() as f, daemon(f, "127.0.0.1") as d:
        known(d, f, "is for another IP address", "TLS handshake: SSL: no alternative certificate subject name",
              lambda: f.present("bent"), lambda: f.present("good"), "an address that stands among the names")


def skip_verify():
    empty()
    with Fronts("elsewhere") as f, daemon(f, ca=None, clickhouse__tls__insecure_skip_verify=True) as d:
        d.start("/readyz")
        d.know("ev")
        same(d.ingest("ev", {"id": 1, "text": "y"}).json(), {"ok": True}, "insecure_skip_verify: a row is taken")
        ok(arrives(1), "and stored", d.log_tail)
        ok("clickhouse.unverified" in d.log(), "the log warns", d.log_tail)
        a = d.call("POST", "/v1/query?table=ev", b'{"columns":["text"]}')
        same(a.json(), [{"text": "y"}], "and queried")
        d.config["clickhouse"]["tls"] = {"enabled": True, "ca": path("ca.pem")}
        hup(d)
        ok(readyz_says(d, "is for another name"), "strict after a reload, connections of before included",
           d.call("GET", "/readyz"))
        a = d.call("POST", "/v1/query?table=ev", b'{"columns":["id"]}')
        same(a.status, 503, "queries too")


def wrong_ports():
    with Fronts() as f, daemon(f) as d:
        def plain():
            d.config["clickhouse"]["addr"] = f"localhost:{server.tcp}"
            d.config["clickhouse"]["http_port"] = server.http

        def right():
            d.config["clickhouse"]["addr"] = f"localhost:{f.tcp.port}"
            d.config["clickhouse"]["http_port"] = f.http.port
        known(d, f, "speak TLS", "does the port speak HTTPS?", plain, right, "TLS to plain ports")
    with Fronts() as f, daemon(f) as d:
        d.start("/readyz")
        d.know("ev")
        empty()
        right()
        d.config["clickhouse"]["addr"] = f"localhost:{f.http.port}"
        hup(d)
        same(d.ingest("ev", {"id": 1, "text": "h"}).json(), {"ok": True}, "the HTTPS port as the native one: a row is taken")
        ok(readyz_says(d, "handshake: "), "the HTTPS port as the native one: /readyz says where it ends", d.call("GET", "/readyz"))
        same((count(), d.dlq()["total"]), (0, 0), "the HTTPS port as the native one: it waits")
        right()
        hup(d)
        ok(arrives(1), "the HTTPS port as the native one: it arrives after a reload", d.log_tail)
    with Fronts() as f, daemon(f) as d:
        def off():
            d.config["clickhouse"]["tls"] = {"enabled": False}

        def on():
            d.config["clickhouse"]["tls"] = {"enabled": True, "ca": path("ca.pem")}
        d.start("/readyz")
        d.know("ev")
        off()
        d.stop()
        d.start("/livez")
        empty()
        same(d.ingest("ev", {"id": 1, "text": "z"}).json(), {"ok": True}, "plain to TLS ports: a row is taken")
        ok(readyz_says(d, "does the port speak TLS? (clickhouse.tls.enabled)"), "plain to TLS ports: /readyz says what to do",
           d.call("GET", "/readyz"))
        same((count(), d.dlq()["total"]), (0, 0), "plain to TLS ports: it waits")
        on()
        hup(d)
        ok(arrives(1), "plain to TLS ports: TLS is turned on by a reload", d.log_tail)
        f.present("good", version=ssl.TLSVersion.TLSv1_3)
        hup(d)
        d.stop()
        d.start("/livez")
        ok(readyz_says(d, "TLS 1.3"), "a server that speaks TLS 1.3 only", d.call("GET", "/readyz"))


def cuts():
    """Cut in the middle of a block, before and after it counts: no row is lost, none comes twice."""
    empty()
    with Fronts() as f, daemon(f, flush__max_rows=2000) as d:
        d.start("/readyz")
        d.know("ev")
        total = 0
        for kind, after, times in (("up", 20000, 4), ("up", 400000, 3), ("answer", 300000, 3), ("up", 5, 3)):
            f.tcp.fault(kind, after, times)
            for _ in range(10):
                body = "\n".join(json.dumps({"id": total + i, "text": os.urandom(100).hex()}) for i in range(2000))
                same(d.ingest("ev", body, kind=NDJSON).status, 200, "rows are taken") if not total else d.ingest("ev", body, kind=NDJSON)
                total += 2000
            ok(net.wait_for(lambda: count() >= total and not f.tcp.faults, 60), f"{kind} after {after}: everything arrives",
               lambda: f"{count()} of {total}, {f.tcp.faults}\n{d.log_tail()}")
            same((count(), count(what="uniqExact(id)")), (total, total), f"{kind} after {after}: once")
        ok(f.tcp.cuts >= 10, "connections were cut", f.tcp.cuts)
        same(d.dlq()["total"], 0, "no dead letters")


def large():
    empty("ev", "shape")
    with Fronts() as f, daemon(f, clickhouse__compression="none") as d:
        d.start("/readyz")
        d.know("ev", "shape")
        text = os.urandom(150000).hex()
        for n in range(8):
            body = "\n".join(json.dumps({"id": n * 5 + i, "text": text[i:]}) for i in range(5))
            same(d.ingest("ev", body, kind=NDJSON).status, 200, "a body of 1.5 MB")
        ok(arrives(40), "a block of 12 MB", d.log_tail)
        same(count(what="sum(length(text))"), sum(len(text) - i for i in range(5)) * 8, "to the last byte")
        a = d.call("POST", "/v1/query.ndjson?table=ev", b'{"columns":["id","text"],"limit":1000}', timeout=60)
        rows = [json.loads(x) for x in a.body.splitlines()]
        same((a.status, len(rows), sum(len(r["text"]) for r in rows)), (200, 40, sum(len(text) - i for i in range(5)) * 8),
             "an answer of 12 MB")
        body = "\n".join(json.dumps({"id": i, "j": {"a": text[i:i + 100000]}}) for i in range(40))
        before = f.http.bytes[0]
        same(d.ingest("shape", body, kind=NDJSON).status, 200, "rows of a type that goes over HTTP")
        ok(arrives(40, "shape"), "are stored", d.log_tail)
        ok(f.http.bytes[0] - before > 4000000, "4 MB by HTTPS", f.http.bytes[0] - before)


def settings():
    with Fronts() as f:
        for name, text, want in (("missing", None, "No such file"), ("nothing", b"nothing\n", "no PEM certificate"),
                                 ("empty", b"", "empty")):
            if text is not None:
                with open(path(name + ".pem"), "wb") as out:
                    out.write(text)
            d = daemon(f, ca=name)
            status, _, err = d.run("--check")
            ok(status == 1 and want in err and f"{name}.pem" in err, f"--check with a CA file that is {name}: {want}", err)
            d.start(None)
            net.wait_for(lambda: not d.alive(), 20)
            ok(d.process.returncode == 1 and want in d.log(), "a start says the same", d.log_tail)
            d.stop()
            d.remove()
        empty()
        with daemon(f) as d:
            d.start("/readyz")
            d.know("ev")
            d.config["clickhouse"]["tls"]["ca"] = path("nothing.pem")
            log = hup(d)
            ok("nothing.pem" in log and "settings in force stay" in log, "a reload refuses it by name", log)
            same(d.ingest("ev", {"id": 1, "text": "x"}, X_Ack="clickhouse").status, 200, "and goes on with the last good one")
            d.config["clickhouse"]["tls"]["ca"] = path("ca.pem")
            d.config["clickhouse"]["http_scheme"] = "http"
            log = hup(d)
            ok("contradicts clickhouse.tls.enabled" in log and "settings in force stay" in log, "http beside TLS is refused", log)
            d.config["clickhouse"]["http_scheme"] = "https"
            status, out, err = d.run("--check")
            same((status, out, err), (0, "settings are fine\n", ""), "--check with what is right")


def prepare():
    global server, database
    server = clickhouse.modern_direct()
    database = server.database("e2e_clickhouse_tls")
    window = "SETTINGS non_replicated_deduplication_window = 10000"
    server.query(f"CREATE TABLE {database}.ev (id UInt32, text String) ENGINE = MergeTree ORDER BY id {window}")
    server.query(f"CREATE TABLE {database}.shape (id UInt32, j JSON) ENGINE = MergeTree ORDER BY id {window}")
    for name in ("ca", "ca2"):
        pki.authority(name)
    pki.certificate("good", "ca", names="DNS:localhost,IP:127.0.0.1", subject="good")
    pki.certificate("rsa", "ca", "rsa:2048", names="DNS:localhost", subject="rsa")
    pki.certificate("elsewhere", "ca", names="DNS:elsewhere.example", subject="elsewhere")
    pki.certificate("bent", "ca", names="DNS:localhost,DNS:127.0.0.1,DNS:*.0.0.1", subject="bent")


if __name__ == "__main__":
    if not clickhouse.modern_direct():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(prepare, through, authorities, names, skip_verify, wrong_ports, cuts, large, settings)
