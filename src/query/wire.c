/* SPDX-License-Identifier: Apache-2.0 */
#include "query/wire.h"

#include "base/limits.h"
#include "clickhouse/http_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* With longer values the URL would pass what servers and proxies take: they go into the text. */
#define URL_VALUES_MAX (16 * KIB)
/* ClickHouse's default for max_query_size, less some room. */
#define QUERY_SIZE_DEFAULT (250 * KIB)

/* A value as ClickHouse reads param_x: TSV's escapes. */
static void put_escaped(struct buf *out, struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        static const char from[] = "\\\t\n\r", to[] = "\\tnr";
        char c = v.ptr[i];
        const char *special = c != '\0' ? strchr(from, c) : NULL;
        if (special != NULL || c == '\0')
            buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)(c == '\0' ? '0' : special != NULL ? to[special - from] : c));
    }
}

static void put_values(const struct query_statement *s, struct buf *settings)
{
    struct buf text;
    char name[24];
    buf_init(&text, SIZE_MAX);
    for (uint32_t i = 0; i < query_statement_value_count(s); i++) {
        buf_reset(&text);
        put_escaped(&text, query_statement_value(s, i));
        (void)snprintf(name, sizeof(name), "param_p%" PRIu32, i);
        ch_put_setting(settings, name, buf_slice(&text));
        settings->failed = settings->failed || !buf_ok(&text);
    }
    buf_fini(&text);
}

/* "{p12:String}" at p: its length and number, or 0. */
static size_t placeholder(struct slice at, uint32_t *number)
{
    static const char tail[] = ":String}";
    size_t i = 2;
    *number = 0;
    if (at.len < 3 || at.ptr[0] != '{' || at.ptr[1] != 'p')
        return 0;
    for (; i < at.len && i < 11 && at.ptr[i] >= '0' && at.ptr[i] <= '9'; i++)
        *number = *number * 10 + (uint32_t)(at.ptr[i] - '0');
    if (i == 2 || at.len - i < sizeof(tail) - 1 || memcmp(at.ptr + i, tail, sizeof(tail) - 1) != 0)
        return 0;
    return i + sizeof(tail) - 1;
}

/* The text with its values as literals. What stands in quotes is a name or a text and is left. */
static void put_with_literals(const struct query_statement *s, struct buf *out)
{
    struct slice sql = buf_slice(&s->sql);
    char quote = '\0';
    for (size_t i = 0; i < sql.len; i++) {
        char c = sql.ptr[i];
        uint32_t n;
        size_t len = quote == '\0' ? placeholder((struct slice){sql.ptr + i, sql.len - i}, &n) : 0;
        if (len > 0 && n < query_statement_value_count(s)) {
            query_put_literal(out, query_statement_value(s, n));
            i += len - 1;
            continue;
        }
        buf_put_u8(out, (uint8_t)c);
        if (quote != '\0' && c == '\\' && i + 1 < sql.len)
            buf_put_u8(out, (uint8_t)sql.ptr[++i]);
        else if (quote != '\0' && c == quote)
            quote = '\0';
        else if (quote == '\0' && (c == '\'' || c == '"' || c == '`'))
            quote = c;
    }
}

static void put_number(struct buf *out, const char *name, uint64_t v)
{
    if (v > 0)
        buf_printf(out, "&%s=%" PRIu64, name, v);
}

/* paced: the answer goes at its reader's speed, which is no fault of the query; a role's own limit
 * holds all the same. Old servers count whole seconds, and take 0.5 for none at all. */
static void put_limits(const struct query_statement *s, uint64_t timeout_ms, bool modern,
                       bool paced, struct buf *out)
{
    uint64_t ms = s->limits.max_execution_ms;
    if (ms == 0 || ms >= timeout_ms)
        ms = paced ? 0 : timeout_ms;
    if (!modern)
        ms = (ms + 999) / 1000 * 1000;
    if (ms > 0)
        buf_printf(out, "&max_execution_time=%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
    put_number(out, "max_rows_to_read", s->limits.max_rows_to_read);
    put_number(out, "max_memory_usage", s->limits.max_memory_bytes);
    put_number(out, "max_result_rows", s->limits.max_result_rows);
}

int query_wire_make(const struct query_statement *s, const struct query_terms *terms,
                    enum query_wire wire, uint64_t timeout_ms, struct buf *settings,
                    struct buf *sql)
{
    static const char *const formats[] = {[QUERY_WIRE_ROWS] = "JSONCompact",
                                          [QUERY_WIRE_LINES] = "JSONCompact",
                                          [QUERY_WIRE_CSV] = "CSVWithNames",
                                          [QUERY_WIRE_RAW_JSON] = "JSON",
                                          [QUERY_WIRE_RAW] = "JSON"};
    bool raw = wire == QUERY_WIRE_RAW_JSON || wire == QUERY_WIRE_RAW;
    bool piecewise = wire == QUERY_WIRE_LINES || wire == QUERY_WIRE_CSV || wire == QUERY_WIRE_RAW;
    buf_printf(settings, "&default_format=%s", formats[wire]);
    /* Without it an error after the first bytes comes inside an answer of status 200. Where the
     * server marks that place, it need not be waited for the end. */
    if (!piecewise || !terms->modern)
        buf_put_str(settings, "&wait_end_of_query=1");
    if (terms->modern)
        buf_put_str(settings, "&date_time_output_format=iso");
    if (!raw) {
        buf_put_str(settings, "&output_format_json_quote_64bit_integers=0"
                              "&output_format_json_quote_denormals=0");
        if (terms->modern)
            buf_put_str(settings, "&output_format_json_quote_decimals=0"
                                  "&output_format_json_named_tuples_as_objects=1"
                                  "&output_format_json_escape_forward_slashes=0"
                                  "&output_format_json_validate_utf8=1");
        put_limits(s, timeout_ms, terms->modern, piecewise && terms->modern, settings);
        if (s->is_prefer_column && terms->modern)
            buf_put_str(settings, "&prefer_column_name_to_alias=1");
    }
    size_t before = settings->len;
    put_values(s, settings);
    if (settings->len - before > URL_VALUES_MAX || !buf_ok(settings)) {
        settings->len = before;
        settings->failed = false;
        put_with_literals(s, sql);
    }
    size_t text = sql->len > 0 ? sql->len : s->sql.len;
    if (text > QUERY_SIZE_DEFAULT)
        put_number(settings, "max_query_size", text + 64 * KIB);
    /* Last: an old server applies one after the other, and refuses what follows it. */
    if (s->reads_only || (!raw && !s->writes))
        buf_put_str(settings, "&readonly=2");
    return buf_ok(settings) && buf_ok(sql) ? 0 : -ENOMEM;
}

/* --- exceptions in the middle -------------------------------------------------------------- */

void query_guard_init(struct query_guard *g, struct slice tag)
{
    g->mark_len = g->held = 0;
    g->found = false;
    buf_init(&g->text, 16 * KIB);
    if (tag.len == 0 || tag.len > 100)
        return;
    int n = snprintf(g->mark, sizeof(g->mark), "\r\n__exception__\r\n%.*s\r\n", SLICE_ARG(tag));
    g->mark_len = n > 0 ? (size_t)n : 0;
    g->border[0] = g->border[1] = 0;
    for (size_t i = 1, k = 0; i < g->mark_len; i++) {
        while (k > 0 && g->mark[i] != g->mark[k])
            k = g->border[k];
        k += g->mark[i] == g->mark[k];
        g->border[i + 1] = (uint8_t)k;
    }
}

void query_guard_fini(struct query_guard *g)
{
    buf_fini(&g->text);
}

static void keep_text(struct query_guard *g, struct slice bytes)
{
    size_t room = g->text.max - g->text.len;
    buf_put(&g->text, bytes.ptr, bytes.len < room ? bytes.len : room);
}

void query_guard_feed(struct query_guard *g, struct slice bytes, struct buf *out)
{
    size_t i = 0;
    while (i < bytes.len && !g->found && g->mark_len > 0) {
        if (g->held == 0) {
            const char *cr = memchr(bytes.ptr + i, '\r', bytes.len - i);
            size_t n = cr != NULL ? (size_t)(cr - bytes.ptr) - i : bytes.len - i;
            buf_put(out, bytes.ptr + i, n);
            i += n;
            if (i == bytes.len)
                break;
        }
        char c = bytes.ptr[i++];
        while (g->held > 0 && c != g->mark[g->held]) {
            size_t keep = g->border[g->held];
            buf_put(out, g->mark, g->held - keep);
            g->held = keep;
        }
        if (c == g->mark[g->held])
            g->found = ++g->held == g->mark_len;
        else
            buf_put_u8(out, (uint8_t)c);
    }
    if (g->found && i < bytes.len)
        keep_text(g, (struct slice){bytes.ptr + i, bytes.len - i});
    else if (i < bytes.len)
        buf_put(out, bytes.ptr + i, bytes.len - i);
}

void query_guard_finish(struct query_guard *g, struct buf *out)
{
    if (!g->found)
        buf_put(out, g->mark, g->held);
    g->held = 0;
}

int32_t query_code_in_text(struct slice text)
{
    char head[32] = "";
    size_t n = text.len < sizeof(head) - 1 ? text.len : sizeof(head) - 1;
    if (n > 0)
        memcpy(head, text.ptr, n);
    return strncmp(head, "Code: ", 6) == 0 ? (int32_t)strtol(head + 6, NULL, 10) : 0;
}
