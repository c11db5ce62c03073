#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Columns that a record omits get what ClickHouse gives them, also when other records of the same block fill them: each type
beside a row that ClickHouse has read itself."""
import json

from lib import clickhouse, net, tap
from lib.daemon import Daemon
from lib.tap import ok, same

TYPES = {  # type → a value that is not its default
    "Int8": 1, "Int16": 1, "Int32": 1, "Int64": 1, "UInt8": 1, "UInt16": 1, "UInt32": 1, "UInt64": 1,
    "Float32": 1.5, "Float64": 1.5, "String": "x", "FixedString(3)": "abc", "Date": "2020-01-01",
    "DateTime": "2020-01-01 00:00:00", "UUID": "61f0c404-5cb3-11e7-907b-a6006ad3dba0",
    "Enum8('b' = 5, 'a' = 1, 'z' = 9)": "z", "Enum16('m' = -300, 'n' = 300)": "n", "Decimal(9, 2)": 1.5, "Decimal(38, 10)": 1.5,
    "Nullable(Int32)": 1, "Nullable(String)": "x", "Nullable(Date)": "2020-01-01", "Nullable(Enum8('q' = 3, 'p' = 2))": "q",
    "Array(UInt8)": [1], "Array(Nullable(String))": ["x"], "Tuple(UInt8, String)": [1, "x"],
}
MODERN = {
    "Bool": True, "Int128": 1, "UInt256": 1, "Date32": "2020-01-01", "DateTime64(3)": "2020-01-01 00:00:00.000",
    "DateTime('Europe/Berlin')": "2020-01-01 00:00:00", "IPv4": "1.2.3.4", "IPv6": "::1", "Decimal(76, 5)": 1.5,
    "Nullable(Date32)": "2020-01-01", "Nullable(UUID)": "61f0c404-5cb3-11e7-907b-a6006ad3dba0",
    "LowCardinality(String)": "x", "LowCardinality(Nullable(String))": "x", "LowCardinality(FixedString(2))": "ab",
    "LowCardinality(Date32)": "2020-01-01", "LowCardinality(UInt32)": 7, "Array(Date32)": ["2020-01-01"], "Array(Enum8('y' = 4))": ["y"],
    "Map(String, Date32)": {"k": "2020-01-01"}, "Tuple(d Date32, e Enum8('y' = 4, 'x' = 3))": {"d": "2020-01-01", "e": "y"},
    "SimpleAggregateFunction(max, Date32)": "2020-01-01", "SimpleAggregateFunction(sum, UInt64)": 3,
}


def check(s, what, types, **settings):
    db = s.database("e2e_omitted")
    columns = "id UInt32, " + ", ".join(f"c{i} {t}" for i, t in enumerate(types))
    for table in ("direct", "through"):
        s.query(f"CREATE TABLE {db}.{table} ({columns}) ENGINE = MergeTree ORDER BY id", **settings)
    full = {f"c{i}": v for i, v in enumerate(types.values())}
    records = [{"id": 1}, {"id": 2, **full}, {"id": 3}]
    s.query(f"INSERT INTO {db}.direct (id) VALUES (1)")
    d = Daemon(s, db, name="omitted", settings={"flush.interval": "300ms"}).start()
    try:
        d.know("through")
        # ClickHouse's door: it takes records without the columns that POST /v1/ingest asks for.
        a = d.call("POST", "/?query=INSERT%20INTO%20through%20FORMAT%20JSONEachRow", "\n".join(map(json.dumps, records)).encode())
        same(a.status, 200, f"{what}: taken")
        net.wait_for(lambda: s.rows(f"SELECT count() FROM {db}.through")[0][0] == 3, 30, 0.2)
        for i, t in enumerate(types):
            def rows(table, ident):
                shown = f"c{i}" if t.startswith(("Array", "Tuple", "Map", "Nullable")) else f"toString(c{i})"
                return s.rows(f"SELECT {shown} FROM {db}.{table} WHERE id = {ident}")
            want = rows("direct", 1)
            same([rows("through", 1), rows("through", 3)], [want, want], f"{what}: {t} omitted")
            ok(rows("through", 2) != want, f"{what}: {t} filled")
        same((d.dlq() or {}).get("total"), 0, f"{what}: no dead letters")
        same(d.stop(), 0, f"{what}: SIGTERM: exit status 0")
    finally:
        d.kill()


def main():
    if clickhouse.modern():
        check(clickhouse.modern(), "26.7", {**TYPES, **MODERN}, allow_suspicious_low_cardinality_types=1)
    if clickhouse.old():
        check(clickhouse.old(), "18.16", TYPES)


if __name__ == "__main__":
    if not (clickhouse.modern() or clickhouse.old()):
        tap.skip_all("no ClickHouse is running")
    tap.run(main)
