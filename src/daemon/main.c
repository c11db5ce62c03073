/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of wavehoused(8). */
#include "daemon/daemon.h"
#include "daemon/seeds.h"
#include "daemon/tls_files.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SETS_MAX 256

static const char usage_text[] =
    "usage: wavehoused [--config FILE] [option…]\n"
    "\n"
    "Takes records over HTTP, keeps them in its own log, and carries them into ClickHouse.\n"
    "\n"
    "  --config FILE      settings (default: built-in defaults, WH_… variables and --set only)\n"
    "  --set KEY=VALUE    one setting, e.g. --set server.port=9000; may be repeated\n"
    "  --check            check the settings and exit 0 (fine) or 1\n"
    "  --print-config     print the effective settings with the origin of each\n"
    "  --insecure-open    no access control: whoever reaches the port may do everything\n"
    "  --version          print the version\n"
    "  -h, --help         print this\n"
    "\n"
    "Signals: HUP reloads the settings, TERM and INT drain and stop; a second one stops at once.\n"
    "Exit status: 0 clean, 1 run-time failure, 2 usage or settings. Manual: wavehoused(8).\n";

enum {
    OPT_CONFIG = 256,
    OPT_SET,
    OPT_CHECK,
    OPT_PRINT,
    OPT_INSECURE,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"set", required_argument, NULL, OPT_SET},
    {"check", no_argument, NULL, OPT_CHECK},
    {"print-config", no_argument, NULL, OPT_PRINT},
    {"insecure-open", no_argument, NULL, OPT_INSECURE},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int print_all(const struct buf *text)
{
    (void)fwrite(text->ptr, 1, text->len, stdout);
    return fflush(stdout) == 0 ? DAEMON_OK : DAEMON_FAILED;
}

/* The files that the settings name count as part of them. */
static int check_files(const struct config *config)
{
    struct http_tls_material *tls;
    struct err e;
    if (tls_files_load(config, &tls, &e) != 0) {
        (void)fprintf(stderr, "wavehoused: %s\n", e.text);
        return DAEMON_FAILED;
    }
    http_tls_material_unref(tls);
    struct ch_tls *trust;
    if (tls_files_clickhouse(config, &trust, &e) != 0) {
        (void)fprintf(stderr, "wavehoused: %s\n", e.text);
        return DAEMON_FAILED;
    }
    ch_tls_unref(trust);
    struct seeds *seeds;
    struct buf findings;
    struct queue unused;
    if (queue_init(&unused, 1) != 0)
        return DAEMON_FAILED;
    buf_init(&findings, SIZE_MAX);
    int rc = seeds_read(&seeds, config, &unused, &findings);
    if (rc == 0)
        (void)puts("settings are fine");
    else
        (void)fwrite(findings.ptr, 1, findings.len, stderr);
    seeds_free(seeds);
    buf_fini(&findings);
    queue_fini(&unused);
    return rc == 0 ? DAEMON_OK : DAEMON_FAILED;
}

int main(int argc, char **argv)
{
    const char *sets[SETS_MAX];
    struct config_options options = {.sets = sets};
    bool check = false, print = false;
    int c;
    while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (c) {
        case OPT_CONFIG:
            options.file = optarg;
            break;
        case OPT_SET:
            if (options.set_count == SETS_MAX) {
                (void)fprintf(stderr, "wavehoused: more than %d --set\n", SETS_MAX);
                return DAEMON_USAGE;
            }
            sets[options.set_count++] = optarg;
            break;
        case OPT_CHECK:
            check = true;
            break;
        case OPT_PRINT:
            print = true;
            break;
        case OPT_INSECURE:
            options.insecure_open = true;
            break;
        case OPT_VERSION:
            (void)printf("wavehoused %s\n", BUILD_VERSION);
            return DAEMON_OK;
        case 'h':
            (void)fputs(usage_text, stdout);
            return DAEMON_OK;
        default:
            (void)fputs("wavehoused: see wavehoused --help\n", stderr);
            return DAEMON_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "wavehoused: unexpected argument \"%s\"; see wavehoused --help\n",
                      argv[optind]);
        return DAEMON_USAGE;
    }

    struct buf text;
    buf_init(&text, SIZE_MAX);
    const struct config *config = config_load(&options, &text);
    if (config == NULL) {
        (void)fwrite(text.ptr, 1, text.len, stderr);
        buf_fini(&text);
        return check ? DAEMON_FAILED : DAEMON_USAGE;
    }
    int status;
    if (print) {
        buf_reset(&text);
        config_print(config, &text);
        status = print_all(&text);
        config_unref(config);
    } else if (check) {
        status = check_files(config);
        config_unref(config);
    } else {
        status = daemon_run(&options, config);
    }
    buf_fini(&text);
    return status;
}
