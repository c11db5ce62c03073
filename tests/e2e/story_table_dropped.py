#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ClickHouse drops the table under load: somebody cleans up, a migration runs, and writers know nothing of it.

Rows that were stored are gone with the table, by the operator's hand (here UNDROP brings them back to be counted). Every
other row that was acknowledged must be in the new table or in the dead letters, with the reason; and the table next
to it must not notice.
"""
import threading
import time

from lib import audit, clickhouse, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok, same

SETTINGS = {"flush.interval": "100ms", "flush.retry_min": "50ms", "flush.retry_max": "500ms", "wal.retain": "1h",
            "schema.refresh_interval": "1s"}


def create(s, db, table):
    s.query(f"CREATE TABLE {db}.{table} (id String, text String, at DateTime64(6) DEFAULT now64(6)) ENGINE = MergeTree"
            " ORDER BY id SETTINGS non_replicated_deduplication_window = 10000")


def record(r, table, ident):
    return {"id": ident, "text": "x" * r.randrange(200)}


class Story:
    """Two tables under load, a writer each, so that each writer's answers belong to one table."""

    def __init__(self, name):
        self.s = s = clickhouse.modern()
        s.control("/clear")
        self.db = db = s.database("e2e_" + name)
        for table in ("doomed", "neighbour"):
            create(s, db, table)
        self.d = d = Daemon(s, db, name=name, settings=SETTINGS)
        d.start("/readyz")
        d.know("doomed", "neighbour")
        self.stop = threading.Event()
        self.clients = writers.start([writers.Writer(i, d.port, name, self.stop, [table], record, pause=0.03)
                                      for i, table in enumerate(("doomed", "doomed", "neighbour"))])
        ok(self.wait(lambda: s.one(f"SELECT count() FROM {db}.doomed") > 300), "rows arrive")

    def wait(self, check, seconds=20):
        return net.wait_for(check, seconds, 0.05)

    def neighbour_age(self):
        """How far the neighbour's newest row is behind, in seconds."""
        return self.s.one(f"SELECT toFloat64(now64(6)) - toFloat64(max(at)) FROM {self.db}.neighbour")

    def balance(self, what):
        s, db, d = self.s, self.db, self.d
        self.stop.set()
        for c in self.clients:
            c.join(30)
        audit.undrop(s, db)
        fate, count = writers.fates(self.clients)
        acked = {i for i, (_, f) in fate.items() if f == writers.ACKED}

        def copies():
            return audit.merged(audit.in_tables(s, db), audit.in_dead_letters(audit.wal(d)))
        self.wait(lambda: d.pending() in (0, None) and acked <= copies().keys(), 30)
        v = audit.audit(fate, copies())
        dead = audit.in_dead_letters(audit.wal(d))
        ok(v.good() and count["acked"] > 500, f"{what}: {count['acked']} acked, {count['refused']} refused, {len(dead)} dead"
           f" letters; {v}", (v.lost[:9], v.duplicated[:9], v.phantom[:9]))
        same((d.dlq() or {}).get("total"), len(dead), f"{what}: the dead letters are counted")
        ok(all(fate[i][0] == "doomed" for i in dead), f"{what}: none of the neighbour's")
        strange = [x for c in self.clients for x in c.strange]
        ok(not strange, f"{what}: every answer is one of the contract's", strange[:3])
        return dead


def dropped_for_good():
    """The table stays away: writers are told so, what waits becomes dead letters, the neighbour goes on."""
    story = Story("dropped_for_good")
    s, d = story.s, story.d
    with d:
        began = time.monotonic()
        s.query(f"DROP TABLE {story.db}.doomed")
        ok(story.wait(lambda: d.ingest("doomed", b"").status == 404), "writers hear 404 unknown table")
        tap.note(f"known to writers after {time.monotonic() - began:.2f} s")
        ok(story.wait(lambda: (d.dlq() or {}).get("total", 0) > 0), "what waited becomes dead letters", d.dlq)
        tap.note(f"dead letters after {time.monotonic() - began:.2f} s")
        ok(story.wait(lambda: story.neighbour_age() < 1, 5), "the neighbour is not behind")
        ok("table=doomed" in d.log() and "flush.dead_letters" in d.log(), "the log names the table", d.log_tail)
        dead = story.balance("dropped for good")
        text = "".join(bytes.fromhex(e["payload_hex"]).decode("latin-1") for e in audit.wal(d) if e["type"] == "dead_letter")
        ok(dead and "does not exist" in text, "the dead letters say why")


def dropped_and_made_again():
    """DROP and CREATE, as a migration does, several times under load."""
    story = Story("dropped_and_again")
    s, d, t = story.s, story.d, f"{story.db}.doomed"
    with d:
        for n in range(4):
            s.query(f"DROP TABLE {t}")
            create(s, story.db, "doomed")
            ok(story.wait(lambda: s.one(f"SELECT count() FROM {t}") > 100), f"time {n + 1}: rows arrive in the new table", d.log_tail)
        ok(story.wait(lambda: story.neighbour_age() < 1, 5), "the neighbour is not behind")
        dead = story.balance("dropped and made again")
        same(len(dead), 0, "a moment's absence makes no dead letters")


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    tap.run(dropped_for_good, dropped_and_made_again)
