#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: every setting that says `reload` is in force afterwards, the way to ClickHouse included; a bad file changes nothing."""
import os
import signal
import threading
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

server = database = other = None
# A dedup window, so that what is sent again under the same token counts once.
TABLE = "ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000"
OLD = "ENGINE = MergeTree ORDER BY id"


def prepare():
    global server, database, other
    server = clickhouse.generations()[0]
    database, other = server.database("e2e_reload"), server.database("e2e_reload_other")
    for db, tables in ((database, ("ev", "here")), (other, ("ev",))):
        for table in tables:
            server.query(f"CREATE TABLE {db}.{table} (id UInt32, name String) {TABLE if server.modern else OLD}")
    server.query(f"CREATE TABLE {database}.map (id UInt32, m Map(String, String)) {TABLE}") if server.modern else None


def daemon(**settings):
    base = {"clickhouse.username": "writer", "clickhouse.password": "secret", "flush.interval": "200ms",
            # Long, so that what arrives soon after a SIGHUP arrives because of it.
            "flush.retry_max": "1h", "flush.retry_min": "1m", "schema.refresh_interval": "1h"}
    base.update({k.replace("__", "."): v for k, v in settings.items()})
    return Daemon(server, database, settings=base, name="reload")


def hup(d, **settings):
    """New settings into the file, SIGHUP, and wait until the daemon says what it made of them."""
    for key, value in settings.items():
        group, name = key.split("__")
        d.config.setdefault(group, {})[name] = value
    d.write_config()
    return signal_and_wait(d)


def signal_and_wait(d):
    at = len(d.log())
    d.process.send_signal(signal.SIGHUP)
    words = ("config.reloaded", "the settings in force stay")
    # (log.level: warn hides the first)
    net.wait_for(lambda: any(w in d.log()[at:] for w in words), 2)
    return d.log()[at:]


def rows(db, table, where="1"):
    return int(server.one(f"SELECT count() FROM {db}.{table} WHERE {where}"))


def arrives(db, table, count, where="1", seconds=10):
    return net.wait_for(lambda: rows(db, table, where) >= count, seconds) and rows(db, table, where) == count


def password():
    with daemon() as d:
        d.start("/readyz")
        d.know("ev", "here")
        same(d.stop(), 0, "a first run, so that the tables are known")
        d.config["clickhouse"]["password"] = "not-the-one"
        d.start("/livez")
        for i in range(10):
            same(d.ingest("ev", {"id": i, "name": "waits"}).json(), {"ok": True}, "with a wrong password events are taken")
        ok(net.wait_for(lambda: "clickhouse.refused" in d.log(), 10), "an alarm line", d.log_tail())
        ok("error clickhouse.refused" in d.log() or "<3>clickhouse.refused" in d.log(), "of level error", d.log_tail())
        ok(net.wait_for(lambda: d.pending() == 10, 5), "they wait", d.metrics())
        same((rows(database, "ev"), d.dlq()["total"]), (0, 0), "none is stored, none is a dead letter")
        same(d.call("GET", "/readyz").status, 503, "/readyz 503")
        log = hup(d, clickhouse__password="secret")
        ok("clickhouse.password" in log and "secret" not in d.log() and "not-the-one" not in d.log(),
           "the change is logged, the password is not", log)
        ok(arrives(database, "ev", 10), "after SIGHUP with the right password they arrive, once", d.log_tail())
        ok(net.wait_for(lambda: "clickhouse.recovered" in d.log(), 5), "and the log says that it works again", d.log_tail())
        ok(net.wait_for(lambda: d.call("GET", "/readyz").status == 200, 5), "/readyz 200")
        same(d.dlq()["total"], 0, "no dead letters")
        hup(d, clickhouse__password="not-this-one")
        d.ingest("ev", {"id": 20, "name": "later"})
        ok(net.wait_for(lambda: d.log().count("clickhouse.refused") == 2, 10),
           "an open connection does not outlive its password", d.log_tail())
        same(rows(database, "ev", "id = 20"), 0, "nothing comes through it")
        hup(d, clickhouse__password="secret", clickhouse__compression="none", clickhouse__query_timeout="7s")
        ok(arrives(database, "ev", 1, "id = 20"), "and the other way round, with compression none", d.log_tail())
        same(d.stop(), 0, "exit status 0")


def address():
    dead = net.free_port()
    with daemon() as d:
        d.config["clickhouse"].update({"addr": f"127.0.0.1:{dead}", "http_port": dead})
        d.start(None)
        ok(net.wait_for(lambda: "schema.refresh_failed" in d.log(), 10), "a dead port", d.log_tail())
        same(d.ingest("ev", {"id": 100}).status, 503, "no schema yet: 503")
        hup(d, clickhouse__addr=f"127.0.0.1:{server.tcp}", clickhouse__http_port=server.http)
        d.wait_200("/readyz", 10)
        ok(True, "after SIGHUP with the right ports the daemon becomes ready")
        same(d.ingest("ev", {"id": 100, "name": "a"}).json(), {"ok": True}, "events are taken")
        ok(arrives(database, "ev", 1, "id = 100"), "and stored", d.log_tail())
        hup(d, clickhouse__addr=f"127.0.0.1:{dead}", clickhouse__http_port=dead)
        same(d.ingest("ev", {"id": 101, "name": "b"}).json(), {"ok": True}, "back to the dead port: events are taken")
        if server.modern:
            d.ingest("map", {"id": 101, "m": {"k": "v"}})
        ok(net.wait_for(lambda: "clickhouse.unreachable" in d.log(), 10), "and wait", d.log_tail())
        same(rows(database, "ev", "id = 101"), 0, "nothing goes to the old address")
        hup(d, clickhouse__addr=f"127.0.0.1:{server.tcp}", clickhouse__http_port=server.http)
        ok(arrives(database, "ev", 1, "id = 101"), "and forth: they arrive", d.log_tail())
        if server.modern:
            ok(arrives(database, "map", 1, "id = 101"), "those over HTTP too", d.log_tail())


def change_database():
    dead = net.free_port()
    with daemon() as d:
        d.start("/readyz")
        d.know("ev", "here")
        hup(d, clickhouse__addr=f"127.0.0.1:{dead}", clickhouse__http_port=dead)
        same(d.ingest("ev", {"id": 200, "name": "pending"}).json(), {"ok": True}, "a row waits")
        ok(net.wait_for(lambda: "clickhouse.unreachable" in d.log(), 10), "while ClickHouse is away")
        # The schema cannot be read yet: nothing may be judged by the old database's tables.
        hup(d, clickhouse__addr=f"127.0.0.1:{server.tcp}", clickhouse__database=other)
        time.sleep(1)
        same((rows(other, "ev", "id = 200"), d.pending(), d.dlq()["total"]), (0, 1, 0),
             "as long as the new database's tables are unknown it keeps waiting")
        hup(d, clickhouse__http_port=server.http)
        ok(net.wait_for(lambda: d.ingest("here", b"").error == "unknown table: here", 10),
           "the tables of the new database are the ones that are served", d.log_tail())
        ok(arrives(other, "ev", 1, "id = 200", 15), "the row goes to the new database", d.log_tail())
        same(rows(database, "ev", "id = 200"), 0, "and not to the old one")
        d.ingest("ev", {"id": 201, "name": "new"})
        ok(arrives(other, "ev", 1, "id = 201"), "so does a new one")
        same(d.stop(), 0, "exit status 0")
        d.config["clickhouse"].update({"addr": f"127.0.0.1:{dead}", "http_port": dead, "database": database})
        d.start("/livez")
        same(d.ingest("here", b"").status, 400, "each database has its own stored schema")
        d.stop()
        d.config["clickhouse"]["database"] = "e2e_reload_never_seen"
        before = d.log().count("schema.refresh_failed")
        d.start(None)
        ok(net.wait_for(lambda: d.log().count("schema.refresh_failed") > before, 10) and d.ingest("ev", b"{}").status == 503,
           "a database that was never seen has none", d.log_tail())


def under_load():
    """Settings that move while rows flow: nothing is lost, nothing comes twice."""
    with daemon(flush__retry_min="50ms", flush__retry_max="500ms") as d:
        d.start("/readyz")
        d.know("here")
        stop, sent = threading.Event(), [0]

        def load():
            client = net.Client(d.port)
            while not stop.is_set():
                body = "\n".join('{"id":%d,"name":"x"}' % (sent[0] + i) for i in range(50)).encode()
                a = client.call("POST", "/v1/ingest?table=here", body, {"Content-Type": "application/x-ndjson"})
                if a.status == 200:
                    sent[0] += 50
                stop.wait(0.01)
            client.close()
        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        dead = net.free_port()
        for i in range(6 if env.FAST else 15):
            if i % 3 == 2:
                hup(d, clickhouse__addr=f"127.0.0.1:{dead}")
                time.sleep(0.1)
            hup(d, clickhouse__addr=f"127.0.0.1:{server.tcp}", clickhouse__query_timeout=f"{10 + i}s",
                clickhouse__compression=("none", "lz4")[i % 2], clickhouse__max_open_conns=1 + i % 5)
            time.sleep(0.2)
        stop.set()
        thread.join(30)
        same((arrives(database, "here", sent[0], seconds=30), rows(database, "here"), d.dlq()["total"]),
             (True, sent[0], 0), "all rows arrived, once, no dead letters")
        same(int(server.one(f"SELECT uniqExact(id) FROM {database}.here")), sent[0], "each of them")
        tap.note(f"{sent[0]} rows")
        same(d.stop(), 0, "exit status 0")


def settings():
    with daemon(flush__interval="1h", flush__max_rows=100000) as d:
        d.start("/readyz")
        d.know("ev")
        same(d.ingest("ev", {"id": 300, "name": "x" * 2000}).status, 200, "server.max_body: 16MiB, a body of 2 KB is taken")
        log = hup(d, server__max_body="1KiB")
        ok("server.max_body" in log, "the change is logged", log)
        same(d.ingest("ev", {"id": 301, "name": "x" * 2000}).status, 413, "server.max_body: 1KiB, 413")
        d.config["cors"] = {"allowed_origins": ["https://only.example"]}
        hup(d)

        def allowed(origin):
            return d.call("GET", "/livez", headers={"Origin": origin}).fields.get("access-control-allow-origin")
        same((allowed("https://only.example"), allowed("https://b.example")), ("https://only.example", None),
             "cors.allowed_origins")
        time.sleep(1)
        d.ingest("ev", {"id": 302, "name": "slow"})
        time.sleep(1)
        hup(d, flush__interval="100ms")
        ok(arrives(database, "ev", 1, "id = 302"), "flush.interval", d.log_tail())
        log = hup(d, wal__max_group="64KiB", log__level="warn")
        ok("wal.max_group: 1MiB -> 64KiB (restart needed)" in d.log(), "wal.max_group is named as one for a restart", d.log_tail())
        at = len(d.log())
        hup(d, server__max_body="2KiB")
        more = d.log()[at:]
        ok("wal.max_group" in more and "server.max_body" not in more and "config.reloaded" not in more,
           "log.level: warn hides what is only information, not what waits for a restart", more)
        same(d.ingest("ev", {"id": 303, "name": "x" * 1500}).status, 200, "and the change is in force")
        hup(d, log__level="info")
        hup(d, log__format="json")
        at = len(d.log())
        hup(d, server__max_body="3KiB")
        ok(d.log()[at:].startswith("{"), "log.format", d.log()[at:])
        hup(d, log__format="text")
        bad = d.config_path
        with open(bad, "a", encoding="utf-8") as f:
            f.write("flush_interval: 3\n")
        log = signal_and_wait(d)
        ok(bad + ":" in log and "the settings in force stay" in log and "config.reloaded" not in log,
           "a bad file is refused, with its place", log)
        same((allowed("https://only.example"), allowed("https://b.example")), ("https://only.example", None), "and changes nothing")
        d.ingest("ev", {"id": 303, "name": "still"})
        ok(arrives(database, "ev", 1, "id = 303"), "rows go on", d.log_tail())
        os.rename(bad, bad + ".away")
        log = signal_and_wait(d)
        ok("the settings in force stay" in log, "so is one that is gone", log)
        os.rename(bad + ".away", bad)


if __name__ == "__main__":
    if not clickhouse.generations():
        tap.skip_all("no ClickHouse to test against")
    tap.run(prepare, password, address, change_database, under_load, settings)
