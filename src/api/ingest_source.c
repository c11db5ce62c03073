/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies as records. */
#include "api/ingest.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>

#define CODE_INCORRECT_DATA 117 /* what ClickHouse says to a row that is no JSON */

struct json_source {
    struct ingest_source source;
    struct json_reader *reader;
    enum json_framing framing;
    bool reject_trailing, trailing;
    char text[160];
};

struct text_source {
    struct ingest_source source;
    struct text_reader *reader;
    struct json_reader *rows; /* reads what the former makes of a row */
    int begun;                /* 0, or why the header is refused */
    bool row_bad;             /* the row is text, but no JSON */
};

struct ingest_readers {
    struct json_source json;
    struct text_source text; /* its readers are made when they are needed */
};

/* --- JSON ---------------------------------------------------------------------------------- */

static int json_next(struct ingest_source *s, struct json_doc *doc)
{
    struct json_source *j = QUEUE_ITEM(s, struct json_source, source);
    int rc = json_reader_next(j->reader, doc);
    if (rc != 0 || !j->reject_trailing)
        return rc;
    j->trailing = json_reader_trailing(j->reader);
    return j->trailing ? WH_ESYNTAX : 0;
}

static const char *json_error(struct ingest_source *s)
{
    struct json_source *j = QUEUE_ITEM(s, struct json_source, source);
    if (j->trailing)
        return "invalid json: data after the first value";
    if (j->framing != JSON_ITEMS)
        return "invalid json";
    (void)snprintf(j->text, sizeof(j->text), "invalid json: %s", json_reader_error(j->reader));
    return j->text;
}

static struct ingest_source *json_open(struct json_source *j, const struct ingest_ask *ask,
                                       enum json_framing framing)
{
    j->source = (struct ingest_source){.next = json_next,
                                       .error = json_error,
                                       .resumes = framing == JSON_LINES,
                                       .single = framing == JSON_ONE};
    j->framing = framing;
    j->reject_trailing = framing == JSON_ONE && ask->reject_trailing;
    j->trailing = false;
    if (json_reader_begin(j->reader, ask->body.ptr, ask->body.len, framing) != 0)
        return NULL;
    return &j->source;
}

/* --- text -------------------------------------------------------------------------------- */

static int text_next(struct ingest_source *s, struct json_doc *doc)
{
    struct text_source *t = QUEUE_ITEM(s, struct text_source, source);
    struct slice row;
    t->row_bad = false;
    int rc = t->begun != 0 ? t->begun : text_reader_next(t->reader, &row);
    if (rc == 0)
        rc = json_reader_begin(t->rows, row.ptr, row.len, JSON_ONE);
    else if (rc == WH_ESYNTAX)
        s->code = text_reader_error(t->reader)->code;
    if (rc != 0)
        return rc;
    rc = json_reader_next(t->rows, doc);
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT) {
        t->row_bad = true;
        s->code = CODE_INCORRECT_DATA;
    }
    return rc;
}

static const char *text_error(struct ingest_source *s)
{
    struct text_source *t = QUEUE_ITEM(s, struct text_source, source);
    return t->row_bad ? "invalid json" : text_reader_error(t->reader)->text;
}

static struct ingest_source *text_open(struct text_source *t, const struct ingest_ask *ask)
{
    if (t->reader == NULL)
        t->reader = text_reader_new();
    if (t->rows == NULL)
        t->rows = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    if (t->reader == NULL || t->rows == NULL)
        return NULL;
    t->begun = text_reader_begin(t->reader, ask->table, &ask->text, ask->body);
    if (t->begun != 0 && t->begun != WH_ESYNTAX)
        return NULL;
    t->source =
        (struct ingest_source){.next = text_next, .error = text_error, .resumes = t->begun == 0};
    return &t->source;
}

/* --- all ----------------------------------------------------------------------------------- */

struct ingest_source *ingest_source_open(struct ingest_readers *readers,
                                         const struct ingest_ask *ask)
{
    switch (ask->format) {
    case INGEST_JSON_ONE:
        return json_open(&readers->json, ask, JSON_ONE);
    case INGEST_JSON_LINES:
        return json_open(&readers->json, ask, JSON_LINES);
    case INGEST_TEXT:
        return text_open(&readers->text, ask);
    case INGEST_JSON_ITEMS:
        break;
    }
    return json_open(&readers->json, ask, JSON_ITEMS);
}

struct ingest_readers *ingest_readers_new(void)
{
    struct ingest_readers *readers = calloc(1, sizeof(*readers));
    if (readers == NULL)
        return NULL;
    readers->json.reader = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    if (readers->json.reader == NULL) {
        free(readers);
        return NULL;
    }
    return readers;
}

void ingest_readers_free(struct ingest_readers *readers)
{
    if (readers == NULL)
        return;
    json_reader_free(readers->json.reader);
    json_reader_free(readers->text.rows);
    text_reader_free(readers->text.reader);
    free(readers);
}
