/* SPDX-License-Identifier: Apache-2.0 */
/* Ingest within src/api: one request on its way from its door to the log and back.
 *
 *   door_….c         which table, which format, how success and refusal look: one file per door
 *   ingest_source.c  the body as records
 *   ingest_record.c  one record: checked, written in canonical form into the open part
 *   ingest_access.c  who may write what; what is stamped
 *   ingest_dry_run.c what would become of it
 *   ingest_dedupe.c  which records were stored before
 *   ingest_collect.c all records of a body, or so many of them
 *   ingest_turns.c   requests with long bodies take turns, table by table
 *   ingest.c         the life of a request: admitted → collected → submitted → committed → answered
 *   ingest_op.c      its memory
 *
 * Everything here runs on one socket loop's thread. */
#ifndef WH_API_INGEST_H
#define WH_API_INGEST_H

#include "access/check.h"
#include "api/auth.h"
#include "dedupe/dedupe.h"
#include "dedupe/set.h"
#include "flush/flush.h"
#include "text/text.h"

/* Why a request is refused as a whole: nothing of it is stored, unless the log ended it halfway
 * (INGEST_LOG). A door turns it into its own words. */
enum ingest_reason {
    INGEST_REQUEST,       /* what it asks for makes no sense: parameters, headers, empty body */
    INGEST_MEDIA,         /* a format that is not read here */
    INGEST_UNKNOWN_TABLE, /* no such table */
    INGEST_DENIED,        /* the caller may not (401, 403), or not yet be known (503) */
    INGEST_NO_SCHEMA,     /* no schema is known yet */
    INGEST_SYNTAX,        /* the body does not follow its format */
    INGEST_RECORD,        /* its only record is refused */
    INGEST_LIMITED,       /* a rate of limits.* is used up; a foreign door answers 429 */
    INGEST_BUSY,          /* memory, or a queue, is full for the moment */
    INGEST_LOG            /* the log takes no events: disk, budget, too large, failed */
};
struct ingest_refusal {
    enum ingest_reason reason;
    int status;                /* HTTP status of the WaveHouse API */
    int32_t code;              /* ClickHouse's error number; 0: none */
    uint64_t row;              /* of the record that refuses the request, from 1; 0: none */
    const char *rule;          /* of a dry run's only record: which check refused it; else NULL */
    int retry_after_s;         /* > 0: the same request may do better then */
    bool dead_letter;          /* ClickHouse has refused the record: not to be sent again */
    bool dropped;              /* … and it is not kept as a dead letter (dlq.enabled: false) */
    uint64_t limit_per_second; /* INGEST_LIMITED: the rate; retry_after_s is until it is free */
    struct slice text;         /* valid during the call */
};

/* What a door has found out about a request. */
enum ingest_format {
    INGEST_JSON_ONE,   /* the body's first value; what follows is not looked at */
    INGEST_JSON_LINES, /* a record a line; a bad one is refused alone */
    INGEST_JSON_ITEMS, /* the elements of one array */
    INGEST_TEXT        /* one of text/text.h's; a bad line is refused alone */
};

/* What a door asks of every record beyond the table's settings. All zero: nothing. */
enum ingest_unknown {
    INGEST_UNKNOWN_AS_SET, /* ingest.unknown_columns */
    INGEST_UNKNOWN_IGNORE,
    INGEST_UNKNOWN_REJECT
};
struct ingest_terms {
    enum ingest_unknown unknown;
    bool defaults;        /* nothing is required: see record_options */
    bool strict;          /* values are judged whatever ingest.validation says */
    bool atomic;          /* a refused record refuses the request, but for so many: */
    uint64_t errors_num;  /* this many, */
    double errors_ratio;  /* or this part of all */
    const uint64_t *only; /* see record_options; must stay while the body is read */
};
/* What the caller may write (ingest_access.c); valid while the body is read. All zero: nothing. */
struct ingest_access {
    struct api_identity identity;
    struct access_decision decision;
    bool restricted;           /* records are looked at: */
    struct access_check check; /* what they must hold, and what is stamped */
    const uint64_t *stamped;   /* a bit per ordinal: columns that are stamped when absent */
    bool stamps_received;      /* received_timestamp is one of them */
    struct buf *stamps;        /* scratch */
};

struct ingest_ask {
    const struct schema_table *table; /* of a->catalog */
    enum ingest_format format;
    struct slice body;        /* LIMIT_JSON_PADDING readable bytes follow */
    const char *empty;        /* refuses a body without any record; NULL: none is fine */
    bool reject_trailing;     /* INGEST_JSON_ONE: nothing may follow the first value */
    bool dry_run;             /* check, and show what would be stored; log nothing */
    struct text_options text; /* INGEST_TEXT */
    struct ingest_terms terms;
    struct ingest_access access;
    struct slice
        key; /* what Idempotency-Key is in other protocols; ptr NULL: that header, if any */
};

struct ingest_op;

/* A way in. CONTRIBUTING.md says how to add one. A door knows its protocol and nothing else: the
 * checks of records, the log and the waiting are the same for all. */
struct ingest_door {
    const char *name, *route;
    /* The head is known: refuse early what can be refused early. 0, or 1 when answered. */
    int (*on_head)(struct api_loop *a, struct http_request *r);
    /* The body is there: fill *ask, with ingest_gate as soon as the table is known. 0, or 1 when
     * answered. */
    int (*on_body)(struct api_loop *a, struct http_request *r, struct ingest_ask *ask);
    /* Everything is committed: answer op->request. */
    void (*reply)(struct api_loop *a, struct ingest_op *op);
    /* Answer a refusal. */
    void (*refuse)(struct api_loop *a, struct http_request *r, const struct ingest_refusal *why);
};
extern const struct ingest_door door_wavehouse;  /* POST /v1/ingest, http-api §7 */
extern const struct ingest_door door_clickhouse; /* POST /?query=INSERT INTO … */

/* Records of a body, one after the other. */
struct ingest_source {
    /* 0 and *doc, valid until the next call; WH_EEND; WH_ESYNTAX or WH_ELIMIT with error() saying
     * why: this record only when `resumes`, else the whole body; -ENOMEM. */
    int (*next)(struct ingest_source *s, struct json_doc *doc);
    const char *(*error)(
        struct ingest_source *s); /* the answer's text; valid until the next call */
    int32_t code;                 /* ClickHouse's number for what error() says, 0: none */
    bool resumes;
    bool single; /* at most one record, answered for itself rather than in a list */
};
/* A loop's readers, one per kind of text; one body is read at a time. NULL: out of memory. */
struct ingest_readers *ingest_readers_new(void);
void ingest_readers_free(struct ingest_readers *readers);
/* Start on ask->body, which must stay while it is read. NULL: out of memory. */
struct ingest_source *ingest_source_open(struct ingest_readers *readers,
                                         const struct ingest_ask *ask);

/* One log entry's worth of records. */
struct ingest_part {
    struct ingest_part *next;
    struct ingest_op *op;
    struct proposal proposal;
    struct wal_batch_builder batch;
    bool reserved; /* batch.ids are, and must be settled */
    /* X-Ack: clickhouse */
    struct flush_watch watch;
    bool watched;           /* the watch is out */
    struct buf ack_numbers; /* u32 for each record: its number among those of the request */
    struct buf stamps;      /* u32 for each record: record_result.stamp_off; long bodies only */
};

enum ingest_ack {
    INGEST_ACK_NONE,       /* not asked for: committed is enough */
    INGEST_ACK_CLICKHOUSE, /* asked for; when the answer is made: every record is in ClickHouse, or
                              its verdict is in the outcomes */
    INGEST_ACK_COMMITTED   /* asked for, but time is up: the records are committed */
};

/* By what a request's records are known again (ingest_dedupe.c). */
struct ingest_dedupe {
    struct dedupe *dedupe;
    bool active;               /* records may have an identity at all */
    bool by_field, require;    /* dedupe.enabled, dedupe.require_id of the table */
    bool has_id;               /* of the record at hand; id is it */
    bool own_known;            /* the loop's set has the ids that this request has reserved */
    bool no_room;              /* why a record was not taken */
    struct slice table, field; /* valid while the request is collected */
    struct slice key;          /* Idempotency-Key; ptr NULL: none */
    uint64_t ordinal;          /* of the next record */
    uint64_t hits, missing;    /* not yet counted */
    struct dedupe_id id;
    struct dedupe_wait wait;
    uint64_t until_ns;                            /* monotonic end of waiting; 0: has not waited */
    struct ingest_op *waiting_next, **waiting_at; /* the loop's list of those who wait */
};

/* One request on its way through the log. */
struct ingest_op {
    struct ingest_op *next; /* free list */
    const struct ingest_door *door;
    struct http_request *request;
    struct ingest_part *parts, *last_part; /* used by this request, in order */
    struct ingest_part *open[2];           /* being filled: for the table; to be held */
    struct ingest_part *spare_parts;       /* memory kept from earlier requests */
    struct ingest_outcomes outcomes;
    struct buf shown;            /* dry run: what would be stored of the record at hand */
    struct record_result result; /* of the record at hand */
    bool duplicate;              /* the record at hand was stored before */
    struct ingest_dedupe dedupe;
    const struct config_table *settings; /* of its table; valid while the body is read */
    const struct ingest_terms *terms;    /* the door's, likewise */
    const struct ingest_access *access;  /* likewise */
    uint32_t outstanding;                /* parts at the log thread */
    int worst;         /* the first part that was not committed decides the answer */
    bool dry_run;      /* nothing is logged, every record's row is shown */
    bool single;       /* one record, answered for itself rather than in a list */
    uint64_t records;  /* in the parts */
    uint64_t first_ns; /* acceptance instant of the first */
    uint64_t body_bytes;
    uint64_t idle_since_ns;
    uint64_t offset; /* log index of the last part, when committed; 0: nothing was logged */
    struct ingest_source *source; /* while the body is read */
    /* ingest_turns.c */
    struct ingest_desk *desk;        /* what is at hand between two slices; NULL: none was begun */
    struct ingest_turn_table *turns; /* where it waits, or is counted; NULL: neither */
    struct ingest_op *turn_next;
    uint64_t turn_key;
    /* ingest_ack.c */
    bool charged; /* against the rates of limits */
    enum ingest_ack ack;
    uint32_t watching; /* parts whose watches are out */
    uint64_t ack_until_ns;
    bool ack_waits; /* in the loop's list: */
    struct ingest_op *ack_next, *ack_prev;
    struct buf ack_places; /* u32 for each record: where its entry of the outcomes ends */
};

/* ingest_op.c. NULL: out of memory. */
struct ingest_op *ingest_op_take(struct api_loop *a, const struct ingest_door *door,
                                 struct http_request *r);
void ingest_op_release(struct api_loop *a, struct ingest_op *op);
/* Forget what was collected, keep the memory. */
void ingest_op_reset(struct ingest_op *op);
/* A further part behind the others, for records to be held or not; NULL: out of memory. */
struct ingest_part *ingest_part_open(struct ingest_op *op, bool held);

/* ingest_collect.c. Work is counted in bytes, about. */
#define INGEST_WORK_ALL UINT64_MAX
enum ingest_collected {
    INGEST_COLLECTED, /* every record */
    INGEST_MORE,      /* there may be more of them */
    INGEST_ANSWERED,
    INGEST_MUST_WAIT, /* for the fate of an id (ingest_dedupe.c); or: collect again */
    INGEST_WAITS      /* it does: ingest_again is called */
};
/* Start to read the body, with acceptance instants from first_ns on. False: answered. */
bool ingest_collect_begin(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask,
                          uint64_t first_ns);
enum ingest_collected ingest_collect(struct api_loop *a, struct ingest_op *op,
                                     const struct ingest_ask *ask, uint64_t work);

/* ingest_turns.c. A body up to so long is read as soon as it is there; a longer one takes turns. */
#define INGEST_AT_ONCE_BYTES (16 * KIB)
/* What takes turns; requests for one table have one key. */
uint64_t ingest_turn_key(struct slice table);
void ingest_turns_put(struct api_loop *a, struct ingest_op *op, uint64_t key);
/* The last part of a request is back from the log. */
void ingest_turns_committed(struct api_loop *a, struct ingest_op *op);
/* Ids that the request has reserved itself are kept here while it is read (ingest_dedupe.c). */
struct dedupe_set *ingest_desk_ids(struct ingest_desk *desk);
/* Memory for a moment. */
struct wal_batch_builder *ingest_turns_scratch(struct api_loop *a);
/* ingest_stamps.c. Write the stamps of received_timestamp again, as the instants will be. 0 or
 * -ENOMEM. */
int ingest_stamps_move(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                       uint64_t shift) WH_MUST_CHECK;

/* ingest_record.c. Check doc and add it to the open part. 0: op->result says whether it was taken;
 * -ENOMEM. */
int ingest_record_add(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                      const struct json_doc *doc) WH_MUST_CHECK;

/* The record's only fault is a value: say so in *result. */
void ingest_refuse_value(struct record_result *result, const struct ch_value_error *e);

/* ingest_dry_run.c. The record at hand was taken, canonical is its text: show what would be stored
 * in op->shown, or refuse it for a value. 0 or -ENOMEM. */
int ingest_dry_run_show(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                        struct slice canonical) WH_MUST_CHECK;
/* {"ok":true,"dry_run":true,"row":…}, of an op with one record, appended to out. */
void ingest_dry_run_put_single(const struct ingest_op *op, struct buf *out);
/* Does the query ask for a dry run? 1, 0, or WH_ESYNTAX: who misspells it wants nothing stored. */
int ingest_dry_run_asked(const struct http_request *r) WH_MUST_CHECK;

/* ingest_dedupe.c. begin: what the request's records are known by; false: answered. reset and
 * settle: what is reserved is committed or given back. count: before the loop's next turn. */
bool ingest_dedupe_begin(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask);
void ingest_dedupe_reset(struct ingest_op *op);
void ingest_dedupe_settle(struct ingest_part *part, bool committed);
void ingest_dedupe_count(struct api_loop *a, struct ingest_op *op);
/* Before a record is checked: find its id. False: it lacks one that it must have, which
 * ingest_dedupe_missing says when nothing else is wrong with it. */
bool ingest_dedupe_identify(struct api_loop *a, struct ingest_op *op, const struct json_doc *doc);
void ingest_dedupe_missing(struct ingest_op *op);
/* Reserve the id at hand. 0; 1 the record is a duplicate; WH_EAGAIN its fate is open
 * (ingest_dedupe_wait); -ENOMEM, also when the ids are at their limit (no_room). */
int ingest_dedupe_reserve(struct api_loop *a, struct ingest_op *op) WH_MUST_CHECK;
/* The same without reserving, for a dry run; an id whose fate is open counts as new. 0, 1, -ENOMEM.
 */
int ingest_dedupe_look_up(struct api_loop *a, struct ingest_op *op) WH_MUST_CHECK;
/* The record was added to the part with this result: so is its id, or it is given back. */
int ingest_dedupe_keep(struct ingest_op *op, struct ingest_part *part, int rc) WH_MUST_CHECK;
/* Give back what is reserved and wait for the fate of the id at hand. */
enum ingest_wait {
    INGEST_WAITING,     /* ingest_again is called */
    INGEST_WAIT_OVER,   /* it is known already: collect again */
    INGEST_WAIT_REFUSED /* waited long enough: answered */
};
enum ingest_wait ingest_dedupe_wait(struct api_loop *a, struct ingest_op *op);
/* ingest.c: collect the request anew. */
void ingest_again(struct api_loop *a, struct ingest_op *op);
/* Ask the door once more. False: answered; *ask needs its ingest_access_fini either way. */
bool ingest_ask_again(struct api_loop *a, struct ingest_op *op, struct ingest_ask *ask);
/* Collected: to the log, as far as limits and ids allow. Anything but INGEST_MORE. */
enum ingest_collected ingest_submit(struct api_loop *a, struct ingest_op *op,
                                    const struct ingest_ask *ask, enum ingest_collected how);
/* INGEST_COLLECTED or INGEST_ANSWERED after that: the body is done with. */
void ingest_read(struct api_loop *a, struct ingest_op *op, enum ingest_collected how);

/* Refuse through the door, and count. */
void ingest_refuse(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   enum ingest_reason reason, int status, struct slice text, int retry_after_s);

void ingest_refuse_why(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                       const struct ingest_refusal *why);
void ingest_refuse_busy(struct api_loop *a, const struct ingest_door *door, struct http_request *r);

/* ingest_access.c. May the caller insert into the table (http-api §7.2, 4)? False: answered. door's
 * credentials: NULL for none of its own. What is in *out lasts until ingest_access_fini, or the
 * next gate of this loop. */
bool ingest_gate(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                 const struct api_credentials *credentials, const struct schema_table *table,
                 struct ingest_access *out);
/* At the head: the same answer, and the role for the rates, but nothing is made ready for records.
 */
bool ingest_gate_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                      struct slice table, struct ingest_access *out);
void ingest_access_fini(struct ingest_access *access); /* twice is fine */
/* The table is not there: is that to be said, or is the caller to be answered as for any table that
 * it may not use (api.hide_unknown_tables)? False: answered. */
bool ingest_gate_unknown(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                         const struct api_credentials *credentials, struct slice table);
/* Column rules and checks on a record that is otherwise right; canonical is the end of text from
 * text_off on, to which stamps are added. 0: op->result says; or -ENOMEM. */
int ingest_access_record(struct ingest_op *op, const struct json_doc *doc, struct buf *text,
                         size_t text_off) WH_MUST_CHECK;

/* ingest_limit.c. False: answered. A door asks in its on_head, once the table is known. */
bool ingest_limit_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                       struct slice table, struct slice role);
bool ingest_limit(struct api_loop *a, struct ingest_op *op, struct slice table);
/* The same before the body is read: is something owed already? */
bool ingest_limit_owed(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask);
/* RateLimit-… lines for a refusal as INGEST_LIMITED, each ended by CRLF; their length. 128 bytes
 * are enough. */
size_t ingest_limit_fields(const struct ingest_refusal *why, char *out, size_t cap);

/* ingest_ack.c. Is the level known, and is there room to wait? False: answered. */
bool ingest_ack_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r);
void ingest_ack_begin(struct api_loop *a, struct ingest_op *op);
/* While the body is read, where op->ack is set: a record went into part; its outcome is written. */
void ingest_ack_reset(struct ingest_op *op);
int ingest_ack_record(struct ingest_op *op, struct ingest_part *part) WH_MUST_CHECK;
void ingest_ack_placed(struct ingest_op *op);
/* Around the proposal of a part. */
int ingest_ack_watch(struct api_loop *a, struct ingest_part *part) WH_MUST_CHECK;
void ingest_ack_forget(struct api_loop *a, struct ingest_part *part);
/* Every part is decided. True: ingest_answer comes later. */
bool ingest_ack_wait(struct api_loop *a, struct ingest_op *op);
/* Put the verdicts into the outcomes. False: answered with the only record's. */
bool ingest_ack_settle(struct api_loop *a, struct ingest_op *op);
/* ingest.c: everything is known. */
void ingest_answer(struct api_loop *a, struct ingest_op *op);
/* Answer with JSON and the log position: 200, or 202 when time was up. is_const: body is constant
 * text, and the answer a 200. */
void ingest_reply(struct ingest_op *op, struct slice body, bool is_const);

/* ingest.c, called by api.c. */
int ingest_on_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   struct http_admit *admit);
void ingest_on_request(struct api_loop *a, const struct ingest_door *door, struct http_request *r);

#endif
