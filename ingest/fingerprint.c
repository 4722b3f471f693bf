#include "ingest/fingerprint.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/io.h"

#define HEAD_BYTES  TRACE_FINGERPRINT_HEAD_BYTES
#define REST_BYTES  (TRACE_FINGERPRINT_BYTES - HEAD_BYTES)
#define START_BYTES TRACE_FINGERPRINT_START_BYTES
#define LAST_BYTES  (TRACE_FINGERPRINT_WHOLE_BYTES - START_BYTES)
#define PIECE_BYTES 4096u
#define STEP_BYTES  65536u

struct fingerprint {
	crypto_generichash_state head, rest;
	uint64_t seen;
	uint64_t piece;   /* where the next one starts, or the one that is being seen */
	bool     ended;
	uint8_t *last;    /* LAST_BYTES: byte n of the stream lies at n % LAST_BYTES */
};

static uint64_t
piece_after(uint64_t at)
{
	return at + at / 32;
}

/* The first byte behind the start that belongs to the last ones. */
static uint64_t
last_of(uint64_t size)
{
	return size > START_BYTES + LAST_BYTES ? size - LAST_BYTES : START_BYTES;
}

static void
hash_size(crypto_generichash_state *h, uint64_t size)
{
	uint8_t size_le[8];
	store_le64(size_le, size);
	crypto_generichash_update(h, size_le, sizeof size_le);
}

/* --- of a file --- */

struct range {
	crypto_generichash_state *hash;
	int         fd;
	const char *name;
};

/* From `at` at most n bytes, not beyond the end. */
static enum err
hash_range(const struct range *r, uint64_t at, uint64_t n, uint64_t size)
{
	uint8_t bytes[STEP_BYTES];
	for (uint64_t end = n < size - at ? at + n : size; at < end;) {
		size_t step = end - at < sizeof bytes ? (size_t)(end - at) : sizeof bytes;
		TRY(io_pread(r->fd, bytes, step, at, r->name));
		crypto_generichash_update(r->hash, bytes, step);
		at += step;
	}
	return OK;
}

enum err
fingerprint_file(int fd, const char *name, uint8_t out[TRACE_FINGERPRINT_BYTES])
{
	crypto_generichash_state head, rest;
	struct range start = { &head, fd, name }, more = { &rest, fd, name };
	uint64_t size = 0;
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium could not be initialised");
	TRY(io_size(fd, &size, name));
	crypto_generichash_init(&head, NULL, 0, HEAD_BYTES);
	crypto_generichash_init(&rest, NULL, 0, REST_BYTES);
	TRY(hash_range(&start, 0, START_BYTES, size));
	for (uint64_t at = START_BYTES; at < size; at = piece_after(at))
		TRY(hash_range(&more, at, PIECE_BYTES, size));
	if (size > START_BYTES)
		TRY(hash_range(&more, last_of(size), LAST_BYTES, size));
	hash_size(&rest, size);
	crypto_generichash_final(&head, out, HEAD_BYTES);
	crypto_generichash_final(&rest, out + HEAD_BYTES, REST_BYTES);
	return OK;
}

/* --- of a stream --- */

enum err
fingerprint_open(struct fingerprint **out)
{
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium could not be initialised");
	struct fingerprint *f = calloc(1, sizeof *f);
	if (!f || !(f->last = malloc(LAST_BYTES))) {
		free(f);
		return fail(ERR_NOMEM, "out of memory");
	}
	crypto_generichash_init(&f->head, NULL, 0, HEAD_BYTES);
	crypto_generichash_init(&f->rest, NULL, 0, REST_BYTES);
	f->piece = START_BYTES;
	*out = f;
	return OK;
}

void
fingerprint_close(struct fingerprint **f)
{
	if (!*f)
		return;
	free((*f)->last);
	free(*f);
	*f = NULL;
}

static void
see_pieces(struct fingerprint *f, const uint8_t *bytes, uint64_t end)
{
	while (f->piece < end) {
		uint64_t from = f->piece > f->seen ? f->piece : f->seen;
		uint64_t until = f->piece + PIECE_BYTES < end ? f->piece + PIECE_BYTES : end;
		if (from < until)
			crypto_generichash_update(&f->rest, bytes + (from - f->seen), until - from);
		if (end < f->piece + PIECE_BYTES)
			return;
		f->piece = piece_after(f->piece);
	}
}

static void
keep_last(struct fingerprint *f, const uint8_t *bytes, size_t n)
{
	uint64_t at = f->seen;
	if (n > LAST_BYTES) {
		bytes += n - LAST_BYTES;
		at += n - LAST_BYTES;
		n = LAST_BYTES;
	}
	size_t place = (size_t)(at % LAST_BYTES), first = n < LAST_BYTES - place ? n : LAST_BYTES - place;
	memcpy(f->last + place, bytes, first);
	memcpy(f->last, bytes + first, n - first);
}

void
fingerprint_see(struct fingerprint *f, const void *bytes, size_t n)
{
	if (n == 0) {
		f->ended = true;
		return;
	}
	if (f->seen < START_BYTES)
		crypto_generichash_update(&f->head, bytes, n < START_BYTES - f->seen ? n : START_BYTES - f->seen);
	see_pieces(f, bytes, f->seen + n);
	keep_last(f, bytes, n);
	f->seen += n;
}

void
fingerprint_get(const struct fingerprint *f, uint8_t out[TRACE_FINGERPRINT_BYTES], bool *whole)
{
	crypto_generichash_state head = f->head, rest = f->rest;
	crypto_generichash_final(&head, out, HEAD_BYTES);
	memset(out + HEAD_BYTES, 0, REST_BYTES);
	*whole = f->ended;
	if (!f->ended)
		return;
	if (f->seen > START_BYTES) {
		uint64_t from = last_of(f->seen);
		size_t place = (size_t)(from % LAST_BYTES), n = (size_t)(f->seen - from);
		size_t first = n < LAST_BYTES - place ? n : LAST_BYTES - place;
		crypto_generichash_update(&rest, f->last + place, first);
		crypto_generichash_update(&rest, f->last, n - first);
	}
	hash_size(&rest, f->seen);
	crypto_generichash_final(&rest, out + HEAD_BYTES, REST_BYTES);
}
