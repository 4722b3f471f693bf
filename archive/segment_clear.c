#include "archive/segment_clear.h"

#include <string.h>

#include "base/io.h"

/* Check and version of a part in the clear: n bytes. */
static enum err
check_clear(const uint8_t *p, size_t n, const char *part, const char *path)
{
	uint8_t check[8];
	short_hash(p, n - 8, check);
	if (memcmp(check, p + n - 8, 8) != 0)
		return fail(ERR_FORMAT, "%s: the %s is damaged", path, part);
	if (load_le32(p + 4) != SEGMENT_VERSION)
		return fail(ERR_UNSUPPORTED, "%s: segment format version %u; this program knows version %u: read it with the program that "
		            "wrote it (atoll export --raw) and import that again", path, load_le32(p + 4), SEGMENT_VERSION);
	return OK;
}

enum err
clear_header(int fd, const char *path, struct segment_name *name)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	TRY(io_pread(fd, bytes, sizeof bytes, 0, path));
	struct {
#define F(codec, type, field, description) type field;
		SEGMENT_HEADER(F)
#undef F
	} h;
	struct reader r = reader_of(bytes, sizeof bytes);
#define F(codec, type, field, description) h.field = reader_##codec(&r);
	SEGMENT_HEADER(F)
#undef F
	if (h.magic != SEGMENT_MAGIC)
		return fail(ERR_FORMAT, "%s: not a segment file", path);
	TRY(check_clear(bytes, sizeof bytes, "header", path));
	*name = (struct segment_name){ .id = h.id, .key_slot = h.key_slot, .stream = h.stream };
	memcpy(name->archive, reader_view(&r, ARCHIVE_ID_BYTES), ARCHIVE_ID_BYTES);
	return OK;
}

enum err
clear_trailer(const uint8_t *p, const char *path, struct trailer *t)
{
	struct reader r = reader_of(p, SEGMENT_TRAILER_BYTES);
#define F(codec, type, field, description) t->field = reader_##codec(&r);
	SEGMENT_TRAILER(F)
#undef F
	if (t->magic != SEGMENT_TRAILER_MAGIC)
		return fail(ERR_FORMAT, "%s: the trailer is damaged or missing (file cut short?)", path);
	TRY(check_clear(p, SEGMENT_TRAILER_BYTES, "trailer", path));
	t->name = (struct segment_name){ .id = t->id, .key_slot = t->key_slot, .stream = t->stream };
	memcpy(t->name.archive, reader_view(&r, ARCHIVE_ID_BYTES), ARCHIVE_ID_BYTES);
	memcpy(t->root, reader_view(&r, SEGMENT_HASH_BYTES), SEGMENT_HASH_BYTES);
	return OK;
}

enum err
clear_pick_trailer(const uint8_t *p, const char *path, struct trailer *t, bool *last)
{
	enum err e = clear_trailer(p + SEGMENT_TRAILER_BYTES, path, t);
	*last = e != ERR_FORMAT;
	return *last ? e : clear_trailer(p, path, t);
}

static enum err
read_trailer(int fd, const char *path, struct trailer *t)
{
	uint8_t bytes[SEGMENT_TRAILERS_BYTES];
	uint64_t size = 0;
	bool last;
	TRY(io_size(fd, &size, path));
	if (size < sizeof bytes)
		return fail(ERR_FORMAT, "%s: cut short at %llu bytes", path, (unsigned long long)size);
	TRY(io_pread(fd, bytes, sizeof bytes, size - sizeof bytes, path));
	return clear_pick_trailer(bytes, path, t, &last);
}

enum err
segment_read_name(const char *path, struct segment_name *name)
{
	int fd = -1;
	struct trailer t;
	TRY(io_open(&fd, path));
	enum err e = clear_header(fd, path, name);
	if (e == ERR_FORMAT) {
		e = read_trailer(fd, path, &t);
		if (e == OK)
			*name = t.name;
		else if (e == ERR_FORMAT)
			e = clear_header(fd, path, name); /* what it said */
	}
	io_close(&fd);
	return e;
}
