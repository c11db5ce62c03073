/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sql_shape.h"

#include "tests/lib/tap.h"

static const struct {
    const char *sql;
    bool reads;
    const char *format;
} cases[] = {
    {"SELECT 1", true, ""},
    {"select 1 format TSV", true, "TSV"},
    {"SELECT 1 FORMAT CSV;", true, "CSV"},
    {"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", true, "CSV"},
    {"SELECT 1 SETTINGS max_threads = 1 FORMAT /* x */ JSONEachRow -- end", true, "JSONEachRow"},
    {"SELECT format FROM t", true, ""},
    {"SELECT 1 AS format", true, ""},
    {"SELECT format x FROM t", true, ""},
    {"SELECT 'FORMAT CSV'", true, ""},
    {"SELECT 1 -- FORMAT CSV", true, ""},
    {"SELECT `FORMAT CSV` FROM t", true, ""},
    {"SELECT * FROM (SELECT 1 FORMAT CSV)", true, ""},
    {"SELECT format('{}', 1)", true, ""},
    {"SELECT 'it''s', \"a\\\"b\" FORMAT TSV", true, "TSV"},
    {"-- c\n/* d */ (SELECT 1) FORMAT Null", true, "Null"},
    {"WITH 1 AS x SELECT x", true, ""},
    {"SHOW TABLES FORMAT TSVRaw", true, "TSVRaw"},
    {"INSERT INTO t FORMAT JSONEachRow {\"a\":1}", false, ""},
    {"INSERT INTO t VALUES ('SELECT FORMAT CSV')", false, ""},
    {"CREATE TABLE t (a UInt8) ENGINE = Memory", false, ""},
    {"OPTIMIZE TABLE t", false, ""},
    {"", true, ""},
    {"SELECT $x$ FORMAT CSV $x$ FORMAT TSV", true, "TSV"},
    {"SELECT 1 # FORMAT CSV", true, ""},
    {"SELECT 'open FORMAT CSV", true, ""},
    {"SELECT 1 /* open FORMAT CSV", true, ""},
};

int main(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sql_shape shape = sql_shape_of(slice_str(cases[i].sql));
        ok(shape.reads == cases[i].reads && slice_eq_str(shape.format, cases[i].format),
           "statement %zu", i);
    }
    return tap_done();
}
