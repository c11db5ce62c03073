/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of a WAL_CONTROL entry that changes a document; bytes in doc/control.md.
 *
 * WAL_CONTROL is shared: the first two bytes, version and kind, are alike in all of them, and kinds
 * below CONTROL_KIND_POLICY are the flusher's (flush/origin.h). Pure functions. */
#ifndef WH_CONTROL_ENTRY_H
#define WH_CONTROL_ENTRY_H

#include "base/buf.h"
#include "control/control.h"

struct control_change {
    enum control_kind kind;
    bool remove; /* else put */
    bool seed;   /* only where there is none of that name */
    struct slice name, text, who;
};

/* The head; the payload goes on with name, who, text, in this order. */
#define CONTROL_HEAD_BYTES 16
void control_change_head(char out[CONTROL_HEAD_BYTES], const struct control_change *c);

/* False: not an entry of this room (also one of a newer version of it). */
bool control_claims(struct slice payload);
/* Borrowed views. 0, or WH_ECORRUPT with a text: lengths that do not fit, unknown flags. */
int control_change_get(struct slice payload, struct control_change *c, struct err *e) WH_MUST_CHECK;

/* The value of a document in the store: head, who, text. */
void control_value_put(struct buf *out, const struct control_document *d);
/* Borrowed views; name is left alone. */
int control_value_get(struct slice value, struct control_document *d, struct err *e) WH_MUST_CHECK;

#endif
