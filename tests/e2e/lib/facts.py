# SPDX-License-Identifier: Apache-2.0
"""The real access log: its table, and the facts a correct load must show (scripts/access_log.tsv)."""
import os

from . import env

COLUMNS = []  # (name, type)
FACTS = []    # (fact, SQL expression, expected value as text)

with open(os.path.join(env.TOP, "scripts", "access_log.tsv"), encoding="utf-8") as _file:
    for _line in _file:
        _kind, *_rest = _line.rstrip("\n").split("\t")
        if _kind == "column":
            COLUMNS.append(tuple(_rest))
        elif _kind == "fact":
            FACTS.append(tuple(_rest))


def create(server, database, table="access_log", window=10000):
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
    more = f" SETTINGS non_replicated_deduplication_window = {window}" if server.modern else ""
    server.query(f"CREATE TABLE {database}.{table} ({columns}) ENGINE = MergeTree ORDER BY (ts, event_id){more}")
    return table


def stored(server, database, table="access_log"):
    """[(fact, stored, expected)], both as text."""
    sql = ", ".join(expression for _, expression, _ in FACTS)
    row = server.rows(f"SELECT {sql} FROM {database}.{table}")[0]
    return [(name, str(got), want) for (name, _, want), got in zip(FACTS, row)]
