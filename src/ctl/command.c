/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/command.h"

#include "base/limits.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int ctl_fail(int status, const char *fmt, ...)
{
    va_list ap;
    (void)fflush(stdout);
    (void)fputs("wavehousectl: ", stderr);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    return status;
}

/* --- options -------------------------------------------------------------------------------- */

static const struct option longs[] = {{"server", required_argument, NULL, 'S'},
                                      {"operator-key-file", required_argument, NULL, 'k'},
                                      {"token-file", required_argument, NULL, 'K'},
                                      {"json", no_argument, NULL, 'j'},
                                      {"help", no_argument, NULL, 'h'},
                                      {"table", required_argument, NULL, 't'},
                                      {"limit", required_argument, NULL, 'n'},
                                      {"held", no_argument, NULL, 'H'},
                                      {"all", no_argument, NULL, 'a'},
                                      {"before", required_argument, NULL, 'b'},
                                      {"error-code", required_argument, NULL, 'e'},
                                      {"rules", required_argument, NULL, 'R'},
                                      {"rename", required_argument, NULL, 'r'},
                                      {"drop", required_argument, NULL, 'x'},
                                      {"default", required_argument, NULL, 'd'},
                                      {"set", required_argument, NULL, 's'},
                                      {"cast", required_argument, NULL, 'c'},
                                      {"dry-run", no_argument, NULL, 'N'},
                                      {"ignore-unknown", no_argument, NULL, 'u'},
                                      {"yes", no_argument, NULL, 'y'},
                                      {"data", required_argument, NULL, 'D'},
                                      {"from", required_argument, NULL, 'F'},
                                      {"to", required_argument, NULL, 'T'},
                                      {"into", required_argument, NULL, 'I'},
                                      {"rate", required_argument, NULL, 'q'},
                                      {"follow", no_argument, NULL, 'f'},
                                      {NULL, 0, NULL, 0}};
#define OPTIONS_ALWAYS "SkKjh"

static const char *long_name(int letter)
{
    for (const struct option *o = longs; o->name != NULL; o++)
        if (o->val == letter)
            return o->name;
    return "?";
}

/* COLUMN=VALUE, where a value that is no JSON is taken as text. */
static void put_value(struct json_reader *reader, const char *text, struct buf *out)
{
    struct json_doc doc;
    struct buf padded;
    size_t len = strlen(text);
    buf_init(&padded, SIZE_MAX);
    buf_put(&padded, text, len);
    bool json = buf_extend(&padded, LIMIT_JSON_PADDING) != NULL &&
                json_reader_begin(reader, padded.ptr, len, JSON_ONE) == 0 &&
                json_reader_next(reader, &doc) == 0 && !json_reader_trailing(reader);
    if (json)
        json_put_minified(out, &doc, doc.nodes);
    else
        buf_put_json_string(out, slice_str(text));
    buf_fini(&padded);
}

/* One rule from the argument of its short form. */
static int put_rule(struct ctl_run *r, int letter, const char *arg)
{
    struct buf *out = &r->o.rules;
    const char *eq = strchr(arg, '=');
    if (letter != 'x' && (eq == NULL || eq == arg))
        return ctl_fail(CTL_USAGE, "--%s wants %s", long_name(letter),
                        letter == 'r'   ? "FROM=TO"
                        : letter == 'c' ? "COLUMN=string|integer|number|boolean"
                                        : "COLUMN=VALUE");
    struct slice column = {arg, eq == NULL ? strlen(arg) : (size_t)(eq - arg)};
    if (out->len > 0)
        buf_put_u8(out, ',');
    buf_printf(out, "{\"%s\":", long_name(letter));
    if (letter == 'x') {
        buf_put_json_string(out, slice_str(arg));
        buf_put_u8(out, '}');
        return CTL_OK;
    }
    buf_put_str(out, letter == 'r' ? "{\"from\":" : "{\"column\":");
    buf_put_json_string(out, column);
    buf_put_str(out, letter == 'r' || letter == 'c' ? ",\"to\":" : ",\"value\":");
    if (letter == 'r' || letter == 'c')
        buf_put_json_string(out, slice_str(eq + 1));
    else
        put_value(r->reader, eq + 1, out);
    buf_put_str(out, "}}");
    return CTL_OK;
}

/* --rules '[…]': its rules behind those before it. */
static int put_rules(struct ctl_run *r, const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    text += strspn(text, " \t\r\n");
    n = strnlen(text, n);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    if (n < 2 || text[0] != '[' || text[n - 1] != ']')
        return ctl_fail(CTL_USAGE, "--rules wants a JSON array, such as '[{\"drop\":\"column\"}]'");
    if (strspn(text + 1, " \t\r\n") >= n - 2)
        return CTL_OK;
    if (r->o.rules.len > 0)
        buf_put_u8(&r->o.rules, ',');
    buf_put(&r->o.rules, text + 1, n - 2);
    return CTL_OK;
}

static int take_option(struct ctl_run *r, int letter, const char *arg)
{
    struct ctl_options *o = &r->o;
    const char **texts[] = {['S'] = &o->server,     ['k'] = &o->operator_key_file,
                            ['K'] = &o->token_file, ['t'] = &o->table,
                            ['n'] = &o->limit,      ['b'] = &o->before,
                            ['e'] = &o->error_code, ['D'] = &o->data,
                            ['F'] = &o->from,       ['T'] = &o->to,
                            ['I'] = &o->into,       ['q'] = &o->rate};
    bool *flags[] = {
        ['j'] = &o->json, ['H'] = &o->held,   ['a'] = &o->all,           ['N'] = &o->dry_run,
        ['y'] = &o->yes,  ['f'] = &o->follow, ['u'] = &o->ignore_unknown};
    size_t at = (size_t)letter;
    if (strchr("rxdsc", letter) != NULL)
        return put_rule(r, letter, arg);
    if (letter == 'R')
        return put_rules(r, arg);
    if (at < sizeof(texts) / sizeof(texts[0]) && texts[at] != NULL)
        *texts[at] = arg;
    else
        *flags[at] = true;
    return CTL_OK;
}

static void print_help(const struct ctl_command *c, FILE *to)
{
    (void)fprintf(to,
                  "usage: wavehousectl %s\n\n%s\n"
                  "Always: --server URL (http://… or unix:PATH; default $WAVEHOUSE_URL, else the\n"
                  "control socket, else " CLIENT_SERVER_DEFAULT "), --json,\n"
                  "--operator-key-file FILE, --token-file FILE (default $WAVEHOUSE_OPERATOR_KEY, "
                  "$WAVEHOUSE_TOKEN).\n",
                  c->usage, c->help);
}

static int usage_error(const struct ctl_command *c)
{
    (void)fprintf(stderr, "usage: wavehousectl %s\n(--help explains)\n", c->usage);
    return CTL_USAGE;
}

static int run_command(struct ctl_run *r, const struct ctl_command *c, int argc, char **argv)
{
    static char name[] = "wavehousectl"; /* in what getopt_long says */
    struct err e;
    int letter, status;
    argv[0] = name;
    optind = 1;
    while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (letter == '?')
            return usage_error(c);
        if (letter == 'h') {
            print_help(c, stdout);
            return CTL_OK;
        }
        if (strchr(OPTIONS_ALWAYS, letter) == NULL && strchr(c->options, letter) == NULL) {
            (void)ctl_fail(CTL_USAGE, "--%s is no option of this command", long_name(letter));
            return usage_error(c);
        }
        status = take_option(r, letter, optarg);
        if (status != CTL_OK)
            return status;
    }
    r->o.args = argv + optind;
    r->o.arg_count = argc - optind;
    if (r->o.arg_count < c->args_min || (c->args_max >= 0 && r->o.arg_count > c->args_max))
        return usage_error(c);
    if (client_init(&r->client, r->o.server, &e) != 0)
        return ctl_fail(CTL_USAGE, "%s", e.text);
    struct client_credentials who = {.key_file = r->o.operator_key_file,
                                     .token_file = r->o.token_file};
    if (client_identify(&r->client, &who) != 0)
        return CTL_SYSTEM;
    return c->run(r);
}

void ctl_commands_usage(const struct ctl_command *table, FILE *to)
{
    for (; table->run != NULL; table++)
        (void)fprintf(to, "       wavehousectl %s\n", table->usage);
}

static int group_help(const char *group, const struct ctl_command *table, FILE *to)
{
    (void)fprintf(to, "usage: (wavehousectl %s COMMAND --help explains one)\n", group);
    ctl_commands_usage(table, to);
    for (; to == stdout && table->run != NULL; table++)
        if (table->name == NULL)
            (void)fprintf(to, "\n%s", table->help);
    return to == stdout ? CTL_OK : CTL_USAGE;
}

/* The command, which may be the nameless one at the table's end; *named: argv[1] is its name. */
static const struct ctl_command *find_command(const struct ctl_command *table, const char *word,
                                              bool *named)
{
    for (; table->run != NULL; table++) {
        *named = table->name != NULL && word != NULL && strcmp(table->name, word) == 0;
        if (*named || table->name == NULL)
            return table;
    }
    return NULL;
}

int ctl_commands(const char *group, const struct ctl_command *table, int argc, char **argv)
{
    struct ctl_run r = {0};
    bool named, help = argc > 1 && strcmp(argv[1], "--help") == 0;
    const struct ctl_command *c = find_command(table, argc > 1 ? argv[1] : NULL, &named);
    if (help && table[1].run != NULL)
        return group_help(group, table, stdout);
    if (c == NULL) {
        if (argc > 1)
            (void)ctl_fail(CTL_USAGE, "there is no \"%s %s\"", group, argv[1]);
        return group_help(group, table, stderr);
    }
    buf_init(&r.o.rules, SIZE_MAX);
    buf_init(&r.target, SIZE_MAX);
    buf_init(&r.body, SIZE_MAX);
    r.reader = json_reader_new(ANSWER_BODY_BYTES_MAX);
    int status = r.reader == NULL ? ctl_fail(CTL_SYSTEM, "out of memory")
                                  : run_command(&r, c, argc - named, argv + named);
    client_fini(&r.client);
    json_reader_free(r.reader);
    buf_fini(&r.o.rules);
    buf_fini(&r.target);
    buf_fini(&r.body);
    return status;
}

/* Characters, not bytes: the bytes that begin one. */
static bool begins_character(unsigned char c)
{
    return (c & 0xc0) != 0x80;
}

/* What others wrote may hold what a terminal obeys. */
static void print_plain(FILE *to, struct slice text, int pad, int width)
{
    int shown = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (begins_character(c) && width > 0 && shown == width)
            break;
        shown += begins_character(c);
        /* C1 controls are two bytes in UTF-8. */
        bool c1 = c == 0xc2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xa0;
        (void)fputc(c < 0x20 || c == 0x7f || c1 ? ' ' : c, to);
        i += c1;
    }
    for (; shown < pad; shown++)
        (void)fputc(' ', to);
}

static void print_node(FILE *to, const struct ctl_run *r, const struct json_node *n, int pad,
                       int width)
{
    struct slice text = n != NULL ? json_raw(&r->doc, n) : SLICE_LIT("-");
    char *plain = NULL;
    if (n != NULL && n->kind == JSON_STRING && (plain = malloc(n->len + 1)) != NULL)
        text = (struct slice){plain, json_unescape(text, plain)};
    print_plain(to, text, pad, width);
    free(plain);
}

/* --- requests ------------------------------------------------------------------------------- */

void ctl_put_encoded(struct buf *target, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
            strchr("-._~", *p) != NULL)
            buf_put_u8(target, *p);
        else
            buf_printf(target, "%%%02X", *p);
    }
}

void ctl_put_parameter(struct buf *target, const char *name, const char *value)
{
    if (value == NULL)
        return;
    bool first = memchr(target->ptr, '?', target->len) == NULL;
    buf_printf(target, "%c%s=", first ? '?' : '&', name);
    ctl_put_encoded(target, value);
}

int ctl_ask(struct ctl_run *r, const char *method, const char *target, const struct buf *body)
{
    struct err e;
    struct slice sent = body != NULL ? buf_slice(body) : (struct slice){NULL, 0};
    static const struct json_node nothing = {.kind = JSON_NULL, .next = 1};
    r->doc = (struct json_doc){.text = "null", .nodes = &nothing, .node_count = 1};
    if (client_call(&r->client, method, target, sent, &r->answer, &e) != 0)
        return ctl_fail(CTL_SYSTEM, "%s", e.text);
    struct slice text = r->answer.body;
    int rc = json_reader_begin(r->reader, text.ptr, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(r->reader, &r->doc);
    if (rc == 0 && json_reader_trailing(r->reader))
        rc = WH_ESYNTAX;
    if (r->answer.status < 300 && rc == 0)
        return CTL_OK;
    if (r->answer.status < 300)
        return ctl_fail(CTL_SYSTEM, "the answer is no JSON; is this a wavehoused?");
    const struct json_node *n = rc == 0 ? ctl_get(r, r->doc.nodes, "error") : NULL;
    (void)fflush(stdout);
    (void)fputs("wavehousectl: ", stderr);
    if (n != NULL)
        print_node(stderr, r, n, 0, 0);
    else
        (void)fputs("the server refuses", stderr);
    (void)fprintf(stderr, " (HTTP %d)\n", r->answer.status);
    if (r->answer.status == 401 || r->answer.status == 403)
        (void)fputs("This needs the operator: the control socket (as root, or in its group), "
                    "--operator-key-file FILE,\n"
                    "or --token-file FILE with a token of the admin role.\n",
                    stderr);
    return r->answer.status < 500 ? CTL_REFUSED : CTL_SYSTEM;
}

bool ctl_ask_table(struct ctl_run *r, const char *path, int *status)
{
    buf_reset(&r->target);
    buf_put_str(&r->target, path);
    ctl_put_parameter(&r->target, "table", r->o.table);
    buf_put_u8(&r->target, '\0');
    *status = ctl_ask(r, "GET", r->target.ptr, NULL);
    if (*status == CTL_OK && r->o.json)
        ctl_print_answer(r);
    return *status == CTL_OK && !r->o.json;
}

void ctl_refresh_schema(struct ctl_run *r)
{
    struct err e;
    int rc = client_call(&r->client, "POST", "/v1/ops/schema/refresh", (struct slice){NULL, 0},
                         &r->answer, &e);
    (void)rc; /* a daemon that is not there is told of by the request that follows */
}

/* --- JSON and output ------------------------------------------------------------------------- */

const struct json_node *ctl_get(const struct ctl_run *r, const struct json_node *object,
                                const char *name)
{
    const struct json_node *nodes = r->doc.nodes;
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    for (uint32_t i = (uint32_t)(object - nodes) + 1; i < object->next; i = nodes[i + 1].next)
        if (json_string_is(&r->doc, &nodes[i], name))
            return nodes[i + 1].kind != JSON_NULL ? &nodes[i + 1] : NULL;
    return NULL;
}

uint64_t ctl_get_count(const struct ctl_run *r, const struct json_node *object, const char *name)
{
    const struct json_node *n = ctl_get(r, object, name);
    uint64_t v = 0;
    for (uint32_t i = 0; n != NULL && n->kind == JSON_NUMBER && i < n->len; i++)
        v = v * 10 + (uint64_t)(r->doc.text[n->off + i] - '0');
    return v;
}

void ctl_print(const struct ctl_run *r, const struct json_node *n, int pad, int width)
{
    print_node(stdout, r, n, pad, width);
}

void ctl_write_json(struct slice json)
{
    const unsigned char *p = (const unsigned char *)json.ptr, *end = p + json.len;
    for (const unsigned char *run = p; p < end; run = p) {
        while (p < end && *p != 0x7f && !(*p == 0xc2 && end - p > 1 && p[1] >= 0x80 && p[1] < 0xa0))
            p++;
        (void)fwrite(run, 1, (size_t)(p - run), stdout);
        if (p < end) {
            p += *p == 0xc2;
            (void)printf("\\u%04x", *p++);
        }
    }
}

void ctl_print_answer(const struct ctl_run *r)
{
    ctl_write_json(r->answer.body);
    (void)putchar('\n');
}

void ctl_print_json(const struct ctl_run *r, const struct json_node *n)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    json_put_minified(&out, &r->doc, n);
    buf_put_u8(&out, '\n');
    ctl_write_json(buf_slice(&out));
    buf_fini(&out);
}

bool ctl_confirm(const struct ctl_run *r, const char *question)
{
    char line[16];
    if (r->o.yes)
        return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        (void)ctl_fail(CTL_USAGE, "%s Say so with --yes.", question);
        return false;
    }
    (void)fprintf(stderr, "%s [y/N] ", question);
    return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

int ctl_width(void)
{
    struct winsize w;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}
