#include "base/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int
open_socket(const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	if (n < 2 || n >= sizeof to.sun_path || (name[0] != '/' && name[0] != '@'))
		return -1;
	memcpy(to.sun_path, name, n);
	if (name[0] == '@')
		to.sun_path[0] = 0;
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] == '/'));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, length) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void
notify_init(struct notify *n)
{
	const char *name = getenv("NOTIFY_SOCKET"), *micros = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	*n = (struct notify){ .fd = name ? open_socket(name) : -1 };
	if (n->fd >= 0 && micros && (!pid || strtoull(pid, NULL, 10) == (unsigned long long)getpid()))
		n->watchdog_ns = strtoull(micros, NULL, 10) * 1000 / 2;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void
notify_fini(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

static void
tell(const struct notify *n, const char *text)
{
	if (n->fd >= 0)
		(void)!send(n->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
notify_ready(const struct notify *n)
{
	tell(n, "READY=1");
}

void
notify_reloading(const struct notify *n)
{
	char text[64];
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
	         (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u);
	tell(n, text);
}

void
notify_stopping(const struct notify *n)
{
	tell(n, "STOPPING=1");
}

void
notify_alive(const struct notify *n)
{
	tell(n, "WATCHDOG=1");
}

void
notify_status(const struct notify *n, const char *format, ...)
{
	char text[512] = "STATUS=";
	va_list args;
	va_start(args, format);
	vsnprintf(text + 7, sizeof text - 7, format, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	tell(n, text);
}
