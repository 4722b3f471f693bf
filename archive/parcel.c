#include "archive/parcel.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "archive/block.h"
#include "base/bytes.h"

#define READ_u8(r, size, to)    (to) = reader_u8(r)
#define READ_le16(r, size, to)  (to) = reader_le16(r)
#define READ_le32(r, size, to)  (to) = reader_le32(r)
#define READ_le64(r, size, to)  (to) = reader_le64(r)
#define READ_bytes(r, size, to) reader_get(r, to, size)
#define WRITE_u8(w, size, from)    writer_u8(w, from)
#define WRITE_le16(w, size, from)  writer_le16(w, from)
#define WRITE_le32(w, size, from)  writer_le32(w, from)
#define WRITE_le64(w, size, from)  writer_le64(w, from)
#define WRITE_bytes(w, size, from) writer_put(w, from, size)

void
parcel_sign(struct parcel *p, const uint8_t sign[PARCEL_SIGN_BYTES], const uint8_t ingest[INGEST_KEY_BYTES],
            const uint8_t key[BLOCK_KEY_BYTES], uint8_t front[PARCEL_FRONT_BYTES_MAX])
{
	assert((p->kind == PARCEL_BLOCK) == (p->block != NULL && key != NULL));
	p->magic = PARCEL_MAGIC;
	p->version = PARCEL_VERSION;
	p->name_bytes = (uint16_t)strlen(p->stream);
	memset(p->sealed_key, 0, sizeof p->sealed_key);
	if (p->kind == PARCEL_BLOCK) {
		crypto_generichash(p->hash, sizeof p->hash, p->block, p->block_bytes, NULL, 0);
		/* fails for a public key that is none only: the archive's own */
		if (crypto_box_seal(p->sealed_key, key, BLOCK_KEY_BYTES, ingest) != 0)
			assert(!"the archive's ingest key is a point of small order");
	}
	parcel_sign_again(p, sign, front);
}

void
parcel_sign_again(struct parcel *p, const uint8_t sign[PARCEL_SIGN_BYTES], uint8_t front[PARCEL_FRONT_BYTES_MAX])
{
	struct writer w = writer_of(front, PARCEL_FRONT_BYTES_MAX);
#define F(codec, size, name, meaning) WRITE_##codec(&w, size, p->name);
	PARCEL_HEADER(F)
#undef F
	writer_put(&w, p->stream, p->name_bytes);
	size_t n = (size_t)(w.at - front);
	crypto_sign_detached(writer_room(&w, PARCEL_SIGN_BYTES), NULL, front, n, sign);
	assert(writer_ok(&w));
	p->front = front;
	p->front_bytes = (uint32_t)(n + PARCEL_SIGN_BYTES);
	crypto_generichash(p->self, sizeof p->self, front, p->front_bytes, NULL, 0);
}

/* The fixed part, checked as far as it goes without the rest. */
static enum err
parse_header(const uint8_t *bytes, size_t n, struct parcel *p)
{
	struct reader r = reader_of(bytes, n);
#define F(codec, size, name, meaning) READ_##codec(&r, size, p->name);
	PARCEL_HEADER(F)
#undef F
	if (!reader_ok(&r) || p->magic != PARCEL_MAGIC)
		return fail(ERR_FORMAT, "not a parcel");
	if (p->version != PARCEL_VERSION || (p->kind != PARCEL_BLOCK && p->kind != PARCEL_LOSS))
		return fail(ERR_UNSUPPORTED, "parcel of version %u, kind %u: this program knows version %u, kinds 1 and 2",
		            p->version, p->kind, PARCEL_VERSION);
	if (p->name_bytes == 0 || p->name_bytes >= STREAM_NAME_BYTES || p->epoch == 0 || p->sequence == 0 ||
	    p->records == 0 || p->first_ns > p->last_ns)
		return fail(ERR_FORMAT, "a parcel that contradicts itself");
	if (p->kind == PARCEL_LOSS
	        ? p->block_bytes != 0 || p->from_sequence == 0 || p->from_sequence > p->sequence
	        : p->block_bytes < BLOCK_HEADER_BYTES || p->records > BLOCK_RECORDS_MAX || p->from_sequence != 0)
		return fail(ERR_FORMAT, "a parcel that contradicts itself");
	if (p->block_bytes > PARCEL_BYTES_MAX - PARCEL_FRONT_BYTES_MAX || p->captured_bytes > BLOCK_BYTES_MAX)
		if (p->kind == PARCEL_BLOCK)
			return fail(ERR_LIMIT, "a parcel larger than %u bytes", PARCEL_BYTES_MAX);
	return OK;
}

enum err
parcel_length(const uint8_t *bytes, size_t n, uint64_t *length)
{
	struct parcel p;
	TRY(parse_header(bytes, n, &p));
	*length = (uint64_t)PARCEL_HEADER_BYTES + p.name_bytes + PARCEL_SIGN_BYTES + p.block_bytes;
	return OK;
}

bool
parcel_is_name(const char *name)
{
	size_t n = strlen(name);
	return n > 0 && n < SPOOL_NAME_BYTES && *name != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@+") == n;
}

enum err
parcel_parse_front(const uint8_t *bytes, size_t n, struct parcel *out)
{
	struct parcel p = { 0 };
	TRY(parse_header(bytes, n, &p));
	if (n != (size_t)PARCEL_HEADER_BYTES + p.name_bytes + PARCEL_SIGN_BYTES)
		return fail(ERR_FORMAT, "a parcel of another length than it says");
	memcpy(p.stream, bytes + PARCEL_HEADER_BYTES, p.name_bytes);
	if (strlen(p.stream) != p.name_bytes || !parcel_is_name(p.stream))
		return fail(ERR_FORMAT, "a parcel of a stream that has no proper name: 1 to %u of a-z A-Z 0-9 . _ - : @ +, not beginning "
		            "with a dot", SPOOL_NAME_BYTES - 1);
	p.front = bytes;
	p.front_bytes = (uint32_t)n;
	crypto_generichash(p.self, sizeof p.self, bytes, n, NULL, 0);
	*out = p;
	return OK;
}

enum err
parcel_parse(const uint8_t *bytes, size_t n, struct parcel *out)
{
	struct parcel p;
	uint64_t length = 0;
	TRY(parcel_length(bytes, n, &length));
	if (n != length)
		return fail(ERR_FORMAT, "a parcel of another length than it says");
	uint32_t block_bytes = load_le32(bytes + PARCEL_HEADER_BYTES - PARCEL_SEALED_KEY_BYTES - 4);
	TRY(parcel_parse_front(bytes, n - block_bytes, &p));
	p.block = block_bytes ? bytes + n - block_bytes : NULL;
	*out = p;
	return OK;
}

enum err
parcel_verify(const struct parcel *p)
{
	uint8_t hash[PARCEL_HASH_BYTES];
	uint32_t n = p->front_bytes - PARCEL_SIGN_BYTES;
	if (crypto_sign_verify_detached(p->front + n, p->front, n, p->monitor) != 0)
		return fail(ERR_DENIED, "a parcel with a signature that is not its monitor's");
	if (p->kind != PARCEL_BLOCK)
		return OK;
	crypto_generichash(hash, sizeof hash, p->block, p->block_bytes, NULL, 0);
	if (memcmp(hash, p->hash, sizeof hash) != 0)
		return fail(ERR_DENIED, "a parcel whose block is not the one that was signed");
	return OK;
}

enum err
parcel_open_key(const uint8_t sealed_key[PARCEL_SEALED_KEY_BYTES], const uint8_t ingest_public[INGEST_KEY_BYTES],
                const uint8_t ingest_secret[INGEST_KEY_BYTES], uint8_t key[BLOCK_KEY_BYTES])
{
	if (crypto_box_seal_open(key, sealed_key, PARCEL_SEALED_KEY_BYTES, ingest_public, ingest_secret) != 0)
		return fail(ERR_DENIED, "a block that was sealed for another archive");
	return OK;
}
