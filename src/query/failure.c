/* SPDX-License-Identifier: Apache-2.0 */
#include "query/failure.h"

#include "base/limits.h"
#include "clickhouse/native.h"

#define TEXT_BYTES_MAX (2 * KIB)
/* A bare occurrence of a shorter value says nothing, and taking it out would spoil the words. */
#define BARE_VALUE_MIN 6

static const struct {
    const char *name;
    int status;
    bool retryable;
    int retry_after_s;
} classes[] = {
    [QUERY_FINE] = {"ok", 200, false, 0},
    [QUERY_REJECTED] = {"clickhouse.rejected", 400, false, 0},
    [QUERY_LIMIT_EXCEEDED] = {"clickhouse.limit_exceeded", 400, false, 0},
    [QUERY_ACCESS_DENIED] = {"clickhouse.access_denied", 403, false, 0},
    [QUERY_MISCONFIGURED] = {"clickhouse.misconfigured", 502, false, 0},
    [QUERY_TOO_LARGE] = {"clickhouse.response_too_large", 502, false, 0},
    [QUERY_UNAVAILABLE] = {"clickhouse.unavailable", 503, true, 5},
    [QUERY_UNKNOWN] = {"clickhouse.unknown", 500, false, 0},
    [QUERY_BUSY] = {"clickhouse.unavailable", 503, true, 1},
    [QUERY_STOPPED] = {"clickhouse.unavailable", 503, true, 1},
};

const char *query_class_name(enum query_class c)
{
    return classes[c].name;
}

int query_class_status(enum query_class c)
{
    return classes[c].status;
}

bool query_class_retryable(enum query_class c)
{
    return classes[c].retryable;
}

int query_class_retry_after(enum query_class c)
{
    return classes[c].retry_after_s;
}

/* What keeps an insert waiting keeps a query waiting; of ClickHouse's several hundred numbers
 * nearly all the rest are about what was asked. */
static enum query_class classify_as_insert(int32_t code)
{
    switch (ch_classify(code, NULL)) {
    case CH_UNAVAILABLE:
    case CH_UNKNOWN_FATE:
    case CH_TOO_MANY_PARTS:
        return QUERY_UNAVAILABLE;
    case CH_OK:
    case CH_SPLIT_PARTITIONS:
    case CH_SCHEMA:
    case CH_DATA:
    case CH_CONFIG:
    case CH_BUG:
        break;
    }
    return QUERY_REJECTED;
}

enum query_class query_classify(int32_t code, const struct query_limits *limits,
                                uint64_t timeout_ms)
{
    switch (code) {
    case 158: /* TOO_MANY_ROWS */
    case 307: /* TOO_MANY_BYTES */
    case 396: /* TOO_MANY_ROWS_OR_BYTES */
        return QUERY_LIMIT_EXCEEDED;
    case 159: /* TIMEOUT_EXCEEDED */
    case 160: /* TOO_SLOW */
        return limits->max_execution_ms > 0 && limits->max_execution_ms < timeout_ms
                   ? QUERY_LIMIT_EXCEEDED
                   : QUERY_UNAVAILABLE;
    case 241: /* MEMORY_LIMIT_EXCEEDED */
        return limits->max_memory_bytes > 0 ? QUERY_LIMIT_EXCEEDED : QUERY_UNAVAILABLE;
    case 164: /* READONLY */
    case 497: /* ACCESS_DENIED */
        return QUERY_ACCESS_DENIED;
    case 81:  /* UNKNOWN_DATABASE */
    case 192: /* UNKNOWN_USER */
    case 193: /* WRONG_PASSWORD */
    case 194: /* REQUIRED_PASSWORD */
    case 195: /* IP_ADDRESS_NOT_ALLOWED */
    case 291: /* DATABASE_ACCESS_DENIED */
    case 516: /* AUTHENTICATION_FAILED */
        return QUERY_MISCONFIGURED;
    case 3: /* UNEXPECTED_END_OF_FILE: of a connection; an insert cannot go on after it */
        return QUERY_UNAVAILABLE;
    case 0:
    case 49:   /* LOGICAL_ERROR */
    case 74:   /* CANNOT_READ_FROM_FILE_DESCRIPTOR */
    case 75:   /* CANNOT_WRITE_TO_FILE_DESCRIPTOR */
    case 76:   /* CANNOT_OPEN_FILE */
    case 107:  /* FILE_DOESNT_EXIST: also for want of descriptors */
    case 95:   /* CANNOT_READ_FROM_SOCKET */
    case 99:   /* UNKNOWN_PACKET_FROM_CLIENT */
    case 100:  /* UNKNOWN_PACKET_FROM_SERVER */
    case 101:  /* UNEXPECTED_PACKET_FROM_CLIENT */
    case 102:  /* UNEXPECTED_PACKET_FROM_SERVER */
    case 40:   /* CHECKSUM_DOESNT_MATCH */
    case 246:  /* CORRUPTED_DATA */
    case 271:  /* CANNOT_DECOMPRESS */
    case 1000: /* POCO_EXCEPTION */
    case 1001: /* STD_EXCEPTION */
    case 1002: /* UNKNOWN_EXCEPTION */
        return QUERY_UNKNOWN;
    default:
        return classify_as_insert(code);
    }
}

bool query_code_is_schema(int32_t code)
{
    return code == 60 || code == 16 || code == 47 || code == 10 || code == 8;
}

/* --- the text ------------------------------------------------------------------------------ */

/* Replace every occurrence of what by …. */
static void take_out(struct buf *text, struct slice what, struct buf *scratch)
{
    static const char mark[] = "\xe2\x80\xa6";
    if (what.len == 0 || what.len > text->len ||
        memmem(text->ptr, text->len, what.ptr, what.len) == NULL)
        return;
    buf_reset(scratch);
    const char *p = text->ptr, *end = p + text->len;
    for (;;) {
        const char *at = memmem(p, (size_t)(end - p), what.ptr, what.len);
        if (at == NULL)
            break;
        buf_put(scratch, p, (size_t)(at - p));
        buf_put_str(scratch, mark);
        p = at + what.len;
    }
    buf_put(scratch, p, (size_t)(end - p));
    buf_reset(text);
    buf_put_slice(text, buf_slice(scratch));
}

/* As it is, and as it stands in a literal; short ones in quotes only. */
static void take_out_value(struct buf *text, struct slice value, struct buf *form,
                           struct buf *scratch)
{
    if (value.len == 0)
        return;
    for (int escaped = 1; escaped >= 0; escaped--) {
        buf_reset(form);
        buf_put_u8(form, '\'');
        for (size_t i = 0; i < value.len; i++) {
            char c = value.ptr[i];
            static const char from[] = "\n\t\r\b\f", to[] = "ntrbf";
            const char *special = escaped && c != '\0' ? strchr(from, c) : NULL;
            if (escaped && (c == '\\' || c == '\'' || special != NULL || c == '\0'))
                buf_put_u8(form, '\\');
            buf_put_u8(form, (uint8_t)(special != NULL        ? to[special - from]
                                       : escaped && c == '\0' ? '0'
                                                              : c));
        }
        buf_put_u8(form, '\'');
        if (!buf_ok(form))
            return; /* longer than any text */
        take_out(text, buf_slice(form), scratch);
        struct slice bare = {form->ptr + 1, form->len - 2};
        if (bare.len >= BARE_VALUE_MIN)
            take_out(text, bare, scratch);
    }
}

/* Every '…' of the statement, unescaped. */
static void take_out_literals(struct buf *text, struct slice sql, struct buf *form,
                              struct buf *scratch)
{
    struct buf value;
    buf_init(&value, TEXT_BYTES_MAX);
    char quote = '\0';
    for (size_t i = 0; i < sql.len; i++) {
        char c = sql.ptr[i];
        if (quote == '\0') {
            if (c == '\'' || c == '"' || c == '`') {
                quote = c;
                buf_reset(&value);
            }
        } else if (c == '\\' && i + 1 < sql.len) {
            static const char from[] = "ntrbf0", to[] = "\n\t\r\b\f";
            const char *known = strchr(from, sql.ptr[++i]);
            buf_put_u8(&value, (uint8_t)(known != NULL && sql.ptr[i] != '\0' ? to[known - from]
                                                                             : sql.ptr[i]));
        } else if (c == quote && i + 1 < sql.len && sql.ptr[i + 1] == quote) {
            buf_put_u8(&value, (uint8_t)c);
            i++;
        } else if (c == quote) {
            if (c == '\'' && buf_ok(&value))
                take_out_value(text, buf_slice(&value), form, scratch);
            quote = '\0';
        } else {
            buf_put_u8(&value, (uint8_t)c);
        }
    }
    buf_fini(&value);
}

static void cut_at(struct slice *text, const char *mark)
{
    const char *at = text->len > 0 ? memmem(text->ptr, text->len, mark, strlen(mark)) : NULL;
    if (at != NULL)
        text->len = (size_t)(at - text->ptr);
}

void query_failure_text(struct buf *out, struct slice text, const struct query_statement *s)
{
    struct buf words, form, scratch;
    buf_init(&words, 8 * TEXT_BYTES_MAX);
    buf_init(&form, TEXT_BYTES_MAX);
    buf_init(&scratch, 8 * TEXT_BYTES_MAX);
    /* Versions, stacks, and the statement's whole text, which the caller did not write. */
    static const char *const marks[] = {" (version ", ", e.what() = ", "Stack trace:", "\n",
                                        " in scope ", " In scope ",    " in query ",   " In query ",
                                        ": While ",   ": while ",      "SELECT "};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        cut_at(&text, marks[i]);
    text.len = text.len < TEXT_BYTES_MAX ? text.len : TEXT_BYTES_MAX;
    buf_put_slice(&words, text);
    if (s != NULL) {
        for (uint32_t i = 0; i < query_statement_value_count(s); i++)
            take_out_value(&words, query_statement_value(s, i), &form, &scratch);
        take_out_literals(&words, buf_slice(&s->sql), &form, &scratch);
    }
    buf_put_slice(out, buf_ok(&words) && buf_ok(&scratch) && words.len > 0
                           ? buf_slice(&words)
                           : SLICE_LIT("ClickHouse refused the statement"));
    buf_fini(&words);
    buf_fini(&form);
    buf_fini(&scratch);
}
