# SPDX-License-Identifier: Apache-2.0
"""The real access log: its table, and the facts a correct load must show."""

COLUMNS = [
    ("event_id", "String"), ("ts", "DateTime('UTC')"), ("ip", "String"), ("method", "LowCardinality(String)"),
    ("path", "String"), ("protocol", "LowCardinality(String)"), ("status", "UInt16"),
    ("bytes", "Nullable(UInt64)"), ("referrer", "Nullable(String)"), ("user_agent", "String"),
]

# fact, SQL expression, expected value
FACTS = [
    ("rows", "count()", 9999),
    ("distinct event_id", "uniqExact(event_id)", 9999),
    *[(f"status {code}", f"countIf(status = {code})", n) for code, n in (
        (200, 9125), (404, 213), (304, 445), (301, 164), (206, 45), (500, 3), (403, 2), (416, 2))],
    *[(f"method {m}", f"countIf(method = '{m}')", n) for m, n in (
        ("GET", 9951), ("HEAD", 42), ("POST", 5), ("OPTIONS", 1))],
    ("sum(bytes)", "sum(bytes)", 2747282505),
    ("null bytes", "countIf(isNull(bytes))", 669),
    ("null referrers", "countIf(isNull(referrer))", 4072),
    ("distinct ip", "uniqExact(ip)", 1753),
    ("distinct user_agent", "uniqExact(user_agent)", 558),
    ("min(ts)", "toString(min(ts))", "2015-05-17 10:05:00"),
    ("max(ts)", "toString(max(ts))", "2015-05-20 21:05:59"),
]


def create(server, database, table="access_log", window=10000):
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
    more = f" SETTINGS non_replicated_deduplication_window = {window}" if server.modern else ""
    server.query(f"CREATE TABLE {database}.{table} ({columns}) ENGINE = MergeTree ORDER BY (ts, event_id){more}")
    return table


def stored(server, database, table="access_log"):
    """[(fact, stored, expected)]"""
    sql = ", ".join(expression for _, expression, _ in FACTS)
    row = server.rows(f"SELECT {sql} FROM {database}.{table}")[0]
    return [(name, got, want) for (name, _, want), got in zip(FACTS, row)]
