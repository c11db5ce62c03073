/* SPDX-License-Identifier: Apache-2.0 */
/* sd_notify(3) without the library: one datagram to $NOTIFY_SOCKET. */
#ifndef WH_DAEMON_NOTIFY_H
#define WH_DAEMON_NOTIFY_H

/* Send "READY=1", "STOPPING=1", "STATUS=…", several joined by newlines. Does nothing without a
 * notify socket; never fails, never blocks. Any thread. */
void notify_send(const char *state);

#endif
