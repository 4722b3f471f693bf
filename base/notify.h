/* Telling systemd how a service is (sd_notify(3)), by hand: a datagram to the socket that NOTIFY_SOCKET names, a path or, with
 * a leading '@', an abstract name. Without the variable every call does nothing. A message that can not be sent is lost. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdint.h>

struct notify {
	int      fd;          /* -1: nobody wants to know */
	uint64_t watchdog_ns; /* how often notify_alive() is to be called, half of what systemd allows; 0: not at all */
};

/* Connects, reads WATCHDOG_USEC, and takes the variables out of the environment so that no child sends in our name. */
void notify_init(struct notify *n);
void notify_fini(struct notify *n);
void notify_ready(const struct notify *n);
void notify_reloading(const struct notify *n);
void notify_stopping(const struct notify *n);
void notify_alive(const struct notify *n);
/* One line for `systemctl status`. */
void notify_status(const struct notify *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
