#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Coercion equals ClickHouse, through the daemon: the cases of coercion_diff are sent as NDJSON to a wavehoused,
and directly to ClickHouse 26.7 as JSONEachRow with the settings of http-api §7.3. Then the tables are compared
cell by cell; a row is refused by both or by none.

usage: coercion.py [SEED [CASES_PER_TYPE [TYPE…]]]

The daemon judges the JSON kind before anything is stored (§7.3); ClickHouse is laxer there. Such rows are expected
to be refused with the message of that table, are counted, and have no partner to compare with. Rows refused for a
null or a missing column are sent once more, to a table in which every column has a DEFAULT.

With 18.16 the rows go through a daemon into the old server, and what is there is compared, as text, with what 26.7
stores when asked directly: the encoder's values do not depend on the server's age.
"""
import collections
import json
import re
import subprocess
import sys
import time

from lib import clickhouse, env, net, tap
from lib.daemon import Daemon
from lib.tap import note, ok, same

SEED, COUNT, *TYPES = sys.argv[1:] + ["1", "300"][len(sys.argv) - 1:]
DIRECT = {"input_format_null_as_default": 1, "date_time_input_format": "best_effort", "async_insert": 0,
          "input_format_parallel_parsing": 0, "max_insert_block_size": 10_000_000}
MAKE = {"allow_suspicious_low_cardinality_types": 1, "allow_experimental_bfloat16_type": 1}
# With little text behind a number ClickHouse reads it by another, laxer routine: blank lines follow.
PADDING = b"\n" * 400
LINES = 1000  # of one POST
SHOWN = 12    # differences of one type

KIND, NULL, MISSING, NO_JSON = "kind", "null", "missing column", "not JSON"
MESSAGES = {"type mismatch for column": KIND, "null value for non-nullable": NULL,
            "missing required column": MISSING, "invalid json": NO_JSON}
CONTAINERS = {"Array": {list}, "Map": {dict}, "Tuple": {list, dict}, "Nested": {list, dict}}
# §7.4: the canonical form is exact where ClickHouse's table of days is not (Amsterdam gave up 20 minutes on that
# day), and it takes fractions of any length, of which ClickHouse refuses those of 18 digits or more.
ODD_DAY = b"1937-07-01"
LONG_FRACTION = re.compile(rb'"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\d{9,10})\.\d{18,}(Z|[+-]\d\d:\d\d)?"')


def peel(name):
    """The type inside Nullable, LowCardinality and SimpleAggregateFunction."""
    while True:
        m = re.fullmatch(r"(?:Nullable|LowCardinality)\((.*)\)|SimpleAggregateFunction\(\w+, (.*)\)", name)
        if not m:
            return name
        name = m.group(1) or m.group(2)


def accepted(name):
    """The Python types of the JSON kinds that §7.3 accepts for a ClickHouse type."""
    base = peel(name).partition("(")[0]
    if base in CONTAINERS:
        return CONTAINERS[base]
    if base in ("String", "FixedString", "UUID", "Bool"):
        return {str, int, float, bool}
    return {str, int, float}


def number_of(name, kind):
    """Dates as numbers: the two servers print days before 1970-01-02 and after 2105 in different ways."""
    inner = re.fullmatch(r"Array\((.*)\)", kind)
    function = {"Date": "toUInt16", "DateTime": "toUInt32"}.get(peel((inner or [kind, kind])[1]).partition("(")[0])
    if not function:
        return f"`{name}`"
    return f"arrayMap(x -> {function}(x), `{name}`)" if inner else f"{function}(`{name}`)"


def read(line):
    """The record as Python has it; None when it is not JSON."""
    def refuse(word):
        raise ValueError(word)
    try:
        return json.loads(line, parse_constant=refuse)
    except ValueError:
        return None


class Layout:
    """One type (or several columns), its cases, and what became of each: indexes into lines count from 0, ids from 1."""

    def __init__(self, number, title, columns, lines, defaults=False):
        self.table = f"t{number}{'_default' if defaults else ''}"
        self.title, self.columns, self.lines, self.defaults = title, columns, lines, defaults
        self.door = {}    # id → why the daemon refused it at once
        self.wrong = []   # what the daemon should not have said
        self.sent = {}    # id → line, of those it accepted
        self.theirs = {}  # id → code with which ClickHouse refused it
        self.letters = 0

    @property
    def timed(self):
        return any(peel(t).startswith("DateTime") for t in self.columns.values())

    def create(self, server, table):
        columns = ["id UInt32"]
        for name, kind in self.columns.items():
            columns.append(f"`{name}` {kind}" + (f" DEFAULT defaultValueOfTypeName({quote(kind)})" if self.defaults else ""))
        # 18.16 has no such setting and refuses what it does not know.
        server.query(f"CREATE TABLE {table} ({', '.join(columns)}) ENGINE = Memory", **(MAKE if server.modern else {}))

    def expected(self, line):
        """What §7.3 says to this line; None: accepted."""
        record = read(line)
        if record is None:
            return NO_JSON
        null = None
        for name, value in record.items():
            if name == "id":
                continue
            if value is None:
                null = null or (NULL if not self.nullable(name) else None)
            elif type(value) not in accepted(self.columns[name]):
                return KIND
        if any(name not in record and not self.nullable(name) for name in self.columns):
            return MISSING
        return null

    def nullable(self, name):
        return self.defaults or re.match(r"(LowCardinality\()?Nullable|SimpleAggregateFunction\(\w+, Nullable",
                                         self.columns[name])

    def id_of(self, line):
        return int(re.match(rb'\{"id":(\d+)', line).group(1))

    def post(self, client):
        for at in range(0, len(self.lines), LINES):
            piece = self.lines[at:at + LINES]
            a = client.call("POST", f"/v1/ingest?table={self.table}", b"".join(piece),
                            {"Content-Type": "application/x-ndjson"})
            v = a.json() or {}
            if a.status != 200 or len(v.get("results", [])) != len(piece):
                raise RuntimeError(f"{self.title}: {a}")
            for line, r in zip(piece, v["results"]):
                self.judge(line, r.get("error"))

    def judge(self, line, error):
        number, want = self.id_of(line), self.expected(line)
        got = None if error is None else next((w for m, w in MESSAGES.items() if error.startswith(m)), error)
        if got != want:
            self.wrong.append(f"daemon: {error}, expected {want}: {line[:300]!r}")
        if error is None:
            self.sent[number] = line
        else:
            self.door[number] = got


def quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def layouts():
    out = subprocess.run([env.program("tests/e2e/coercion_diff"), "--print", SEED, COUNT, *TYPES],
                         capture_output=True, timeout=60, check=True).stdout.split(b"\n")
    found = []
    at = 0
    while at < len(out) - 1:
        head = json.loads(out[at])
        lines = [line + b"\n" for line in out[at + 1:at + 1 + head["count"]]]
        found.append(Layout(len(found), head["title"], head["columns"], lines))
        at += 1 + head["count"]
    return found


def with_defaults(layout, number):
    """The rows that need a DEFAULT, for a table that has them; None when there are none."""
    lines = [x for x in layout.lines if layout.expected(x) in (NULL, MISSING)]
    return Layout(number, layout.title + ", DEFAULT", layout.columns, lines, True) if lines else None


class Direct:
    """One kept connection to 26.7, for inserts as JSONEachRow."""

    def __init__(self, server):
        self.client = net.Client(server.direct, 60)
        self.url = "/?" + "&".join(f"{k}={v}" for k, v in DIRECT.items()) + "&wait_end_of_query=1&query=INSERT%20INTO%20"

    def insert(self, table, lines):
        """0, or (code, text)."""
        a = self.client.call("POST", f"{self.url}{table}%20FORMAT%20JSONEachRow", b"".join(lines) + PADDING)
        if a.status == 200:
            return 0, ""
        return int(a.fields.get("x-clickhouse-exception-code", a.status)), a.body.decode("utf-8", "replace")

    def fill(self, table, layout, stored):
        """Every row that was accepted at the door: those stored through us together, the others one by one."""
        good = [n for n in layout.sent if n in stored]
        while good:
            code, text = self.insert(table, [layout.sent[n] for n in good])
            if code == 0:
                break
            row = re.search(r"\(at row (\d+)\)", text)
            if not row:
                raise RuntimeError(f"direct insert of {layout.title}: {text[:300]}")
            layout.theirs[good.pop(int(row.group(1)) - 1)] = code
        for n in layout.sent:
            if n not in stored:
                code, _ = self.insert(table, [layout.sent[n]])
                if code:
                    layout.theirs[n] = code


class Suite:
    """All types through one daemon into `server`; the norm is what `modern` stores."""

    def __init__(self, server, modern):
        self.s, self.modern = server, modern
        self.direct = Direct(modern)
        self.total = collections.Counter()

    def prepare(self):
        self.ours = self.s.database("e2e_coercion")
        self.norm = self.modern.database(f"e2e_coercion_direct_{'new' if self.s.modern else 'old'}")
        self.layouts = layouts()
        # 18.16 has no function for a type's default; nulls are 26.7's matter.
        more = [with_defaults(x, i) for i, x in enumerate(self.layouts)] if self.s.modern else []
        absent = []
        for x in self.layouts + [m for m in more if m]:
            try:
                x.create(self.s, f"{self.ours}.{x.table}")
            except clickhouse.Failed:
                if self.s.modern:
                    raise
                absent.append(x)
                continue
            x.create(self.modern, f"{self.norm}.{x.table}")
        self.layouts = [x for x in self.layouts + [m for m in more if m] if x not in absent]
        if absent:
            note(f"{self.s.name} does not have {len(absent)} of the types: " + "; ".join(x.title for x in absent))

    def send(self, d):
        client = net.Client(d.port)
        for x in self.layouts:
            x.post(client)
        client.close()
        want = sum(len(x.sent) for x in self.layouts)
        done = net.wait_for(lambda: self.settled(d) == want, 60, 0.2)
        ok(done, f"{self.s.name}: every accepted row is stored or a dead letter",
           f"{want} accepted, {self.settled(d)} settled, {d.pending()} pending\n{d.log_tail()}")

    def settled(self, d):
        for x in self.layouts:
            x.letters = 0
        letters = (d.dlq() or {}).get("tables", {})
        for x in self.layouts:
            x.letters = letters.get(x.table, 0)
        counts = " UNION ALL ".join(f"SELECT count() AS n FROM {self.ours}.{x.table}" for x in self.layouts)
        return sum(letters.values()) + self.s.one(f"SELECT sum(n) FROM ({counts})")

    def compare(self, x):
        ids = [int(r[0]) for r in self.s.rows(f"SELECT id FROM {self.ours}.{x.table}")]
        stored = set(ids)
        self.direct.fill(f"{self.norm}.{x.table}", x, stored)
        wrong, laxer, odd = list(x.wrong), 0, 0
        if len(ids) != len(stored) or len(ids) + x.letters != len(x.sent):
            wrong.append(f"{len(x.sent)} rows sent, {len(ids)} stored, {len(stored)} of them distinct, {x.letters} dead letters")
        for n, line in x.sent.items():
            if n in stored and n in x.theirs and x.timed and LONG_FRACTION.search(line):
                laxer += 1
            elif (n in stored) != (n not in x.theirs):
                wrong.append(f"refusal differs: {'stored' if n in stored else 'dead letter'}, theirs {x.theirs.get(n, 0)}:"
                             f" {line[:300]!r}")
        cells = self.cells(x) if self.s.modern else self.texts(x)
        for n, text in cells:
            if n not in stored or n in x.theirs:
                continue  # told already
            if x.timed and ODD_DAY in x.sent[n]:
                odd += 1
            else:
                wrong.append(f"cell differs: {x.sent[n][:300]!r}\n  direct, through us: {text[:300]}")
        doors = collections.Counter(x.door.values())
        refused = len(x.sent) - len(stored)
        say = f"{len(x.lines)} values, {len(stored)} stored, {refused} dead letters"
        say += "".join(f", {n} refused at the door for {why}" for why, n in sorted(doors.items()))
        if laxer:
            say += f", {laxer} long fractions that ClickHouse refuses"
        if odd:
            say += f", {odd} where ClickHouse's days are not exact"
        ok(not wrong, f"{self.s.name}: {x.title}: {say}", f"{len(wrong)} differences\n" + "\n".join(wrong[:SHOWN]))
        self.total.update({"values": len(x.lines), "stored": len(stored), "dead": refused, "laxer": laxer, "odd": odd})
        self.total.update({"door: " + why: n for why, n in doors.items()})

    def cells(self, x):
        """[(id, both values)] of cells that are not the same bytes."""
        names = [f"`{n}`" for n in x.columns]
        both = ", ".join(f"formatRowNoNewline('JSONCompactEachRow', {side}.{n})" for side in "dn" for n in names)
        differ = " OR ".join(f"formatRow('RowBinary', d.{n}) != formatRow('RowBinary', n.{n})" for n in names)
        text = self.s.query(f"SELECT n.id, {both} FROM {self.norm}.{x.table} d JOIN {self.ours}.{x.table} n"
                            f" ON d.id = n.id WHERE {differ} ORDER BY 1 FORMAT TSV")
        return [(int(line.partition("\t")[0]), line) for line in text.split("\n") if line]

    def texts(self, x):
        """The same between two servers: rows as text."""
        sides = []
        names = ", ".join(number_of(n, t) for n, t in x.columns.items())
        for server, db in ((self.modern, self.norm), (self.s, self.ours)):
            like_old = {"output_format_decimal_trailing_zeros": 1} if server.modern else {}
            text = server.query(f"SELECT id, {names} FROM {db}.{x.table} ORDER BY id FORMAT TSV", **like_old)
            sides.append({int(line.partition("\t")[0]): line for line in text.split("\n") if line})
        return [(n, f"{sides[0][n]} | {sides[1][n]}") for n in sides[1] if n in sides[0] and sides[0][n] != sides[1][n]]

    def run(self):
        began = time.monotonic()
        self.prepare()
        with Daemon(self.s, self.ours, name="coercion", settings={"flush.interval": "200ms"}) as d:
            d.start("/readyz")
            d.know(*(x.table for x in self.layouts))
            self.send(d)
            sent = time.monotonic()
            for x in self.layouts:
                self.compare(x)
            same(d.stop(), 0, f"{self.s.name}: SIGTERM: exit status 0")
        t = self.total
        doors = ", ".join(f"{n} {why.partition(' ')[2]}" for why, n in sorted(t.items()) if why.startswith("door"))
        note(f"{self.s.name}: seed {SEED}, {t['values']} value cases of {len(self.layouts)} tables: {t['stored']} stored,"
             f" {t['dead']} dead letters; refused at the door: {doors}; {t['laxer']} long fractions, {t['odd']} odd days;"
             f" {sent - began:.1f} s to send, {time.monotonic() - sent:.1f} s to compare")
        if not sys.argv[1:] and self.s.modern:
            compared = t["stored"] + t["dead"]
            ok(compared >= 20_000, f"{self.s.name}: {compared} value cases compared, at least 20,000")
        self.s.query(f"DROP DATABASE {self.ours}")
        self.modern.query(f"DROP DATABASE {self.norm}")


def suite(server, modern):
    def run():
        Suite(server, modern).run()
    run.__name__ = f"coercion on {server.name}"
    return run


if __name__ == "__main__":
    norm = clickhouse.modern_direct()
    if not norm:
        tap.skip_all("ClickHouse 26.7 is not running: nothing to compare with")
    tap.run(*(suite(s, norm) for s in clickhouse.generations()))
