#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dead letters by HTTP and by wavehousectl: seen, changed, replayed exactly once, purged; a range of the log into another
table, killed and resumed."""
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
import urllib.parse

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

SETTINGS = {"flush.interval": "200ms", "flush.retry_min": "100ms"}
JSON = {"Content-Type": "application/json"}


class Site:
    """A server, a database with a few tables, and a daemon."""

    def __init__(self, s, name, tables=("ev",), **settings):
        self.s, self.db = s, s.database(f"e2e_dlq_{name}_{s.name.replace('.', '_')}")
        for table in tables:
            self.table(table)
        self.tables = tables
        self.d = Daemon(s, self.db, name="dlq", settings={**SETTINGS, **settings})

    def table(self, name, columns="id UInt32, n Int32, note String DEFAULT '-'"):
        window = " SETTINGS non_replicated_deduplication_window = 10000" if self.s.modern else ""
        self.s.query(f"CREATE TABLE {self.db}.`{name}` ({columns}) ENGINE = MergeTree ORDER BY id{window}")

    def __enter__(self):
        self.d.start()
        self.d.know(*map(urllib.parse.quote_plus, self.tables))
        return self

    def __exit__(self, *_):
        self.d.kill()

    def call(self, method, path, body=None):
        return self.d.call(method, path, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body),
                           JSON if body is not None else None, timeout=60)

    def send(self, rows, table="ev"):
        a = self.d.ingest(urllib.parse.quote_plus(table), "\n".join(map(json.dumps, rows)), kind="application/x-ndjson", X_Request_ID="the-request")
        if a.status != 200:
            raise RuntimeError(f"not accepted: {a!r}")

    def entries(self, query=""):
        return self.call("GET", "/v1/ops/dlq" + query).json()["entries"]

    def dead(self, count, seconds=30):
        """Waits until there are so many dead letters."""
        got = net.wait_for(lambda: self.d.dlq()["total"] == count, seconds)
        return ok(got, f"{self.s.name}: {count} dead letters", self.d.dlq())

    def rows(self, table="ev"):
        return self.s.rows(f"SELECT id, n, note FROM {self.db}.`{table}` ORDER BY id, n, note")

    def stored(self, want, name, table="ev", seconds=30):
        """Waits for these rows, and that none comes behind them."""
        want = sorted(map(list, want))
        net.wait_for(lambda: len(self.rows(table)) >= len(want) and not self.d.pending(), seconds)
        return same(self.rows(table), want, f"{self.s.name}: {name}")

    def replay(self, **ask):
        return self.call("POST", "/v1/ops/dlq/replay", ask)

    def ctl(self, *args, stdin=None, extra_env=None):
        """wavehousectl against this daemon: (status, standard output, standard error)."""
        p = subprocess.run([env.program("wavehousectl"), *args], input=stdin if stdin is not None else "", text=True,
                           capture_output=True, timeout=120,
                           env={**os.environ, "WAVEHOUSE_URL": f"http://127.0.0.1:{self.d.port}", **(extra_env or {})})
        return p.returncode, p.stdout, p.stderr


def poison(i, n="1e3"):
    """1e3 in quotes is no Int32 for ClickHouse, and 1000 after a cast."""
    return {"id": i, "n": n, "note": f"poison {i}"}


def good(i):
    return {"id": i, "n": i, "note": f"row {i}"}


def seen_and_changed(s):
    with Site(s, "seen", ("ev", "a/b c")) as t:
        t.send([good(1), poison(2), good(3), poison(4, "twelve")])
        t.send([poison(5)], "a/b c")
        t.dead(3)
        t.stored([[1, 1, "row 1"], [3, 3, "row 3"]], "the good rows are stored")
        e = t.entries()
        same([(x["table"], x["data"]) for x in e],
             [("ev", poison(2)), ("ev", poison(4, "twelve")), ("a/b c", poison(5))], f"{s.name}: listed, oldest first")
        same(e[0]["request"], "the-request", f"{s.name}: with the request that brought it")
        ok(e[0]["peer"].startswith("127.0.0.1:"), f"{s.name}: and from where", e[0])
        ok(e[0]["error_code"] > 0 and e[0]["error"], f"{s.name}: ClickHouse's number and text", e[0])
        ok(e[0]["received_timestamp"] < e[0]["failed_at"], f"{s.name}: received, then put aside", e[0])
        same([x["id"] for x in t.entries("?table=a%2Fb%20c")], [e[2]["id"]], f"{s.name}: of one table")
        pages, query = [], "?limit=1"
        while query:
            a = t.call("GET", "/v1/ops/dlq" + query).json()
            pages += a["entries"]
            query = f"?limit=1&after={a['next']}" if a["next"] else None
        same(pages, e, f"{s.name}: page by page the same")
        same(t.call("GET", f"/v1/ops/dlq/{e[0]['id']}").json(), e[0], f"{s.name}: one alone")

        one = f"/v1/ops/dlq/{e[1]['id']}"
        for method, path, body, status, text in (
                ("GET", "/v1/ops/dlq?limit=0", None, 400, "limit must be a whole number from 1 to 1000"),
                ("GET", "/v1/ops/dlq?limit=1001", None, 400, "limit must be a whole number from 1 to 1000"),
                ("GET", "/v1/ops/dlq?after=x", None, 400, "after must be an id"),
                ("GET", "/v1/ops/dlq?shelf=left", None, 400, "shelf must be dead or held"),
                ("GET", "/v1/ops/dlq?tabel=ev", None, 400, 'unknown parameter "tabel"; known are: table limit after shelf'),
                ("GET", "/v1/ops/dlq?table=%zz", None, 400, "invalid table parameter"),
                ("GET", "/v1/ops/dlq/0-1-2", None, 404, "no dead letter with this id"),
                ("GET", "/v1/ops/dlq/nonsense", None, 404, "no dead letter with this id"),
                ("GET", "/v1/ops/dlq/%zz", None, 400, "invalid percent-encoding in the path"),
                ("GET", "/v1/ops/dlq/", None, 404, "not found"),
                ("GET", one + "/more", None, 404, "not found"),
                ("POST", one, {}, 405, "method not allowed"),
                ("PUT", "/v1/ops/dlq/stats", {}, 405, "method not allowed"),
                ("PUT", one, b"", 400, "invalid json"),
                ("PUT", one, b'{"a":1}{}', 400, "invalid json"),
                ("PUT", one, [1], 400, "record must be a JSON object"),
                ("PUT", "/v1/ops/dlq/0-1-2", {}, 404, "letter"),
                ("POST", "/v1/ops/dlq/replay", b"{", 400, "invalid json"),
                ("POST", "/v1/ops/dlq/replay", [], 400, "the body must be a JSON object"),
                ("POST", "/v1/ops/dlq/replay", {"tabel": "ev"}, 400, 'unknown member "tabel"'),
                ("POST", "/v1/ops/dlq/replay", {"table": 1}, 400, '"table" must be text in quotes'),
                ("POST", "/v1/ops/dlq/replay", {"ids": []}, 400, "ids must be an array of 1 to 10000 ids"),
                ("POST", "/v1/ops/dlq/replay", {"ids": ["x"]}, 400, 'ids: "x" is no id'),
                ("POST", "/v1/ops/dlq/replay", {"ids": ["0-1-2"], "table": "ev"}, 400, "not both"),
                ("POST", "/v1/ops/dlq/replay", {"rules": [{"delete": "a"}]}, 400, 'rule 1: unknown rule "delete"'),
                ("POST", "/v1/ops/dlq/replay", {"dry_run": "yes"}, 400, "dry_run must be true or false"),
                ("POST", "/v1/ops/dlq/replay", {"before": "noon"}, 400, "before must be an instant such as"),
                ("POST", "/v1/ops/dlq/replay", {"limit": -1}, 400, "limit must be a whole number"),
                ("POST", "/v1/ops/dlq/replay", {"after": e[0]["id"]}, 400, "come with its table"),
                ("DELETE", "/v1/ops/dlq?tabel=ev", None, 400, 'unknown parameter "tabel"'),
                ("DELETE", "/v1/ops/dlq?id=x", None, 400, "id is no id of a dead letter"),
                ("POST", "/v1/ops/replay", {}, 400, "missing table"),
                ("POST", "/v1/ops/replay", {"table": "ev"}, 400, "missing from"),
                ("POST", "/v1/ops/replay", {"table": "ev", "from": "noon"}, 400, "from must be an instant"),
                ("POST", "/v1/ops/replay", {"table": "ev", "from": 5, "to": "1h"}, 400, "must both be positions"),
                ("POST", "/v1/ops/replay", {"table": "ev", "from": 5, "to": 4}, 400, "to lies before from"),
                ("POST", "/v1/ops/replay", {"table": "ev", "from": 0, "into": "nowhere"}, 404, "nowhere"),
                ("GET", "/v1/ops/replay/77", None, 404, "no such job"),
                ("GET", "/v1/ops/replay/x", None, 404, "no such job"),
                ("DELETE", "/v1/ops/replay/77", None, 404, "job"),
                ("GET", "/v1/ops/drift?tables=ev", None, 400, 'unknown parameter "tables"')):
            a = t.call(method, path, body)
            ok(a.status == status and text in (a.error or ""), f"{s.name}: {method} {path} {body}: {status} {text}", a)
        same(t.entries(), e, f"{s.name}: none of it changed anything")

        a = t.replay(table="ev", dry_run=True)
        got = a.json()
        ok(a.status == 200 and (got["replayed"], got["failed"], got["dry_run"]) == (0, 2, True) and
           all(x["error_code"] > 0 for x in got["records"]),
           f"{s.name}: a dry run knows that ClickHouse would refuse the values again", a)
        rules = [{"cast": {"column": "n", "to": "integer"}}, {"default": {"column": "note", "value": "-"}}]
        got = t.replay(table="ev", dry_run=True, rules=rules).json()
        same((got["replayed"], got["failed"]), (1, 1), f"{s.name}: a dry run with rules")
        same([x.get("row") for x in got["records"]], [{"id": 2, "n": 1000, "note": "poison 2"}, None],
             f"{s.name}: shows the row as it would be stored")
        ok("is no integer" in got["records"][1]["error"], f"{s.name}: and what a rule does not fit", got)
        same(t.entries(), e, f"{s.name}: and changes nothing")

        a = t.replay(table="ev", rules=rules)
        got = a.json()
        same((a.status, got["replayed"], got["failed"], got["missing"]), (200, 1, 1, 0), f"{s.name}: replayed by rule")
        same([x["id"] for x in got["errors"]], [e[1]["id"]], f"{s.name}: what is refused is named")
        t.stored([[1, 1, "row 1"], [2, 1000, "poison 2"], [3, 3, "row 3"]], "it is stored once")
        same([x["id"] for x in t.entries()], [e[1]["id"], e[2]["id"]], f"{s.name}: it left the dead letters, others stay")

        a = t.call("PUT", one, b'{"id": 4,\n "n": 4, "n": 44, "note": "mended"}')
        same((a.status, (a.json() or {}).get("ok")), (200, True), f"{s.name}: edited")
        x = t.call("GET", one).json()
        same((x["data"], x["failed_at"], x["error_code"]),
             ({"id": 4, "n": 44, "note": "mended"}, e[1]["failed_at"], e[1]["error_code"]),
             f"{s.name}: another record, the same story")
        a = t.replay(ids=[e[1]["id"], e[0]["id"], e[1]["id"]]).json()
        same((a["replayed"], a["failed"], a["missing"]), (1, 0, 1), f"{s.name}: by ids, each once; one is not there")
        t.stored([[1, 1, "row 1"], [2, 1000, "poison 2"], [3, 3, "row 3"], [4, 44, "mended"]], "the edited one is stored")

        # A replay says what its dry run says.
        a = t.replay().json()
        same((a["replayed"], a["failed"], [x["error_code"] for x in a["errors"]]), (0, 1, [e[2]["error_code"]]),
             f"{s.name}: unchanged, its value would be refused again, so it stays")
        same(t.entries(), [e[2]], f"{s.name}: the same dead letter")
        # What only ClickHouse itself can refuse once more is a new dead letter, and a replay of everything ends.
        again = t.entries()
        if s.modern:  # older ones have no constraints
            t.s.query(f"ALTER TABLE {t.db}.`a/b c` ADD CONSTRAINT few CHECK n < 10")
            same(t.call("PUT", f"/v1/ops/dlq/{e[2]['id']}", good(50)).status, 200, f"{s.name}: edited against a constraint")
            a = t.replay().json()
            same((a["replayed"], a["failed"]), (1, 0), f"{s.name}: it goes to ClickHouse")
            net.wait_for(lambda: [x["id"] for x in t.entries()] not in ([], [e[2]["id"]]), 30)
            again = t.entries()
            ok(len(again) == 1 and again[0]["id"] != e[2]["id"] and again[0]["data"] == good(50),
               f"{s.name}: and comes back as a new dead letter", again)
        same(t.d.stop(), 0, f"{s.name}: SIGTERM: exit status 0")
        t.d.start()
        same(t.entries(), again, f"{s.name}: the dead letters are there after a restart")
        a = t.call("DELETE", f"/v1/ops/dlq/{again[0]['id']}").json()
        same((a["deleted"], t.d.dlq()["total"]), (1, 0), f"{s.name}: one deleted by its path")
        same(t.call("DELETE", f"/v1/ops/dlq/{again[0]['id']}").json()["deleted"], 0, f"{s.name}: once")


def purged(s):
    with Site(s, "purge", ("ev", "other")) as t:
        t.send([poison(i) for i in range(10)])
        t.send([poison(i) for i in range(5)], "other")
        t.dead(15)
        e = t.entries("?table=ev")
        a = t.call("DELETE", f"/v1/ops/dlq?id={e[0]['id']}").json()
        same(a["deleted"], 1, f"{s.name}: one by id")
        same(t.call("DELETE", "/v1/ops/dlq?before=1h").json()["deleted"], 0, f"{s.name}: none is older than an hour")
        a = t.call("DELETE", "/v1/ops/dlq?table=ev").json()
        r = a["receipt"]
        same((a["deleted"], r["records"], r["shelf"], list(r["tables"]), r["tables"]["ev"]["records"]),
             (9, 9, "dead", ["ev"], 9), f"{s.name}: a table's, with a receipt")
        ok(r["bytes"] == r["tables"]["ev"]["bytes"] > 0 and r["by"].startswith("127.0.0.1:") and r["at"] and
           r["log_index"] > 0, f"{s.name}: which says how much, who, when and where in the log", r)
        a = t.call("DELETE", "/v1/ops/dlq").json()
        same((a["deleted"], a["receipt"]["tables"]["other"]["records"]), (5, 5), f"{s.name}: all the rest")
        same(t.d.dlq(), {"tables": {}, "total": 0}, f"{s.name}: none left")
        same(t.replay().json()["replayed"], 0, f"{s.name}: nothing to replay")
        t.d.kill()
        t.d.start()
        same(t.d.dlq()["total"], 0, f"{s.name}: still none after a kill")


def raced(s):
    """Two clients replay the same letters again and again; the daemon is killed in between."""
    with Site(s, "race") as t:
        count = 3000
        t.send([poison(i) for i in range(count)])
        t.dead(count, 120)
        rules = [{"cast": {"column": "n", "to": "integer"}}]
        ids = [x["id"] for x in t.entries("?limit=1000")]
        totals, lock = {"replayed": 0, "failed": 0}, threading.Lock()

        def client(ask):
            for _ in range(4):
                try:
                    a = t.replay(rules=rules, **ask).json()
                except OSError:
                    return
                with lock:
                    for k in totals:
                        totals[k] += a[k]
        threads = [threading.Thread(target=client, args=(ask,)) for ask in ({"table": "ev"}, {}, {"ids": ids})]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        same(totals, {"replayed": count, "failed": 0}, f"{s.name}: three clients at once: together each letter once")
        t.stored([[i, 1000, f"poison {i}"] for i in range(count)], "and each row once", seconds=60)
        same(t.d.dlq()["total"], 0, f"{s.name}: no dead letters left")

        t.send([poison(i) for i in range(count, 2 * count)])
        t.dead(count, 120)
        # A kill at some point of the replay; what is left is replayed after the restart.
        killer = threading.Thread(target=lambda: (net.wait_for(lambda: t.d.dlq()["total"] < count, 20, 0.002), t.d.kill()))
        slices = [x["id"] for x in t.entries("?limit=1000")]
        killer.start()
        try:
            for at in range(0, len(slices), 50):
                t.replay(rules=rules, ids=slices[at:at + 50])
        except OSError:
            pass
        killer.join()
        ok(not t.d.alive(), f"{s.name}: killed while it replays")
        t.d.start()
        left = t.d.dlq()["total"]
        ok(0 < left < count, f"{s.name}: part of it was done", left)
        a = t.replay(rules=rules).json()
        ok(a["failed"] == 0 and a["replayed"] <= left, f"{s.name}: the rest after the restart", a)
        t.stored([[i, 1000, f"poison {i}"] for i in range(2 * count)], "each row once over the kill", seconds=60)
        same(t.d.dlq()["total"], 0, f"{s.name}: no dead letters left over")


def stopped(s):
    """SIGTERM while a replay is under way: it ends soon, tells how far it came, and the rest is there to be replayed."""
    with Site(s, "stop") as t:
        count, pad = 12000, "y" * 1000  # several entries' worth
        t.send([{"id": i, "n": "1e3", "note": pad} for i in range(count)])
        t.dead(count, 120)
        rules, answers = [{"cast": {"column": "n", "to": "integer"}}], []
        client = threading.Thread(target=lambda: answers.append(t.replay(rules=rules)))
        client.start()
        net.wait_for(lambda: t.d.dlq()["total"] < count, 30, 0.002)
        began = time.monotonic()
        same(t.d.stop(), 0, f"{s.name}: SIGTERM during a replay: exit status 0")
        took = time.monotonic() - began
        client.join()
        a = answers[0]
        got = a.json()
        ok(took < 15, f"{s.name}: soon", f"{took:.1f} s")
        tap.note(f"{s.name}: the answer was {a.status} with {got['replayed']} replayed, the stop took {took:.1f} s")
        ok((a.status == 503 and "stopping" in a.error and 0 < got["replayed"] < count) or
           (a.status == 200 and got["replayed"] == count), f"{s.name}: the client learns how far it came", a)
        t.d.start()
        left = t.d.dlq()["total"]
        same(left, count - got["replayed"], f"{s.name}: the rest is still there")
        same(t.replay(rules=rules).json()["replayed"], left, f"{s.name}: and replayed after the start")
        t.stored([[i, 1000, pad] for i in range(count)], "each row once over the stop", seconds=60)


def budget(s):
    with Site(s, "budget", **{"dlq.max_bytes": "1MiB"}) as t:
        for part in range(3):
            t.send([{"id": part * 100 + i, "n": "x", "note": "y" * 4000} for i in range(100)])
            net.wait_for(lambda: any(e["data"]["id"] == part * 100 + 99 for e in t.entries("?limit=1000")), 60)
        ids = [e["data"]["id"] for e in t.entries("?limit=1000")]
        ok(0 < len(ids) < 300 and ids == list(range(300 - len(ids), 300)), f"{s.name}: over the budget the oldest go", ids)
        m = t.d.metrics()
        same(sum(v for k, v in m.items() if k.startswith("wavehouse_dlq_dropped_total")), 300 - len(ids),
             f"{s.name}: and are counted")
        a = t.call("GET", "/v1/ops/dlq?limit=1000")
        ok(len(a.body) < 5 << 20, f"{s.name}: the answer is bounded", len(a.body))
    with Site(s, "off", **{"dlq.enabled": False}) as t:
        for method, path in (("GET", "/v1/ops/dlq"), ("GET", "/v1/ops/dlq/stats"), ("GET", "/v1/ops/dlq/0-1-1"),
                             ("PUT", "/v1/ops/dlq/0-1-1"), ("POST", "/v1/ops/dlq/replay"), ("DELETE", "/v1/ops/dlq")):
            a = t.call(method, path, {} if method in ("PUT", "POST") else None)
            same((a.status, a.error), (404, "not found"), f"{s.name}: dlq.enabled: false: {method} {path}")


def by_table(s):
    """dlq.tables: one table without letters beside one that has them; then the other way round, by a reload."""
    def refused(d, table, disposition):
        return sum(v for k, v in d.metrics().items() if k.startswith("wavehouse_ingest_poison_total")
                   and f'table="{table}"' in k and f'disposition="{disposition}"' in k)

    with Site(s, "tables", ("ev", "noise"), **{"dlq.tables": {"noise": {"enabled": False}}}) as t:
        t.send([good(1), poison(2), good(3)], "noise")
        t.stored([[1, 1, "row 1"], [3, 3, "row 3"]], "rows beside a dropped one are stored", "noise")
        same((refused(t.d, "noise", "dropped"), refused(t.d, "noise", "dlq")), (1, 0), f"{s.name}: dlq.tables: dropped and counted")
        ok("flush.dropped" in t.d.log() and "table=noise" in t.d.log(), f"{s.name}: and logged", t.d.log_tail())
        a = t.d.ingest("noise", poison(4), X_Ack="clickhouse")
        same((a.status, a.json()["dead_letter"], a.json()["code"]), (400, False, "clickhouse.rejected"),
             f"{s.name}: X-Ack: clickhouse says that it is not kept")
        s.query(f"ALTER TABLE {t.db}.ev ADD CONSTRAINT small CHECK n < 100")
        a = t.d.ingest("ev", {"id": 2, "n": 500, "note": "x"}, X_Ack="clickhouse")
        same((a.status, a.json()["dead_letter"]), (400, True), f"{s.name}: and in the other table, that it is")
        t.dead(1)
        first = t.entries()
        same([(e["table"], e["data"]["id"]) for e in first], [("ev", 2)], f"{s.name}: the other table has its letter")
        t.d.config["dlq"] = {"enabled": False, "tables": {"noise": {"enabled": True}}}
        t.d.write_config()
        t.d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: "config.reloaded" in t.d.log(), 10), f"{s.name}: reloaded", t.d.log_tail())
        t.send([poison(5)])
        ok(net.wait_for(lambda: refused(t.d, "ev", "dropped") == 1, 30), f"{s.name}: after a reload ev has none")
        t.send([poison(6)], "noise")
        t.dead(2)
        same([(e["table"], e["data"]["id"]) for e in t.entries()], [("ev", 2), ("noise", 6)],
             f"{s.name}: dlq.enabled: false, on for one table: its letters are there, and old ones of others")
        same(t.replay(ids=[first[0]["id"]]).json()["replayed"], 1, f"{s.name}: an old one of a table without is replayed")
        ok(net.wait_for(lambda: [(e["table"], e["data"]["id"]) for e in t.entries()] == [("noise", 6), ("ev", 2)], 30),
           f"{s.name}: refused again, it is a letter again", t.entries())
        t.d.config["dlq"] = {"enabled": False}
        t.d.write_config()
        t.d.process.send_signal(signal.SIGHUP)
        ok(net.wait_for(lambda: t.d.log().count("config.reloaded") == 2, 10), f"{s.name}: reloaded again", t.d.log_tail())
        same(len(t.entries()), 2, f"{s.name}: off everywhere: letters from before can be seen")
        same(t.call("DELETE", "/v1/ops/dlq").status, 200, f"{s.name}: and purged")
        same(t.call("GET", "/v1/ops/dlq").status, 404, f"{s.name}: then there is nothing to see")


def by_ctl(s):
    with Site(s, "ctl", ("ev", "other")) as t:
        t.send([good(1), poison(2), poison(3, "x\u001b[31m\u009b31m\x7f"), poison(4)])
        t.send([poison(5, "many")], "other")
        t.dead(4)
        e = t.entries()
        status, out, _ = t.ctl("dlq", "stats")
        ok(status == 0 and out.split() == ["ev", "3", "other", "1", "total", "4"], f"{s.name}: ctl dlq stats", out)
        status, out, _ = t.ctl("dlq", "stats", "--json", "--table", "ev")
        same((status, json.loads(out)), (0, {"tables": {"ev": 3}, "total": 3}), f"{s.name}: ctl dlq stats --json")
        status, out, _ = t.ctl("dlq", "list")
        ok(status == 0 and len(out.splitlines()) == 5 and out.startswith("ID ") and e[0]["id"] in out,
           f"{s.name}: ctl dlq list", out)
        ok(not re.search("[\x1b\x7f-\x9f]", out), f"{s.name}: nothing in it that a terminal obeys", out)
        status, out, _ = t.ctl("dlq", "show", e[1]["id"])
        ok(status == 0 and "u009b31m" in out and not re.search("[\x1b\x7f-\x9f]", out),
           f"{s.name}: nor in the record itself", out)
        status, out, _ = t.ctl("dlq", "list", "--json")
        ok(not re.search("[\x1b\x7f-\x9f]", out), f"{s.name}: nor in JSON", out)
        same((status, [json.loads(x) for x in out.splitlines()]), (0, e), f"{s.name}: ctl dlq list --json")
        status, out, err = t.ctl("dlq", "list", "--limit", "1", "--table", "ev")
        ok(status == 0 and len(out.splitlines()) == 2 and "more" in err, f"{s.name}: ctl dlq list --limit", (out, err))
        status, out, _ = t.ctl("dlq", "show", e[0]["id"])
        ok(status == 0 and "the-request" in out and '{"id":2,"n":"1e3","note":"poison 2"}' in out,
           f"{s.name}: ctl dlq show", out)
        status, _, err = t.ctl("dlq", "show", "0-1-2")
        ok(status == 1 and "no dead letter with this id (HTTP 404)" in err, f"{s.name}: ctl dlq show of none: 1", err)

        status, out, err = t.ctl("dlq", "replay", "--table", "ev", "--cast", "n=integer", "--dry-run")
        ok(status == 1 and '"n":1000' in out and "2 would go to their tables, 1 would be refused" in out,
           f"{s.name}: ctl dlq replay --dry-run", (out, err))
        status, out, err = t.ctl("dlq", "replay", "--all", "--cast", "n=integer", "--json")
        ok(status == 1 and json.loads(out) == {"dry_run": False, "replayed": 2, "failed": 2, "missing": 0},
           f"{s.name}: ctl dlq replay --all", (out, err))
        t.stored([[1, 1, "row 1"], [2, 1000, "poison 2"], [4, 1000, "poison 4"]], "what ctl replayed is stored")

        editor = os.path.join(t.d.dir, "editor.sh")
        with open(editor, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\nsed -i \'s/"n":"[^"]*"/"n":33/\' "$2"\n')
        os.chmod(editor, 0o755)
        status, out, err = t.ctl("dlq", "edit", e[1]["id"], extra_env={"VISUAL": editor + " --wait"})
        ok(status == 0 and "fits its table now" in out, f"{s.name}: ctl dlq edit by $VISUAL", (out, err))
        status, out, err = t.ctl("dlq", "edit", e[1]["id"], extra_env={"VISUAL": "", "EDITOR": "true"})
        ok(status == 0 and "not changed" in err, f"{s.name}: an editor that changes nothing", (out, err))
        status, out, err = t.ctl("dlq", "edit", e[1]["id"], extra_env={"VISUAL": "false"})
        ok(status == 3 and "did not end well" in err, f"{s.name}: an editor that fails: 3", (out, err))
        status, out, err = t.ctl("dlq", "edit", e[3]["id"], "--data", '{"id":5,"n":"five"}')
        ok(status == 1 and "still be refused" in out, f"{s.name}: ctl dlq edit --data, still wrong: 1", (out, err))
        status, out, err = t.ctl("dlq", "edit", e[3]["id"], "--data", "-", stdin='{"id":5,"n":55,"note":"ok"}')
        ok(status == 0 and "fits" in out, f"{s.name}: ctl dlq edit --data -", (out, err))
        status, out, err = t.ctl("dlq", "edit", e[3]["id"], "--data", "nonsense")
        ok(status == 1 and "invalid json" in err, f"{s.name}: ctl dlq edit with what is no JSON: 1", (out, err))
        status, out, err = t.ctl("dlq", "replay", e[1]["id"], e[3]["id"], e[0]["id"])
        ok(status == 1 and "2 are on their way" in out and "1 are not there" in out, f"{s.name}: ctl dlq replay ID…",
           (out, err))
        t.stored([[1, 1, "row 1"], [2, 1000, "poison 2"], [3, 33, "poison 3"], [4, 1000, "poison 4"]],
                 "the edited one is stored")
        t.stored([[5, 55, "ok"]], "in the other table, too", table="other")

        t.send([poison(i, "x") for i in range(10, 16)])
        t.dead(6)
        e = t.entries()
        status, out, err = t.ctl("dlq", "purge", e[0]["id"], "--yes")
        ok(status == 0 and out.startswith("1 deleted"), f"{s.name}: ctl dlq purge ID", (out, err))
        status, out, err = t.ctl("dlq", "purge", e[0]["id"], "--yes")
        ok(status == 1 and "not there" in err, f"{s.name}: once", (out, err))
        status, out, err = t.ctl("dlq", "purge", "--all")
        ok(status == 2 and "--yes" in err and t.d.dlq()["total"] == 5, f"{s.name}: a purge wants a yes", err)
        status, out, err = t.ctl("dlq", "purge", "--table", "ev", "--yes", "--json")
        same((status, json.loads(out)["receipt"]["tables"]["ev"]["records"]), (0, 5), f"{s.name}: ctl dlq purge --table")
        status, out, err = t.ctl("dlq", "list")
        same((status, out, err), (0, "", "none\n"), f"{s.name}: ctl dlq list of none")
        status, out, err = t.ctl("drift")
        same((status, out, err), (0, "", "no rows are held\n"), f"{s.name}: ctl drift of none")

        t.table("fresh")
        status, out, err = t.ctl("replay", "--table", "ev", "--from", "0", "--into", "fresh")
        ok(status == 0 and "fresh" in out, f"{s.name}: ctl replay into a table that was made a moment ago", (out, err))
        status, out, err = t.ctl("wal", "--help")
        ok(status == 0 and "wal verify" in out and err == "", f"{s.name}: ctl wal --help: 0", (status, err))
        status, out, err = t.ctl("dlq", "list", "--bogus")
        ok(status == 2 and err.startswith("wavehousectl: "), f"{s.name}: ctl says who complains of an option", err)


def held(s):
    """Rows with columns that their table lacks: seen, repaired by rule, let in without them, purged, or by ALTER."""
    with Site(s, "held", ("ev", "other"), **{"ingest.tables": {"ev": {"unknown_columns": "hold"}}}) as t:
        t.send([good(1)] + [{"id": i, "n": i, "nots": "misspelt"} for i in (2, 3)] + [{**good(4), "new": 4}])
        def drift():
            a = t.call("GET", "/v1/ops/drift").json()
            return a["total"] == 3 and a["scanned"]
        net.wait_for(drift, 30)
        a = t.call("GET", "/v1/ops/drift?table=ev").json()
        ok(a["total"] == 3 and {c["name"]: c["count"] for c in a["tables"][0]["columns"]} == {"nots": 2, "new": 1} and
           a["tables"][0]["alter"].startswith("ALTER TABLE"), f"{s.name}: drift says which columns are missing", a)
        same(t.call("GET", "/v1/ops/drift?table=other").json()["total"], 0, f"{s.name}: and of which table")
        status, out, err = t.ctl("drift")
        ok(status == 0 and "ev: 3 rows held" in out and "nots" in out and "ALTER TABLE" in out, f"{s.name}: ctl drift",
           (out, err))
        e = t.entries("?shelf=held")
        same([x["data"]["id"] for x in e], [2, 3, 4], f"{s.name}: held rows are listed")
        same(t.d.dlq()["total"], 0, f"{s.name}: and are no dead letters")
        status, out, err = t.ctl("dlq", "list", "--held", "--json")
        same((status, [json.loads(x) for x in out.splitlines()]), (0, e), f"{s.name}: ctl dlq list --held")
        same(t.call("GET", f"/v1/ops/dlq/{e[0]['id']}").json(), e[0], f"{s.name}: one of them by its id")
        same(t.call("GET", "/v1/ops/dlq/stats?shelf=held").json(), {"tables": {"ev": 3}, "total": 3}, f"{s.name}: counted")
        status, out, err = t.ctl("dlq", "replay", "--held", "--table", "ev", "--dry-run")
        ok(status == 1 and 'unknown column "nots"' in out, f"{s.name}: unchanged they would not fit", (out, err))
        status, out, err = t.ctl("dlq", "replay", "--held", "--all", "--rename", "nots=note")
        ok(status == 1 and "2 are on their way" in out, f"{s.name}: a misspelt name is mended by rule", (out, err))
        t.stored([[1, 1, "row 1"], [2, 2, "misspelt"], [3, 3, "misspelt"]], "the mended ones are stored")
        status, out, err = t.ctl("dlq", "edit", e[2]["id"], "--held", "--data", '{"id":4,"n":44,"newer":1}')
        ok(status == 1 and 'unknown column "newer"' in out, f"{s.name}: a held row is edited", (out, err))
        status, out, err = t.ctl("dlq", "replay", "--held", e[2]["id"], "--ignore-unknown")
        ok(status == 0, f"{s.name}: let in without the column", (out, err))
        t.stored([[1, 1, "row 1"], [2, 2, "misspelt"], [3, 3, "misspelt"], [4, 44, "-"]], "it is stored without it")
        t.send([{**good(5), "bin": 1}, {**good(6), "extra": "six"}])
        net.wait_for(lambda: len(t.entries("?shelf=held")) == 2, 30)
        e = t.entries("?shelf=held")
        status, out, err = t.ctl("dlq", "purge", "--held", e[0]["id"], "--yes")
        ok(status == 0 and out.startswith("1 deleted"), f"{s.name}: a held row is purged", (out, err))
        t.s.query(f"ALTER TABLE {t.db}.ev ADD COLUMN extra String")
        t.call("POST", "/v1/ops/schema/refresh")
        t.stored([[1, 1, "row 1"], [2, 2, "misspelt"], [3, 3, "misspelt"], [4, 44, "-"], [6, 6, "row 6"]],
                 "the column is there, the last one goes in by itself")
        same(t.s.rows(f"SELECT extra FROM {t.db}.ev WHERE id = 6"), [["six"]], f"{s.name}: with its value")
        got = net.wait_for(lambda: t.call("GET", "/v1/ops/drift").json()["total"] == 0, 30)
        ok(got, f"{s.name}: nothing is held any more")
        total = t.d.metrics()["wavehouse_ingest_held_total"]
        answers = [t.d.ingest("ev", {**good(7), "extra": "x", "late": 1}, Idempotency_Key="once").json() for _ in range(2)]
        same(answers, [{"ok": True}, {"duplicate": True}], f"{s.name}: a held row has its key, too")
        same(t.d.metrics()["wavehouse_ingest_held_total"], total + 1, f"{s.name}: a repeat is not counted as held")


def many(s):
    """More letters than one page and one slice; replayed as they are they all stay, and the replay ends."""
    with Site(s, "many") as t:
        count = 12000
        t.send([poison(i) for i in range(count)])
        t.dead(count, 120)
        status, out, err = t.ctl("dlq", "list", "--json")
        same((status, [json.loads(x)["data"]["id"] for x in out.splitlines()]), (0, list(range(count))),
             f"{s.name}: ctl lists {count} of them")
        was = [json.loads(x) for x in out.splitlines()][:1000]
        status, out, err = t.ctl("dlq", "replay", "--all", "--limit", "10", "--dry-run", "--json")
        same([len(json.loads(x).get("records", [])) for x in out.splitlines()], [10, 0], f"{s.name}: --limit")
        status, out, err = t.ctl("dlq", "replay", "--all", "--json")
        same((status, json.loads(out)), (1, {"dry_run": False, "replayed": 0, "failed": count, "missing": 0}),
             f"{s.name}: unchanged, none of them goes in")
        ok(t.d.dlq()["total"] == count and t.entries("?limit=1000") == was, f"{s.name}: and all stay as they were", t.d.dlq())

        one = t.entries("?limit=1")[0]["id"]
        big = {"id": 1, "n": 1, "note": "y" * (3 << 20)}
        same(t.call("PUT", f"/v1/ops/dlq/{one}", big).status, 200, f"{s.name}: edited to 3 MiB")
        same(len(t.call("GET", f"/v1/ops/dlq/{one}").json()["data"]["note"]), 3 << 20, f"{s.name}: and read back")
        a = t.call("PUT", f"/v1/ops/dlq/{one}", b'{"note":"' + b"y" * (16 << 20) + b'"}')
        same((a.status, a.error), (413, "request body exceeded 16777216 bytes"), f"{s.name}: more than a record may have")

        def on_terminal(answer):
            """purge --all with this answer on a terminal; its status."""
            ours, theirs = pty.openpty()
            try:
                p = subprocess.Popen([env.program("wavehousectl"), "dlq", "purge", "--all"], stdin=theirs, stderr=theirs,
                                     stdout=subprocess.PIPE,
                                     env={**os.environ, "WAVEHOUSE_URL": f"http://127.0.0.1:{t.d.port}"})
                os.write(ours, answer)
                p.communicate(timeout=60)
                return p.returncode
            finally:
                os.close(ours)
                os.close(theirs)
        same((on_terminal(b"n\n"), t.d.dlq()["total"]), (2, count), f"{s.name}: purge asks on a terminal: no")
        same((on_terminal(b"y\n"), t.d.dlq()["total"]), (0, 0), f"{s.name}: yes")


def log_range(s):
    """A range of the log into a second table, while the daemon is killed again and again: the same rows, each once."""
    with Site(s, "range", ("ev", "twin", "late", "odd"), **{"wal.retain": "1h"}) as t:
        t.s.query(f"DROP TABLE {t.db}.odd")
        t.table("odd", "id UInt32, note String")
        count = 20000
        for first in range(0, count, 1000):
            t.send([good(i) for i in range(first, first + 1000)])
        net.wait_for(lambda: t.s.one(f"SELECT count() FROM {t.db}.ev") == count, 60)
        rows = [[i, i, f"row {i}"] for i in range(count)]
        same(t.rows(), rows, f"{s.name}: the rows of the log")

        a = t.call("POST", "/v1/ops/replay", {"table": "ev", "from": 0, "into": "twin", "rate": 4000})
        job = a.json()
        ok(a.status == 200 and job["table"] == "ev" and job["into"] == "twin" and job["state"] in ("running", "waiting"),
           f"{s.name}: a job is made", a)
        path = f"/v1/ops/replay/{job['id']}"
        a = t.call("POST", "/v1/ops/replay", {"table": "ev", "from": 0, "into": "twin"})
        same(a.status, 409, f"{s.name}: another one into the same table is refused")
        kills = 0
        for _ in range(3):
            at = t.call("GET", path).json()["rows"]
            net.wait_for(lambda: t.call("GET", path).json()["rows"] > at, 20)
            if t.call("GET", path).json()["state"] == "done":
                break
            t.d.kill()
            t.d.start()
            kills += 1
        ok(kills == 3, f"{s.name}: killed three times on the way", t.call("GET", path))
        net.wait_for(lambda: t.call("GET", path).json()["state"] == "done", 60)
        job = t.call("GET", path).json()
        same((job["state"], job["rows"]), ("done", count), f"{s.name}: the job went on and is done")
        t.stored(rows, "the second table has the same rows, each once", table="twin", seconds=60)
        same([x["id"] for x in t.call("GET", "/v1/ops/replay").json()["jobs"]], [job["id"]], f"{s.name}: it is listed")

        before = subprocess.run(["date", "-u", "+%Y-%m-%dT%H:%M:%S.%NZ"], capture_output=True, text=True).stdout.strip()
        t.send([{"id": 1, "n": 7, "note": "later"}])
        net.wait_for(lambda: not t.d.pending(), 30)
        status, out, err = t.ctl("replay", "--table", "ev", "--from", before, "--into", "late", "--follow")
        ok(status == 0 and " done " in out and "1 rows" in out, f"{s.name}: ctl replay --from TIME --follow", (out, err))
        t.stored([[1, 7, "later"]], "only what came after that time", table="late")
        status, out, err = t.ctl("replay", "--table", "ev", "--from", "0", "--into", "odd", "--ignore-unknown", "--follow",
                                 "--json")
        ok(status == 0 and json.loads(out.splitlines()[-1])["rows"] == count + 1,
           f"{s.name}: into a table with fewer columns", (out, err))
        got = net.wait_for(lambda: t.s.one(f"SELECT uniqExact(id, note) FROM {t.db}.odd") == count + 1, 60)
        ok(got, f"{s.name}: the columns that it has")
        status, out, err = t.ctl("replay", "list", "--json")
        same((status, len(out.splitlines())), (0, 3), f"{s.name}: ctl replay list")
        status, out, err = t.ctl("replay", "--table", "ev", "--from", "1h", "--into", "late", "--rate", "1")
        job = t.call("GET", "/v1/ops/replay").json()["jobs"][0]
        ok(status == 0 and job["state"] in ("running", "waiting"), f"{s.name}: a slow one", (out, err, job))
        status, out, err = t.ctl("replay", "cancel", str(job["id"]))
        ok(status == 0 and "cancelled" in out, f"{s.name}: ctl replay cancel", (out, err))
        status, out, err = t.ctl("replay", "show", str(job["id"]), "--follow")
        ok(status == 1 and "cancelled" in out, f"{s.name}: ctl replay show of a cancelled one: 1", (out, err))


def modern(part):
    def run():
        began = time.monotonic()
        part(clickhouse.modern())
        tap.note(f"{part.__name__}: {time.monotonic() - began:.1f} s")
    run.__name__ = part.__name__
    return run


def old():
    s = clickhouse.old()
    if s is None:
        tap.skip("18.16", "it is not running")
    elif env.FAST:
        tap.skip("18.16", "left out by --fast")
    else:
        for part in (seen_and_changed, by_ctl):
            part(s)


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(*map(modern, (seen_and_changed, purged, raced, stopped, budget, by_table, by_ctl, held, many, log_range)), old)
