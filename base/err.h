/* Errors: one enumeration for the whole tree, and one sentence per thread that says what went wrong.
 *
 * A function that can fail returns enum err. The place that knows the facts (file, offset, limit) calls fail(), which
 * keeps the sentence for this thread and returns the code; callers pass the code up unchanged with TRY. Whoever owns the
 * loop (a verb, a daemon) prints err_text() once.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum [[nodiscard]] err {
	OK = 0,
	END,             /* no more items: not an error */
	ERR_IO,          /* the operating system refused; the sentence carries strerror */
	ERR_NOMEM,       /* allocation failed */
	ERR_FORMAT,      /* bytes that are not what they should be: damaged or hostile */
	ERR_LIMIT,       /* more than a constant of base/limits.h allows */
	ERR_DENIED,      /* not allowed: wrong key, policy */
	ERR_USAGE,       /* the request makes no sense: bad option, bad filter */
	ERR_EXISTS,      /* already there */
	ERR_ABSENT,      /* not there */
	ERR_FULL,        /* disk or quota full */
	ERR_BUSY,        /* held by another process */
	ERR_INTERRUPTED, /* SIGINT or SIGTERM arrived */
	ERR_UNSUPPORTED, /* a version or feature this build does not know */
	ERR_PARTIAL,     /* some of it was done and kept; the sentence says what is missing and why */
};

#define TRY(call)                          \
	do {                               \
		enum err try_err_ = (call); \
		if (try_err_ != OK)        \
			return try_err_;   \
	} while (0)

/* Keeps one sentence for this thread (printf style, no newline, at most ERR_TEXT_BYTES) and returns e.
 * Control bytes in it (of a file name, say) become '?'. */
enum err fail(enum err e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and strerror(errno) added; ENOSPC, EDQUOT and EFBIG give ERR_FULL, ENOMEM gives ERR_NOMEM,
 * EACCES and EPERM ERR_DENIED, ENOENT ERR_ABSENT, EEXIST ERR_EXISTS, anything else ERR_IO. */
enum err fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The sentence of the last fail() on this thread; "" when there was none. Valid until the next fail(). */
const char *err_text(void);

/* Puts words before the kept sentence ("x.pcap: " + sentence) and returns e. */
enum err fail_prefix(enum err e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A short name of the code ("format", "limit", ...), for JSON. */
const char *err_name(enum err e);

#endif
