/* SPDX-License-Identifier: Apache-2.0 */
/* A sender's way to ClickHouse: rows go as one INSERT under the token that names them, as a native
 * block or as lines of JSONEachRow. Belongs to one thread, which these calls block: at most for the
 * target's timeouts. */
#ifndef WH_FLUSH_INSERT_H
#define WH_FLUSH_INSERT_H

#include "base/limits.h"
#include "clickhouse/http_client.h"
#include "clickhouse/native.h"
#include "flush/build.h"
#include "flush/flush.h"
#include "flush/job.h"

#define FLUSH_TOKEN_CAP (64 + LIMIT_NAME_BYTES + 128)
/* The rows' name: all rows of the plan have its token, fewer have it with their place and digest.
 */
void flush_token_of(const struct flush_job *job, const struct flush_rows *rows,
                    char out[FLUSH_TOKEN_CAP]);

struct flush_client {
    struct ch_target *target; /* that the two were made with; NULL: there are none */
    struct ch_native *native;
    struct ch_http *http;
    uint64_t started_ns; /* of the INSERT between send and wait */
    struct metric *insert_seconds, *early;
};

void flush_client_init(struct flush_client *c);
/* A native connection to this target, of which it takes a reference: as it was when it still
 * answers, else a new one. */
enum ch_outcome flush_client_connect(struct flush_client *c, struct ch_target *target,
                                     struct ch_error *e);
/* Give back connections and the target. Connect makes them again. */
void flush_client_release(struct flush_client *c);

struct flush_insert {
    struct slice name;
    const struct schema_table *table;
    const struct schema_catalog *catalog;
    const struct flush_group *group; /* NULL: the lines */
    struct slice lines;
    uint32_t row_count;
    const char *token;
    bool give_up, as_data;               /* of the job: which refusals are for good */
    const struct flush_options *options; /* whose `inserted` is told after each attempt */
};
/* After flush_client_connect. A refusal that comes out of a materialized view is none of the
 * table's: the same rows go once more without the views. Failures are counted. */
enum ch_outcome flush_client_insert(struct flush_client *c, const struct flush_insert *in,
                                    struct ch_error *e);

/* The INSERT of a group with a block, in the steps of ch_native_insert_send and those after it;
 * what ClickHouse answers is handed out as it is, a view's refusal too (and logged). in need not
 * outlive send, and its block neither. early: ClickHouse still writes another part of the table;
 * counted. The metric of an INSERT's time counts from send to its verdict, with all that it waits
 * in between. */
enum ch_outcome flush_client_send(struct flush_client *c, const struct flush_insert *in, bool early,
                                  struct ch_error *e);
enum ch_outcome flush_client_end(struct flush_client *c, const struct flush_insert *in,
                                 struct ch_error *e);
/* wait and cancel look at in's name, table, row_count and options only. */
enum ch_outcome flush_client_wait(struct flush_client *c, const struct flush_insert *in,
                                  struct ch_error *e);
/* Instead of end. CH_OK: nothing of it is stored; or CH_UNKNOWN_FATE. */
enum ch_outcome flush_client_cancel(struct flush_client *c, const struct flush_insert *in);

#endif
