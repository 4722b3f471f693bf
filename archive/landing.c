#include "archive/landing.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/segment_format.h"
#include "base/io.h"

#define READ_u8(r, size, to)    (to) = reader_u8(r)
#define READ_le32(r, size, to)  (to) = reader_le32(r)
#define READ_le64(r, size, to)  (to) = reader_le64(r)
#define READ_bytes(r, size, to) reader_get(r, to, size)
#define WRITE_u8(w, size, from)    writer_u8(w, from)
#define WRITE_le32(w, size, from)  writer_le32(w, from)
#define WRITE_le64(w, size, from)  writer_le64(w, from)
#define WRITE_bytes(w, size, from) writer_put(w, from, size)

#define CHECK_BYTES  8u
#define RESYNC_BYTES (1u << 20) /* looked through at once behind damage */

struct landing {
	char     path[PATH_BYTES];
	int      fd;
	uint8_t *key; /* sodium_malloc */
	struct landing_name name;
	uint64_t bytes;
	uint32_t cuts;
	uint8_t *buffer; /* of one record */
	size_t   room;
};

struct header {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	LANDING_HEADER(F)
#undef F
};

static enum err
landing_room(struct landing *l, size_t n)
{
	if (n <= l->room)
		return OK;
	uint8_t *p = realloc(l->buffer, n);
	if (!p)
		return fail(ERR_NOMEM, "out of memory");
	l->buffer = p;
	l->room = n;
	return OK;
}

static enum err
landing_new(struct landing **out, const char *path, const uint8_t key[SEGMENT_KEY_BYTES])
{
	if (strlen(path) >= PATH_BYTES)
		return fail(ERR_LIMIT, "%s: path too long", path);
	TRY(seal_start());
	struct landing *l = calloc(1, sizeof *l);
	if (!l || !(l->key = sodium_malloc(SEGMENT_KEY_BYTES))) {
		free(l);
		return fail(ERR_NOMEM, "out of memory");
	}
	l->fd = -1;
	memcpy(l->path, path, strlen(path) + 1);
	memcpy(l->key, key, SEGMENT_KEY_BYTES);
	*out = l;
	return OK;
}

void
landing_close(struct landing **l)
{
	if (!*l)
		return;
	io_close(&(*l)->fd);
	sodium_free((*l)->key);
	free((*l)->buffer);
	free(*l);
	*l = NULL;
}

const struct landing_name *landing_name_of(const struct landing *l) { return &l->name; }
const char *landing_path(const struct landing *l) { return l->path; }
int landing_fd(const struct landing *l) { return l->fd; }
uint64_t landing_bytes(const struct landing *l) { return l->bytes; }

/* --- the header --- */

static void
header_write(const struct landing_name *name, uint8_t bytes[LANDING_HEADER_BYTES])
{
	struct writer w = writer_of(bytes, LANDING_HEADER_BYTES);
	struct header h = { .magic = LANDING_MAGIC, .version = LANDING_VERSION, .id = name->id, .key_slot = name->key_slot };
	memcpy(h.archive, name->archive, sizeof h.archive);
#define F(codec, size, field, meaning) WRITE_##codec(&w, size, h.field);
	LANDING_HEADER(F)
#undef F
	short_hash(bytes, LANDING_HEADER_BYTES - CHECK_BYTES, bytes + LANDING_HEADER_BYTES - CHECK_BYTES);
	assert(writer_ok(&w));
}

static enum err
header_read(int fd, const char *path, struct landing_name *name)
{
	uint8_t bytes[LANDING_HEADER_BYTES], check[CHECK_BYTES];
	TRY(io_pread(fd, bytes, sizeof bytes, 0, path));
	struct reader r = reader_of(bytes, sizeof bytes);
	struct header h;
#define F(codec, size, field, meaning) READ_##codec(&r, size, h.field);
	LANDING_HEADER(F)
#undef F
	short_hash(bytes, sizeof bytes - CHECK_BYTES, check);
	if (h.magic != LANDING_MAGIC || memcmp(check, h.check, sizeof check) != 0)
		return fail(ERR_FORMAT, "%s: not a landing file, or its header is damaged", path);
	if (h.version != LANDING_VERSION)
		return fail(ERR_UNSUPPORTED, "%s: landing file of version %u, this program knows %u: use a newer program", path,
		            h.version, LANDING_VERSION);
	memcpy(name->archive, h.archive, sizeof name->archive);
	name->id = h.id;
	name->key_slot = h.key_slot;
	return OK;
}

enum err
landing_read_name(const char *path, struct landing_name *name)
{
	int fd = -1;
	TRY(io_open(&fd, path));
	enum err e = header_read(fd, path, name);
	io_close(&fd);
	return e;
}

enum err
landing_create(struct landing **out, const char *path, const struct landing_name *name, const uint8_t key[SEGMENT_KEY_BYTES])
{
	struct landing *l = NULL;
	uint8_t bytes[LANDING_HEADER_BYTES];
	TRY(landing_new(&l, path, key));
	l->name = *name;
	header_write(name, bytes);
	enum err e = io_create(&l->fd, path, 0600);
	bool made = e == OK;
	if (e == OK)
		e = io_pwrite(l->fd, bytes, sizeof bytes, 0, path);
	if (e != OK) {
		if (made)
			(void)unlink(path); /* ours; the first error is the one to tell */
		landing_close(&l);
		return e;
	}
	l->bytes = sizeof bytes;
	*out = l;
	return OK;
}

enum err
landing_open(struct landing **out, const char *path, const uint8_t key[SEGMENT_KEY_BYTES])
{
	struct landing *l = NULL;
	TRY(landing_new(&l, path, key));
	enum err e = io_open(&l->fd, path);
	if (e == OK)
		e = io_size(l->fd, &l->bytes, path);
	if (e == OK)
		e = header_read(l->fd, path, &l->name);
	if (e != OK) {
		landing_close(&l);
		return e;
	}
	*out = l;
	return OK;
}

/* --- records --- */

static void
record_write(struct landing_record *record, uint8_t bytes[LANDING_RECORD_BYTES])
{
	struct writer w = writer_of(bytes, LANDING_RECORD_BYTES);
#define F(codec, size, field, meaning) WRITE_##codec(&w, size, record->field);
	LANDING_RECORD(F)
#undef F
	short_hash(bytes, LANDING_RECORD_BYTES - CHECK_BYTES, record->check);
	memcpy(bytes + LANDING_RECORD_BYTES - CHECK_BYTES, record->check, CHECK_BYTES);
	assert(writer_ok(&w));
}

/* Whether these bytes are a record's header that fits into `room` bytes of file. */
static bool
record_parse(const uint8_t bytes[LANDING_RECORD_BYTES], uint64_t room, struct landing_record *record)
{
	struct reader r = reader_of(bytes, LANDING_RECORD_BYTES);
	uint8_t check[CHECK_BYTES];
#define F(codec, size, field, meaning) READ_##codec(&r, size, record->field);
	LANDING_RECORD(F)
#undef F
	if (record->magic != LANDING_RECORD_MAGIC)
		return false;
	short_hash(bytes, LANDING_RECORD_BYTES - CHECK_BYTES, check);
	return memcmp(check, record->check, sizeof check) == 0 && record->bytes <= room &&
	       record->front_bytes > PARCEL_HEADER_BYTES && record->front_bytes <= PARCEL_FRONT_BYTES_MAX &&
	       record->block_bytes <= PARCEL_BYTES_MAX &&
	       record->bytes == LANDING_PREFIX_BYTES + record->front_bytes + record->block_bytes &&
	       (record->block_bytes == 0 ||
	        (record->block_bytes >= BLOCK_HEADER_BYTES && record->records > 0 && record->records <= BLOCK_RECORDS_MAX &&
	         record->sampled > 0 && record->sampler < SAMPLER_COUNT_OF && record->first_ns <= record->last_ns));
}

struct block_info
landing_block_info(const struct landing_entry *e)
{
	const struct landing_record *r = &e->record;
	struct block_info info = {
		.at = e->at + LANDING_PREFIX_BYTES + r->front_bytes,
		.stored_bytes = r->block_bytes,
		.records = r->records,
		.first_ns = r->first_ns,
		.last_ns = r->last_ns,
		.wire_bytes = r->wire_bytes,
		.captured_bytes = r->captured_bytes,
		.sampled = r->sampled,
		.sampler = r->sampler,
	};
	memcpy(info.hash, e->parcel.hash, sizeof info.hash);
	return info;
}

/* After a failed write: the file as it was. Returns e with its sentence, or ERR_IO. */
static enum err
take_back(struct landing *l, enum err e)
{
	char kept[ERR_TEXT_BYTES];
	memcpy(kept, err_text(), strnlen(err_text(), sizeof kept - 1) + 1);
	return landing_cut(l, l->bytes) == OK ? fail(e, "%s", kept) : fail(ERR_IO, "%s", kept);
}

enum err
landing_append(struct landing *l, const struct parcel *p, const struct block_info *info, const uint8_t key[BLOCK_KEY_BYTES],
               uint32_t monitor, uint32_t stream, uint64_t arrived_ns, struct landing_entry *out)
{
	static const uint8_t no_key[BLOCK_KEY_BYTES];
	assert((info != NULL) == (p->block != NULL) && (key != NULL) == (p->block != NULL));
	struct landing_record record = {
		.magic = LANDING_RECORD_MAGIC,
		.bytes = LANDING_PREFIX_BYTES + p->front_bytes + p->block_bytes,
		.stream = stream,
		.monitor = monitor,
		.cuts = l->cuts,
		.front_bytes = p->front_bytes,
		.block_bytes = p->block_bytes,
		.arrived_ns = arrived_ns,
	};
	if (info) {
		record.records = info->records;
		record.first_ns = info->first_ns;
		record.last_ns = info->last_ns;
		record.wire_bytes = info->wire_bytes;
		record.captured_bytes = info->captured_bytes;
		record.sampled = info->sampled;
		record.sampler = info->sampler;
	}
	memcpy(record.parcel, p->self, sizeof record.parcel);
	uint8_t head[LANDING_PREFIX_BYTES + PARCEL_FRONT_BYTES_MAX];
	record_write(&record, head);
	seal_block_key(l->key, l->bytes, l->cuts, head, LANDING_RECORD_BYTES, key ? key : no_key, head + LANDING_RECORD_BYTES);
	memcpy(head + LANDING_PREFIX_BYTES, p->front, p->front_bytes);
	enum err e = io_pwrite(l->fd, head, LANDING_PREFIX_BYTES + p->front_bytes, l->bytes, l->path);
	if (e == OK && p->block_bytes)
		e = io_pwrite(l->fd, p->block, p->block_bytes, l->bytes + LANDING_PREFIX_BYTES + p->front_bytes, l->path);
	if (e != OK)
		return take_back(l, e);
	out->at = l->bytes;
	out->next = l->bytes + record.bytes;
	out->record = record;
	l->bytes = out->next;
	return OK;
}

enum err
landing_cut(struct landing *l, uint64_t bytes)
{
	if (ftruncate(l->fd, (off_t)bytes) < 0)
		return fail_errno("%s: cut off at byte %llu", l->path, (unsigned long long)bytes);
	l->bytes = bytes;
	l->cuts++;
	return OK;
}

enum err
landing_sync(struct landing *l)
{
	return io_datasync(l->fd, l->path);
}

static enum err
damaged(const struct landing *l, uint64_t at, enum err e, const char *what)
{
	return fail(e, "%s: the record at byte %llu is damaged: %s", l->path, (unsigned long long)at, what);
}

enum err
landing_key(struct landing *l, uint64_t at, struct landing_entry *out)
{
	uint8_t prefix[LANDING_PREFIX_BYTES];
	struct landing_entry e = { .at = at };
	if (at == l->bytes)
		return END;
	if (at > l->bytes || sizeof prefix > l->bytes - at)
		return damaged(l, at, ERR_FORMAT, "the file ends in it");
	TRY(io_pread(l->fd, prefix, sizeof prefix, at, l->path));
	if (!record_parse(prefix, l->bytes - at, &e.record))
		return damaged(l, at, ERR_FORMAT, "its header");
	if (unseal_block_key(l->key, at, e.record.cuts, prefix, LANDING_RECORD_BYTES, prefix + LANDING_RECORD_BYTES, e.key) != OK)
		return damaged(l, at, ERR_DENIED, "the key in it does not open");
	e.next = at + e.record.bytes;
	*out = e;
	sodium_memzero(e.key, sizeof e.key);
	return OK;
}

/* Front and block, which hold each other's hash. */
static enum err
parcel_of(struct landing *l, struct landing_entry *e)
{
	const struct landing_record *r = &e->record;
	uint8_t hash[PARCEL_HASH_BYTES];
	size_t n = (size_t)r->front_bytes + r->block_bytes;
	TRY(landing_room(l, n));
	TRY(io_pread(l->fd, l->buffer, n, e->at + LANDING_PREFIX_BYTES, l->path));
	crypto_generichash(hash, sizeof hash, l->buffer, r->front_bytes, NULL, 0);
	if (memcmp(hash, r->parcel, sizeof hash) != 0)
		return damaged(l, e->at, ERR_FORMAT, "the parcel's header");
	if (parcel_parse(l->buffer, n, &e->parcel) != OK)
		return damaged(l, e->at, ERR_FORMAT, "what is in it is no parcel");
	if (e->parcel.block_bytes != r->block_bytes || (r->block_bytes && e->parcel.records != r->records))
		return damaged(l, e->at, ERR_FORMAT, "it is of another parcel");
	if (r->block_bytes == 0)
		return OK;
	crypto_generichash(hash, sizeof hash, e->parcel.block, r->block_bytes, NULL, 0);
	if (memcmp(hash, e->parcel.hash, sizeof hash) != 0)
		return damaged(l, e->at, ERR_FORMAT, "its block");
	return OK;
}

enum err
landing_read(struct landing *l, uint64_t at, struct landing_entry *out)
{
	struct landing_entry e;
	TRY(landing_key(l, at, &e));
	enum err error = parcel_of(l, &e);
	if (error == OK)
		*out = e;
	sodium_memzero(e.key, sizeof e.key);
	return error;
}

/* The first magic in n bytes, or n. */
static size_t
find_magic(const uint8_t *p, size_t n)
{
	const uint8_t *from = p, *end = p + n;
	while (end - from >= 4 && (from = memchr(from, LANDING_RECORD_MAGIC & 0xff, (size_t)(end - from) - 3))) {
		if (load_le32(from) == LANDING_RECORD_MAGIC)
			return (size_t)(from - p);
		from++;
	}
	return n;
}

enum err
landing_resync(struct landing *l, uint64_t at, uint64_t *next)
{
	struct landing_entry e;
	TRY(landing_room(l, RESYNC_BYTES));
	for (uint64_t from = at + 1; from < l->bytes && l->bytes - from >= LANDING_PREFIX_BYTES;) {
		size_t n = l->bytes - from < RESYNC_BYTES ? l->bytes - from : RESYNC_BYTES;
		TRY(io_pread(l->fd, l->buffer, n, from, l->path));
		for (size_t i = 0; (i += find_magic(l->buffer + i, n - i)) < n; i++) {
			enum err error = landing_key(l, from + i, &e);
			if (error == OK) {
				sodium_memzero(e.key, sizeof e.key);
				*next = from + i;
				return OK;
			}
			if (error != ERR_FORMAT && error != ERR_DENIED && error != END)
				return error;
		}
		from += n == RESYNC_BYTES ? n - 3 : n; /* a magic may lie across the end */
	}
	return END;
}
