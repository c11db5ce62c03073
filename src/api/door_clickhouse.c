/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse's HTTP interface, as far as INSERT goes: POST /?query=INSERT INTO t FORMAT CSV, so
 * that its clients write here by changing the port.
 *
 * The statement stands in `query`, at the start of the body, or half in each. One bad row refuses
 * the request (unless input_format_allow_errors_… say otherwise), nothing is required of a row, and
 * values are judged at once, whatever ingest.validation says: what is answered with 200 is what
 * ClickHouse would have taken. Answers and errors have ClickHouse's form. A setting that would
 * change what is stored is obeyed or refused, never passed over. */
#include "api/ingest.h"

#include "api/clickhouse_error.h"
#include "api/door_clickhouse.h"
#include "api/insert_query.h"
#include "base/limits.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define CODE_SYNTAX          62
#define CODE_NOT_IMPLEMENTED 48
#define CODE_BAD_ARGUMENTS   36
#define CODE_UNKNOWN_SETTING 115
#define KEEP_BYTES           (256 * KIB)
#define ARENA_BYTES          (16 * KIB)
#define ARENA_MAX            (4 * MIB)
#define PARAMS_MAX           128
#define QUERY_ID_MAX         256

/* Who asks. There are no users here: the name is not looked at, the password may be a token or the
 * operator key. */
struct credentials {
    struct slice user, password;
};

/* A loop's scratch; everything in it is of the request at hand. */
struct door_clickhouse {
    struct arena arena;    /* parameters, names */
    struct buf text;       /* statement and body in one, when they came in two */
    struct buf head, body; /* of an answer */
    uint32_t columns[LIMIT_TABLE_COLUMNS];
    uint64_t only[LIMIT_TABLE_COLUMNS / 64];
    char host[256];
};

struct param {
    struct slice name, value;
};

/* What a request says before its data. */
struct request {
    struct param params[PARAMS_MAX];
    uint32_t param_count;
    struct slice query, database, query_id;
    struct credentials who;
    struct text_options text;
    struct ingest_terms terms;
    struct slice token; /* insert_deduplication_token */
    bool detect_header;
    bool unknown_set;
};

/* --- memory -------------------------------------------------------------------------------- */

static struct door_clickhouse *scratch(struct api_loop *a)
{
    struct door_clickhouse *s = a->clickhouse;
    if (s != NULL)
        return s;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    arena_init(&s->arena, ARENA_BYTES, ARENA_MAX);
    buf_init(&s->text, SIZE_MAX);
    buf_init(&s->head, SIZE_MAX);
    buf_init(&s->body, SIZE_MAX);
    if (gethostname(s->host, sizeof(s->host) - 1) != 0)
        (void)snprintf(s->host, sizeof(s->host), "wavehoused");
    return a->clickhouse = s;
}

void door_clickhouse_free(struct api_loop *a)
{
    struct door_clickhouse *s = a->clickhouse;
    if (s == NULL)
        return;
    arena_fini(&s->arena);
    buf_fini(&s->text);
    buf_fini(&s->head);
    buf_fini(&s->body);
    free(s);
    a->clickhouse = NULL;
}

void door_clickhouse_shrink(struct api_loop *a)
{
    if (a->clickhouse != NULL && a->clickhouse->text.cap > KEEP_BYTES) {
        buf_fini(&a->clickhouse->text);
        buf_init(&a->clickhouse->text, SIZE_MAX);
    }
}

/* --- answers ------------------------------------------------------------------------------- */

static bool is_header_safe(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return s.len > 0 && s.len <= QUERY_ID_MAX;
}

/* query_id as sent, else our own id. */
static void put_query_id(struct buf *out, const struct http_request *r)
{
    struct buf id;
    buf_init(&id, QUERY_ID_MAX);
    struct slice s = r->request_id;
    if (http_query_get(r->query, "query_id", &id) == 1 && is_header_safe(buf_slice(&id)))
        s = buf_slice(&id);
    buf_put_slice(out, s);
    buf_fini(&id);
}

static void put_head(struct api_loop *a, struct http_request *r, uint64_t rows, uint64_t bytes)
{
    struct buf *h = &a->clickhouse->head;
    buf_reset(h);
    buf_printf(h,
               "X-ClickHouse-Summary: {\"read_rows\":\"%" PRIu64 "\",\"read_bytes\":\"%" PRIu64
               "\",\"written_rows\":\"%" PRIu64 "\",\"written_bytes\":\"%" PRIu64
               "\",\"total_rows_to_read\":\"0\",\"result_rows\":\"%" PRIu64
               "\",\"result_bytes\":\"%" PRIu64 "\",\"elapsed_ns\":\"%" PRIu64
               "\",\"memory_usage\":\"0\"}\r\n",
               rows, bytes, rows, bytes, rows, bytes, io_monotonic_ns() - r->received_ns);
    buf_printf(h, "X-ClickHouse-Server-Display-Name: %s\r\nX-ClickHouse-Query-Id: ",
               a->clickhouse->host);
    put_query_id(h, r);
    buf_put_str(h, "\r\n");
    if (a->catalog != NULL) {
        buf_put_str(h, "X-ClickHouse-Timezone: ");
        buf_put_slice(h, schema_catalog_timezone(a->catalog));
        buf_put_str(h, "\r\n");
    }
}

static void send_answer(struct api_loop *a, struct http_request *r, int status, int retry_after_s)
{
    struct door_clickhouse *s = a->clickhouse;
    struct http_reply answer = {.status = status,
                                .content_type = "text/plain; charset=UTF-8",
                                .extra = buf_slice(&s->head),
                                .body = buf_slice(&s->body),
                                .retry_after_s = retry_after_s};
    if (buf_ok(&s->head) && buf_ok(&s->body))
        http_reply(r, &answer);
    else
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
}

/* Code: 60. DB::Exception: text. (UNKNOWN_TABLE) (version 26.7.2.1) */
static void send_error(struct api_loop *a, struct http_request *r, int32_t code, int status,
                       const struct ingest_refusal *why)
{
    struct slice text = why->text;
    uint64_t row = why->row;
    int retry_after_s = why->retry_after_s;
    struct clickhouse_error e = clickhouse_error(code);
    if (scratch(a) == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    put_head(a, r, 0, 0);
    buf_printf(&a->clickhouse->head, "X-ClickHouse-Exception-Code: %" PRId32 "\r\n", code);
    if (why->reason == INGEST_LIMITED) {
        char fields[128];
        buf_put(&a->clickhouse->head, fields, ingest_limit_fields(why, fields, sizeof(fields)));
    }
    struct buf *b = &a->clickhouse->body;
    buf_reset(b);
    buf_printf(b, "Code: %" PRId32 ". DB::Exception: ", code);
    buf_put_slice(b, text);
    if (row > 0)
        buf_printf(b, ": (at row %" PRIu64 ")\n", row);
    buf_printf(b, ". (%s)", e.name);
    if (a->catalog != NULL) {
        buf_put_str(b, " (version ");
        buf_put_slice(b, schema_catalog_version(a->catalog));
        buf_put_str(b, ")");
    }
    buf_put_str(b, "\n");
    send_answer(a, r, status > 0 ? status : e.status, retry_after_s);
}

/* What a refusal that has no number of its own is for a ClickHouse client. */
static int32_t code_of(const struct ingest_refusal *why)
{
    if (why->code != 0)
        return why->code;
    switch (why->reason) {
    case INGEST_UNKNOWN_TABLE:
        return 60;
    case INGEST_DENIED:
        return why->status == 401 ? 516 : why->status == 403 ? 497 : 210;
    case INGEST_NO_SCHEMA:
        return 210;
    case INGEST_LIMITED:
        return 201;
    case INGEST_BUSY:
        return 202;
    case INGEST_LOG:
        return why->status == 413 ? 131 : 243;
    case INGEST_REQUEST:
    case INGEST_MEDIA:
        return CODE_BAD_ARGUMENTS;
    default:
        return why->status == 503 ? 243 : why->status == 403 ? 497 : 117;
    }
}

static void refuse(struct api_loop *a, struct http_request *r, const struct ingest_refusal *why)
{
    int32_t code = code_of(why);
    /* Then ClickHouse's status for it, or that of a quota. */
    bool own = (why->code != 0 && why->status == 400) || why->reason == INGEST_LIMITED ||
               (why->reason == INGEST_DENIED && why->status != 503);
    send_error(a, r, code, own ? 0 : why->status, why);
}

static void reply(struct api_loop *a, struct ingest_op *op)
{
    uint64_t bytes = 0;
    for (const struct ingest_part *part = op->parts; part != NULL; part = part->next)
        bytes += part->batch.text.len;
    buf_reset(&a->clickhouse->body);
    put_head(a, op->request, op->outcomes.succeeded, bytes);
    if (op->offset > 0)
        buf_printf(&a->clickhouse->head, "X-WaveHouse-Offset: %" PRIu64 "\r\n", op->offset);
    send_answer(a, op->request, op->ack == INGEST_ACK_COMMITTED ? 202 : 200, 0);
}

__attribute__((format(printf, 5, 6))) static int refused(struct api_loop *a, struct http_request *r,
                                                         enum ingest_reason reason, int32_t code,
                                                         const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct ingest_refusal why = {.reason = reason,
                                 .status = 400,
                                 .code = code,
                                 .text = slice_str(text)};
    ingest_refuse_why(a, &door_clickhouse, r, &why);
    return 1;
}

/* --- parameters ---------------------------------------------------------------------------- */

/* One decoded piece of the query string; ptr NULL: bad escape or no memory. */
static struct slice decoded(struct door_clickhouse *s, struct slice raw)
{
    struct buf b;
    struct slice out = {NULL, 0};
    buf_init(&b, SIZE_MAX);
    if (http_percent_decode(raw, true, &b) == 0)
        out = arena_dup(&s->arena, buf_slice(&b));
    buf_fini(&b);
    return out;
}

/* Every parameter of the URL. 0, or 1 when answered. */
static int read_params(struct api_loop *a, struct http_request *r, struct request *q)
{
    struct slice rest = r->query;
    while (rest.len > 0) {
        const char *amp = memchr(rest.ptr, '&', rest.len);
        struct slice one = {rest.ptr, amp != NULL ? (size_t)(amp - rest.ptr) : rest.len};
        size_t used = one.len + (amp != NULL);
        rest = (struct slice){rest.ptr + used, rest.len - used};
        if (one.len == 0)
            continue;
        const char *equals = memchr(one.ptr, '=', one.len);
        size_t name_len = equals != NULL ? (size_t)(equals - one.ptr) : one.len;
        size_t skip = name_len + (equals != NULL);
        if (q->param_count == PARAMS_MAX)
            return refused(a, r, INGEST_REQUEST, CODE_BAD_ARGUMENTS,
                           "More than %d parameters in the URL", PARAMS_MAX);
        struct param *p = &q->params[q->param_count];
        p->name = decoded(a->clickhouse, (struct slice){one.ptr, name_len});
        p->value = decoded(a->clickhouse, (struct slice){one.ptr + skip, one.len - skip});
        if (p->name.ptr == NULL || p->value.ptr == NULL)
            return refused(a, r, INGEST_REQUEST, CODE_BAD_ARGUMENTS,
                           "Invalid percent-encoding in the URL");
        q->param_count++;
    }
    return 0;
}

/* --- settings ------------------------------------------------------------------------------ */

/* Those that say how ClickHouse works, not what is stored: here they mean nothing. A star at the
 * end: any name that begins so. */
static const char *const ignored[] = {
    "async_insert*",
    "wait_for_async_insert*",
    "wait_end_of_query",
    "buffer_size",
    "session_id",
    "session_check",
    "session_timeout",
    "default_format",
    "http_*",
    "send_*",
    "receive_*",
    "connect_*",
    "keep_alive*",
    "enable_http_compression",
    "max_*",
    "min_*",
    "log_*",
    "priority",
    "output_format_*",
    "client_*",
    "insert_quorum*",
    "insert_distributed_*",
    "insert_deduplicate",
    "input_format_parallel_parsing",
    "input_format_values_interpret_expressions",
    "input_format_values_deduce_templates_of_expressions",
    "input_format_values_accurate_types_of_literals",
    "input_format_json_*",
    "input_format_try_infer_*",
    "schema_inference_*",
    "parallel_*",
    "use_*",
    "optimize_*",
    "network_*",
    "query_id",
    "database",
    "user",
    "password",
    "query",
    "role",
    "quota_key",
    "stacktrace",
    "add_http_cors_header",
    "cancel_http_readonly_queries_on_client_close",
    "deduplicate_blocks_in_dependent_materialized_views",
    "materialized_views_ignore_errors",
    "distributed_*",
    "prefer_*",
    "allow_experimental_*",
    "enable_*",
    "workload",
    "os_thread_priority",
    "idle_connection_timeout",
    "date_time_output_format",
    "format_display_secrets_in_show_and_select",
};

/* Those with one value that describes what is done here. */
static const struct {
    const char *name, *value;
} fixed[] = {
    {"input_format_null_as_default", "1"},
    {"input_format_defaults_for_omitted_fields", "1"},
    {"input_format_with_names_use_header", "1"},
    {"input_format_with_types_use_header", "1"},
    {"input_format_csv_empty_as_default", "1"},
    {"input_format_tsv_empty_as_default", "0"},
    {"input_format_csv_trim_whitespaces", "1"},
    {"input_format_csv_enum_as_number", "0"},
    {"input_format_tsv_enum_as_number", "0"},
    {"input_format_csv_arrays_as_nested_csv", "0"},
    {"input_format_csv_skip_first_lines", "0"},
    {"input_format_tsv_skip_first_lines", "0"},
    {"input_format_csv_allow_variable_number_of_columns", "0"},
    {"input_format_import_nested_json", "0"},
    {"format_csv_allow_single_quotes", "0"},
    {"format_csv_allow_double_quotes", "1"},
    {"format_csv_null_representation", "\\N"},
    {"format_tsv_null_representation", "\\N"},
    {"insert_null_as_default", "1"},
    {"async_insert_deduplicate", "0"},
};

static bool named(struct slice name, const char *pattern)
{
    size_t n = strlen(pattern);
    if (n > 0 && pattern[n - 1] == '*')
        return name.len >= n - 1 && memcmp(name.ptr, pattern, n - 1) == 0;
    return slice_eq_str(name, pattern);
}

static bool is_true(struct slice v)
{
    return slice_eq_str(v, "1") || (v.len == 4 && strncasecmp(v.ptr, "true", 4) == 0);
}

static bool is_flag(struct slice v)
{
    return is_true(v) || slice_eq_str(v, "0") ||
           (v.len == 5 && strncasecmp(v.ptr, "false", 5) == 0);
}

static int refuse_value(struct api_loop *a, struct http_request *r, struct slice name,
                        struct slice value, const char *want)
{
    return refused(a, r, INGEST_REQUEST, CODE_BAD_ARGUMENTS,
                   "Setting %.*s = '%.*s' is not supported here: it can only be %s",
                   name.len < 128 ? (int)name.len : 128, name.ptr,
                   value.len < 128 ? (int)value.len : 128, value.ptr, want);
}

static bool read_number(struct slice v, double *out)
{
    char text[32], *end;
    if (v.len == 0 || v.len >= sizeof(text) || !((v.ptr[0] >= '0' && v.ptr[0] <= '9')))
        return false;
    memcpy(text, v.ptr, v.len);
    text[v.len] = '\0';
    *out = strtod(text, &end);
    return *end == '\0' && *out >= 0;
}

/* One setting that is obeyed. 0, 1 when answered, -1 when it is none of these. */
static int obey(struct api_loop *a, struct http_request *r, struct request *q, struct slice name,
                struct slice value)
{
    double number;
    if (slice_eq_str(name, "input_format_skip_unknown_fields")) {
        if (!is_flag(value))
            return refuse_value(a, r, name, value, "0 or 1");
        q->terms.unknown = is_true(value) ? INGEST_UNKNOWN_IGNORE : INGEST_UNKNOWN_REJECT;
        q->unknown_set = true;
    } else if (slice_eq_str(name, "input_format_allow_errors_num")) {
        if (!read_number(value, &number) || number > 1e15)
            return refuse_value(a, r, name, value, "a number");
        q->terms.errors_num = (uint64_t)number;
    } else if (slice_eq_str(name, "input_format_allow_errors_ratio")) {
        if (!read_number(value, &number) || number > 1)
            return refuse_value(a, r, name, value, "a number from 0 to 1");
        q->terms.errors_ratio = number;
    } else if (slice_eq_str(name, "format_csv_delimiter")) {
        if (value.len != 1 || strchr("\"\n\r\\", value.ptr[0]) != NULL)
            return refuse_value(a, r, name, value, "one character");
        q->text.delimiter = value.ptr[0];
    } else if (slice_eq_str(name, "input_format_csv_detect_header") ||
               slice_eq_str(name, "input_format_tsv_detect_header")) {
        if (!is_flag(value))
            return refuse_value(a, r, name, value, "0 or 1");
        q->detect_header = is_true(value);
    } else if (slice_eq_str(name, "date_time_input_format")) {
        if (!slice_eq_str(value, "basic") && !slice_eq_str(value, "best_effort"))
            return refuse_value(a, r, name, value, "basic or best_effort");
    } else if (slice_eq_str(name, "insert_deduplication_token")) {
        q->token = value;
    } else if (slice_eq_str(name, "decompress") || slice_eq_str(name, "compress")) {
        if (is_true(value))
            return refused(a, r, INGEST_REQUEST, CODE_NOT_IMPLEMENTED,
                           "ClickHouse's own compression (%.*s=1) is not read here: send "
                           "Content-Encoding gzip, deflate or zstd",
                           SLICE_ARG(name));
    } else {
        return -1;
    }
    return 0;
}

static int take_setting(struct api_loop *a, struct http_request *r, struct request *q,
                        struct slice name, struct slice value)
{
    int rc = obey(a, r, q, name, value);
    if (rc >= 0)
        return rc;
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (slice_eq_str(name, fixed[i].name)) {
            struct slice only = slice_str(fixed[i].value);
            bool same = slice_eq(value, only) ||
                        (is_flag(only) && is_flag(value) && is_true(value) == is_true(only));
            return same ? 0 : refuse_value(a, r, name, value, fixed[i].value);
        }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        if (named(name, ignored[i]))
            return 0;
    return refused(a, r, INGEST_REQUEST, CODE_UNKNOWN_SETTING, "Unknown setting '%.*s'",
                   name.len < 128 ? (int)name.len : 128, name.ptr);
}

/* --- credentials --------------------------------------------------------------------------- */

/* RFC 4648; false: not base64. */
static bool decode_base64(struct slice in, struct buf *out)
{
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < in.len && in.ptr[i] != '='; i++) {
        char c = in.ptr[i];
        int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_put_u8(out, (uint8_t)(bits >> have));
        }
    }
    return true;
}

/* X-ClickHouse-User and -Key, else Basic, else the URL. */
static int read_credentials(struct api_loop *a, struct http_request *r, struct request *q)
{
    struct slice user = http_field_get(r, "x-clickhouse-user");
    struct slice basic = http_field_get(r, "authorization");
    if (user.ptr != NULL) {
        q->who = (struct credentials){user, http_field_get(r, "x-clickhouse-key")};
        return 0;
    }
    if (basic.len <= 6 || strncasecmp(basic.ptr, "basic ", 6) != 0)
        return 0;
    struct buf plain;
    buf_init(&plain, SIZE_MAX);
    bool fine = decode_base64((struct slice){basic.ptr + 6, basic.len - 6}, &plain);
    const char *colon = fine && plain.len > 0 ? memchr(plain.ptr, ':', plain.len) : NULL;
    if (colon != NULL) {
        size_t n = (size_t)(colon - plain.ptr);
        q->who.user = arena_dup(&a->clickhouse->arena, (struct slice){plain.ptr, n});
        q->who.password =
            arena_dup(&a->clickhouse->arena, (struct slice){colon + 1, plain.len - n - 1});
    }
    buf_fini(&plain);
    if (colon != NULL)
        return 0;
    return refused(a, r, INGEST_REQUEST, 516, "Invalid Basic credentials in Authorization");
}

/* Everything that is said outside of the statement. 0, or 1 when answered. */
static int read_request(struct api_loop *a, struct http_request *r, struct request *q)
{
    q->param_count = 0;
    q->query = q->database = q->query_id = q->token = (struct slice){NULL, 0};
    q->who = (struct credentials){{NULL, 0}, {NULL, 0}};
    q->text = (struct text_options){.any_case = true, .skip_unknown = true};
    q->terms = (struct ingest_terms){.unknown = INGEST_UNKNOWN_IGNORE,
                                     .defaults = true,
                                     .strict = true,
                                     .atomic = true};
    q->detect_header = true;
    q->unknown_set = false;
    q->database = http_field_get(r, "x-clickhouse-database");
    if (read_params(a, r, q) != 0)
        return 1;
    for (uint32_t i = 0; i < q->param_count; i++) {
        const struct param *p = &q->params[i];
        if (slice_eq_str(p->name, "query") && q->query.ptr == NULL)
            q->query = p->value;
        else if (slice_eq_str(p->name, "database"))
            q->database = p->value;
        else if (slice_eq_str(p->name, "user"))
            q->who.user = p->value;
        else if (slice_eq_str(p->name, "password"))
            q->who.password = p->value;
        else if (take_setting(a, r, q, p->name, p->value) != 0)
            return 1;
    }
    return read_credentials(a, r, q);
}

/* --- statement ----------------------------------------------------------------------------- */

/* The statement and what data follows it, *data. 0, or 1 when answered. */
static int read_statement(struct api_loop *a, struct http_request *r, const struct request *q,
                          struct insert_query *insert, struct slice *data)
{
    struct door_clickhouse *s = a->clickhouse;
    struct slice text = q->query.len > 0 ? q->query : r->body;
    int rc = insert_query_parse(text, &s->arena, insert);
    if (q->query.len > 0 && rc == 0 && insert->data == text.len) {
        *data = r->body;
        return 0;
    }
    if (q->query.len > 0 && (rc == 0 || rc == WH_EEND)) {
        /* As ClickHouse does: a line break between them. */
        static const char padding[LIMIT_JSON_PADDING];
        buf_reset(&s->text);
        buf_put_slice(&s->text, q->query);
        buf_put_u8(&s->text, '\n');
        buf_put_slice(&s->text, r->body);
        text.len = s->text.len;
        buf_put(&s->text, padding, sizeof(padding));
        text.ptr = s->text.ptr;
        rc = buf_ok(&s->text) ? insert_query_parse(text, &s->arena, insert) : -ENOMEM;
    }
    if (rc == WH_EEND && q->query.len + r->body.len == 0)
        return refused(a, r, INGEST_REQUEST, CODE_SYNTAX, "Empty query");
    if (rc == WH_EEND || rc == WH_ESYNTAX)
        return refused(a, r, INGEST_REQUEST, insert->code, "%s", insert->error);
    if (rc != 0) {
        ingest_refuse(a, &door_clickhouse, r, INGEST_BUSY, 503, SLICE_LIT("out of memory"), 1);
        return 1;
    }
    *data = (struct slice){text.ptr + insert->data, text.len - insert->data};
    return 0;
}

static int read_format(struct api_loop *a, struct http_request *r, struct request *q,
                       struct slice name)
{
    static const struct {
        const char *name;
        enum text_format format;
        enum text_header header;
    } formats[] = {
        {"JSONEachRow", TEXT_JSON_OBJECTS, TEXT_HEADER_NONE},
        {"JSONLines", TEXT_JSON_OBJECTS, TEXT_HEADER_NONE},
        {"JSONL", TEXT_JSON_OBJECTS, TEXT_HEADER_NONE},
        {"NDJSON", TEXT_JSON_OBJECTS, TEXT_HEADER_NONE},
        {"JSONCompactEachRow", TEXT_JSON_COMPACT, TEXT_HEADER_NONE},
        {"JSONCompactEachRowWithNames", TEXT_JSON_COMPACT, TEXT_HEADER_NAMES},
        {"JSONCompactEachRowWithNamesAndTypes", TEXT_JSON_COMPACT, TEXT_HEADER_NAMES_AND_TYPES},
        {"CSV", TEXT_CSV, TEXT_HEADER_SNIFF},
        {"CSVWithNames", TEXT_CSV, TEXT_HEADER_NAMES},
        {"CSVWithNamesAndTypes", TEXT_CSV, TEXT_HEADER_NAMES_AND_TYPES},
        {"TSV", TEXT_TSV, TEXT_HEADER_SNIFF},
        {"TSVWithNames", TEXT_TSV, TEXT_HEADER_NAMES},
        {"TSVWithNamesAndTypes", TEXT_TSV, TEXT_HEADER_NAMES_AND_TYPES},
        {"TabSeparated", TEXT_TSV, TEXT_HEADER_SNIFF},
        {"TabSeparatedWithNames", TEXT_TSV, TEXT_HEADER_NAMES},
        {"TabSeparatedWithNamesAndTypes", TEXT_TSV, TEXT_HEADER_NAMES_AND_TYPES},
        {"Values", TEXT_VALUES, TEXT_HEADER_NONE},
    };
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (name.len == strlen(formats[i].name) &&
            strncasecmp(name.ptr, formats[i].name, name.len) == 0) {
            q->text.format = formats[i].format;
            q->text.header = formats[i].header;
            if (q->text.header == TEXT_HEADER_SNIFF && !q->detect_header)
                q->text.header = TEXT_HEADER_NONE;
            return 0;
        }
    return refused(
        a, r, INGEST_MEDIA, 73,
        "Unknown format %.*s here: JSONEachRow, JSONCompactEachRow, CSV, TSV (each of the "
        "three also WithNames and WithNamesAndTypes) and Values are read",
        name.len < 64 ? (int)name.len : 64, name.ptr);
}

/* The configured database's table. NULL: answered. */
static const struct schema_table *find_table(struct api_loop *a, struct http_request *r,
                                             const struct request *q,
                                             const struct insert_query *insert)
{
    const char *own = a->config->clickhouse.database;
    struct slice database = insert->database.len > 0 ? insert->database : q->database;
    if (database.len > 0 && !slice_eq_str(database, own)) {
        (void)refused(a, r, INGEST_UNKNOWN_TABLE, 81,
                      "Database %.*s does not exist here: wavehoused writes to database %s",
                      database.len < 128 ? (int)database.len : 128, database.ptr, own);
        return NULL;
    }
    if (a->catalog == NULL) {
        ingest_refuse(a, &door_clickhouse, r, INGEST_NO_SCHEMA, 503,
                      SLICE_LIT("Schema not loaded yet: ClickHouse has not been reached"), 5);
        return NULL;
    }
    const struct schema_table *t = schema_catalog_find(a->catalog, insert->table);
    if (t == NULL) {
        discovery_nudge(a->shared->discovery);
        struct api_credentials who = {q->who.password};
        if (!ingest_gate_unknown(a, &door_clickhouse, r, &who, insert->table))
            return NULL;
        (void)refused(a, r, INGEST_UNKNOWN_TABLE, 60, "Table %s.%.*s does not exist", own,
                      insert->table.len < 256 ? (int)insert->table.len : 256, insert->table.ptr);
    }
    return t;
}

static void bit_set(uint64_t *bits, uint32_t ordinal, bool on)
{
    uint64_t bit = (uint64_t)1 << (ordinal % 64);
    bits[ordinal / 64] = on ? bits[ordinal / 64] | bit : bits[ordinal / 64] & ~bit;
}

/* The columns that the statement names, in its order. 0, or 1 when answered. */
static int read_columns(struct api_loop *a, struct http_request *r, struct request *q,
                        const struct schema_table *t, const struct insert_query *insert)
{
    struct door_clickhouse *s = a->clickhouse;
    if (!insert->listed && !insert->except)
        return 0;
    uint32_t count = 0;
    memset(s->only, insert->listed ? 0 : 0xff, sizeof(s->only));
    for (uint32_t i = 0; i < insert->column_count; i++) {
        struct slice name = insert->columns[i];
        const struct schema_column *c = schema_table_column(t, name);
        if (c == NULL || c->default_kind == SCHEMA_DEFAULT_ALIAS) {
            discovery_nudge(a->shared->discovery);
            return refused(a, r, INGEST_REQUEST, 16, "No such column %.*s in table %s.%.*s",
                           name.len < 256 ? (int)name.len : 256, name.ptr,
                           a->config->clickhouse.database, SLICE_ARG(t->name));
        }
        if (insert->listed && !c->insertable)
            return refused(a, r, INGEST_REQUEST, 44,
                           "Cannot insert column %.*s, because it is MATERIALIZED column",
                           SLICE_ARG(name));
        bool was = (s->only[c->ordinal / 64] >> (c->ordinal % 64) & 1) != 0;
        if (was == insert->listed)
            return refused(a, r, INGEST_REQUEST, 15,
                           "Column %.*s in table %s.%.*s specified more than once", SLICE_ARG(name),
                           a->config->clickhouse.database, SLICE_ARG(t->name));
        bit_set(s->only, c->ordinal, insert->listed);
        if (insert->listed)
            s->columns[count++] = c->ordinal;
    }
    for (uint32_t i = 0; insert->except && i < t->column_count; i++) {
        const struct schema_column *c = &t->columns[i];
        if (!c->insertable || c->default_kind == SCHEMA_DEFAULT_EPHEMERAL)
            bit_set(s->only, i, false);
        else if ((s->only[i / 64] >> (i % 64) & 1) != 0)
            s->columns[count++] = i;
    }
    q->text.columns = s->columns;
    q->text.column_count = count;
    q->terms.only = s->only;
    return 0;
}

/* --- the door ------------------------------------------------------------------------------ */

static int on_head(struct api_loop *a, struct http_request *r)
{
    if (scratch(a) != NULL)
        return 0;
    ingest_refuse(a, &door_clickhouse, r, INGEST_BUSY, 503, SLICE_LIT("out of memory"), 1);
    return 1;
}

static int on_body(struct api_loop *a, struct http_request *r, struct ingest_ask *ask)
{
    struct request q;
    struct insert_query insert;
    if (on_head(a, r) != 0)
        return 1;
    arena_reset(&a->clickhouse->arena);
    if (read_request(a, r, &q) != 0 || read_statement(a, r, &q, &insert, &ask->body) != 0)
        return 1;
    for (uint32_t i = 0; i < insert.setting_count; i++)
        if (take_setting(a, r, &q, insert.settings[i].name, insert.settings[i].value) != 0)
            return 1;
    ask->table = find_table(a, r, &q, &insert);
    struct api_credentials who = {q.who.password};
    if (ask->table == NULL ||
        !ingest_gate(a, &door_clickhouse, r, &who, ask->table, &ask->access) ||
        read_format(a, r, &q, insert.format) != 0 ||
        read_columns(a, r, &q, ask->table, &insert) != 0)
        return 1;
    q.text.skip_unknown = q.terms.unknown != INGEST_UNKNOWN_REJECT;
    /* Rows that are to be held back for a column are no loss: the table's setting goes first. */
    if (!q.unknown_set &&
        config_table_find(a->config, ask->table->name)->unknown_columns == CONFIG_UNKNOWN_HOLD)
        q.terms.unknown = INGEST_UNKNOWN_AS_SET;
    ask->format = INGEST_TEXT;
    ask->text = q.text;
    ask->terms = q.terms;
    ask->key = q.token;
    return 0;
}

const struct ingest_door door_clickhouse = {.name = "clickhouse",
                                            .route = "/",
                                            .on_head = on_head,
                                            .on_body = on_body,
                                            .reply = reply,
                                            .refuse = refuse};

/* --- everything else ----------------------------------------------------------------------- */

void door_clickhouse_ping(struct api_loop *a, struct http_request *r)
{
    (void)a;
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "text/html; charset=UTF-8",
                                       .body = SLICE_LIT("Ok.\n")});
}

void door_clickhouse_get(struct api_loop *a, struct http_request *r)
{
    struct request q;
    struct insert_query insert;
    if (r->query.len == 0) {
        door_clickhouse_ping(a, r);
        return;
    }
    if (on_head(a, r) != 0)
        return;
    arena_reset(&a->clickhouse->arena);
    if (read_request(a, r, &q) != 0)
        return;
    int rc = insert_query_parse(q.query, &a->clickhouse->arena, &insert);
    if (q.query.len == 0)
        (void)refused(a, r, INGEST_REQUEST, CODE_SYNTAX, "Empty query");
    else if (rc == 0)
        (void)refused(a, r, INGEST_REQUEST, 164,
                      "Cannot execute query in readonly mode. For queries over HTTP, method GET "
                      "implies readonly. You should use method POST for modifying queries");
    else
        (void)refused(a, r, INGEST_REQUEST, insert.code, "%s", insert.error);
}
