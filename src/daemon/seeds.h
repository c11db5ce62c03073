/* SPDX-License-Identifier: Apache-2.0 */
/* Files that fill the control store where it is empty: policy.file_path, pipes.dir. Main thread. */
#ifndef WH_DAEMON_SEEDS_H
#define WH_DAEMON_SEEDS_H

#include "config/config.h"
#include "control/control.h"

struct seeds;

/* Read and check the files that c names. Not 0: *findings has a line for what is wrong; nothing of
 * them is used then. *out is NULL when c names none. done: where what is asked for comes back; used
 * for nothing else, and must live until control_stop. Blocks: reads files. */
int seeds_read(struct seeds **out, const struct config *c, struct queue *done,
               struct buf *findings) WH_MUST_CHECK;
/* Ask for those that control does not have, and wait until they are in force, up to timeout_ms. A
 * log that is still being read after a start takes longer: what was asked for comes later then, and
 * a line says so. WH_EAGAIN and others: refused, with the cause in e. */
int seeds_plant(struct seeds *s, struct control *control, uint64_t timeout_ms,
                struct err *e) WH_MUST_CHECK;
/* Nothing is on its way any more? NULL: true. */
bool seeds_done(struct seeds *s);
/* When seeds_done, or after control_stop. NULL is fine. */
void seeds_free(struct seeds *s);

#endif
