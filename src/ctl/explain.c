/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl policy explain: what may this token do with this table, and why? */
#include "access/check.h"
#include "access/gate.h"
#include "access/member.h"
#include "access/predicate.h"
#include "base/limits.h"
#include "ctl/offline.h"
#include "ctl/policy.h"
#include "io/clock.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define READER_BYTES (17 * MIB)
#define NS_PER_S     1000000000u

struct explain {
    /* options */
    const char *policy_file, *token, *claims_text, *secret_file, *jwks_file, *schema_file, *record;
    const char *role_claim, *table;
    bool strict;
    /* what they name */
    struct json_reader *reader, *record_reader;
    struct access_policy *policy;
    struct access_claims *claims;
    struct schema_catalog *catalog;
    struct access_caller caller;
    struct buf role, text, scratch, record_text;
    struct json_doc record_doc; /* when record is given */
    struct access_predicates *predicates;
    struct arena arena;
};

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "wavehousectl: %s: %s\n", what, why);
    return CTL_DAMAGE;
}

/* Everything from documents and tokens is shown as JSON strings: it cannot steer the terminal. */
static void show_text(struct explain *x, struct slice s)
{
    buf_reset(&x->text);
    buf_put_json_string(&x->text, s);
    (void)printf("%.*s", SLICE_ARG(buf_slice(&x->text)));
}

static void show_names(struct explain *x, const char *label, const struct access_names *names)
{
    if (names->count == 0)
        return;
    (void)printf("    %s", label);
    for (uint32_t i = 0; i < names->count; i++) {
        (void)printf(i > 0 ? ", " : " ");
        show_text(x, names->list[i]);
    }
    (void)putchar('\n');
}

/* ---- what was given -------------------------------------------------------------------------- */

static int parse(struct explain *x, int argc, char **argv)
{
    static const struct option names[] = {
        {"policy", required_argument, NULL, 'p'},     {"token", required_argument, NULL, 't'},
        {"claims", required_argument, NULL, 'c'},     {"secret-file", required_argument, NULL, 's'},
        {"jwks", required_argument, NULL, 'j'},       {"schema", required_argument, NULL, 'S'},
        {"record", required_argument, NULL, 'r'},     {"strict", no_argument, NULL, 'x'},
        {"role-claim", required_argument, NULL, 'R'}, {NULL, 0, NULL, 0}};
    const char **targets[256] = {
        ['p'] = &x->policy_file, ['t'] = &x->token,     ['c'] = &x->claims_text,
        ['s'] = &x->secret_file, ['j'] = &x->jwks_file, ['S'] = &x->schema_file,
        ['r'] = &x->record,      ['R'] = &x->role_claim};
    int c;
    x->role_claim = "role";
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'x')
            x->strict = true;
        else if (c > 0 && c < 256 && targets[c] != NULL)
            *targets[c] = optarg;
        else
            return CTL_USAGE;
    }
    bool keys = x->secret_file != NULL || x->jwks_file != NULL;
    if (x->policy_file == NULL || optind != argc - 1 ||
        (x->token != NULL && x->claims_text != NULL) || (keys && x->token == NULL) ||
        (x->secret_file != NULL && x->jwks_file != NULL) ||
        (x->record != NULL && x->schema_file == NULL))
        return CTL_USAGE;
    x->table = argv[optind];
    return 0;
}

/* With keys the token is verified, without them it is taken at its word. */
static int read_token(struct explain *x)
{
    struct access_jwt_verdict v = {.result = ACCESS_JWT_INVALID, .why = "out of memory"};
    struct access_keys *keys = NULL;
    static const struct access_jwt_rules rules;
    struct buf token, header;
    struct err e = {0};
    int status = CTL_SYSTEM;
    buf_init(&token, SIZE_MAX);
    buf_init(&header, SIZE_MAX);
    buf_reset(&x->text);
    if (ctl_token_argument(x->token, &token) != 0)
        goto done;
    if (x->secret_file == NULL && x->jwks_file == NULL) {
        (void)printf("token    not verified: give --secret-file or --jwks\n");
        status = CTL_OK;
        if (!access_jwt_decode(buf_slice(&token), &header, &x->text))
            status = fail("--token", "not three parts of base64url joined by dots");
        else if (access_claims_new(x->reader, buf_slice(&x->text), &x->claims, &e) != 0)
            status = fail("--token", e.text);
        goto done;
    }
    if (ctl_keys(x->secret_file, x->jwks_file, &keys) != 0)
        goto done;
    struct access_jwt *jwt = access_jwt_new(keys, &rules);
    if (jwt != NULL &&
        access_jwt_verify(jwt, buf_slice(&token), (int64_t)(io_realtime_ns() / NS_PER_S), &v) == 0)
        status = CTL_OK;
    x->claims = v.claims;
    x->caller.bad_token = v.result != ACCESS_JWT_GOOD;
    x->caller.token = v.result;
    if (v.why != NULL)
        (void)printf("token    %s: %s\n", access_jwt_message(v.result), v.why);
    else
        (void)printf("token    good\n");
    access_jwt_free(jwt);
done:
    access_keys_unref(keys);
    buf_fini(&header);
    buf_fini(&token);
    return status;
}

static int read_policy(struct explain *x)
{
    int status = CTL_OK;
    x->policy = ctl_policy_load(x->policy_file, x->strict, &status);
    return status;
}

static struct slice member_text(struct explain *x, const struct json_doc *doc,
                                const struct json_node *obj, const char *name)
{
    const struct json_node *n = access_member(doc, obj, slice_str(name));
    if (n == NULL || n->kind != JSON_STRING)
        return SLICE_LIT("");
    char *p = arena_alloc(&x->arena, n->len + 1);
    return (struct slice){p, p != NULL ? json_unescape(json_raw(doc, n), p) : 0};
}

/* One table as GET /v1/ops/schema prints it. */
static int add_table(struct explain *x, struct schema_builder *b, const struct json_doc *doc,
                     const struct json_node *t)
{
    const struct json_node *columns = access_member(doc, t, SLICE_LIT("columns"));
    struct slice name = member_text(x, doc, t, "name");
    if (name.len == 0 || columns == NULL || columns->kind != JSON_ARRAY)
        return WH_ESYNTAX;
    int rc = schema_builder_table(b, name, SLICE_LIT("MergeTree"), -1);
    ACCESS_EACH_ELEMENT(doc, columns, col)
    if (rc == 0)
        rc = schema_builder_column(b, member_text(x, doc, col, "name"),
                                   member_text(x, doc, col, "type"),
                                   member_text(x, doc, col, "default_kind"), SLICE_LIT(""));
    return rc;
}

static int read_schema(struct explain *x)
{
    struct json_doc doc;
    struct err e = {0};
    struct buf text;
    int status = CTL_SYSTEM, rc = WH_ESYNTAX;
    struct schema_builder *b = schema_builder_new();
    buf_init(&text, SIZE_MAX);
    if (b == NULL || ctl_read_file(x->schema_file, 16 * MIB, &text) != 0)
        goto done;
    status = CTL_OK;
    schema_builder_server(b, SLICE_LIT(""), SLICE_LIT("UTC"));
    size_t len = text.len;
    if (buf_extend(&text, LIMIT_JSON_PADDING) != NULL &&
        json_reader_begin(x->reader, text.ptr, len, JSON_ONE) == 0 &&
        json_reader_next(x->reader, &doc) == 0) {
        if (doc.nodes->kind == JSON_OBJECT)
            rc = add_table(x, b, &doc, doc.nodes);
        else if (doc.nodes->kind == JSON_ARRAY)
            ACCESS_EACH_ELEMENT(&doc, doc.nodes, t)
        if ((rc = add_table(x, b, &doc, t)) != 0)
            break;
    }
    if (rc == 0)
        x->catalog = schema_builder_finish(b, &e);
    if (x->catalog == NULL)
        status = fail(x->schema_file, "not what GET /v1/ops/schema answers");
done:
    schema_builder_free(b);
    buf_fini(&text);
    return status;
}

static int read_record(struct explain *x)
{
    size_t len = strlen(x->record);
    buf_put_str(&x->record_text, x->record);
    if (buf_extend(&x->record_text, LIMIT_JSON_PADDING) == NULL ||
        json_reader_begin(x->record_reader, x->record_text.ptr, len, JSON_ONE) != 0 ||
        json_reader_next(x->record_reader, &x->record_doc) != 0 ||
        x->record_doc.nodes->kind != JSON_OBJECT || json_reader_trailing(x->record_reader))
        return fail("--record", "not one JSON object");
    return CTL_OK;
}

static int read_all(struct explain *x)
{
    struct err e = {0};
    int status = read_policy(x);
    if (status == CTL_OK && x->token != NULL)
        status = read_token(x);
    if (status == CTL_OK && x->claims_text != NULL &&
        access_claims_new(x->reader, slice_str(x->claims_text), &x->claims, &e) != 0)
        status = fail("--claims", e.text);
    if (status == CTL_OK && x->schema_file != NULL)
        status = read_schema(x);
    if (status == CTL_OK && x->record != NULL)
        status = read_record(x);
    if (x->claims != NULL && access_claims_string(x->claims, slice_str(x->role_claim), &x->role))
        x->caller.role = buf_slice(&x->role);
    return status;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void show_decision(struct explain *x, const char *what, const struct access_decision *d)
{
    (void)printf("%-8s ", what);
    if (d->gate == ACCESS_UNRESTRICTED)
        (void)printf("allowed without restriction: ");
    else if (d->gate == ACCESS_GRANTED)
        (void)printf("allowed: ");
    else
        (void)printf("denied, %d \"%s\": %s\n", d->status, d->message, d->reason);
    if (d->gate != ACCESS_DENIED) {
        (void)printf("as role ");
        show_text(x, d->role);
        (void)printf("%s%s\n", d->gate == ACCESS_UNRESTRICTED ? ", the admin role" : "",
                     x->caller.role.len == 0 || x->caller.bad_token ? ", the default role" : "");
    }
}

static void show_limit(const char *name, uint64_t value, const char *unit)
{
    if (value > 0)
        (void)printf("    %s %" PRIu64 "%s\n", name, value, unit);
}

static void show_columns(struct explain *x, const struct access_grant *g)
{
    if (g->allow_columns.count == 0 && g->deny_columns.count == 0)
        (void)printf("    columns: all\n");
    show_names(x, "columns: only", &g->allow_columns);
    show_names(x, "columns: never", &g->deny_columns);
}

static int show_filter(struct explain *x, const struct access_grant *g)
{
    struct access_predicate *p = access_predicates_get(x->predicates, x->policy, g,
                                                       slice_str(x->table), x->claims, x->catalog);
    if (p == NULL)
        return CTL_SYSTEM;
    buf_reset(&x->text);
    if (access_predicate_sql(p, ACCESS_SQL_PARAMETERS, 0, &x->text)) {
        struct buf sql = x->text;
        buf_init(&x->text, SIZE_MAX);
        (void)printf("    rows: only where ");
        show_text(x, buf_slice(&sql));
        (void)printf("%s\n", slice_eq_str(buf_slice(&sql), "(1 = 0)")
                                 ? ": none, because a claim that the filter names is absent or not "
                                   "of its kind, or the column does not exist"
                                 : "");
        for (uint32_t i = 0; i < access_predicate_value_count(p); i++) {
            (void)printf("      p%" PRIu32 " = ", i);
            show_text(x, access_predicate_value(p, i));
            (void)putchar('\n');
        }
        buf_fini(&sql);
    } else {
        (void)printf("    rows: all\n");
    }
    if (x->record != NULL) {
        enum access_match m = access_predicate_match(p, &x->record_doc, &x->scratch);
        (void)printf("    a stream would %s the record%s%s\n",
                     m == ACCESS_MATCH ? "deliver" : "not deliver", m == ACCESS_MATCH ? "" : ": ",
                     m == ACCESS_MATCH ? "" : access_match_name(m));
    }
    access_predicate_unref(p);
    return CTL_OK;
}

static int show_select(struct explain *x, const struct access_grant *g)
{
    show_columns(x, g);
    show_names(x, "aggregations: only", &g->allowed_aggregations);
    show_names(x, "aggregations: never", &g->denied_aggregations);
    show_limit("at most rows:", g->max_rows, "");
    show_limit("at most time:", g->max_execution_time_ms, " ms");
    show_limit("at most rows read:", g->max_rows_to_read, "");
    show_limit("at most memory:", g->max_memory_usage_bytes, " bytes");
    return show_filter(x, g);
}

static void show_checks(struct explain *x, const struct access_grant *g)
{
    for (uint32_t i = 0; i < g->rule_count; i++) {
        const struct access_rule *rule = &g->rules[i];
        struct access_set set;
        bool resolved = access_template_resolve(&x->arena, &rule->value, rule->op, x->claims,
                                                &set) == ACCESS_RESOLVED;
        (void)printf("    column ");
        show_text(x, rule->column);
        (void)printf(rule->op == ACCESS_IN ? " must be one of" : " must be, or becomes");
        for (uint32_t k = 0; resolved && k < set.count; k++) {
            (void)printf(k > 0 ? ", " : " ");
            show_text(x, set.list[k].text);
        }
        if (!resolved) {
            (void)printf(" ");
            show_text(x, rule->value.source);
            (void)printf(", which these claims do not have: every record is refused");
        } else if (set.count == 0) {
            (void)printf(" nothing: every record is refused");
        }
        (void)putchar('\n');
    }
}

static int show_insert_of_record(struct explain *x, const struct access_grant *g,
                                 const struct schema_table *t)
{
    struct access_check check;
    struct slice column;
    struct err e = {0};
    if (access_check_columns(g, &x->record_doc, &column)) {
        (void)printf("    the record is refused, 403: a column not allowed for insert: ");
        show_text(x, column);
        (void)putchar('\n');
        return CTL_OK;
    }
    int rc = access_check_bind(&x->arena, g, x->claims, t, &check, &e);
    if (rc == -ENOMEM)
        return CTL_SYSTEM;
    buf_reset(&x->scratch);
    const struct schema_column *bad =
        rc == 0 ? access_check_record(&check, &x->record_doc, &x->scratch) : NULL;
    (void)printf("    the record ");
    if (rc != 0 || bad != NULL) {
        (void)printf("is refused, 403: ");
        if (bad != NULL)
            (void)err_set(&e, 0, ACCESS_CHECK_FAILED, SLICE_ARG(bad->name));
        show_text(x, slice_str(e.text));
    } else if (x->scratch.len > 0) {
        (void)printf("is accepted, with %.*s", (int)x->scratch.len - 1, x->scratch.ptr + 1);
    } else {
        (void)printf("is accepted");
    }
    (void)putchar('\n');
    return CTL_OK;
}

static int show_insert(struct explain *x, const struct access_grant *g)
{
    const struct schema_table *t =
        x->catalog != NULL ? schema_catalog_find(x->catalog, slice_str(x->table)) : NULL;
    show_columns(x, g);
    show_checks(x, g);
    if (x->record == NULL)
        return CTL_OK;
    if (t == NULL)
        return fail(x->table, "the schema file has no such table");
    return show_insert_of_record(x, g, t);
}

static int answer(struct explain *x)
{
    struct access_decision select, insert, ops;
    struct slice table = slice_str(x->table);
    int status = CTL_OK;
    (void)printf("role     ");
    show_text(x, x->caller.role);
    (void)printf("%s\n", x->caller.role.len == 0 ? ", none" : "");
    access_gate_table(x->policy, &x->caller, table, ACCESS_SELECT, &select);
    access_gate_table(x->policy, &x->caller, table, ACCESS_INSERT, &insert);
    access_gate_ops(x->policy, &x->caller, &ops);
    show_decision(x, "select", &select);
    if (select.gate == ACCESS_GRANTED)
        status = show_select(x, select.grant);
    show_decision(x, "insert", &insert);
    if (status == CTL_OK && insert.gate == ACCESS_GRANTED)
        status = show_insert(x, insert.grant);
    show_decision(x, "ops", &ops);
    if (status == CTL_OK && select.gate == ACCESS_DENIED && insert.gate == ACCESS_DENIED)
        status = CTL_DAMAGE;
    return status;
}

int ctl_policy_explain(int argc, char **argv)
{
    struct explain x = {.policy_file = NULL};
    int status = parse(&x, argc, argv);
    if (status != 0)
        return status;
    x.reader = json_reader_new(READER_BYTES);
    x.record_reader = json_reader_new(READER_BYTES);
    x.predicates = access_predicates_new();
    arena_init(&x.arena, 4 * KIB, 64 * MIB);
    buf_init(&x.role, SIZE_MAX);
    buf_init(&x.text, SIZE_MAX);
    buf_init(&x.scratch, SIZE_MAX);
    buf_init(&x.record_text, SIZE_MAX);
    if (x.reader == NULL || x.record_reader == NULL || x.predicates == NULL)
        status = CTL_SYSTEM;
    else
        status = read_all(&x);
    if (status == CTL_OK)
        status = answer(&x);
    buf_fini(&x.record_text);
    buf_fini(&x.scratch);
    buf_fini(&x.text);
    buf_fini(&x.role);
    arena_fini(&x.arena);
    access_predicates_free(x.predicates);
    schema_catalog_unref(x.catalog);
    access_claims_unref(x.claims);
    access_policy_unref(x.policy);
    json_reader_free(x.record_reader);
    json_reader_free(x.reader);
    return status;
}
