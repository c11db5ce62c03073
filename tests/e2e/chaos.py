#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random rounds of everything that can happen between clients, daemon and ClickHouse; then the books must balance.

  tests/run chaos --rounds 100 --seed N           N/0, N/1 … N/99
  tests/run chaos --seed N --only 17              round 17 again, as a failing round tells you to

A round is drawn from its seed: settings, tables, and a timetable of kill -9 of the daemon, kill -9, stop and pause of
ClickHouse, connections cut at any byte of the native exchange, lost answers, hangs, delays, exceptions, HTTP errors,
and columns and tables that come, go, change and change names, while clients write and keep a journal. Then the faults
stop, the log must drain, and every record that a client ever sent is looked up:

  acked     (200 for this record)          exactly one copy, else it counts as *lost* or *duplicated*
  refused   (4xx, or nobody listened)      no copy, else *phantom*; also rows that nobody sent
  unknown   (5xx, timeout, cut)            at most one copy
  said to be in ClickHouse (X-Ack)         one copy in a table, not among the dead letters

Clients send JSON, NDJSON, CSV, through ClickHouse's door, with Idempotency-Keys and with X-Ack: clickhouse. One table has
dedup by id, so what is sent to it may be sent again; one holds records with unknown columns, and all of those must
be there when their columns are.

A copy is a row in any table of the database, also in one that was dropped meanwhile (lib/audit.py), or a dead letter.

What is allowed, and counted apart as "twice over a schema change": doc/flush.md promises exactly once within the
table's deduplication window, and that a row comes twice rather than not at all when the schema changes between an
insert of unknown fate and its repetition (other columns are other groups, so other tokens; another table does not
know the old one's tokens). So two copies are excused only when both happened: between them (each row has the
instant of its insert) something made an insert's fate unknown (a kill, a cut, a lost answer, or the table's own DROP,
DETACH or RENAME, in which an INSERT may store its rows and fail), and this table's schema was changed (its columns, when both copies are in one table; else the table itself), not longer before the first
copy than the daemon may take to notice. Three copies never are, and no more plans may be concerned than there were changes.

Counted apart as "forgotten by ClickHouse": an acked row that is nowhere, where the front's log of tokens proves that ClickHouse was killed
while its INSERT was on the way, and then answered the same token as stored (lib/inserts.py, doc/flush.md). At most
as many tokens as could be on their way at the kills.

The timetable replays from the seed; how threads and processes interleave on it does not.
"""
import argparse
import http.client
import json
import os
import random
import re
import sys
import threading
import time
import traceback

from lib import audit, clickhouse, env, faults, inserts, net, tap, writers
from lib.daemon import Daemon
from lib.tap import ok

CUT = (OSError, http.client.HTTPException)  # ClickHouse went away, before or in the middle of an answer
DRAIN_S = 60
NOTICE_S = 8  # a refresh of the schema, and what an attempt to insert under the old one may take
OPTIONAL = ("c0", "c1", "c2", "c3")
COLUMN_TYPES = ("String DEFAULT ''", "UInt64 DEFAULT 0", "Nullable(Float64)", "LowCardinality(String) DEFAULT 'd'",
                "LowCardinality(Nullable(String))", "Int32 DEFAULT 7", "Int64 DEFAULT val + 1")
NUM_TYPES = ("UInt32", "Int64", "Float64", "String", "Nullable(Int64)", "UInt16")
TABLES = {  # name → (column of its own, engine)
    "plain": ("", "MergeTree ORDER BY id"),
    "parts": ("", "MergeTree PARTITION BY cityHash64(id) % 3 ORDER BY id"),
    "even": ("", "MergeTree ORDER BY id"),  # all rows have the same columns: of a backlog two INSERTs are under way at a time
    "lines": (", free Variant(String, UInt64) DEFAULT 7::UInt64", "MergeTree ORDER BY id"),  # goes by HTTP
}
SCHEMA_CHANGES = ("add_column", "add_column", "drop_column", "modify_num", "modify_num", "rename_column", "drop_create",
                  "rename_away", "there_and_back", "detach_attach", "exchange")
TAKEN_AWAY = tuple("schema." + k for k in ("drop_create", "rename_away", "there_and_back", "detach_attach", "exchange"))
ALTERED = tuple("schema." + k for k in ("add_column", "drop_column", "rename_column", "modify_num"))
PROFILES = {  # what a round consists of: front faults, daemon kills, engine troubles, schema changes
    "calm": (0, 0, 0, 0),
    "network": (30, 0, 0, 0),
    "kills": (0, 4, 3, 0),
    "schema": (0, 0, 0, 8),
    "network and schema": (20, 0, 0, 6),
    "everything": (18, 2, 2, 5),
}
FORMS = ("single", "array", "ndjson", "csv", "door", "keyed") * 4 + ("waiting",)
BY_ID, HELD = "parts", "plain"  # the tables with dedup by id, and with unknown columns held
DRAW = ["calm"] + ["network", "kills", "schema", "network and schema"] * 2 + ["everything"] * 8


def record(r, table, ident):
    """Mostly fits; sometimes has a column that its table may lack, or a value that ClickHouse refuses."""
    value = {"id": ident, "val": r.randrange(1 << 20), "num": r.randrange(1000), "text": "x" * (8000 if r.random() < 0.02 else r.randrange(60))}
    if table != "even" and r.random() < 0.25:
        value[r.choice(OPTIONAL)] = r.randrange(100000)
    if table != "even" and r.random() < 0.08:
        value[r.choice(OPTIONAL)] = r.randrange(100000)
    if r.random() < (0.001 if table == "even" else 0.003):
        value["val"] = "poison"
    return value


class Lane(threading.Thread):
    """Does its part of the timetable, one thing after the other; late rather than never."""

    def __init__(self, events, began):
        super().__init__(daemon=True)
        self.events, self.began, self.error = events, began, None

    def run(self):
        try:
            for at, act, args in self.events:
                time.sleep(max(0, self.began + at - time.monotonic()))
                act(*args)
        except Exception as e:
            self.error = e


class Round:
    def __init__(self, s, seed, number, seconds):
        self.s, self.number, self.seconds = s, number, seconds
        self.name = f"{seed}/{number}"
        self.r = r = random.Random(self.name)
        self.db = f"chaos_{number}"
        self.profile = r.choice(DRAW)
        self.lock = threading.Lock()
        self.happened = []  # (began, ended, kind, table or None, detail), wall clock
        self.count = {}
        self.made = 0
        self.refresh_s = r.choice((1, 2, 5))
        self.settings = {
            "flush.interval": f"{r.choice((50, 200, 1000))}ms", "flush.max_rows": r.choice((10, 20, 20, 100, 500, 100000)),
            "flush.retry_min": f"{r.choice((20, 100))}ms", "flush.retry_max": "1s",
            "clickhouse.query_timeout": f"{r.choice((1, 2))}s", "clickhouse.max_open_conns": r.choice((1, 8, 8, 8)),
            "wal.segment_size": "8MiB", "wal.retain": "1h", "server.threads": r.choice((1, 2)),
            "schema.refresh_interval": f"{self.refresh_s}s",
            "dedupe.tables": {BY_ID: {"enabled": True, "id_field": "id"}}, "ingest.tables": {HELD: {"unknown_columns": "hold"}}}
        self.events = self.timetable()
        self.d = Daemon(s, self.db, name=f"chaos-{number}", settings=self.settings)

    def timetable(self):
        """lane → [(second, action, arguments)]"""
        r, (network, kills, engine, schema) = self.r, PROFILES[self.profile]
        lanes = {}

        def add(lane, n, make):
            for _ in range(n):
                lanes.setdefault(lane, []).append((r.uniform(0.2, self.seconds), *make()))
        add("front", network, lambda: (self.front_fault, (*faults.front(r), r.random() < 0.5)))
        add("daemon", kills, lambda: (self.kill_daemon, ()))
        add("engine", engine, lambda: (self.engine_trouble, (
            r.choice(("engine.kill", "engine.kill", "engine.stop", "engine.pause", "engine.refuse")),
            r.uniform(0, 1.5))))
        for _ in range(schema):
            table = r.choice(sorted(TABLES))
            add("schema " + table, 1, lambda t=table: (self.schema_change, (
                t, r.choice(SCHEMA_CHANGES), r.choice((0, r.uniform(0, 3))), random.Random(r.random()))))
        for events in lanes.values():
            events.sort(key=lambda e: e[0])
        return lanes

    # ---- what happens
    def note(self, kind, began, table=None, detail=None):
        with self.lock:
            self.happened.append((began, time.time(), kind, table, detail))
            self.count[kind] = self.count.get(kind, 0) + 1

    def front_fault(self, kind, fault, cut):
        began = time.time()
        self.s.control("/fault", fault)
        if cut and kind.startswith(faults.NEEDS_CONNECT):
            self.s.control("/cut", {"rst": True})
        self.note("armed " + kind, began, detail=fault)

    def kill_daemon(self):
        began = time.time()
        self.d.kill()
        self.d.start("/livez", 30)
        self.note("daemon.kill", began)

    def engine_trouble(self, kind, seconds):
        began = time.time()
        if kind == "engine.refuse":
            self.s.control("/refuse", {"fronts": ["tcp", "http"]})
            time.sleep(seconds)  # the fault's own length, here and below
            self.s.control("/accept")
        elif kind == "engine.pause":
            self.s.control("/engine/pause")
            time.sleep(2 * seconds)
            self.s.control("/engine/resume")
        else:
            self.s.control("/engine/" + kind[7:])
            time.sleep(seconds)
            self.s.control("/engine/start")
        self.note(kind, began)

    # ---- schema
    def ddl(self, sql, done):
        """Runs it until it is done: the answer may get lost, or ClickHouse may be away."""
        def attempt():
            try:
                self.s.query(sql)
                return True
            except clickhouse.Failed as e:
                if done in str(e):
                    return True
                if re.search(r"Code: (341|517|473|48)\b|Retry later", str(e)):  # unfinished or locked: again
                    return False
                raise
            except CUT:
                return False
        if not net.wait_for(attempt, 60, 0.1):
            raise RuntimeError("no end of " + sql)

    def columns(self, table):
        """Asked until ClickHouse is there."""
        def ask():
            try:
                return self.s.rows(f"SELECT name FROM system.columns WHERE database = '{self.db}' AND table = '{table}'")
            except CUT:
                return None
        found = net.wait_for(lambda: ask() or None, 60, 0.05)
        return [name for name, in found or ()]

    def create(self, table, r, name=None):
        own, engine = TABLES[table]
        more = "".join(f", {c} {r.choice(COLUMN_TYPES)}" for c in OPTIONAL if r.random() < 0.5)
        self.ddl(f"CREATE TABLE {self.db}.{name or table} (id String, val UInt32, num {r.choice(NUM_TYPES)}, text String,"
                 f" at DateTime64(6) DEFAULT now64(6){own}{more}) ENGINE = {engine}"
                 " SETTINGS non_replicated_deduplication_window = 100000", "already exists")

    def schema_change(self, table, kind, seconds, r):
        began, t = time.time(), f"{self.db}.{table}"
        self.made += 1
        other = f"{table}_{kind}_{self.made}"
        here = [c for c in self.columns(table) if c in OPTIONAL]
        away = [c for c in OPTIONAL if c not in here]
        if kind in ("drop_column", "rename_column") and not here or kind == "rename_column" and not away:
            kind = "add_column"
        if kind == "add_column" and not away:
            kind = "drop_column"
        if kind == "add_column":
            self.ddl(f"ALTER TABLE {t} ADD COLUMN {r.choice(away)} {r.choice(COLUMN_TYPES)}", "already exists")
        elif kind == "drop_column":
            self.ddl(f"ALTER TABLE {t} DROP COLUMN {r.choice(here)}", "Wrong column")
        elif kind == "rename_column":
            self.ddl(f"ALTER TABLE {t} RENAME COLUMN {r.choice(here)} TO {r.choice(away)}", "Wrong column")
        elif kind == "modify_num":
            self.ddl(f"ALTER TABLE {t} MODIFY COLUMN num {r.choice(NUM_TYPES)}", "-")
        elif kind == "exchange":
            self.create(table, r, other)
            self.ddl(f"EXCHANGE TABLES {t} AND {self.db}.{other}", "-")
        elif kind == "detach_attach":
            self.ddl(f"DETACH TABLE {t}", "does not exist")
            time.sleep(seconds)
            self.ddl(f"ATTACH TABLE {t}", "already exists")
        elif kind == "there_and_back":
            self.ddl(f"RENAME TABLE {t} TO {self.db}.{other}", "does not exist")
            time.sleep(seconds)
            self.ddl(f"RENAME TABLE {self.db}.{other} TO {t}", "does not exist")
        else:
            self.ddl(f"DROP TABLE {t}" if kind == "drop_create" else f"RENAME TABLE {t} TO {self.db}.{other}", "does not exist")
            time.sleep(seconds)
            self.create(table, r)
        self.note("schema." + kind, began, table)

    # ---- the round
    def run(self):
        began = time.monotonic()
        self.s.control("/clear")
        inserts.seen(self.s, clear=True)
        self.s.database(self.db)
        for table in sorted(TABLES):
            self.create(table, self.r)
        self.injected = dict(self.s.state()["stats"]["injected"])
        self.d.start("/readyz")
        self.d.know(*TABLES)
        stop = threading.Event()
        clients = writers.start([writers.Writer(i, self.d.port, self.name, stop, sorted(TABLES), record, FORMS, (1, 50), 0.03, by_id=(BY_ID,))
                                 for i in range(4)])
        start = time.monotonic()
        lanes = [Lane(events, start) for _, events in sorted(self.events.items())]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        time.sleep(max(0, start + self.seconds - time.monotonic()))
        stop.set()
        for c in clients:
            c.join(30)
        self.s.control("/clear")
        if not self.s.up():
            self.s.control("/engine/start")
        after = self.s.state()["stats"]["injected"]
        self.injected = {k: n - self.injected.get(k, 0) for k, n in after.items() if n > self.injected.get(k, 0)}
        self.last_word = self.r.choice(("SIGKILL", "SIGTERM", "none"))
        if self.last_word == "SIGKILL":
            self.kill_daemon()
        elif self.last_word == "SIGTERM":
            ok(self.d.stop() == 0, f"round {self.name}: SIGTERM ends the daemon with status 0", self.d.log_tail())
            self.d.start("/livez")
        for lane in lanes:
            if lane.error:
                raise lane.error
        self.check(clients, began)

    def release_held(self):
        """Held records wait for their columns: give their table all that there are."""
        for column in set(OPTIONAL) - set(self.columns(HELD)):
            self.ddl(f"ALTER TABLE {self.db}.{HELD} ADD COLUMN {column} Int64 DEFAULT 0", "already exists")

    def balanced(self, acked):
        """Nothing waits or is held any more, every acked record is somewhere, every dead letter is counted."""
        drift = self.d.call("GET", "/v1/ops/drift").json()
        if self.d.pending() not in (0, None) or drift["total"] != 0:
            return False
        dead = audit.in_dead_letters(audit.wal(self.d))
        copies = audit.merged(audit.in_tables(self.s, self.db, "at"), dead)
        return acked <= copies.keys() and (self.d.dlq() or {}).get("total") == len(dead)

    def settle(self, acked):
        """Waits for balance as long as the daemon gets on, for a busy machine may take minutes: a row that is still on its
        way is not lost. False: nothing has moved for DRAIN_S, or it takes five times as long."""
        began = moved = time.monotonic()
        last = None
        while time.monotonic() - moved < DRAIN_S and time.monotonic() - began < 5 * DRAIN_S:
            if net.wait_for(lambda: self.balanced(acked), 2, 0.3):
                return True
            state = (self.d.pending(), (self.d.dlq() or {}).get("total"))
            if state != last:
                last, moved = state, time.monotonic()
        return False

    def check(self, clients, began):
        self.s.control("/engine/resume")
        self.release_held()
        audit.undrop(self.s, self.db)
        fate, count = writers.fates(clients)
        acked = {i for i, (_, f) in fate.items() if f == writers.ACKED}
        drain = time.monotonic()
        balance = self.settle(acked)
        drain = time.monotonic() - drain
        self.drift = self.d.call("GET", "/v1/ops/drift").json()
        pending, letters = self.d.pending(), (self.d.dlq() or {}).get("total")
        early = int(self.d.metrics().get("wavehouse_clickhouse_inserts_early_total", 0))  # since its last start
        clean = self.d.stop() == 0
        entries = audit.wal(self.d)
        dead = audit.in_dead_letters(entries)
        copies = audit.merged(audit.in_tables(self.s, self.db, "at"), dead)
        v = self.verdict = audit.audit(fate, copies, self.excuse)
        said = set().union(*(c.in_table for c in clients))
        self.inserts = inserts.seen(self.s)
        self.plans = inserts.Plans(entries, self.inserts)
        forgotten = self.forgotten(v)
        v.lost += [i for i in said if all(place == "dead letter" for place, _ in copies.get(i, ()))]
        strange = [x for c in clients for x in c.strange]
        damage = audit.wal_verify(self.d)
        self.totals = {"requests": sum(c.requests for c in clients), "records": len(fate), **count,
                       "stored": sum(len(x) for x in copies.values()) - len(dead), "dead": len(dead),
                       "excused": len(v.excused), "forgotten": sum(map(len, forgotten.values())), "duplicates": sum(c.duplicates for c in clients),
                       "early": early, "held": sum(map(int, re.findall(r" replay.released .*rows=(\d+)", self.d.log()))),
                       "in ClickHouse": len(said)}
        n = self.totals
        done = {**{k: c for k, c in self.count.items() if not k.startswith("armed ")}, **self.injected}
        self.done = done
        tap.note(f"round {self.name} {self.profile}: {n['requests']} answers, {n['records']} records: {n['acked']} acked,"
                 f" {n['refused']} refused, {n['unknown']} unknown; {n['stored']} stored, {n['dead']} dead letters, {n['held']} were held,"
                 f" {n['duplicates']} answered duplicate; {n['early']} blocks sent early; {sum(done.values())} faults; drained in {drain:.1f} s; twice over a schema change {n['excused']};"
                 f" forgotten by ClickHouse {n['forgotten']}; {v}; {time.monotonic() - began:.1f} s")
        good = ok(v.good(), f"round {self.name}: {v}", lambda: self.explain(v, fate, copies, entries))
        if forgotten:
            kills, tokens = self.count.get("engine.kill", 0), sorted(forgotten)
            good &= ok(len(tokens) <= kills * self.settings["clickhouse.max_open_conns"],
                       f"round {self.name}: {len(tokens)} INSERTs were on their way at {kills} kills of ClickHouse, and forgotten", tokens)
            for rows in forgotten.values():
                tap.note(self.plans.explain(rows[0]).replace("\n", "\n# "))
        good &= ok(balance or not v.good() or forgotten and pending in (0, None), f"round {self.name}: drained",
                   f"pending {pending}, dead letters {letters}, in the log {len(dead)}, {self.drift}")
        good &= self.check_excused(v, fate, entries)
        good &= ok(not strange, f"round {self.name}: every answer is one of the contract's", "\n".join(strange[:5]))
        good &= ok(clean and not damage, f"round {self.name}: clean stop, whole log", damage or self.d.log_tail())
        self.good = good
        if good:
            self.s.query(f"DROP DATABASE {self.db}")
            self.d.remove()

    def forgotten(self, v):
        """token → rows, taken out of the lost ones."""
        out = {}
        kills = [(began, ended) for began, ended, kind, *_ in self.happened if kind == "engine.kill"]
        for ident in list(v.lost):
            token = self.plans.forgotten(ident, kills)
            if token:
                out.setdefault(token, []).append(ident)
                v.lost.remove(ident)
        return out

    def check_excused(self, v, fate, entries):
        """A table has one plan on its way at a time, so a change of its schema can bring one plan's rows twice, no more."""
        places, plans, met = audit.log_places(entries), audit.plans(entries), set()
        for ident in v.excused:
            table, index = fate[ident][0], min(places[ident])
            met.update((t, first) for t, first, last in plans if t == table and first <= index <= last)
        changes = sum(n for kind, n in self.count.items() if kind.startswith("schema."))
        return ok(len(met) <= changes, f"round {self.name}: rows of {len(met)} plans are there twice over {changes} schema changes",
                  sorted(met))

    def excuse(self, table, copies):
        """Both an insert of unknown fate and a change of this table's schema between two copies; see above."""
        if len(copies) > 2:
            return False
        first, second = sorted(at for _, at in copies)
        places = {place for place, _ in copies}
        # Twice in one table: its columns changed. In two: one took the other's place. A dead letter: either.
        fits = ALTERED if len(places) == 1 else TAKEN_AWAY if "dead letter" not in places else ALTERED + TAKEN_AWAY
        changed = unknown = False
        for began, ended, kind, of, _ in self.happened:
            if began > second or ended < first - NOTICE_S:
                continue
            changed |= of == table and kind in fits
            unknown |= kind in ("daemon.kill", "engine.kill", "engine.stop", "engine.pause")
            unknown |= kind in TAKEN_AWAY and of == table and began - 1 < first < ended + 1
            unknown |= kind.startswith(tuple("armed " + k for k in faults.UNKNOWN_FATE))
        return changed and unknown

    def explain(self, v, fate, copies, entries):
        """Everything known about a few of the bad ones; the whole story goes to the round's folder."""
        at = audit.log_places(entries)
        with open(os.path.join(self.d.dir, "journal.json"), "w", encoding="utf-8") as f:
            json.dump({"fate": fate, "copies": copies, "log": at, "happened": self.happened,
                       "inserts": self.inserts, "lost": v.lost, "duplicated": v.duplicated, "phantom": v.phantom, "excused": v.excused}, f)
        lines = [f"settings {self.settings}"]
        for what in ("lost", "duplicated", "phantom"):
            lines += [f"{what} {i}: {fate.get(i)} log {at.get(i)} copies {copies.get(i)}" for i in getattr(v, what)[:8]]
        plans = {}  # a row of each plan that is concerned, and what was sent for it
        for ident in v.lost + v.duplicated:
            for place in self.plans.place.get(ident, ()):
                plans.setdefault(place[:3], ident)
        lines += [self.plans.explain(ident) for ident in list(plans.values())[:8]]
        return "\n".join(lines + [f"folder {self.d.dir}"])


class Run:
    def __init__(self, o):
        self.o, self.s = o, clickhouse.modern()
        self.totals, self.done, self.bad = {}, {}, []
        self.lost = self.duplicated = self.phantom = 0

    def rounds(self):
        numbers = self.o.only if self.o.only else range(self.o.rounds)
        for number in numbers:
            r = Round(self.s, self.o.seed, number, self.o.seconds)
            failed = tap.failed()
            try:
                r.run()
            except Exception as e:
                ok(False, f"round {r.name}: ended by {type(e).__name__}", f"{''.join(traceback.format_exception(e))}\n{r.d.log_tail()}")
                self.s.control("/engine/resume")
                self.s.control("/clear")
                if not self.s.up():
                    self.s.control("/engine/start")
            finally:
                r.d.kill()
            if tap.failed() > failed:
                self.bad.append(number)
                tap.note(f"replay: tests/run chaos --seed {self.o.seed} --seconds {self.o.seconds:g} --only {number}   (folder {r.d.dir})")
            self.add(r)

    def add(self, r):
        for k, n in getattr(r, "totals", {}).items():
            self.totals[k] = self.totals.get(k, 0) + n
        for k, n in getattr(r, "done", {}).items():
            self.done[k] = self.done.get(k, 0) + n
        v = getattr(r, "verdict", None)
        if v:
            self.lost += len(v.lost)
            self.duplicated += len(v.duplicated)
            self.phantom += len(v.phantom)

    def summary(self):
        n = self.totals
        rounds = len(self.o.only or range(self.o.rounds))
        tap.note(f"seed {self.o.seed}: {rounds} rounds, {n.get('requests', 0)} answers, {n.get('records', 0)} records:"
                 f" {n.get('acked', 0)} acked, {n.get('refused', 0)} refused, {n.get('unknown', 0)} unknown;"
                 f" {n.get('stored', 0)} rows stored, {n.get('dead', 0)} dead letters, {n.get('held', 0)} were held,"
                 f" {n.get('duplicates', 0)} answered duplicate, {n.get('in ClickHouse', 0)} answered from ClickHouse,"
                 f" {n.get('early', 0)} blocks sent early, twice over a schema change {n.get('excused', 0)}, forgotten by ClickHouse {n.get('forgotten', 0)}")
        tap.note("faults: " + ", ".join(f"{k} {c}" for k, c in sorted(self.done.items())))
        tap.note(f"lost {self.lost}, duplicated {self.duplicated}, phantom {self.phantom}")
        ok(n.get("acked", 0) > 100 * rounds, "there was load", n)
        if rounds >= 50:
            never = [k for k in EXPECTED if not self.done.get(k)]
            ok(not never, "every kind of fault was injected at least once", never)
        if self.bad:
            tap.note(f"failing rounds: {self.bad}")


EXPECTED = sorted(faults.FRONT) + ["daemon.kill", "engine.kill", "engine.stop", "engine.pause", "engine.refuse"] + sorted(
    {"schema." + k for k in SCHEMA_CHANGES})


def options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    p.add_argument("--rounds", type=int, default=3 if env.FAST else 10)
    p.add_argument("--seconds", type=float, default=5, help="of load in each round")
    p.add_argument("--only", type=int, action="append", help="only this round; may be repeated")
    return p.parse_args()


if __name__ == "__main__":
    if not clickhouse.modern():
        tap.skip_all("ClickHouse 26.7 is not running")
    run = Run(options())
    tap.note(f"seed {run.o.seed}")
    try:
        tap.run(run.rounds, run.summary)
    finally:
        sys.stdout.flush()
