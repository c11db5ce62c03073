/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "config.h"

static void usage(FILE *to)
{
    (void)fputs("usage: wavehousectl wal ls [--json] DIR\n"
                "       wavehousectl wal dump [--from N] [--to N] [--payload] [--json] DIR\n"
                "       wavehousectl wal verify DIR\n",
                to);
    ctl_dlq_usage(to);
    ctl_replay_usage(to);
    ctl_policy_usage(to);
    ctl_pipe_usage(to);
    ctl_token_usage(to);
    (void)fputs(
        "       wavehousectl --help | --version\n"
        "\n"
        "wal looks at the log's folder DIR. Nothing is changed; the daemon may be running.\n"
        "policy check, policy explain and token need nothing but their files; the others ask a "
        "running daemon: "
        "--server URL, "
        "$WAVEHOUSE_URL,\n"
        "the control socket, or http://127.0.0.1:8080. Each explains itself with --help.\n"
        "Exit status: 0 fine, 1 damage found, not valid, or the daemon refuses (all or part "
        "of it),\n"
        "2 wrong usage, 3 could not look or ask.\n",
        to);
}

/* A full disk behind standard output is an error too. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    perror("wavehousectl: standard output");
    return CTL_SYSTEM;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return CTL_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return finish(CTL_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("wavehousectl %s\n", PACKAGE_VERSION);
        return finish(CTL_OK);
    }
    if (strcmp(argv[1], "wal") == 0 && argc > 2 && strcmp(argv[2], "--help") == 0) {
        usage(stdout);
        return finish(CTL_OK);
    }
    if (strcmp(argv[1], "wal") == 0) {
        int status = ctl_wal(argc - 1, argv + 1);

        if (status == CTL_USAGE)
            usage(stderr);
        return finish(status);
    }
    if (strcmp(argv[1], "dlq") == 0)
        return finish(ctl_dlq(argc - 1, argv + 1));
    if (strcmp(argv[1], "drift") == 0)
        return finish(ctl_drift(argc - 1, argv + 1));
    if (strcmp(argv[1], "replay") == 0)
        return finish(ctl_replay(argc - 1, argv + 1));
    if (strcmp(argv[1], "policy") == 0)
        return finish(ctl_policy(argc - 1, argv + 1));
    if (strcmp(argv[1], "pipe") == 0)
        return finish(ctl_pipe(argc - 1, argv + 1));
    if (strcmp(argv[1], "token") == 0)
        return finish(ctl_token(argc - 1, argv + 1));
    (void)fprintf(stderr, "wavehousectl: unknown command \"%s\" (try --help)\n", argv[1]);
    return CTL_USAGE;
}
