/* SPDX-License-Identifier: Apache-2.0 */
/* Which records were stored before (http-api §7.5, doc/dedupe.md).
 *
 *   loop    id = dedupe_id…      reserve ─► NEW ─► log ─► settle(committed)   known from now on
 *                                       │              └► settle(refused)     free again
 *                                       ├► KNOWN      answer "duplicate"
 *                                       └► PENDING    wait for the other request's fate
 *   index   the same ids from the committed log into files; forgets what is old (index.h)
 *
 * The answer to a record needs memory only. Ids travel in the log entry of their rows, so there is
 * no state in which one is stored without the other, whatever dies when. */
#ifndef WH_DEDUPE_DEDUPE_H
#define WH_DEDUPE_DEDUPE_H

#include "cluster/commit.h"
#include "dedupe/id.h"
#include "dedupe/table.h"
#include "store/store.h"

struct dedupe;

struct dedupe_options {
    const struct io *io;
    const char *path; /* folder of the index files; may be deleted while the daemon is down */
    struct wal *wal;
    struct commit_log *commit;
    struct store *store;   /* keeps the secret that ids are hashed with */
    uint64_t retention_ns; /* an id is known at least so long */
    uint64_t max_ids;      /* and as long as no more than these are newer */
};

/* Starts the index thread, which reads what earlier runs knew (dedupe_ready). Before the flusher,
 * so that nothing is trimmed that the index has yet to read. */
int dedupe_start(struct dedupe **out, const struct dedupe_options *options,
                 struct err *e) WH_MUST_CHECK;
/* Ends the index thread; before the log stops (blocks: writes what waits). The loops may still
 * settle. */
void dedupe_stop(struct dedupe *d);
/* After the loops; every reservation is settled. */
void dedupe_free(struct dedupe *d);
/* Any thread. */
void dedupe_reload(struct dedupe *d, uint64_t retention_ns, uint64_t max_ids);

/* False until everything that was committed before the start is known. Any thread. */
bool dedupe_ready(const struct dedupe *d);
/* The secret for dedupe_id_of_…; constant. */
const struct dedupe_key *dedupe_key(const struct dedupe *d);

/* Any thread, never block. reserve: only when ready. */
void dedupe_prefetch(const struct dedupe *d, const struct dedupe_id *id);
enum dedupe_verdict dedupe_reserve(struct dedupe *d, const struct dedupe_id *id);
/* Whether it was committed before; nothing is reserved. */
bool dedupe_known(const struct dedupe *d, const struct dedupe_id *id);
/* The fate of reserved ids; those that are none are skipped. log_index: of their entry, when
 * committed. */
void dedupe_settle(struct dedupe *d, const void *ids, uint32_t count, bool committed,
                   uint64_t log_index);
/* See dedupe_table_wait. */
bool dedupe_wait(struct dedupe *d, struct dedupe_wait *w);
bool dedupe_unwait(struct dedupe *d, struct dedupe_wait *w);

#endif
