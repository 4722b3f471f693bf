#include "ingest/inflate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/bytes.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/limits.h"

#define IN_BYTES     (256u << 10) /* packed bytes per read */
#define PIPE_BYTES   (1u << 20)   /* asked of the kernel for a pipe: fewer switches between the two processes */
#define MAGIC_BYTES  6            /* the longest magic (xz) */
#define INTERRUPT_LOOK_MS 200     /* how long a wait for a pipe may go without a look at the interrupt flag */

enum format { PLAIN, GZIP, ZSTD, XZ, LZ4, SKIPPABLE };
static const char *const format_names[] = { "", "gzip", "zstd", "xz", "lz4", "" };

struct inflate {
	char          *name;
	int            fd;           /* -1: memory */
	bool           owned, regular;
	const uint8_t *memory;
	size_t         memory_bytes, piece_bytes;
	uint64_t       size_bytes, read_bytes, out_bytes;

	uint8_t *in;                 /* in_room: read, not yet used */
	size_t   in_at, in_end, in_room;
	bool     in_eof;
	bool     ahead;              /* there are bytes that were waited for: no interrupt keeps them from being used */
	void   (*see)(void *arg, const void *bytes, size_t n);
	void    *see_arg;

	enum format format, first_format;
	uint64_t    members;         /* begun so far */
	bool        in_member;
	size_t      hint_bytes;      /* what zstd and lz4 want to be given next */
	z_stream    gz;
	bool        gz_live;
	ZSTD_DCtx  *zstd;
	LZ4F_dctx  *lz4;
	lzma_stream xz;

	enum err ended;              /* not OK: what every further read answers */
	char     sentence[ERR_TEXT_BYTES];
};

static enum err
source_new(struct inflate **out, const char *name)
{
	struct inflate *s = calloc(1, sizeof *s);
	if (s) {
		s->fd = -1;
		s->xz = (lzma_stream)LZMA_STREAM_INIT;
		s->name = strdup(name);
		s->in = malloc(IN_BYTES);
		s->in_room = IN_BYTES;
	}
	if (!s || !s->name || !s->in) {
		inflate_close(&s);
		return fail(ERR_NOMEM, "%s: out of memory", name);
	}
	*out = s;
	return OK;
}

enum err
inflate_open(struct inflate **out, const char *path)
{
	bool input = strcmp(path, "-") == 0;
	struct inflate *s = NULL;
	TRY(source_new(&s, input ? "standard input" : path));
	enum err e = OK;
	if (input)
		s->fd = STDIN_FILENO;
	else
		e = io_open(&s->fd, path);
	s->owned = !input;
	struct stat st;
	if (e == OK && fstat(s->fd, &st) < 0)
		e = fail_errno("%s", s->name);
	if (e == OK && S_ISDIR(st.st_mode))
		e = fail(ERR_USAGE, "%s: is a folder; name the files in it", s->name);
	if (e != OK) {
		inflate_close(&s);
		return e;
	}
	s->regular = S_ISREG(st.st_mode);
	if (S_ISFIFO(st.st_mode))
		(void)fcntl(s->fd, F_SETPIPE_SZ, PIPE_BYTES); /* as it was is well, too */
	if (s->regular) {
		s->size_bytes = (uint64_t)st.st_size;
		posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* advice only: twice the read-ahead */
	}
	*out = s;
	return OK;
}

enum err
inflate_open_memory(struct inflate **out, const void *bytes, size_t n, size_t piece_bytes, const char *name)
{
	struct inflate *s = NULL;
	TRY(source_new(&s, name));
	s->memory = bytes;
	s->memory_bytes = s->size_bytes = n;
	s->piece_bytes = piece_bytes ? piece_bytes : SIZE_MAX;
	*out = s;
	return OK;
}

void
inflate_close(struct inflate **out)
{
	struct inflate *s = *out;
	*out = NULL;
	if (!s)
		return;
	if (s->gz_live)
		inflateEnd(&s->gz);
	ZSTD_freeDCtx(s->zstd);
	LZ4F_freeDecompressionContext(s->lz4);
	lzma_end(&s->xz);
	if (s->owned)
		io_close(&s->fd);
	free(s->in);
	free(s->name);
	free(s);
}

const char *inflate_format(const struct inflate *s) { return format_names[s->first_format]; }
const char *inflate_name(const struct inflate *s) { return s->name; }
uint64_t    inflate_in_bytes(const struct inflate *s) { return s->read_bytes - (s->in_end - s->in_at); }
uint64_t    inflate_out_bytes(const struct inflate *s) { return s->out_bytes; }
uint64_t    inflate_size(const struct inflate *s) { return s->size_bytes; }
bool        inflate_is_stream(const struct inflate *s) { return !s->regular || !s->owned; }
int         inflate_fd(const struct inflate *s) { return s->fd; }

void
inflate_watch(struct inflate *s, void (*see)(void *arg, const void *bytes, size_t n), void *arg)
{
	s->see = see;
	s->see_arg = arg;
}

/* --- the file as stored --- */

/* A pipe may stay quiet for hours: waits for bytes and looks at the interrupt flag now and then. */
static enum err
wait_readable(struct inflate *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	for (;;) {
		TRY(interrupt_check());
		int n = poll(&p, 1, INTERRUPT_LOOK_MS);
		if (n > 0)
			return OK;
		if (n < 0 && errno != EINTR)
			return fail_errno("%s: read failed", s->name);
	}
}

/* One read; *got = 0 at the end. */
static enum err
read_stored(struct inflate *s, void *p, size_t n, size_t *got)
{
	if (s->fd < 0) {
		if (n > s->memory_bytes)
			n = s->memory_bytes;
		if (n > s->piece_bytes)
			n = s->piece_bytes;
		if (n)
			memcpy(p, s->memory, n);
		s->memory += n;
		s->memory_bytes -= n;
		s->read_bytes += n;
		*got = n;
		return OK;
	}
	for (;;) {
		TRY(s->regular ? interrupt_check() : wait_readable(s));
		ssize_t r = read(s->fd, p, n);
		if (r >= 0) {
			if (s->see)
				s->see(s->see_arg, p, (size_t)r);
			s->read_bytes += (size_t)r;
			*got = (size_t)r;
			return OK;
		}
		if (errno == EAGAIN) /* standard input that someone set to non-blocking */
			TRY(wait_readable(s));
		else if (errno != EINTR)
			return fail_errno("%s: read failed at byte %llu", s->name,
			                  (unsigned long long)s->read_bytes);
	}
}

/* More stored bytes behind those that wait in s->in; at most `most` are asked for. */
static enum err
refill(struct inflate *s, size_t most)
{
	if (s->in_at > 0) {
		memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
		s->in_end -= s->in_at;
		s->in_at = 0;
	}
	if (most > s->in_room - s->in_end)
		most = s->in_room - s->in_end;
	size_t got = 0;
	TRY(read_stored(s, s->in + s->in_end, most, &got));
	s->in_end += got;
	s->in_eof = got == 0;
	return OK;
}

enum err
inflate_ahead(struct inflate *s, size_t n)
{
	if (s->in_room < INFLATE_AHEAD_BYTES) {
		uint8_t *grown = realloc(s->in, INFLATE_AHEAD_BYTES);
		if (!grown)
			return fail(ERR_NOMEM, "%s: out of memory", s->name);
		s->in = grown;
		s->in_room = INFLATE_AHEAD_BYTES;
	}
	while (s->read_bytes < n && !s->in_eof && refill(s, n - s->read_bytes) == OK)
		;
	s->ahead = s->in_at < s->in_end;
	return OK;
}

/* --- members --- */

static enum err damaged(struct inflate *s, enum err e, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "FILE: REASON at byte N of the packed file; U bytes were unpacked before it, R packed bytes remain unread" */
static enum err
damaged(struct inflate *s, enum err e, const char *format, ...)
{
	char reason[256], rest[64] = "";
	va_list args;
	va_start(args, format);
	vsnprintf(reason, sizeof reason, format, args);
	va_end(args);
	uint64_t at = inflate_in_bytes(s);
	if (s->size_bytes > at)
		snprintf(rest, sizeof rest, ", %llu packed bytes remain unread", (unsigned long long)(s->size_bytes - at));
	return fail(e, "%s: %s at byte %llu of the packed file; %llu bytes were unpacked before it%s", s->name, reason,
	            (unsigned long long)at, (unsigned long long)s->out_bytes, rest);
}

static enum format
detect(const uint8_t *p, size_t n)
{
	if (n >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8)
		return GZIP;
	if (n >= 6 && memcmp(p, "\xfd" "7zXZ\0", 6) == 0)
		return XZ;
	uint32_t magic = n >= 4 ? load_le32(p) : 0;
	if (magic == ZSTD_MAGICNUMBER)
		return ZSTD;
	if (magic == 0x184D2204)
		return LZ4;
	if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START)
		return SKIPPABLE;
	return PLAIN;
}

static enum err
skip_frame(struct inflate *s)
{
	while (s->in_end - s->in_at < 8 && !s->in_eof)
		TRY(refill(s, 8));
	if (s->in_end - s->in_at < 8)
		return damaged(s, ERR_FORMAT, "ends inside the header of a skippable frame");
	uint64_t left = 8 + (uint64_t)load_le32(s->in + s->in_at + 4);
	for (;;) {
		size_t n = s->in_end - s->in_at;
		if (n > left)
			n = (size_t)left;
		s->in_at += n;
		left -= n;
		if (left == 0)
			return OK;
		TRY(refill(s, IN_BYTES));
		if (s->in_eof)
			return damaged(s, ERR_FORMAT, "ends inside a skippable frame, %llu bytes before its end",
			               (unsigned long long)left);
	}
}

static enum err
begin_member(struct inflate *s)
{
	bool ok = true;
	switch (s->format) {
	case GZIP:
		ok = (s->gz_live ? inflateReset(&s->gz) : inflateInit2(&s->gz, 15 + 16)) == Z_OK;
		s->gz_live = s->gz_live || ok;
		break;
	case ZSTD:
		if (!s->zstd) {
			s->zstd = ZSTD_createDCtx();
			ok = s->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax,
			                                                     INFLATE_WINDOW_LOG));
		}
		s->hint_bytes = ok ? ZSTD_initDStream(s->zstd) : 0;
		break;
	case XZ:
		ok = lzma_stream_decoder(&s->xz, INFLATE_XZ_BYTES, 0) == LZMA_OK;
		break;
	case LZ4:
		if (!s->lz4)
			ok = !LZ4F_isError(LZ4F_createDecompressionContext(&s->lz4, LZ4F_VERSION));
		s->hint_bytes = LZ4F_HEADER_SIZE_MIN;
		break;
	case PLAIN:
	case SKIPPABLE:
		break;
	}
	if (!ok)
		return fail(ERR_NOMEM, "%s: out of memory for unpacking %s", s->name, format_names[s->format]);
	s->in_member = true;
	s->members++;
	return OK;
}

/* Finds the next member and prepares its decoder. END at the end of the file. */
static enum err
next_member(struct inflate *s)
{
	for (;;) {
		/* The first look takes no more than the magic, so that plain bytes go past this buffer. */
		while (s->in_end - s->in_at < MAGIC_BYTES && !s->in_eof)
			TRY(refill(s, s->members ? IN_BYTES : MAGIC_BYTES - (s->in_end - s->in_at)));
		if (s->in_at == s->in_end)
			return END;
		if (s->members && s->in[s->in_at] == 0) { /* padding: tapes (gzip), xz */
			s->in_at++;
			continue;
		}
		s->format = detect(s->in + s->in_at, s->in_end - s->in_at);
		if (s->format == SKIPPABLE) {
			TRY(skip_frame(s));
			s->members++;
			continue;
		}
		if (s->format == PLAIN && s->members)
			return damaged(s, ERR_FORMAT, "bytes that are not packed data follow the %s data",
			               format_names[s->first_format]);
		if (s->first_format == PLAIN)
			s->first_format = s->format;
		return begin_member(s);
	}
}

/* --- the decoders: each takes from in, gives to out, and says whether its member is done --- */

struct step {
	uint8_t *out;
	size_t   out_bytes, produced, consumed;
	bool     done;
};

static enum err
step_gzip(struct inflate *s, struct step *t)
{
	uInt in = (uInt)(s->in_end - s->in_at), out = t->out_bytes > (1u << 30) ? 1u << 30 : (uInt)t->out_bytes;
	s->gz.next_in = s->in + s->in_at;
	s->gz.avail_in = in;
	s->gz.next_out = t->out;
	s->gz.avail_out = out;
	int r = inflate(&s->gz, Z_NO_FLUSH);
	t->consumed = in - s->gz.avail_in;
	t->produced = out - s->gz.avail_out;
	t->done = r == Z_STREAM_END;
	if (r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR)
		return OK;
	s->in_at += t->consumed;
	t->consumed = 0;
	if (r == Z_MEM_ERROR)
		return fail(ERR_NOMEM, "%s: out of memory for unpacking gzip", s->name);
	return damaged(s, ERR_FORMAT, "damaged gzip data (%s)", s->gz.msg ? s->gz.msg : "needs a preset dictionary");
}

static enum err
zstd_error(struct inflate *s, size_t code)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		return damaged(s, ERR_LIMIT, "this zstd data needs more than %u MiB of memory (unpack it first: "
		               "zstd -dc --long=31 FILE | ... -)", INFLATE_WINDOW_BYTES >> 20);
	case ZSTD_error_memory_allocation:
		return fail(ERR_NOMEM, "%s: out of memory for unpacking zstd", s->name);
	case ZSTD_error_dictionary_wrong:
		return damaged(s, ERR_UNSUPPORTED, "this zstd data needs a dictionary");
	default:
		return damaged(s, ERR_FORMAT, "damaged zstd data (%s)", ZSTD_getErrorName(code));
	}
}

/* zstd and lz4 forget what a failing call had already unpacked. Given no more than they ask for, they unpack one block a
 * call, and nothing before the damage is lost. */
static size_t
hinted(const struct inflate *s)
{
	size_t n = s->in_end - s->in_at;
	return n < s->hint_bytes ? n : s->hint_bytes;
}

static enum err
step_zstd(struct inflate *s, struct step *t)
{
	ZSTD_inBuffer in = { s->in + s->in_at, hinted(s), 0 };
	ZSTD_outBuffer out = { t->out, t->out_bytes, 0 };
	size_t r = ZSTD_decompressStream(s->zstd, &out, &in);
	if (ZSTD_isError(r))
		return zstd_error(s, r);
	t->consumed = in.pos;
	t->produced = out.pos;
	t->done = r == 0;
	s->hint_bytes = r;
	return OK;
}

static enum err
step_lz4(struct inflate *s, struct step *t)
{
	size_t in = hinted(s), out = t->out_bytes;
	size_t r = LZ4F_decompress(s->lz4, t->out, &out, s->in + s->in_at, &in, NULL);
	if (LZ4F_isError(r))
		return damaged(s, ERR_FORMAT, "damaged lz4 data (%s)", LZ4F_getErrorName(r));
	t->consumed = in;
	t->produced = out;
	t->done = r == 0;
	s->hint_bytes = r;
	return OK;
}

static enum err
step_xz(struct inflate *s, struct step *t)
{
	size_t in = s->in_end - s->in_at;
	s->xz.next_in = s->in + s->in_at;
	s->xz.avail_in = in;
	s->xz.next_out = t->out;
	s->xz.avail_out = t->out_bytes;
	lzma_ret r = lzma_code(&s->xz, LZMA_RUN);
	t->consumed = in - s->xz.avail_in;
	t->produced = t->out_bytes - s->xz.avail_out;
	t->done = r == LZMA_STREAM_END;
	if (r == LZMA_OK || r == LZMA_STREAM_END || r == LZMA_BUF_ERROR)
		return OK;
	s->in_at += t->consumed;
	t->consumed = 0;
	switch (r) {
	case LZMA_MEM_ERROR:
		return fail(ERR_NOMEM, "%s: out of memory for unpacking xz", s->name);
	case LZMA_MEMLIMIT_ERROR:
		return damaged(s, ERR_LIMIT, "this xz data needs %llu MiB of memory, more than %u (unpack it first: xz -dc FILE | ... -)",
		               (unsigned long long)(lzma_memusage(&s->xz) >> 20), INFLATE_XZ_BYTES >> 20);
	case LZMA_OPTIONS_ERROR:
		return damaged(s, ERR_UNSUPPORTED, "xz data with options that liblzma does not know");
	default:
		return damaged(s, ERR_FORMAT, "damaged xz data");
	}
}

static enum err
step_member(struct inflate *s, struct step *t)
{
	switch (s->format) {
	case GZIP:
		return step_gzip(s, t);
	case ZSTD:
		return step_zstd(s, t);
	case XZ:
		return step_xz(s, t);
	case LZ4:
		return step_lz4(s, t);
	case PLAIN:
	case SKIPPABLE:
		break;
	}
	return END;
}

/* What is left of the look at the magic, then straight from the file. */
static enum err
read_plain(struct inflate *s, void *p, size_t n, size_t *got)
{
	size_t waiting = s->in_end - s->in_at;
	if (waiting) {
		*got = n < waiting ? n : waiting;
		memcpy(p, s->in + s->in_at, *got);
		s->in_at += *got;
		return OK;
	}
	TRY(read_stored(s, p, n, got));
	return *got ? OK : END;
}

static enum err
read_packed(struct inflate *s, struct step *t)
{
	while (t->produced == 0) {
		if (!s->ahead) /* what was read may unpack to much more than a read's worth */
			TRY(interrupt_check());
		if (!s->in_member) {
			TRY(next_member(s));
			if (s->format == PLAIN)
				return OK;
		}
		if (s->in_at == s->in_end && !s->in_eof)
			TRY(refill(s, IN_BYTES));
		enum err e = step_member(s, t);
		s->in_at += t->consumed;
		s->in_member = !t->done;
		if (e != OK)
			return e;
		if (t->produced == 0 && t->consumed == 0 && !t->done && s->in_eof)
			return damaged(s, ERR_FORMAT, "ends inside the %s data, cut off", format_names[s->format]);
		t->consumed = 0;
	}
	return OK;
}

enum err
inflate_read(struct inflate *s, void *p, size_t n, size_t *got)
{
	*got = 0;
	if (s->ended != OK)
		return s->ended == END ? END : fail(s->ended, "%s", s->sentence);
	struct step t = { .out = p, .out_bytes = n };
	enum err e = OK;
	s->ahead = s->ahead && s->in_at < s->in_end;
	if (!s->in_member || s->format != PLAIN)
		e = read_packed(s, &t);
	if (e == OK && s->format == PLAIN)
		e = read_plain(s, p, n, &t.produced);
	s->out_bytes += t.produced;
	*got = t.produced;
	if (e == OK)
		return OK;
	s->ended = e;
	snprintf(s->sentence, sizeof s->sentence, "%s", e == END ? "" : err_text());
	return t.produced ? OK : e; /* what a decoder gave before it failed goes out first */
}
