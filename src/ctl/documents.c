/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl policy get|set|validate and pipe list|show|set|rm: the documents of a running
 * daemon. */
#include "ctl/command.h"
#include "ctl/offline.h"
#include "ctl/policy.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static bool has_ending(const char *file, const char *ending)
{
    size_t n = strlen(file), m = strlen(ending);
    return n > m && strcmp(file + n - m, ending) == 0;
}

/* "warnings" of the answer, a line each. */
static void print_warnings(const struct ctl_run *r)
{
    const struct json_node *list = ctl_get(r, r->doc.nodes, "warnings");
    if (list == NULL || list->kind != JSON_ARRAY)
        return;
    for (const struct json_node *n = list + 1; n < r->doc.nodes + list->next;
         n = r->doc.nodes + n->next) {
        (void)printf("warning: ");
        ctl_print(r, n, 0, 0);
        (void)putchar('\n');
    }
}

static int answered(const struct ctl_run *r, int status, const char *word)
{
    if (status != CTL_OK)
        return status;
    if (r->o.json) {
        ctl_print_answer(r);
        return CTL_OK;
    }
    print_warnings(r);
    (void)puts(word);
    return CTL_OK;
}

/* --- policy --------------------------------------------------------------------------------- */

static int policy_get(struct ctl_run *r)
{
    int status = ctl_ask(r, "GET", "/v1/ops/policy", NULL);
    if (status == CTL_OK)
        ctl_print_answer(r);
    return status;
}

static int policy_send(struct ctl_run *r, const char *method, const char *target, const char *word)
{
    int status = ctl_policy_read(r->o.args[0], &r->body);
    if (status == CTL_OK)
        status = ctl_ask(r, method, target, &r->body);
    return answered(r, status, word);
}

static int policy_set(struct ctl_run *r)
{
    return policy_send(r, "PUT", "/v1/ops/policy", "stored, and in force");
}

static int policy_validate(struct ctl_run *r)
{
    return policy_send(r, "POST", "/v1/ops/policy/validate", "valid");
}

/* --- pipes ---------------------------------------------------------------------------------- */

static const char *pipe_target(struct ctl_run *r, const char *name)
{
    buf_reset(&r->target);
    buf_put_str(&r->target, "/v1/ops/pipes/");
    ctl_put_encoded(&r->target, name);
    buf_put_u8(&r->target, '\0');
    return buf_ok(&r->target) ? r->target.ptr : NULL;
}

static int no_memory(void)
{
    return ctl_fail(CTL_SYSTEM, "out of memory");
}

static void print_roles(const struct ctl_run *r, const struct json_node *pipe)
{
    const struct json_node *list = ctl_get(r, pipe, "allowed_roles");
    if (list == NULL || list->kind != JSON_ARRAY || list->count == 0) {
        (void)printf("(admin)");
        return;
    }
    for (const struct json_node *n = list + 1; n < r->doc.nodes + list->next;
         n = r->doc.nodes + n->next) {
        ctl_print(r, n, 0, 0);
        if (r->doc.nodes + n->next < r->doc.nodes + list->next)
            (void)putchar(',');
    }
}

static int pipe_list(struct ctl_run *r)
{
    int status = ctl_ask(r, "GET", "/v1/ops/pipes", NULL);
    if (status != CTL_OK)
        return status;
    if (r->o.json) {
        ctl_print_answer(r);
        return CTL_OK;
    }
    const struct json_node *list = r->doc.nodes;
    if (list->next == 1)
        (void)fprintf(stderr, "none\n");
    for (const struct json_node *n = list + 1; n < r->doc.nodes + list->next;
         n = r->doc.nodes + n->next) {
        ctl_print(r, ctl_get(r, n, "name"), 30, 0);
        (void)putchar(' ');
        print_roles(r, n);
        (void)putchar('\n');
    }
    return CTL_OK;
}

static int pipe_show(struct ctl_run *r)
{
    const char *target = pipe_target(r, r->o.args[0]);
    if (target == NULL)
        return no_memory();
    int status = ctl_ask(r, "GET", target, NULL);
    if (status == CTL_OK)
        ctl_print_answer(r);
    return status;
}

/* The body for a file of nothing but SQL: what the pipe has besides stays. */
static int keep_rest(struct ctl_run *r, const char *target, struct slice sql)
{
    struct err e;
    r->doc.node_count = 0;
    if (client_call(&r->client, "GET", target, (struct slice){NULL, 0}, &r->answer, &e) != 0)
        return ctl_fail(CTL_SYSTEM, "%s", e.text);
    buf_put_str(&r->body, "{\"sql\":");
    buf_put_json_string(&r->body, sql);
    struct slice text = r->answer.body;
    if (r->answer.status == 200 &&
        json_reader_begin(r->reader, text.ptr, text.len, JSON_ONE) == 0 &&
        json_reader_next(r->reader, &r->doc) == 0 && r->doc.nodes[0].kind == JSON_OBJECT) {
        const struct json_node *nodes = r->doc.nodes;
        for (uint32_t i = 1; i < nodes[0].next; i = nodes[i + 1].next) {
            if (json_string_is(&r->doc, &nodes[i], "sql"))
                continue;
            buf_put_u8(&r->body, ',');
            json_put_minified(&r->body, &r->doc, &nodes[i]);
            buf_put_u8(&r->body, ':');
            json_put_minified(&r->body, &r->doc, &nodes[i + 1]);
        }
    } else if (r->answer.status != 404) {
        return ctl_fail(r->answer.status < 500 && r->answer.status != 200 ? CTL_REFUSED
                                                                          : CTL_SYSTEM,
                        "the pipe as it is cannot be read (HTTP %d)", r->answer.status);
    }
    buf_put_u8(&r->body, '}');
    return buf_ok(&r->body) ? CTL_OK : no_memory();
}

static int pipe_set(struct ctl_run *r)
{
    const char *file = r->o.args[1];
    char *target = NULL;
    struct buf sql;
    int status = pipe_target(r, r->o.args[0]) == NULL || (target = strdup(r->target.ptr)) == NULL
                     ? no_memory()
                     : CTL_OK;
    buf_init(&sql, SIZE_MAX);
    if (status == CTL_OK && has_ending(file, ".sql")) {
        status = ctl_read_file(file, LIMIT_OPS_BODY_BYTES, &sql) != 0 ? CTL_SYSTEM : CTL_OK;
        while (sql.len > 0 && (sql.ptr[sql.len - 1] == '\n' || sql.ptr[sql.len - 1] == '\r'))
            sql.len--;
        if (status == CTL_OK)
            status = keep_rest(r, target, buf_slice(&sql));
    } else if (status == CTL_OK) {
        status = ctl_policy_read(file, &r->body);
    }
    if (status == CTL_OK)
        status = ctl_ask(r, "PUT", target, &r->body);
    buf_fini(&sql);
    free(target);
    return answered(r, status, "stored, and in force");
}

static int pipe_rm(struct ctl_run *r)
{
    int status = CTL_OK;
    if (!ctl_confirm(r, "This removes pipes."))
        return CTL_USAGE;
    for (int i = 0; i < r->o.arg_count; i++) {
        const char *target = pipe_target(r, r->o.args[i]);
        int one = target != NULL ? ctl_ask(r, "DELETE", target, NULL) : no_memory();
        status = one > status ? one : status;
    }
    return answered(r, status, "removed");
}

/* --- the commands --------------------------------------------------------------------------- */

static const struct ctl_command policy_commands[] = {
    {"get", "", "policy get",
     "The policy in force, as JSON: keep a copy of it outside of the daemon.\n", 0, 0, policy_get},
    {"set", "", "policy set FILE|-",
     "Replace the policy by the one in the file, JSON or YAML. It is in force for the next "
     "request\n"
     "when the command has ended.\n",
     1, 1, policy_set},
    {"validate", "", "policy validate FILE|-",
     "Would the daemon take it? Warnings compare it with the tables that there are. Nothing is\n"
     "stored. (policy check needs no daemon.)\n",
     1, 1, policy_validate},
    {NULL, NULL, NULL, NULL, 0, 0, NULL}};

static const struct ctl_command pipe_commands[] = {
    {"list", "", "pipe list [--json]", "Names of the pipes, and the roles that may call each.\n", 0,
     0, pipe_list},
    {"show", "", "pipe show NAME", "One definition, as JSON.\n", 1, 1, pipe_show},
    {"set", "", "pipe set NAME FILE|-",
     "Make or replace a pipe. The file is its definition in JSON or YAML:\n"
     "  {\"sql\":\"SELECT …\",\"parameters\":[…],\"allowed_roles\":[\"viewer\"]}\n"
     "or, when its name ends in .sql, only the SQL; what the pipe has besides stays then.\n",
     2, 2, pipe_set},
    {"rm", "y", "pipe rm NAME… [--yes]",
     "Remove pipes; one that is not there is no error. Asks on a terminal; elsewhere it wants\n"
     "--yes.\n",
     1, -1, pipe_rm},
    {NULL, NULL, NULL, NULL, 0, 0, NULL}};

void ctl_policy_remote_usage(FILE *to)
{
    ctl_commands_usage(policy_commands, to);
}

bool ctl_policy_is_remote(const char *name)
{
    for (const struct ctl_command *c = policy_commands; c->run != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return true;
    return false;
}

int ctl_policy_remote(int argc, char **argv)
{
    return ctl_commands("policy", policy_commands, argc, argv);
}

void ctl_pipe_usage(FILE *to)
{
    ctl_commands_usage(pipe_commands, to);
}

int ctl_pipe(int argc, char **argv)
{
    return ctl_commands("pipe", pipe_commands, argc, argv);
}
