/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots made from the store; within src/control. */
#ifndef WH_CONTROL_SNAPSHOT_H
#define WH_CONTROL_SNAPSHOT_H

#include "base/limits.h"
#include "control/control.h"

/* Keys of the store: a byte, then the name. Under NEWEST lies the last change of any, without its
 * text. */
#define CONTROL_NEWEST  0
#define CONTROL_KEY_CAP (1 + LIMIT_PIPE_NAME_BYTES)
struct slice control_key(char room[CONTROL_KEY_CAP], int kind, struct slice name);

/* Read all documents. before (NULL: none): its policy is taken over when it is the same document.
 * refused: code 0, or why the stored policy is none; the snapshot is made all the same. Blocks. */
int control_snapshot_load(struct control_snapshot **out, struct store *store,
                          const struct control_snapshot *before, struct err *refused,
                          struct err *e) WH_MUST_CHECK;
/* Bytes of all documents. */
uint64_t control_snapshot_bytes(const struct control_snapshot *s);
/* Log what is doubtful about its policy. */
void control_snapshot_warn(const struct control_snapshot *s);

#endif
