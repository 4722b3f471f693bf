#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

static const char *process = "atoll";
static bool journal;

void
log_open(const char *role)
{
	struct stat st;
	unsigned long long device, inode;
	const char *stream = getenv("JOURNAL_STREAM");
	process = role;
	journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	          (unsigned long long)st.st_dev == device && (unsigned long long)st.st_ino == inode;
}

/* text as one line of ASCII; cut to room - 1 bytes. */
static size_t
escape(char *out, size_t room, const char *text)
{
	size_t n = 0;
	for (const unsigned char *c = (const unsigned char *)text; *c && room - n > 4; c++) {
		if (*c >= ' ' && *c < 0x7f && *c != '\\')
			out[n++] = (char)*c;
		else
			n += (size_t)snprintf(out + n, room - n, *c == '\\' ? "\\\\" : "\\x%02x", *c);
	}
	return n;
}

static size_t
begin(char *out, size_t room, enum log_level level)
{
	static const char *const words[] = { [LOG_FAILED] = "error: ", [LOG_WARNED] = "warning: ", [LOG_NOTED] = "",
		                             [LOG_TRACED] = "" };
	if (journal)
		return (size_t)snprintf(out, room, "<%d>%s: ", level, process);
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, room - n, ".%03ldZ atoll %s[%d]: %s", now.tv_nsec / 1000000, process, (int)getpid(),
	                            words[level]);
}

__attribute__((format(printf, 2, 0))) static void
say(enum log_level level, const char *format, va_list args)
{
	int number = errno;
	char text[LOG_LINE_BYTES], line[LOG_LINE_BYTES];
	vsnprintf(text, sizeof text, format, args);
	size_t n = begin(line, sizeof line, level);
	n += escape(line + n, sizeof line - n - 1, text);
	line[n++] = '\n';
	/* one write, so that lines of several processes do not mix; there is nobody to tell when it fails */
	if (write(STDERR_FILENO, line, n) < 0)
		errno = number;
	errno = number;
}

void
log_line(enum log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(level, format, args);
	va_end(args);
}

void
log_braked(struct log_brake *b, enum log_level level, const char *format, ...)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (now - b->since_ns >= LOG_BRAKE_NS) {
		if (b->dropped)
			log_line(level, "%u lines like the next one were left out", b->dropped);
		*b = (struct log_brake){ .since_ns = now };
	}
	if (b->said >= LOG_BRAKE_LINES) {
		b->dropped++;
		return;
	}
	b->said++;
	va_list args;
	va_start(args, format);
	say(level, format, args);
	va_end(args);
}
