/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl policy: is a policy document valid, and what may a token do under it? */
#include "ctl/policy.h"

#include "base/limits.h"
#include "config/yaml_json.h"
#include "ctl/offline.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define READER_BYTES (2 * MIB)

/* ---- check ----------------------------------------------------------------------------------- */

/* Names in findings come from the document: they must not move a terminal's cursor. */
static void print_finding(const char *file, const char *kind, const char *text)
{
    (void)printf("%s: %s", file, kind);
    for (; *text != '\0'; text++)
        (void)putchar((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
    (void)putchar('\n');
}

static void print_warning(void *file, const char *text)
{
    print_finding(file, "warning: ", text);
}

int ctl_policy_read(const char *file, struct buf *out)
{
    struct buf raw;
    struct err e;
    int status = CTL_OK;
    buf_init(&raw, SIZE_MAX);
    if (ctl_read_file(file, LIMIT_POLICY_BYTES, &raw) != 0) {
        status = CTL_SYSTEM;
    } else if (!config_is_yaml(file, buf_slice(&raw))) {
        buf_put_slice(out, buf_slice(&raw));
    } else if (config_yaml_to_json(buf_slice(&raw), LIMIT_POLICY_BYTES, out, &e) != 0) {
        print_finding(file, "error: ", e.text);
        status = CTL_DAMAGE;
    }
    buf_fini(&raw);
    return status;
}

struct access_policy *ctl_policy_load(const char *file, bool strict, int *status)
{
    struct access_policy *p = NULL;
    struct json_reader *reader = json_reader_new(READER_BYTES);
    struct buf text;
    struct err e;
    buf_init(&text, SIZE_MAX);
    if (reader == NULL) {
        *status = CTL_SYSTEM;
    } else if ((*status = ctl_policy_read(file, &text)) != CTL_OK) {
        /* it is told */
    } else if (access_policy_parse(reader, buf_slice(&text), strict, 1, &p, &e) != 0) {
        print_finding(file, "error: ", e.text);
        *status = CTL_DAMAGE;
    }
    buf_fini(&text);
    json_reader_free(reader);
    return p;
}

static int check(int argc, char **argv)
{
    static const struct option names[] = {{"strict", no_argument, NULL, 's'},
                                          {"print", no_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    bool strict = false, print = false;
    int c, status = CTL_OK;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 's')
            strict = true;
        else if (c == 'p')
            print = true;
        else
            return CTL_USAGE;
    }
    if (optind == argc)
        return CTL_USAGE;
    for (int i = optind; i < argc; i++) {
        int one = CTL_OK;
        struct access_policy *p = ctl_policy_load(argv[i], strict, &one);
        status = one > status ? one : status;
        if (p == NULL)
            continue;
        uint32_t warnings = access_policy_warn(p, NULL, print_warning, argv[i]);
        if (print) {
            struct buf out;
            buf_init(&out, SIZE_MAX);
            access_policy_put_json(p, &out);
            (void)printf("%.*s\n", SLICE_ARG(buf_slice(&out)));
            buf_fini(&out);
        } else {
            (void)printf("%s: valid, %" PRIu32 " warning%s\n", argv[i], warnings,
                         warnings == 1 ? "" : "s");
        }
        access_policy_unref(p);
    }
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

void ctl_policy_usage(FILE *to)
{
    (void)fputs("       wavehousectl policy check [--strict] [--print] FILE|-…\n"
                "       wavehousectl policy explain --policy FILE [--strict]\n"
                "                    [--token TOKEN [--secret-file FILE | --jwks FILE] | --claims "
                "JSON]\n"
                "                    [--role-claim PATH] [--schema FILE [--record JSON]] TABLE\n",
                to);
    ctl_policy_remote_usage(to);
}

int ctl_policy(int argc, char **argv)
{
    int status = CTL_USAGE;
    if (argc >= 2 && ctl_policy_is_remote(argv[1]))
        return ctl_policy_remote(argc, argv);
    bool help = argc >= 2 && strcmp(argv[argc - 1], "--help") == 0;
    if (!help && argc >= 2 && strcmp(argv[1], "check") == 0)
        status = check(argc - 1, argv + 1);
    else if (!help && argc >= 2 && strcmp(argv[1], "explain") == 0)
        status = ctl_policy_explain(argc - 1, argv + 1);
    if (status == CTL_USAGE) {
        (void)fputs("usage:\n", help ? stdout : stderr);
        ctl_policy_usage(help ? stdout : stderr);
    }
    return help ? CTL_OK : status;
}
