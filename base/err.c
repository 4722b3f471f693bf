#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"

static _Thread_local char text[ERR_TEXT_BYTES];

/* A sentence is one line and moves no cursor, whatever names are in it. */
static void
make_plain(void)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

enum err
fail(enum err e, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	make_plain();
	return e;
}

static enum err
err_of_errno(int number)
{
	switch (number) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_FULL;
	case ENOMEM:
		return ERR_NOMEM;
	case EACCES:
	case EPERM:
		return ERR_DENIED;
	case ENOENT:
		return ERR_ABSENT;
	case EEXIST:
		return ERR_EXISTS;
	default:
		return ERR_IO;
	}
}

enum err
fail_errno(const char *format, ...)
{
	int number = errno;
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	size_t used = strlen(text);
	snprintf(text + used, sizeof text - used, ": %s", strerror(number));
	make_plain();
	return err_of_errno(number);
}

enum err
fail_prefix(enum err e, const char *format, ...)
{
	char sentence[ERR_TEXT_BYTES];
	memcpy(sentence, text, sizeof sentence);
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	size_t used = strlen(text);
	snprintf(text + used, sizeof text - used, "%s", sentence);
	make_plain();
	return e;
}

const char *
err_text(void)
{
	return text;
}

const char *
err_name(enum err e)
{
	switch (e) {
	case OK:
		return "ok";
	case END:
		return "end";
	case ERR_IO:
		return "io";
	case ERR_NOMEM:
		return "memory";
	case ERR_FORMAT:
		return "format";
	case ERR_LIMIT:
		return "limit";
	case ERR_DENIED:
		return "denied";
	case ERR_USAGE:
		return "usage";
	case ERR_EXISTS:
		return "exists";
	case ERR_ABSENT:
		return "absent";
	case ERR_FULL:
		return "full";
	case ERR_BUSY:
		return "busy";
	case ERR_INTERRUPTED:
		return "interrupted";
	case ERR_UNSUPPORTED:
		return "unsupported";
	case ERR_PARTIAL:
		return "partial";
	}
	return "unknown";
}
