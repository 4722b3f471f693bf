#include "tests/support/made_streams.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/block.h"
#include "base/bytes.h"
#include "index/store.h"
#include "tests/support/draft.h"
#include "tests/support/make_archive.h"

#define STREAMS_HERE 64u

struct made *made;
uint32_t made_count, made_segments;

static char dir[PATH_BYTES];
static struct store *store;
static struct archive *archive;
static struct frames *frames;
static struct block_encoder *encoder;
static struct plan *plan;
static struct filter *filter;
static uint32_t room, numbers[STREAMS_HERE]; /* records of each stream so far */

static void
must(enum err e)
{
	if (e == OK)
		return;
	fprintf(stderr, "%s: %s\n", err_name(e), err_text());
	abort();
}

void
made_open(void)
{
	scratch_make(dir);
	made_count = made_segments = 0;
	memset(numbers, 0, sizeof numbers);
	must(archive_init(dir, NULL));
	must(store_open(&store, dir, NULL));
	must(frames_open(&frames, BLOCK_BYTES_MAX));
	must(block_encoder_open(&encoder));
}

static void
add_record(uint32_t stream, uint64_t ts_ns, uint32_t block)
{
	if (made_count == room) {
		room = room ? 2 * room : 1024;
		made = realloc(made, room * sizeof *made);
		assert(made);
	}
	uint32_t n = numbers[stream]++;
	struct made *m = &made[made_count++];
	*m = (struct made){ ts_ns, stream, made_segments, block, 60 + n % 100, n % 3 == 0, { 0 } };
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, 0x0800);
	draft_ip4(&d, 10u << 24 | stream << 16 | (n & 0xffff), 0xc6336407, 17, NULL, 0);
	draft_udp(&d, 4096, m->https ? 443 : 53);
	draft_number(&d, n, 4);
	draft_finish(&d);
	assert(d.n == MADE_BYTES);
	memcpy(m->bytes, d.p, d.n);
	draft_add(&d, frames, ts_ns, 1)->wire_len = m->wire_len;
}

void
made_segment(const char *name, const uint64_t *times, uint32_t count, uint32_t per_block)
{
	struct store_segment *g = NULL;
	uint32_t stream;
	must(store_stream(store, name, &stream));
	assert(stream < STREAMS_HERE);
	must(store_segment_begin(store, stream, &g));
	for (uint32_t i = 0, block = 0; i < count; block++) {
		frames_reset(frames);
		for (uint32_t k = 0; k < per_block && i < count; k++, i++)
			add_record(stream, times[i], block);
		struct block b;
		must(block_encode(encoder, frames, false, &b));
		must(segment_seal(store_segment_writer(g), encoder, &b));
	}
	must(store_segment_commit(store, &g, NULL));
	made_segments++;
}

struct archive *
made_archive(void)
{
	store_close(&store);
	if (!archive)
		must(archive_open(&archive, dir, NULL, ARCHIVE_READ));
	return archive;
}

void
made_segment_path(uint32_t segment, char out[PATH_BYTES])
{
	must(archive_segment_path(made_archive(), segment + 1, out));
}

void
made_damage(uint32_t segment)
{
	char path[PATH_BYTES];
	struct stat st;
	uint8_t byte;
	made_segment_path(segment, path);
	int fd = open(path, O_RDWR);
	if (fd < 0 || fstat(fd, &st) != 0 || pread(fd, &byte, 1, st.st_size / 2) != 1)
		abort();
	byte ^= 4;
	if (pwrite(fd, &byte, 1, st.st_size / 2) != 1 || close(fd) != 0)
		abort();
}

void
made_ruin(uint32_t segment)
{
	char path[PATH_BYTES];
	struct stat st;
	uint8_t byte;
	made_segment_path(segment, path);
	int fd = open(path, O_RDWR);
	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	/* all over: what a segment can not do without is there twice */
	for (off_t at = 0; at < st.st_size; at += 40) {
		if (pread(fd, &byte, 1, at) != 1)
			abort();
		byte ^= 4;
		if (pwrite(fd, &byte, 1, at) != 1)
			abort();
	}
	if (close(fd) != 0)
		abort();
}

void
made_close(void)
{
	plan_close(&plan);
	filter_close(&filter);
	store_close(&store);
	archive_close(&archive);
	frames_close(&frames);
	block_encoder_close(&encoder);
	free(made);
	made = NULL;
	room = made_count = 0;
	scratch_remove(dir);
}

struct plan *
made_plan(const char *const *streams, uint64_t from_ns, uint64_t until_ns, const char *expression)
{
	plan_close(&plan);
	filter_close(&filter);
	must(filter_open(&filter, expression, NULL));
	struct request r = { .streams = streams, .span = { from_ns, until_ns ? until_ns : UINT64_MAX }, .filter = filter };
	while (streams && streams[r.stream_count])
		r.stream_count++;
	must(plan_open(&plan, made_archive(), &r));
	return plan;
}

struct filter *
made_filter(void)
{
	return filter;
}
