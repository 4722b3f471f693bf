/* The log of a daemon: one line per event on stderr. Under systemd (JOURNAL_STREAM names our stderr) a line begins with its
 * priority ("<4>"), which journald takes off again; elsewhere with the time. Control bytes and bytes that are not ASCII are
 * written as \xNN: a line is one line, whatever a peer calls itself. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#define LOG_LINE_BYTES  2048
#define LOG_BRAKE_LINES 10u           /* of one brake ... */
#define LOG_BRAKE_NS    10000000000u  /* ... in so long */

/* The numbers are syslog's. */
enum log_level {
	LOG_FAILED = 3,  /* something does not work; the operator has to do something */
	LOG_WARNED = 4,  /* something was refused, lost or restarted */
	LOG_NOTED = 5,   /* start, stop, and what changes seldom */
	LOG_TRACED = 6,  /* connections, sessions */
};

/* role: which process this is ("ingest"); kept, not copied. Once per process, and again in a forked child. */
void log_open(const char *role);
/* printf style, no newline; cut at LOG_LINE_BYTES. Keeps errno. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for what a peer can cause as often as it likes: at most LOG_BRAKE_LINES in LOG_BRAKE_NS, then how many were left
 * out. Zeroed at first. */
struct log_brake {
	unsigned said, dropped;
	uint64_t since_ns;
};
void log_braked(struct log_brake *b, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
