/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl dlq: dead letters (and held rows) of a running daemon. */
#include "base/limits.h"
#include "ctl/command.h"
#include "io/io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIST_SHOWN_DEFAULT 100   /* lines of a list for the eye */
#define PAGE_LETTERS       1000  /* most that one answer has */
#define REPLAY_LETTERS     10000 /* at a time, so that progress is seen */
#define FILE_BYTES_MAX     (LIMIT_RECORD_BYTES + 4096)

static bool parse_limit(const char *text, uint64_t absent, uint64_t *out)
{
    char *end;
    *out = absent;
    if (text == NULL)
        return true;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* --- list ----------------------------------------------------------------------------------- */

static void print_heading(void)
{
    (void)printf("%-22s %-20s %-20s %6s %s\n", "ID", "TABLE", "PUT ASIDE", "CODE", "WHY");
}

static void print_line(const struct ctl_run *r, const struct json_node *entry)
{
    int width = ctl_width(), left = width > 0 ? width - 73 : 0;
    ctl_print(r, ctl_get(r, entry, "id"), 23, 0);
    ctl_print(r, ctl_get(r, entry, "table"), 21, 0);
    ctl_print(r, ctl_get(r, entry, "failed_at"), 20, 19);
    (void)printf(" %6" PRIu64 " ", ctl_get_count(r, entry, "error_code"));
    ctl_print(r, ctl_get(r, entry, "error"), 0, width == 0 ? 0 : left > 20 ? left : 20);
    (void)putchar('\n');
}

/* Ask for a page of at most count entries; `after` holds the last id seen, or nothing. */
static int ask_page(struct ctl_run *r, uint64_t count, const struct buf *after)
{
    buf_reset(&r->target);
    buf_printf(&r->target, "/v1/ops/dlq?limit=%" PRIu64, count);
    ctl_put_parameter(&r->target, "table", r->o.table);
    if (r->o.held)
        buf_put_str(&r->target, "&shelf=held");
    if (after->len > 0) {
        buf_put_str(&r->target, "&after=");
        buf_put_slice(&r->target, buf_slice(after));
    }
    buf_put_u8(&r->target, '\0');
    return ctl_ask(r, "GET", r->target.ptr, NULL);
}

/* Remember "next" of the answer. False: there is none. */
static bool take_next(const struct ctl_run *r, struct buf *next)
{
    const struct json_node *n = ctl_get(r, r->doc.nodes, "next");
    buf_reset(next);
    if (n == NULL || n->kind != JSON_STRING)
        return false;
    buf_put_slice(next, json_raw(&r->doc, n));
    return true;
}

static int dlq_list(struct ctl_run *r)
{
    uint64_t left;
    if (!parse_limit(r->o.limit, r->o.json ? UINT64_MAX : LIST_SHOWN_DEFAULT, &left))
        return ctl_fail(CTL_USAGE, "--limit wants a number");
    struct buf next;
    bool more = true, any = false;
    int status = CTL_OK;
    buf_init(&next, 256);
    while (more && left > 0) {
        status = ask_page(r, left < PAGE_LETTERS ? left : PAGE_LETTERS, &next);
        if (status != CTL_OK)
            break;
        more = take_next(r, &next);
        const struct json_node *list = ctl_get(r, r->doc.nodes, "entries");
        const struct json_node *entry = list != NULL ? list + 1 : NULL;
        for (uint32_t i = 0; list != NULL && i < list->count; i++) {
            if (r->o.json)
                ctl_print_json(r, entry);
            else if (!any)
                print_heading();
            any = true;
            if (!r->o.json)
                print_line(r, entry);
            left--;
            entry = &r->doc.nodes[entry->next];
        }
        if (list == NULL || list->count == 0)
            break;
    }
    if (status == CTL_OK && more && !r->o.json && left == 0)
        (void)fprintf(stderr, "(there are more: --limit N)\n");
    if (status == CTL_OK && !any && !r->o.json)
        (void)fprintf(stderr, "none\n");
    buf_fini(&next);
    return status;
}

/* --- show ----------------------------------------------------------------------------------- */

static int ask_one(struct ctl_run *r, const char *id)
{
    buf_reset(&r->target);
    buf_put_str(&r->target, "/v1/ops/dlq/");
    ctl_put_encoded(&r->target, id);
    buf_put_u8(&r->target, '\0');
    return ctl_ask(r, "GET", r->target.ptr, NULL);
}

static int dlq_show(struct ctl_run *r)
{
    static const char *const members[][2] = {{"id", "id"},
                                             {"table", "table"},
                                             {"why", "error"},
                                             {"code", "error_code"},
                                             {"put aside", "failed_at"},
                                             {"received", "received_timestamp"},
                                             {"request", "request"},
                                             {"from", "peer"}};
    int status = ask_one(r, r->o.args[0]);
    if (status != CTL_OK)
        return status;
    if (r->o.json) {
        ctl_print_answer(r);
        return CTL_OK;
    }
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        (void)printf("%-10s ", members[i][0]);
        ctl_print(r, ctl_get(r, r->doc.nodes, members[i][1]), 0, 0);
        (void)putchar('\n');
    }
    const struct json_node *data = ctl_get(r, r->doc.nodes, "data");
    if (data != NULL)
        ctl_print_json(r, data);
    return CTL_OK;
}

/* --- edit ----------------------------------------------------------------------------------- */

/* All of a file into out. */
static int read_file(const char *path, struct buf *out)
{
    const struct io *io = io_posix();
    size_t got = 1;
    int fd = io->open(io->ctx, path, IO_READ), rc = fd < 0 ? fd : 0;
    while (rc == 0 && got > 0) {
        char piece[16384];
        rc = io->pread(io->ctx, fd, piece, sizeof(piece), out->len, &got);
        if (rc == 0)
            buf_put(out, piece, got);
    }
    if (fd >= 0)
        (void)io->close(io->ctx, fd); /* only read */
    if (rc == 0 && !buf_ok(out))
        rc = WH_ELIMIT;
    return rc == 0 ? CTL_OK : ctl_fail(CTL_SYSTEM, "%s: %s", path, err_text(rc));
}

static int read_stdin(struct buf *out)
{
    char piece[16384];
    size_t n;
    while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0)
        buf_put(out, piece, n);
    return !ferror(stdin) && buf_ok(out) ? CTL_OK
                                         : ctl_fail(CTL_SYSTEM, "cannot read standard input");
}

/* TEXT, @FILE or - (standard input) into out. */
static int read_argument(const char *arg, struct buf *out)
{
    if (strcmp(arg, "-") == 0)
        return read_stdin(out);
    if (arg[0] == '@')
        return read_file(arg + 1, out);
    buf_put_str(out, arg);
    return CTL_OK;
}

/* The program may have arguments of its own ("code --wait"), so it is run by the shell. */
static int run_editor(const char *path)
{
    const char *editor = getenv("VISUAL");
    if (editor == NULL || *editor == '\0')
        editor = getenv("EDITOR");
    if (editor == NULL || *editor == '\0')
        editor = "vi";
    struct buf line;
    buf_init(&line, SIZE_MAX);
    buf_printf(&line, "exec %s \"$1\"", editor);
    buf_put_u8(&line, '\0');
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line.ptr, "sh", path, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        status = -1;
    buf_fini(&line);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CTL_OK;
    return ctl_fail(CTL_SYSTEM, "the editor %s did not end well; nothing was changed", editor);
}

/* The record in a file of its own, through the editor, back into r->body. CTL_OK with an empty
 * body: not changed. The file stays, and is named, when something goes wrong with what was written.
 */
static int edit_in_file(struct ctl_run *r, const struct json_node *data, char path[64])
{
    struct buf before;
    int status = CTL_SYSTEM;
    const char *folder = "/tmp/wavehousectl-XXXXXX";
    (void)snprintf(path, 64, "%s", folder);
    buf_init(&before, SIZE_MAX);
    json_put_minified(&before, &r->doc, data);
    buf_put_u8(&before, '\n');
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL || fwrite(before.ptr, 1, before.len, f) != before.len || fclose(f) != 0) {
        (void)ctl_fail(CTL_SYSTEM, "%s: %s", path, err_text(-errno));
    } else {
        status = run_editor(path);
    }
    buf_reset(&r->body);
    if (status == CTL_OK)
        status = read_file(path, &r->body);
    if (status == CTL_OK && slice_eq(buf_slice(&r->body), buf_slice(&before)))
        buf_reset(&r->body);
    buf_fini(&before);
    return status;
}

/* Say what would become of the letter now. */
static int print_verdict(struct ctl_run *r, const char *id)
{
    ctl_refresh_schema(r);
    buf_reset(&r->body);
    buf_put_str(&r->body, "{\"dry_run\":true,\"ids\":[");
    buf_put_json_string(&r->body, slice_str(id));
    buf_put_str(&r->body, r->o.held ? "],\"shelf\":\"held\"}" : "]}");
    int status = ctl_ask(r, "POST", "/v1/ops/dlq/replay", &r->body);
    if (status != CTL_OK)
        return status;
    if (ctl_get_count(r, r->doc.nodes, "replayed") == 1) {
        (void)printf("changed; it fits its table now: wavehousectl dlq replay %s%s\n",
                     r->o.held ? "--held " : "", id);
        return CTL_OK;
    }
    const struct json_node *list = ctl_get(r, r->doc.nodes, "records");
    (void)printf("changed; it would still be refused: ");
    ctl_print(r, list != NULL && list->count > 0 ? ctl_get(r, list + 1, "error") : NULL, 0, 0);
    (void)putchar('\n');
    return CTL_REFUSED;
}

static int dlq_edit(struct ctl_run *r)
{
    char path[64] = "";
    const char *id = r->o.args[0];
    int status = ask_one(r, id);
    if (status != CTL_OK)
        return status;
    const struct json_node *data = ctl_get(r, r->doc.nodes, "data");
    if (data == NULL)
        return ctl_fail(CTL_SYSTEM, "the answer has no record");
    buf_fini(&r->body);
    buf_init(&r->body, FILE_BYTES_MAX);
    status = r->o.data != NULL ? read_argument(r->o.data, &r->body) : edit_in_file(r, data, path);
    bool unchanged = status == CTL_OK && r->body.len == 0;
    if (unchanged)
        (void)fprintf(stderr, "not changed\n");
    else if (status == CTL_OK)
        status = ctl_ask(r, "PUT", r->target.ptr, &r->body);
    if (path[0] != '\0' && status != CTL_OK && r->body.len > 0)
        (void)fprintf(stderr, "what you wrote is in %s\n", path);
    else if (path[0] != '\0')
        (void)remove(path); /* at worst it stays in /tmp */
    if (status != CTL_OK || unchanged)
        return status;
    if (r->o.json) {
        ctl_print_answer(r);
        return CTL_OK;
    }
    return print_verdict(r, id);
}

/* --- replay --------------------------------------------------------------------------------- */

static int check_choice(const struct ctl_run *r, const char *verb)
{
    int ways = (r->o.arg_count > 0) + (r->o.table != NULL || r->o.before != NULL) + r->o.all;
    if (ways == 0)
        return ctl_fail(CTL_USAGE, "say what to %s: ids, --table, --before, or --all", verb);
    if (r->o.arg_count > 0 && ways > 1)
        return ctl_fail(CTL_USAGE, "either ids, or --table, --before, --all; not both");
    return CTL_OK;
}

static void print_records(const struct ctl_run *r, const char *member)
{
    const struct json_node *list = ctl_get(r, r->doc.nodes, member);
    const struct json_node *n = list != NULL ? list + 1 : NULL;
    for (uint32_t i = 0; list != NULL && i < list->count; i++, n = &r->doc.nodes[n->next]) {
        const struct json_node *error = ctl_get(r, n, "error"), *row = ctl_get(r, n, "row");
        if (row == NULL)
            row = ctl_get(r, n, "data");
        ctl_print(r, ctl_get(r, n, "id"), 22, 0);
        (void)putchar(' ');
        ctl_print(r, ctl_get(r, n, "table"), 20, 0);
        (void)printf(error != NULL ? " refused: " : " fits: ");
        ctl_print(r, error != NULL ? error : row, 0, 0);
        (void)putchar('\n');
    }
}

/* One slice: the ids of the command line, or some letters of a table behind `after`. */
static void put_request(struct ctl_run *r, const char *table, uint64_t count,
                        const struct buf *before, const struct buf *after)
{
    struct buf *out = &r->body;
    buf_reset(out);
    buf_printf(out, "{\"dry_run\":%s", r->o.dry_run ? "true" : "false");
    if (table == NULL) {
        buf_put_str(out, ",\"ids\":[");
        for (int i = 0; i < r->o.arg_count; i++) {
            if (i > 0)
                buf_put_u8(out, ',');
            buf_put_json_string(out, slice_str(r->o.args[i]));
        }
        buf_put_u8(out, ']');
    } else {
        buf_put_str(out, ",\"table\":");
        buf_put_json_string(out, slice_str(table));
        buf_printf(out, ",\"limit\":%" PRIu64, count);
    }
    if (before->len > 0) {
        buf_put_str(out, ",\"before\":");
        buf_put_json_string(out, buf_slice(before));
    }
    if (after->len > 0) {
        buf_put_str(out, ",\"after\":");
        buf_put_json_string(out, buf_slice(after));
    }
    if (r->o.held)
        buf_put_str(out, ",\"shelf\":\"held\"");
    if (r->o.rules.len > 0)
        buf_printf(out, ",\"rules\":[%.*s]", (int)r->o.rules.len, r->o.rules.ptr);
    if (r->o.ignore_unknown)
        buf_put_str(out, ",\"ignore_unknown\":true");
    if (r->o.error_code != NULL)
        buf_printf(out, ",\"error_code\":%s", r->o.error_code);
    buf_put_u8(out, '}');
}

struct totals {
    uint64_t replayed, failed, missing;
    uint64_t left;     /* letters still to be looked at */
    struct buf before; /* letters put aside later are not meant: those that fail again */
    bool progress;
};

static void print_totals(const struct ctl_run *r, const struct totals *t)
{
    if (r->o.json) {
        (void)printf("{\"dry_run\":%s,\"replayed\":%" PRIu64 ",\"failed\":%" PRIu64
                     ",\"missing\":%" PRIu64 "}\n",
                     r->o.dry_run ? "true" : "false", t->replayed, t->failed, t->missing);
        return;
    }
    (void)printf("%" PRIu64 " %s, %" PRIu64 " %s", t->replayed,
                 r->o.dry_run ? "would go to their tables" : "are on their way to ClickHouse",
                 t->failed, r->o.dry_run ? "would be refused" : "were refused and stay");
    if (t->missing > 0)
        (void)printf(", %" PRIu64 " are not there (any more)", t->missing);
    (void)putchar('\n');
}

/* A table's letters (NULL: those of the command line), slice by slice. */
static int replay_table(struct ctl_run *r, const char *table, struct totals *t)
{
    struct buf next;
    bool more = true;
    int status = CTL_OK;
    buf_init(&next, 256);
    while (more && t->left > 0) {
        uint64_t count = t->left < REPLAY_LETTERS ? t->left : REPLAY_LETTERS;
        put_request(r, table, count, &t->before, &next);
        status = ctl_ask(r, "POST", "/v1/ops/dlq/replay", &r->body);
        uint64_t replayed = ctl_get_count(r, r->doc.nodes, "replayed"); /* also with an error */
        uint64_t failed = ctl_get_count(r, r->doc.nodes, "failed");
        t->replayed += replayed;
        t->failed += failed;
        t->missing += ctl_get_count(r, r->doc.nodes, "missing");
        t->left -= replayed + failed < t->left ? replayed + failed : t->left;
        if (!r->o.json)
            print_records(r, r->o.dry_run ? "records" : "errors");
        else if (r->o.dry_run && status == CTL_OK)
            ctl_print_answer(r);
        if (status != CTL_OK)
            break;
        more = take_next(r, &next);
        const struct json_node *before = ctl_get(r, r->doc.nodes, "before");
        if (t->before.len == 0 && before != NULL && before->kind == JSON_STRING)
            buf_put_slice(&t->before, json_raw(&r->doc, before));
        if (t->progress && more)
            (void)fprintf(stderr, "\r%" PRIu64 " …", t->replayed + t->failed);
    }
    buf_fini(&next);
    return status;
}

/* Every table that has letters. */
static int replay_tables(struct ctl_run *r, struct totals *t)
{
    struct buf names; /* each ended by a NUL */
    int status =
        ctl_ask(r, "GET", r->o.held ? "/v1/ops/dlq/stats?shelf=held" : "/v1/ops/dlq/stats", NULL);
    const struct json_node *nodes = r->doc.nodes, *tables = ctl_get(r, nodes, "tables");
    buf_init(&names, SIZE_MAX);
    for (uint32_t i = tables != NULL ? (uint32_t)(tables - nodes) + 1 : 0;
         tables != NULL && i < tables->next; i = nodes[i + 1].next) {
        char *room = buf_extend(&names, nodes[i].len);
        if (room != NULL)
            names.len -= nodes[i].len - json_unescape(json_raw(&r->doc, &nodes[i]), room);
        buf_put_u8(&names, '\0');
    }
    if (status == CTL_OK && !buf_ok(&names))
        status = ctl_fail(CTL_SYSTEM, "out of memory");
    for (size_t at = 0; status == CTL_OK && at < names.len; at += strlen(names.ptr + at) + 1)
        status = replay_table(r, names.ptr + at, t);
    buf_fini(&names);
    return status;
}

static int dlq_replay(struct ctl_run *r)
{
    struct totals t = {.progress = isatty(STDERR_FILENO) && !r->o.json};
    uint64_t code;
    int status = check_choice(r, "replay");
    if (status != CTL_OK)
        return status;
    if (!parse_limit(r->o.limit, UINT64_MAX, &t.left) || !parse_limit(r->o.error_code, 0, &code))
        return ctl_fail(CTL_USAGE, "--limit and --error-code want a number");
    ctl_refresh_schema(r); /* the table was perhaps mended a moment ago */
    buf_init(&t.before, 256);
    if (r->o.before != NULL)
        buf_put_str(&t.before, r->o.before);
    if (r->o.arg_count > 0)
        status = replay_table(r, NULL, &t);
    else if (r->o.table != NULL)
        status = replay_table(r, r->o.table, &t);
    else
        status = replay_tables(r, &t);
    buf_fini(&t.before);
    if (t.progress && t.replayed + t.failed > REPLAY_LETTERS)
        (void)fputs("\r", stderr);
    if (status == CTL_OK || t.replayed + t.failed > 0)
        print_totals(r, &t);
    return status != CTL_OK ? status : t.failed + t.missing > 0 ? CTL_REFUSED : CTL_OK;
}

/* --- purge ---------------------------------------------------------------------------------- */

static void print_receipt(const struct ctl_run *r)
{
    const struct json_node *receipt = ctl_get(r, r->doc.nodes, "receipt");
    const struct json_node *tables = ctl_get(r, receipt, "tables");
    (void)printf("%" PRIu64 " deleted, %" PRIu64 " bytes; ", ctl_get_count(r, receipt, "records"),
                 ctl_get_count(r, receipt, "bytes"));
    (void)printf("by ");
    ctl_print(r, ctl_get(r, receipt, "by"), 0, 0);
    (void)printf(" at ");
    ctl_print(r, ctl_get(r, receipt, "at"), 0, 0);
    (void)putchar('\n');
    if (tables == NULL)
        return;
    for (uint32_t i = (uint32_t)(tables - r->doc.nodes) + 1; i < tables->next;
         i = r->doc.nodes[i + 1].next) {
        ctl_print(r, &r->doc.nodes[i], 20, 0);
        (void)printf(" %" PRIu64 "\n", ctl_get_count(r, &r->doc.nodes[i + 1], "records"));
    }
}

/* One request; id NULL: by the options. */
static int purge_one(struct ctl_run *r, const char *id)
{
    buf_reset(&r->target);
    buf_put_str(&r->target, "/v1/ops/dlq");
    ctl_put_parameter(&r->target, "id", id);
    ctl_put_parameter(&r->target, "table", r->o.table);
    ctl_put_parameter(&r->target, "before", r->o.before);
    ctl_put_parameter(&r->target, "shelf", r->o.held ? "held" : NULL);
    buf_put_u8(&r->target, '\0');
    int status = ctl_ask(r, "DELETE", r->target.ptr, NULL);
    if (status == CTL_OK && r->o.json)
        ctl_print_answer(r);
    else if (status == CTL_OK)
        print_receipt(r);
    if (status == CTL_OK && id != NULL && ctl_get_count(r, r->doc.nodes, "deleted") == 0)
        status = ctl_fail(CTL_REFUSED, "%s is not there (any more)", id);
    return status;
}

static int dlq_purge(struct ctl_run *r)
{
    int status = check_choice(r, "purge");
    if (status != CTL_OK)
        return status;
    if (!ctl_confirm(r, "This deletes records for good."))
        return CTL_USAGE;
    if (r->o.arg_count == 0)
        return purge_one(r, NULL);
    for (int i = 0; i < r->o.arg_count; i++) {
        int one = purge_one(r, r->o.args[i]);
        status = one > status ? one : status;
    }
    return status;
}

/* --- stats ---------------------------------------------------------------------------------- */

static int dlq_stats(struct ctl_run *r)
{
    int status;
    if (!ctl_ask_table(r, "/v1/ops/dlq/stats", &status))
        return status;
    const struct json_node *tables = ctl_get(r, r->doc.nodes, "tables");
    for (uint32_t i = tables != NULL ? (uint32_t)(tables - r->doc.nodes) + 1 : 0;
         tables != NULL && i < tables->next; i = r->doc.nodes[i + 1].next) {
        ctl_print(r, &r->doc.nodes[i], 30, 0);
        (void)putchar(' ');
        ctl_print(r, &r->doc.nodes[i + 1], 0, 0);
        (void)putchar('\n');
    }
    (void)printf("%-30s %" PRIu64 "\n", "total", ctl_get_count(r, r->doc.nodes, "total"));
    return CTL_OK;
}

/* --- the commands --------------------------------------------------------------------------- */

static const struct ctl_command commands[] = {
    {"list", "tnH", "dlq list [--table T] [--limit N] [--held] [--json]",
     "Dead letters, oldest first: id, table, when, ClickHouse's number and reason. The first 100, "
     "or\n"
     "--limit; with --json all of them, one JSON object a line, with the records.\n"
     "--held: rows that wait for a column instead.\n",
     0, 0, dlq_list},
    {"show", "", "dlq show ID [--json]",
     "One dead letter with its record, and the request that brought it.\n", 1, 1, dlq_show},
    {"edit", "DH", "dlq edit ID [--held] [--data RECORD|@FILE|-]",
     "Give a dead letter another record: in $VISUAL or $EDITOR, or as --data. Afterwards it is\n"
     "tried against its table as it is now; nothing is sent before it is replayed.\n"
     "--held: the letter is a held row.\n",
     1, 1, dlq_edit},
    {"replay", "tHbeanRrxdscNu",
     "dlq replay ID…|--table T|--before TIME|--all [--held] [--error-code N] [--limit N] [RULES] "
     "[--ignore-unknown] [--dry-run]",
     "Send dead letters to their tables again, each exactly once. What is refused stays.\n"
     "--dry-run shows what would become of each, and changes nothing.\n"
     "Rules change the records on their way, in the order given:\n"
     "  --rename FROM=TO   --drop COLUMN   --default COLUMN=VALUE   --set COLUMN=VALUE\n"
     "  --cast COLUMN=string|integer|number|boolean   --rules '[{\"drop\":\"a\"},…]'\n"
     "A VALUE that is no JSON is text. --ignore-unknown: drop what is no column of the table.\n"
     "TIME: 2026-11-21T10:00:00Z, or 90m, 1d12h: that long ago. --held: held rows.\n",
     0, -1, dlq_replay},
    {"purge", "tHbay", "dlq purge ID…|--table T|--before TIME|--all [--held] [--yes]",
     "Delete dead letters for good, and print the receipt. Asks on a terminal; elsewhere it wants\n"
     "--yes.\n",
     0, -1, dlq_purge},
    {"stats", "t", "dlq stats [--table T] [--json]", "How many dead letters each table has.\n", 0,
     0, dlq_stats},
    {NULL, NULL, NULL, NULL, 0, 0, NULL}};

void ctl_dlq_usage(FILE *to)
{
    ctl_commands_usage(commands, to);
}

int ctl_dlq(int argc, char **argv)
{
    return ctl_commands("dlq", commands, argc, argv);
}
