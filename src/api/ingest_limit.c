/* SPDX-License-Identifier: Apache-2.0 */
/* Requests against the rates of limits.* (src/api/limits.h): asked when the head is known, so that
 * the body of a refused request is not read, and once more, with its rows and bytes, right before
 * the log. */
#include "api/ingest.h"

#include "base/limits.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_S 1000000000u

static void refuse(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   const struct limits_ask *ask, const struct limits_verdict *v)
{
    static const char *const what[LIMITS_KINDS] = {"rows", "bytes", "rows", "bytes"};
    bool of_role = v->by == LIMITS_ROLE_ROWS || v->by == LIMITS_ROLE_BYTES;
    uint64_t wait_s = (v->wait_ns + NS_PER_S - 1) / NS_PER_S;
    struct slice name = of_role ? ask->role : ask->table;
    int shown = (int)(name.len < LIMIT_NAME_BYTES ? name.len : LIMIT_NAME_BYTES);
    char text[LIMIT_NAME_BYTES + 256];
    int n = snprintf(text, sizeof(text),
                     "rate limit: %s \"%.*s\" takes %" PRIu64 " %s a second (limits)",
                     of_role ? "role" : "table", shown, name.ptr, v->per_second, what[v->by]);
    struct ingest_refusal why = {
        .reason = INGEST_LIMITED,
        .status = 503, /* http-api §2: the SDK tries 503 again, and would not 429 */
        .text = {text, n > 0 && (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1},
        .limit_per_second = v->per_second,
        .retry_after_s = wait_s < INT32_MAX ? (int)wait_s : INT32_MAX};
    ingest_refuse_why(a, door, r, &why);
}

static bool take(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                 const struct limits_ask *ask)
{
    struct limits_verdict verdict;
    if (a->shared->limits == NULL || limits_take(a->shared->limits, ask, &verdict))
        return true;
    refuse(a, door, r, ask, &verdict);
    return false;
}

bool ingest_limit_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                       struct slice table, struct slice role)
{
    struct limits_ask ask = {.table = table,
                             .role = role,
                             .table_rates = &config_table_find(a->config, table)->limits,
                             .role_rates = &config_role_find(a->config, role)->limits,
                             .now_ns = r->received_ns};
    return take(a, door, r, &ask);
}

bool ingest_limit_owed(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask)
{
    struct slice role = ask->access.decision.role;
    struct limits_ask question = {.table = ask->table->name,
                                  .role = role,
                                  .table_rates = &op->settings->limits,
                                  .role_rates = &config_role_find(a->config, role)->limits,
                                  .now_ns = io_monotonic_ns()};
    return take(a, op->door, op->request, &question);
}

bool ingest_limit(struct api_loop *a, struct ingest_op *op, struct slice table)
{
    struct slice role = op->access->decision.role;
    struct limits_ask ask = {.table = table,
                             .role = role,
                             .table_rates = &op->settings->limits,
                             .role_rates = &config_role_find(a->config, role)->limits,
                             .rows = op->records,
                             .bytes = op->body_bytes};
    if (op->charged || op->records == 0)
        return true;
    op->charged = true;
    bool limited = (ask.table_rates->rows_per_second | ask.table_rates->bytes_per_second |
                    ask.role_rates->rows_per_second | ask.role_rates->bytes_per_second) != 0;
    if (!limited)
        return true;
    ask.now_ns = io_monotonic_ns();
    return take(a, op->door, op->request, &ask);
}

size_t ingest_limit_fields(const struct ingest_refusal *why, char *out, size_t cap)
{
    int n = snprintf(out, cap,
                     "RateLimit-Limit: %" PRIu64 "\r\nRateLimit-Remaining: 0\r\n"
                     "RateLimit-Reset: %d\r\n",
                     why->limit_per_second, why->retry_after_s);
    return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}
