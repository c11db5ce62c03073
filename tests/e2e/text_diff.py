#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CSV, TSV, Values and JSONCompactEachRow against ClickHouse's own readers: the same bytes sent to a real server and through
wavehoused are taken by both or by neither, and the tables are equal.

usage: tests/run text_diff [-- --seed N --rows N]     rows: generated ones per type and format, beside the edges"""
import random
import re
import sys
import urllib.parse

from lib import clickhouse, daemon, env, net, tap
from lib.tap import ok, same

SEED = 1  # others are for exploring: what they turn up is fixed, or named below
ROWS = 8 if env.FAST else 25
OLD = {"Int32", "UInt64", "Float64", "String", "Date", "DateTime('UTC')", "UUID", "Enum8('x' = 1, '2' = 7, 'a b' = 3)", "FixedString(3)",
       "Nullable(Int32)", "Nullable(String)", "Array(Int32)", "Array(String)", "Array(Array(String))", "Decimal(9, 2)"}

# Type → how a value of it is written: bare texts as CSV and TSV have them, and SQL literals as Values and brackets have them.
NUMBERS = ["0", "1", "-1", "+5", "007", "-0", "127", "300", "2147483648", "18446744073709551615", "1.5", "1e3", ".5", "5.", "1e", "--1", "",
           " ", "nan", "inf", "-inf", "NaN", "Infinity", "abc", "1x", "0x1F", "1_0", "1 2", "99999999999999999999999", "\\N", "NULL", "null",
           "true"]
TIMES = ["2020-01-01", "2020-1-2", "2020-01-01 00:00:00", "2020-01-01T05:06:07Z", "2020-01-01 05:06:07.123", "1600000000", "1600000000123",
         "20200101", "18262", "", "0000-00-00", "2020-13-01", "1969-12-31", "2150-01-01", "abc", "\\N", "2020-01-01x"]
WORDS = ["", "a", "a b", " a ", "\t", "it's", "''", '"', '""', "\\", "\\\\", "\\N", "\\n", "\\t", "\\x41", "\\%", "\\q", "é", "漢字😀", ",", ";", "NULL",
         "'x'", "[1]", "a\nb", "\u0001", "0", "1.5", "true", "x\\"]
BARE = {
    "Int8": NUMBERS, "Int32": NUMBERS, "UInt64": NUMBERS, "Float64": NUMBERS, "Decimal(9, 2)": NUMBERS, "Nullable(Int32)": NUMBERS,
    "Int32 DEFAULT 42": NUMBERS[:6] + ["", "\\N"], "Nullable(Int32) DEFAULT 42": NUMBERS[:6] + ["", "\\N"],
    "Bool": ["true", "false", "1", "0", "yes", "NO", "t", "F", "on", "off", "enabled", "2", "", "maybe", "\\N", "True", "TRUE", "Y"],
    "String": WORDS, "Nullable(String)": WORDS, "FixedString(3)": ["", "a", "abc", "abcd", "é", "\\N"], "LowCardinality(String)": WORDS[:8],
    "Date": TIMES, "Date32": TIMES, "DateTime('UTC')": TIMES, "DateTime64(3, 'UTC')": TIMES, "Nullable(DateTime('UTC'))": TIMES,
    "UUID": ["00000000-0000-0000-0000-000000000001", "61f0c404-5cb3-11e7-907b-a6006ad3dba0", "61f0c4045cb311e7907ba6006ad3dba0", "", "x", "\\N"],
    "IPv4": ["1.2.3.4", "1.2.3", "256.1.1.1", "", "abc", "\\N"], "IPv6": ["::1", "1.2.3.4", "2001:db8::1", "", "x", "\\N"],
    "Enum8('x' = 1, '2' = 7, 'a b' = 3)": ["x", "2", "1", "7", "3", "a b", "9", "", "y", "\\N"],
    "Array(Int32)": ["[]", "[1]", "[1,2]", "[ 1 , 2 ]", "[1,NULL]", "['1']", "[1.5]", "[1", "1]", "", "[1,]", "[,1]", "[1 2]", "[[1]]", "\\N"],
    "Array(String)": ["[]", "['a']", "['a','b']", "['it''s']", "['it\\'s']", "['a\\nb','\\\\']", "['é','漢']", "[1]", "[a]", "['a", "['a'x]", "[\"a\"]",
                      "[NULL]", "['',  '']", "['a,b','c]d']"],
    "Array(Nullable(Float64))": ["[1,NULL,nan]", "[-inf,1e5,.5]", "[NULL]", "[null]", "['1']"],
    "Array(Array(String))": ["[[],['a']]", "[['a','b'],['c']]", "[]", "[[]", "['a']"],
    "Array(Date)": ["['2020-01-01']", "[18262]", "['x']"], "Array(Tuple(Int8, String))": ["[(1,'a'),(2,'b')]", "[]", "[(1)]", "[(1,'a',2)]", "[1]"],
    "Map(String, Int32)": ["{}", "{'a':1}", "{'a':1,'b':2}", "{ 'a' : 1 }", "{1:2}", "{'a'}", "{'a':'x'}", "{'it''s':1}", "\\N"],
    "Map(Int8, Array(String))": ["{1:['a']}", "{1:[],2:['b','c']}"],
    "Array(LowCardinality(Nullable(String)))": ["['a',NULL]", "[]"], "Array(Enum8('x' = 1))": ["['x']", "['y']", "[1]"],
    "Array(Bool)": ["[true,false]", "[]"], "Array(UUID)": ["['61f0c404-5cb3-11e7-907b-a6006ad3dba0']"],
    "Array(Decimal(9, 2))": ["[1.5,2,-3.25]"], "Array(IPv4)": ["['1.2.3.4']"],
}
# In CSV a tuple takes a field for each element, elsewhere it is in brackets.
TUPLES = {"Tuple(Int8, String)": (["1,x", "1,\\N", "1", ",x", "\\N", '"1","x"'], ["(1,'x')", "(1,NULL)", "(1)", "(1,'x',2)", "( 2 , 'y' )"]),
          "Tuple(a Int8, b Array(Int8))": (['1,"[1,2]"', "2,[]"], ["(1,[1,2])", "(2,[])"]),
          "Tuple(Int8, Tuple(String, Nullable(Int8)))": (["1,x,2", "1,x,\\N"], ["(1,('x',2))", "(1,('x',NULL))"])}
# What ClickHouse takes and wavehoused refuses, in these words, on purpose: never the other way round without a word.
STRICTER = [
    ("garbage behind the closing bracket", re.compile(rb"expected the end of the value")),
    ("an array without brackets", re.compile(rb"expected '\['")),
    ("an element that is not there", re.compile(rb"expected (a literal|a key)")),
    ("an expression", re.compile(rb"Code: 62\.")),
    ("a sign alone", re.compile(rb'cannot read "[-+]" as')),
    ("half an escape", re.compile(rb"Cannot parse escape sequence")),
    ("two signs", re.compile(rb'cannot read "[-+]{2}.* as (Nullable\()?(Array\(Nullable\()?Float')),
    ("a digit too many", re.compile(rb"as (Array\()?UUID")),
]
# Literals in VALUES that a server would convert as an expression: [18262] for dates, a time for a Date.
CONVERTED = re.compile(rb"cannot read")
# What wavehoused takes and ClickHouse does not: 1 and 0 for a Bool between brackets; +5 and 007 in TSV, as in CSV.
LOOSER = {"Array(Bool)"}
# In VALUES a quoted number may be 0x1F, true or nothing at all, as a bare one.
QUOTED_NUMBER = re.compile(r"^\(\d+,'.*'\)$", re.S)
# Blanks behind a NULL in CSV.
BLANK_NULL = re.compile(r"^\d+, *\\N[ \t]+\n$")
SPELT_OUT = re.compile(r"^\d+\t[-+]?[+0]*\d+\n$")


def is_on_purpose(form, kind, body, theirs, ours):
    if theirs.status != 200:
        return kind in LOOSER or (form == "Values" and QUOTED_NUMBER.match(body) and re.search(rb"Code: (6|32)\.", theirs.body)) or (form == "CSV" and BLANK_NULL.match(body)) or (form == "TSV" and SPELT_OUT.match(body))
    return any(why.search(ours.body) for _, why in STRICTER) or (form == "Values" and CONVERTED.search(ours.body))


def literal(kind, text, rng):
    """A bare text as an SQL literal."""
    if kind.startswith(("Array", "Map", "Tuple")):
        return text
    if text in ("\\N", "NULL"):
        return "NULL"
    number = kind.split("(")[-1 if kind.startswith("Nullable") else 0].rstrip(")").split(" ")[0] in (
        "Int8", "Int32", "UInt64", "Float64", "Decimal", "Bool")
    if number and rng.random() < 0.8:
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", rng.choice(["''", "\\'"])).replace("\n", "\\n") + "'"


def csv_field(text, rng):
    if text in ("\\N", "") or (rng.random() < 0.5 and not set(text) & set('",\n\r')):
        return rng.choice(["", " "]) + text if text not in ("\\N", "") else text
    return '"' + text.replace('"', '""') + '"'


def tsv_field(kind, text):
    if text == "\\N" or kind.startswith(("Array", "Map")):
        return text
    return text if "\\" in text else text.replace("\t", "\\t").replace("\n", "\\n")


def random_text(kind, pool, rng):
    """An edge with a few characters changed, or a word."""
    text = list(rng.choice(pool))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        if text and rng.random() < 0.4:
            del text[min(at, len(text) - 1)]
        else:
            text.insert(at, rng.choice("0123456789.-+eE'\"\\,[](){}: aNx\té"))
    return "".join(text)


def cases(rng):
    """(format, type, body without the id) for every edge and some mutations of it."""
    for kind, edges in BARE.items():
        pool = edges + [random_text(kind, edges, rng) for _ in range(ROWS)]
        for text in pool:
            if "\r" in text:
                continue
            yield "CSV", kind, csv_field(text, rng)
            if "\n" not in text or not kind.startswith(("Array", "Map")):
                yield "TSV", kind, tsv_field(kind, text)
            yield "Values", kind, literal(kind, text, rng)
    for kind, (separate, brackets) in TUPLES.items():
        for text in separate:
            yield "CSV", kind, text
        for text in brackets:
            yield "TSV", kind, text
            yield "Values", kind, text
    for kind, values in {"Int32": ["1", "null", '"5"', "1.5", '"x"', "true"], "String": ['"a\\u0041\\n"', "1", "null", "true"],
                         "Array(Int32)": ["[1,2]", "[]", "[null]", '["1"]', "1"], "Map(String, Int32)": ['{"a":1}', "{}", "[1]"],
                         "Tuple(Int8, String)": ['[1,"x"]', "[1]"], "DateTime('UTC')": ['"2020-01-01 00:00:00"', "1600000000", '"x"']}.items():
        for text in values:
            yield "JSONCompactEachRow", kind, text


def body_of(form, number, text):
    if form == "CSV":
        return f"{number},{text}\n"
    if form == "TSV":
        return f"{number}\t{text}\n"
    return f"({number},{text})" if form == "Values" else f"[{number},{text}]"


def post(port, database, form, table, body):
    q = urllib.parse.quote(f"INSERT INTO {table} FORMAT {form}")
    extra = "&input_format_values_interpret_expressions=1" if form == "Values" else ""
    return net.call(port, "POST", f"/?database={database}&query={q}{extra}", body.encode())


def is_theirs(form, kind, theirs, ours):
    """Values that differ where ClickHouse does not agree with itself."""
    if kind == "Date32" and ours == "1900-01-01":
        return True  # a date that does not exist: 1970-01-01 for its CSV, 1900-01-01 for its JSON, which is what we write
    if kind.startswith("Enum") and theirs == 0:
        return True  # an empty field becomes a number that is none of the Enum's; ours is its default
    return form == "Values" and kind.startswith("Nullable") and theirs is None  # a literal that does not fit: NULL


# Where 18.16 reads otherwise than 26.7, whose way is ours: unknown escapes, single quotes and empty fields in CSV, times
# written as digits, dates beyond its range.
OLD_WAY = re.compile(r"\\|2150|\D20200101\D|^CSV \d+,\s*('|$)", re.M)


def is_expression(form, ours, theirs):
    """What only a server can evaluate is refused here."""
    return form == "Values" and ours.status == 400 and b"Code: 62." in ours.body and theirs.status == 200


def run(server, seed, expect_all):
    rng = random.Random(seed)
    tap.note(f"{server.name}: seed {seed}, {ROWS} rows of each type generated")
    names = {kind: f"v{i}" for i, kind in enumerate(sorted(set(BARE) | set(TUPLES)))}
    kinds = [k for k in names if server.modern or k in OLD]
    for database in ("diff_direct", "diff_through"):
        server.database(database)
        for kind in kinds:
            server.query(f"CREATE TABLE {database}.{names[kind]} (id UInt32, v {kind}) ENGINE = MergeTree ORDER BY id")
    settings = {"flush.interval": "200ms", "ingest.validation": "strict"}
    with daemon.Daemon(server, "diff_through", settings) as d:
        d.start()
        d.know(*(names[k] for k in kinds))
        compare(server, d, rng, names, kinds, expect_all)
        same(d.stop(), 0, f"{server.name}: SIGTERM: exit status 0")


def compare(server, d, rng, names, kinds, expect_all):
    tally = {"both took": 0, "both refused": 0, "only ClickHouse": 0, "only wavehoused": 0, "expressions": 0}
    by_kind, number, taken, sent = {k: [] for k in kinds}, 0, {k: 0 for k in kinds}, {}
    for form, kind, text in cases(rng):
        if kind not in names or kind not in kinds or (not server.modern and form == "JSONCompactEachRow"):
            continue
        number += 1
        body = body_of(form, number, text)
        theirs = post(server.direct, "diff_direct", form, names[kind], body)
        ours = post(d.port, "diff_through", form, names[kind], body)
        if is_expression(form, ours, theirs):
            tally["expressions"] += 1
            continue
        both = (theirs.status == 200, ours.status == 200)
        tally[{(True, True): "both took", (False, False): "both refused", (True, False): "only ClickHouse",
               (False, True): "only wavehoused"}[both]] += 1
        taken[kind] += both[1]
        sent[number] = form + " " + body
        if both[0] != both[1] and not is_on_purpose(form, kind, body, theirs, ours):
            by_kind[kind].append(f"{form} {body!r}: ClickHouse {theirs.status} {theirs.body[:120]!r}, "
                                 f"wavehoused {ours.status} {ours.body[:120]!r}")
    tap.note(f"{server.name}: {number} requests: " + ", ".join(f"{v} {k}" for k, v in tally.items()))
    ok(tally["both took"] > 100 and tally["both refused"] > 30, f"{server.name}: there is something to compare", tally)
    for kind in kinds:
        if expect_all:
            ok(not by_kind[kind], f"{server.name}: {kind}: taken by both or by neither", "\n".join(by_kind[kind][:12]))
        table = names[kind]
        net.wait_for(lambda: server.one(f"SELECT count() FROM diff_through.{table}") == taken[kind], 10)
        # ClickHouse stores numbers that its Enum has no name for, and cannot show them then.
        shown = "CAST(v AS Int8)" if kind.startswith("Enum") else "v"
        left, right = ({r[0]: r[1] for r in server.rows(f"SELECT id, {shown} FROM {db}.{table}")} for db in ("diff_direct", "diff_through"))
        same({sent[i]: (left[i], right[i]) for i in left if i in right and left[i] != right[i] and (server.modern or not OLD_WAY.search(sent[i]))
              and not is_theirs(sent[i].split()[0], kind, left[i], right[i])}, {},
             f"{server.name}: {kind}: the same values")
    dead = d.dlq()
    ok(not any((t or {}).get("records") for t in (dead or {}).get("tables", [])), f"{server.name}: no dead letters", dead)


def main():
    global ROWS
    args = sys.argv[1:]
    seed = int(args[args.index("--seed") + 1]) if "--seed" in args else SEED
    if "--rows" in args:
        ROWS = int(args[args.index("--rows") + 1])
    servers = clickhouse.generations()
    if not servers:
        tap.skip_all("no ClickHouse to test against")
    for server in servers:
        # The old one reads less; what both take must be the same.
        run(server, seed, server.modern)


if __name__ == "__main__":
    tap.run(main)
