#include "ingest/trace.h"

#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/io.h"

#define END_BYTES    (1u << 20) /* all of the first and the last */
#define PIECE_BYTES  4096u
#define PIECES       TRACE_FINGERPRINT_PLACES
#define SAMPLE_BYTES (2 * END_BYTES + PIECES * PIECE_BYTES) /* up to this size a file is read whole */
#define STEP_BYTES   65536u

_Static_assert(SAMPLE_BYTES == TRACE_FINGERPRINT_WHOLE_BYTES, "as the header says");

struct sampler {
	crypto_generichash_state hash;
	int         fd;
	const char *name;
};

static enum err
sample(struct sampler *s, uint64_t at, uint64_t n)
{
	uint8_t bytes[STEP_BYTES];
	while (n) {
		size_t step = n < sizeof bytes ? (size_t)n : sizeof bytes;
		TRY(io_pread(s->fd, bytes, step, at, s->name));
		crypto_generichash_update(&s->hash, bytes, step);
		at += step;
		n -= step;
	}
	return OK;
}

static enum err
sample_file(struct sampler *s)
{
	uint64_t size = 0;
	uint8_t size_le[8];
	TRY(io_size(s->fd, &size, s->name));
	store_le64(size_le, size);
	crypto_generichash_update(&s->hash, size_le, sizeof size_le);
	if (size <= SAMPLE_BYTES)
		return sample(s, 0, size);
	TRY(sample(s, 0, END_BYTES));
	uint64_t span = size - 2 * END_BYTES - PIECE_BYTES; /* from the first piece's start to the last one's */
	for (uint64_t i = 0; i < PIECES; i++)
		TRY(sample(s, END_BYTES + span / (PIECES - 1) * i, PIECE_BYTES));
	return sample(s, size - END_BYTES, END_BYTES);
}

enum err
trace_fingerprint(const char *path, uint8_t out[TRACE_FINGERPRINT_BYTES])
{
	if (strcmp(path, "-") == 0)
		return fail(ERR_UNSUPPORTED, "standard input: it can not be read twice");
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium could not be initialised");
	struct stat st; /* looked at before it is opened: opening a pipe waits for its writer */
	if (stat(path, &st) < 0)
		return fail_errno("%s", path);
	if (!S_ISREG(st.st_mode))
		return fail(ERR_UNSUPPORTED, "%s: not a regular file, it can not be read twice", path);
	struct sampler s = { .fd = -1, .name = path };
	TRY(io_open(&s.fd, path));
	crypto_generichash_init(&s.hash, NULL, 0, TRACE_FINGERPRINT_BYTES);
	enum err e = sample_file(&s);
	if (e == OK)
		crypto_generichash_final(&s.hash, out, TRACE_FINGERPRINT_BYTES);
	io_close(&s.fd);
	return e;
}
