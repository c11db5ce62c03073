/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of wavehousectl. Each gets the arguments behind its name and returns an exit status. */
#ifndef WH_CTL_CTL_H
#define WH_CTL_CTL_H

enum ctl_exit {
    CTL_OK = 0,
    CTL_DAMAGE = 1, /* what was looked at is damaged */
    CTL_USAGE = 2,
    CTL_SYSTEM = 3 /* could not look: missing folder, permission, I/O error */
};

/* wal ls|dump|verify … ; argv[0] is "wal" */
int ctl_wal(int argc, char **argv);

#endif
