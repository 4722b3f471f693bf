#include "archive/frames.h"

#include <stdlib.h>

enum err
frames_open(struct frames **out, uint32_t room_bytes)
{
	if (room_bytes > BLOCK_BYTES_MAX)
		return fail(ERR_LIMIT, "frames of %u bytes, at most %u", room_bytes, BLOCK_BYTES_MAX);
	struct frames *f = calloc(1, sizeof *f);
	if (!f)
		return fail(ERR_NOMEM, "out of memory");
	f->v = malloc(BLOCK_RECORDS_MAX * sizeof *f->v);
	f->bytes = malloc(room_bytes + FRAMES_SLACK);
	f->room_bytes = room_bytes;
	if (!f->v || !f->bytes) {
		frames_close(&f);
		return fail(ERR_NOMEM, "out of memory");
	}
	*out = f;
	return OK;
}

void
frames_close(struct frames **f)
{
	if (!*f)
		return;
	free((*f)->v);
	free((*f)->bytes);
	free(*f);
	*f = NULL;
}
