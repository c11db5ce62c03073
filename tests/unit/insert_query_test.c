/* SPDX-License-Identifier: Apache-2.0 */
/* The INSERT statement, piece by piece, and every way to write it. */
#include "api/insert_query.h"
#include "tests/lib/tap.h"

static struct arena arena;

static void names(char *out, size_t cap, const struct slice *list, uint32_t count)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < count; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%.*s", i > 0 ? "|" : "", SLICE_ARG(list[i]));
}

/* database.table listed(columns) format "data", or the refusal. */
static void is_query(const char *text, const char *want)
{
    struct insert_query q;
    char got[1024], columns[512];
    arena_reset(&arena);
    int rc = insert_query_parse(slice_str(text), &arena, &q);
    if (rc == 0) {
        names(columns, sizeof(columns), q.columns, q.column_count);
        int n = snprintf(got, sizeof(got), "%.*s.%.*s %s(%s) %.*s '%s'", SLICE_ARG(q.database),
                         SLICE_ARG(q.table),
                         q.listed   ? "only"
                         : q.except ? "but"
                                    : "",
                         columns, SLICE_ARG(q.format), text + q.data);
        for (uint32_t i = 0; i < q.setting_count; i++)
            n += snprintf(got + n, sizeof(got) - (size_t)n, " %.*s=%.*s",
                          SLICE_ARG(q.settings[i].name), SLICE_ARG(q.settings[i].value));
    } else {
        (void)snprintf(got, sizeof(got), "%s %d %s", rc == WH_EEND ? "more" : "no", q.code,
                       q.error);
    }
    is_str(got, want, "a statement");
}

int main(void)
{
    arena_init(&arena, 4096, 1 << 20);
    is_query("INSERT INTO t FORMAT CSV\n1,2\n", ".t () CSV '1,2\n'");
    is_query("insert into TABLE db.t(a,`b c`,\"d\"\"e\")format JSONEachRow {}",
             "db.t only(a|b c|d\"e) JSONEachRow '{}'");
    is_query("/* a */ INSERT -- b\n INTO `t\\`x` VALUES(1),(2)", ".t`x () Values '(1),(2)'");
    is_query("INSERT INTO t (* EXCEPT (a, b)) FORMAT TSV \r\n\n1", ".t but(a|b) TSV '\n1'");
    is_query("INSERT INTO t (* EXCEPT a) VALUES", ".t but(a) Values ''");
    is_query("INSERT INTO t (*) FORMAT Values (1)", ".t () Values '(1)'");
    is_query("INSERT INTO t (n.a, `n.b`, n.`c`) VALUES", ".t only(n.a|n.b|n.c) Values ''");
    is_query("INSERT INTO t SETTINGS a=1, b = 'x', c=-0.5, d = true FORMAT CSV",
             ".t () CSV '' a=1 b=x c=-0.5 d=true");
    is_query("INSERT INTO \xc3\xa9 FORMAT CSV", ".\xc3\xa9 () CSV ''");

    is_query("", "more 62 Syntax error: failed at position 1 (end of query). Expected INSERT");
    is_query("INSERT INTO t",
             "more 62 Syntax error: failed at position 14 (end of query). Expected "
             "FORMAT, VALUES, SETTINGS or a list of columns");
    is_query("INSERT INTO t (a",
             "more 62 Syntax error: failed at position 17 (end of query). Expected ',' or ')'");
    is_query("INSERT INTO `t",
             "more 62 Syntax error: failed at position 13 (end of query). Expected "
             "a table's name");
    is_query("INSERT INTO t /* FORMAT CSV",
             "more 62 Syntax error: failed at position 15 (end of query). Expected FORMAT, VALUES, "
             "SETTINGS or a list of columns");
    is_query("INSERTS INTO t FORMAT CSV",
             "no 48 Only INSERT is served here, not INSERTS: send other statements to ClickHouse "
             "itself");
    is_query("SELECT 1", "no 48 Only INSERT is served here, not SELECT: send other statements to "
                         "ClickHouse itself");
    is_query("INSERT INTOO t",
             "no 62 Syntax error: failed at position 8 (INTOO): INTOO t. Expected "
             "INTO");
    is_query("INSERT INTO 1t FORMAT CSV",
             "no 62 Syntax error: failed at position 13 (1t): 1t FORMAT "
             "CSV. Expected a table's name");
    is_query("INSERT INTO t () FORMAT CSV",
             "no 62 Syntax error: failed at position 16 ()): ) FORMAT "
             "CSV. Expected a column's name");
    is_query("INSERT INTO t SELECT 1",
             "no 48 INSERT … SELECT is not served here: only data that is sent with the request is "
             "stored; ask ClickHouse itself");
    is_query("INSERT INTO FUNCTION file('x') VALUES",
             "no 48 INSERT INTO FUNCTION is not served here: name a table");
    is_query("INSERT INTO t FORMAT CSV;\n1",
             "no 62 You have excessive ';' symbol before data for INSERT: there is no ';' behind "
             "the format's name, and data begins on the next line");
    is_query("INSERT INTO t SETTINGS a FORMAT CSV", "no 62 Syntax error: failed at position 26 "
                                                    "(FORMAT): FORMAT CSV. Expected '='");

    /* Cut between two words it asks for more; it is neither refused nor taken for whole. */
    static const char whole[] = "INSERT INTO `a` . `b` ( `c` , d ) SETTINGS e = 'f' FORMAT CSV";
    for (size_t n = 1; n < sizeof(whole) - 1; n++) {
        struct insert_query q;
        if (whole[n] != ' ')
            continue;
        arena_reset(&arena);
        ok(insert_query_parse((struct slice){whole, n}, &arena, &q) == WH_EEND, "cut behind: %.*s",
           (int)n, whole);
    }
    arena_fini(&arena);
    return tap_done();
}
