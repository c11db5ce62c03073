/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl replay and drift: a range of the log into a table again, and rows that wait for
 * columns. */
#include "ctl/command.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_EVERY_MS 500

/* --- jobs ----------------------------------------------------------------------------------- */

static bool is_state(const struct ctl_run *r, const struct json_node *job, const char *state)
{
    const struct json_node *n = ctl_get(r, job, "state");
    return n != NULL && json_string_is(&r->doc, n, state);
}

static void print_job(const struct ctl_run *r, const struct json_node *job)
{
    uint64_t from = ctl_get_count(r, job, "from"), to = ctl_get_count(r, job, "to");
    uint64_t at = ctl_get_count(r, job, "position");
    uint64_t percent = is_state(r, job, "done") ? 100
                       : to <= from             ? 0
                       : at <= from             ? 0
                       : at >= to               ? 100
                                                : (at - from) * 100 / (to - from);
    ctl_print(r, ctl_get(r, job, "id"), 6, 0);
    (void)putchar(' ');
    ctl_print(r, ctl_get(r, job, "state"), 10, 0);
    (void)printf("%4" PRIu64 " %% ", percent);
    (void)printf("%12" PRIu64 " rows  ", ctl_get_count(r, job, "rows"));
    ctl_print(r, ctl_get(r, job, "table"), 0, 0);
    (void)printf(" → ");
    ctl_print(r, ctl_get(r, job, "into"), 0, 0);
    (void)printf("  log %" PRIu64 "…%" PRIu64 ", at %" PRIu64, from, to, at);
    if (ctl_get(r, job, "estimated_end") != NULL) {
        (void)printf(", done about ");
        ctl_print(r, ctl_get(r, job, "estimated_end"), 0, 19);
    }
    if (ctl_get(r, job, "reason") != NULL) {
        (void)printf(": ");
        ctl_print(r, ctl_get(r, job, "reason"), 0, 0);
    }
}

static int ask_job(struct ctl_run *r, const char *method, const char *id)
{
    buf_reset(&r->target);
    buf_put_str(&r->target, "/v1/ops/replay/");
    ctl_put_encoded(&r->target, id);
    buf_put_u8(&r->target, '\0');
    return ctl_ask(r, method, r->target.ptr, NULL);
}

static int print_answer_job(const struct ctl_run *r)
{
    if (r->o.json) {
        ctl_print_answer(r);
        return CTL_OK;
    }
    print_job(r, r->doc.nodes);
    (void)putchar('\n');
    return CTL_OK;
}

/* A job ends as done, cancelled or failed; everything else goes on, a restart of the daemon
 * included. */
static bool is_over(const struct ctl_run *r)
{
    const struct json_node *job = r->doc.nodes;
    return is_state(r, job, "done") || is_state(r, job, "cancelled") || is_state(r, job, "failed");
}

/* Until the job is over, a line that changes on a terminal, else one line whenever the state
 * changes. */
static int follow(struct ctl_run *r, const char *id)
{
    bool terminal = isatty(STDOUT_FILENO) && !r->o.json;
    int status = ask_job(r, "GET", id);
    while (status == CTL_OK && !is_over(r)) {
        if (terminal) {
            (void)printf("\r");
            print_job(r, r->doc.nodes);
            (void)printf("\033[K");
            (void)fflush(stdout);
        }
        (void)poll(NULL, 0, FOLLOW_EVERY_MS);
        status = ask_job(r, "GET", id);
    }
    if (status != CTL_OK)
        return status;
    if (terminal)
        (void)printf("\r\033[K");
    (void)print_answer_job(r);
    return is_state(r, r->doc.nodes, "done") ? CTL_OK : CTL_REFUSED;
}

static int replay_list(struct ctl_run *r)
{
    int status = ctl_ask(r, "GET", "/v1/ops/replay", NULL);
    if (status != CTL_OK)
        return status;
    const struct json_node *jobs = ctl_get(r, r->doc.nodes, "jobs");
    const struct json_node *job = jobs != NULL ? jobs + 1 : NULL;
    for (uint32_t i = 0; jobs != NULL && i < jobs->count; i++, job = &r->doc.nodes[job->next]) {
        if (r->o.json) {
            ctl_print_json(r, job);
            continue;
        }
        print_job(r, job);
        (void)putchar('\n');
    }
    if (jobs != NULL && jobs->count == 0 && !r->o.json)
        (void)fprintf(stderr, "none\n");
    return CTL_OK;
}

static int replay_show(struct ctl_run *r)
{
    if (r->o.follow)
        return follow(r, r->o.args[0]);
    int status = ask_job(r, "GET", r->o.args[0]);
    return status == CTL_OK ? print_answer_job(r) : status;
}

static int replay_cancel(struct ctl_run *r)
{
    int status = ask_job(r, "DELETE", r->o.args[0]);
    return status == CTL_OK ? print_answer_job(r) : status;
}

/* A position as a number, a point in time as text. */
static void put_end(struct buf *out, const char *name, const char *text)
{
    if (text == NULL)
        return;
    buf_printf(out, ",\"%s\":", name);
    if (text[strspn(text, "0123456789")] == '\0')
        buf_put_str(out, text);
    else
        buf_put_json_string(out, slice_str(text));
}

static int replay_start(struct ctl_run *r)
{
    const struct ctl_options *o = &r->o;
    struct buf *out = &r->body;
    if (o->table == NULL || o->from == NULL || *o->from == '\0' ||
        (o->to != NULL && *o->to == '\0'))
        return ctl_fail(CTL_USAGE, "--table and --from are needed (--from 0: all that is there); "
                                   "--help explains");
    if (o->rate != NULL && (*o->rate == '\0' || o->rate[strspn(o->rate, "0123456789")] != '\0'))
        return ctl_fail(CTL_USAGE, "--rate wants rows per second");
    if ((o->into == NULL || strcmp(o->into, o->table) == 0) &&
        !ctl_confirm(r, "Rows of the range that are in the table already will be there twice."))
        return CTL_USAGE;
    ctl_refresh_schema(r); /* the table was perhaps made for this */
    buf_put_str(out, "{\"table\":");
    buf_put_json_string(out, slice_str(o->table));
    if (o->into != NULL) {
        buf_put_str(out, ",\"into\":");
        buf_put_json_string(out, slice_str(o->into));
    }
    put_end(out, "from", o->from);
    put_end(out, "to", o->to);
    if (o->rate != NULL)
        buf_printf(out, ",\"rate\":%s", o->rate);
    buf_printf(out, ",\"held\":%s,\"ignore_unknown\":%s}", o->held ? "true" : "false",
               o->ignore_unknown ? "true" : "false");
    int status = ctl_ask(r, "POST", "/v1/ops/replay", out);
    if (status != CTL_OK)
        return status;
    if (!o->follow)
        return print_answer_job(r);
    char id[24];
    (void)snprintf(id, sizeof(id), "%" PRIu64, ctl_get_count(r, r->doc.nodes, "id"));
    return follow(r, id);
}

static const struct ctl_command commands[] = {
    {"list", "", "replay list [--json]", "Jobs under way, and the latest that are over.\n", 0, 0,
     replay_list},
    {"show", "f", "replay show JOB [--follow] [--json]",
     "One job. --follow: show it until it is over.\n", 1, 1, replay_show},
    {"cancel", "", "replay cancel JOB",
     "End a job. What it has sent stays; another job can go on from its position.\n", 1, 1,
     replay_cancel},
    {NULL, "tFTIqHufy",
     "replay --table T --from TIME|POSITION [--to TIME|POSITION] [--into T2] [--rate N] [--held] "
     "[--ignore-unknown] [--follow] [--yes]",
     "Send what the log has of table T into T2 (or T itself) again, as a job of the daemon: each\n"
     "row of the range once, whatever is killed or restarted meanwhile.\n"
     "  --from, --to  a position in the log (0: its beginning), an instant such as\n"
     "                2026-11-21T10:00:00Z, or 90m, 1d12h: that long ago; both included\n"
     "  --rate N      at most N rows a second; otherwise as fast as ClickHouse takes them\n"
     "  --held        also rows that waited for a column when they came\n"
     "  --ignore-unknown  drop what is no column of T2, instead of making dead letters\n"
     "  --follow      show the progress until it is over\n"
     "Into the same table it asks first, because rows that are there come twice; --yes answers.\n",
     0, 0, replay_start},
    {NULL, NULL, NULL, NULL, 0, 0, NULL}};

/* --- drift ---------------------------------------------------------------------------------- */

static void print_drift_table(const struct ctl_run *r, const struct json_node *t)
{
    ctl_print(r, ctl_get(r, t, "table"), 0, 0);
    (void)printf(": %" PRIu64 " rows held, the oldest since ", ctl_get_count(r, t, "held"));
    ctl_print(r, ctl_get(r, t, "oldest"), 0, 19);
    (void)putchar('\n');
    const struct json_node *columns = ctl_get(r, t, "columns");
    const struct json_node *c = columns != NULL ? columns + 1 : NULL;
    for (uint32_t i = 0; columns != NULL && i < columns->count; i++) {
        (void)printf("    ");
        ctl_print(r, ctl_get(r, c, "name"), 30, 0);
        (void)printf(" %10" PRIu64 " rows  ", ctl_get_count(r, c, "count"));
        ctl_print(r, ctl_get(r, c, "suggested_type"), 0, 0);
        (void)putchar('\n');
        c = &r->doc.nodes[c->next];
    }
    const struct json_node *alter = ctl_get(r, t, "alter");
    if (alter == NULL)
        return;
    (void)printf("  ");
    ctl_print(r, alter, 0, 0);
    (void)putchar('\n');
}

static int drift(struct ctl_run *r)
{
    int status;
    if (!ctl_ask_table(r, "/v1/ops/drift", &status))
        return status;
    const struct json_node *tables = ctl_get(r, r->doc.nodes, "tables");
    const struct json_node *t = tables != NULL ? tables + 1 : NULL;
    for (uint32_t i = 0; tables != NULL && i < tables->count; i++, t = &r->doc.nodes[t->next])
        print_drift_table(r, t);
    const struct json_node *scanned = ctl_get(r, r->doc.nodes, "scanned");
    if (tables == NULL || tables->count == 0)
        (void)fprintf(stderr, "no rows are held\n");
    else if (scanned != NULL && scanned->kind == JSON_FALSE)
        (void)fprintf(stderr, "(rows are still being looked at: columns may be missing)\n");
    return CTL_OK;
}

static const struct ctl_command drift_command[] = {
    {NULL, "t", "drift [--table T] [--json]",
     "Rows that are held because their table lacks columns (ingest.unknown_columns: hold): which\n"
     "columns, since when, and the ALTER TABLE that would let them in. When a column is there, "
     "the\n"
     "rows go in by themselves.\n",
     0, 0, drift},
    {NULL, NULL, NULL, NULL, 0, 0, NULL}};

void ctl_replay_usage(FILE *to)
{
    ctl_commands_usage(drift_command, to);
    ctl_commands_usage(commands, to);
}

int ctl_drift(int argc, char **argv)
{
    return ctl_commands("drift", drift_command, argc, argv);
}

int ctl_replay(int argc, char **argv)
{
    return ctl_commands("replay", commands, argc, argv);
}
