# SPDX-License-Identifier: Apache-2.0
"""What the clients' journals promise, against what ClickHouse and the dead letters hold.

A *copy* of a record is a row of a table, also of one that was renamed or dropped, or a dead letter. Dropped tables
are counted because DROP in an Atomic database keeps the data for a while (an hour under tests/run) and UNDROP brings
it back: so rows that went away by somebody's hand are not taken for lost ones.
"""
import datetime
import json
import re
import struct
import subprocess

from . import env
from .writers import ACKED, REFUSED


class Verdict:
    """Ids by what went wrong with them. `excused` rows are there twice, in a way that doc/flush.md allows."""

    def __init__(self):
        self.lost, self.duplicated, self.phantom, self.excused = [], [], [], []

    def good(self):
        return not (self.lost or self.duplicated or self.phantom)

    def __str__(self):
        return f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, phantom {len(self.phantom)}"


def audit(fates, copies, excuse=None):
    """fates: id → (table, fate). copies: id → [(place, seconds)]. excuse(table, copies) → may these be two?"""
    v = Verdict()
    for ident, (table, fate) in fates.items():
        there = copies.get(ident, ())
        if fate == ACKED and not there:
            v.lost.append(ident)
        elif fate == REFUSED and there:
            v.phantom.append(ident)
        elif len(there) > 1:
            (v.excused if excuse and excuse(table, there) else v.duplicated).append(ident)
    v.phantom += [ident for ident in copies if ident not in fates]
    return v


def undrop(server, database):
    """Brings every dropped table of the database back under a name of its own. Live ones keep theirs."""
    dropped = server.rows("SELECT table, toString(uuid) FROM system.dropped_tables"
                          f" WHERE database = '{database}' ORDER BY table, table_dropped_time")
    for number, (table, uuid) in enumerate(dropped):
        here = server.rows(f"SELECT 1 FROM system.tables WHERE database = '{database}' AND name = '{table}'")
        if here:
            server.query(f"RENAME TABLE {database}.{table} TO {database}.{table}_aside")
        server.query(f"UNDROP TABLE {database}.{table} UUID '{uuid}'")
        server.query(f"RENAME TABLE {database}.{table} TO {database}.{table}_dropped{number}")
        if here:
            server.query(f"RENAME TABLE {database}.{table}_aside TO {database}.{table}")


def in_tables(server, database, instant="0"):
    """id → [(table, seconds)] over every table of the database. `instant` is SQL for when the row was inserted."""
    copies = {}
    for (table,) in server.rows(f"SELECT name FROM system.tables WHERE database = '{database}'"
                                " AND engine LIKE '%MergeTree'"):
        for ident, at in server.rows(f"SELECT id, toFloat64({instant}) FROM {database}.{table}"):
            copies.setdefault(ident, []).append((table, at))
    return copies


def wal(daemon, *more):
    """Every entry of the daemon's log as wavehousectl shows it."""
    p = subprocess.run([env.program("wavehousectl"), "wal", "dump", "--json", "--payload", *more,
                        daemon.dir + "/data/wal"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if p.returncode != 0:
        raise RuntimeError(f"wavehousectl wal dump: {p.stderr.decode()}")
    return [json.loads(line) for line in p.stdout.splitlines()]


def wal_verify(daemon):
    """What wavehousectl has to say against the log; empty: nothing."""
    p = subprocess.run([env.program("wavehousectl"), "wal", "verify", daemon.dir + "/data/wal"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "" if p.returncode == 0 else p.stdout


def seconds(text):
    """Of an RFC 3339 time with nanoseconds, since 1970."""
    return datetime.datetime.fromisoformat(text[:26] + "+00:00").timestamp()


IDENT = re.compile(rb'"id":"([^"]+)"')


def in_dead_letters(entries):
    """id → [("dead letter", seconds)] out of wal(): one per record, however often it was logged. Rows that are held because
    their column went away (doc/flush.md, kind 2) are none."""
    copies = {}
    for e in entries:
        payload = bytes.fromhex(e["payload_hex"]) if e["type"] == "dead_letter" else b""
        if payload and payload[1] != 2:
            for ident in IDENT.findall(payload):
                copies.setdefault(ident.decode(), [("dead letter", seconds(e["time"]))])
    return copies


def plans(entries):
    """(table, first, last) of every plan of the flusher (doc/flush.md)."""
    out = []
    for e in entries:
        payload = bytes.fromhex(e["payload_hex"]) if e["type"] == "flush_plan" else b""
        if payload and payload[1] == 0:
            first, last = struct.unpack_from("<QQ", payload, 8)
            at = 42 if payload[0] == 1 else 46
            out.append((payload[at:at + struct.unpack_from("<H", payload, 2)[0]].decode(), first, last))
    return out


def log_places(entries):
    """id → log indexes of the entries that have it."""
    out = {}
    for e in entries:
        for r in e.get("records", ()):
            out.setdefault(r["record"].get("id"), []).append(e["index"])
    return out


def merged(*parts):
    out = {}
    for part in parts:
        for ident, copies in part.items():
            out.setdefault(ident, []).extend(copies)
    return out
