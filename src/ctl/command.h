/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that talk to a daemon have in common: options, requests, JSON, output. */
#ifndef WH_CTL_COMMAND_H
#define WH_CTL_COMMAND_H

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "json/json.h"

#include <stdint.h>
#include <stdio.h>

/* Options of all commands; a command names those that it takes. */
struct ctl_options {
    const char *server, *operator_key_file, *token_file;
    const char *table, *before, *error_code, *data, *from, *to, *into, *rate, *limit;
    bool json, held, all, dry_run, ignore_unknown, yes, follow;
    struct buf rules; /* "{…},{…}" of --rules and its short forms, in their order */
    char **args;      /* what is left */
    int arg_count;
};

struct ctl_run {
    struct ctl_options o;
    struct client client;
    struct ctl_answer answer;
    struct json_reader *reader;
    struct json_doc doc; /* of the last answer */
    struct buf target, body;
};

struct ctl_command {
    const char *name;    /* "list"; NULL ends the table */
    const char *options; /* letters of those that it takes */
    const char *usage;   /* behind "wavehousectl " */
    const char *help;    /* lines for --help */
    int args_min, args_max;
    int (*run)(struct ctl_run *r);
};

/* Run argv[1] of the table, or its only entry when that has no name. group: "dlq". */
int ctl_commands(const char *group, const struct ctl_command *table, int argc, char **argv);
/* All their usages, for --help. */
void ctl_commands_usage(const struct ctl_command *table, FILE *to);

/* Ask the daemon. CTL_OK: the answer was 2xx, its JSON is in r->doc. Otherwise its "error", or why
 * there is none, was printed: CTL_REFUSED for 4xx, CTL_SYSTEM for the rest. body NULL: none. */
int ctl_ask(struct ctl_run *r, const char *method, const char *target, const struct buf *body);
/* Ask for path, of --table or of all tables. True: the answer is to be shown. False: *status is how
 * the command ends; with --json the answer was printed as it is. */
bool ctl_ask_table(struct ctl_run *r, const char *path, int *status);
/* Have the daemon read the schema anew, so that what is asked next is checked against the tables as
 * they are now. Where that fails the last known schema does. */
void ctl_refresh_schema(struct ctl_run *r);
/* Append name=value percent-encoded to a target, with ? or &. value NULL: nothing. */
void ctl_put_parameter(struct buf *target, const char *name, const char *value);
void ctl_put_encoded(struct buf *target, const char *text);

/* A member of an object node; NULL when absent or null. */
const struct json_node *ctl_get(const struct ctl_run *r, const struct json_node *object,
                                const char *name);
uint64_t ctl_get_count(const struct ctl_run *r, const struct json_node *object, const char *name);
/* Its text, or its JSON when it is no string, fit for a terminal: control characters become
 * blanks, at most width characters when width > 0. Absent: "-". Padded to pad characters. */
void ctl_print(const struct ctl_run *r, const struct json_node *n, int pad, int width);
/* The answer's body, and a newline. */
void ctl_print_answer(const struct ctl_run *r);
/* The node's JSON, and a newline. */
void ctl_print_json(const struct ctl_run *r, const struct json_node *n);

/* Ask on the terminal. True: yes, or --yes. Without a terminal and without --yes: false, with the
 * reason printed. */
bool ctl_confirm(const struct ctl_run *r, const char *question);
/* Columns of the terminal behind standard output; 0 when it is none. */
int ctl_width(void);
int ctl_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
