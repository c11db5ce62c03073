/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller of an ops route asks for: parameters of the query string and members of a JSON
 * body, read strictly. A parameter that is misspelt must not widen a purge, so unknown ones are
 * refused, with the known ones in the text.
 *
 *   struct ops_ask q;
 *   ops_ask_query(&q, a, r, "table limit");     or ops_ask_body(…)
 *   ops_ask_text(&q, "table", &table);
 *   limit = ops_ask_count(&q, "limit", 100, 1, 1000);
 *   if (!ops_ask_end(&q)) return;               answered with 400 and the first complaint
 *
 * On the loop's thread. Nothing is kept of the request but what the getters copy. */
#ifndef WH_API_OPS_ASK_H
#define WH_API_OPS_ASK_H

#include "api/api_priv.h"

#define OPS_ASK_WHY_CAP 512

struct ops_ask {
    struct api_loop *a;
    struct http_request *r;
    bool in_body;
    struct json_doc doc; /* of the body; valid until the loop's next JSON */
    struct buf value;    /* decoded value at hand */
    bool bad;
    int status;                /* of the refusal */
    char why[OPS_ASK_WHY_CAP]; /* the first complaint */
};

/* known: names with blanks between them. */
void ops_ask_query(struct ops_ask *q, struct api_loop *a, struct http_request *r,
                   const char *known);
/* The body is one JSON object and nothing behind it; an empty one counts as {}. */
void ops_ask_body(struct ops_ask *q, struct api_loop *a, struct http_request *r, const char *known);
/* Must be called. False: refused, the request is answered. */
bool ops_ask_end(struct ops_ask *q);

/* Complain, unless something was wrong before; for what the getters do not know. */
void ops_ask_refuse(struct ops_ask *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Each leaves the target alone, or returns the value given for it, where the name is absent (or
 * null, in a body). True from text: it is there. Empty text in a query counts as absent. */
bool ops_ask_text(struct ops_ask *q, const char *name, struct buf *out);
uint64_t ops_ask_count(struct ops_ask *q, const char *name, uint64_t absent, uint64_t min,
                       uint64_t max);
/* true or false; 1 and 0 in a query. */
bool ops_ask_flag(struct ops_ask *q, const char *name);
/* An instant or a time ago (schema/instant.h). */
uint64_t ops_ask_instant(struct ops_ask *q, const char *name);
/* The member's node; NULL where absent or null. Bodies only. */
const struct json_node *ops_ask_node(struct ops_ask *q, const char *name);

#endif
