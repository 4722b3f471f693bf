/* The trace reader against libpcap: every real and every hostile capture of the shared data, and pseudo-headers of
 * byte-swapped files. */
#include "tests/support/unit.h"

#include <ftw.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "ingest/trace.h"
#include "tests/support/scratch.h"

static struct frames *frames;
static char scratch[PATH_BYTES];

static struct tally {
	unsigned same, more, only_ours, neither, differ;
	unsigned cut, far_times; /* records that libpcap cuts to the snapshot length; times past 2038 that it takes for negative */
	uint64_t packets;
} tally;

static int
open_all(void **state)
{
	(void)state;
	scratch_make(scratch);
	return frames_open(&frames, BLOCK_BYTES_MAX) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	frames_close(&frames);
	scratch_remove(scratch);
	return 0;
}

/* --- one file, two readers --- */

struct ours {
	struct trace *t;
	uint32_t at;       /* in frames */
	enum err end;      /* OK: more may come */
	char     said[ERR_TEXT_BYTES];
};

static const struct frame *
ours_next(struct ours *o)
{
	while (o->at == frames->count && o->end == OK) {
		o->end = trace_fill(o->t, frames);
		o->at = 0;
		if (o->end != OK)
			snprintf(o->said, sizeof o->said, "%s", o->end == END ? "end" : err_text());
	}
	return o->at < frames->count ? &frames->v[o->at++] : NULL;
}

/* libpcap 1.10 reads seconds and microseconds of a pcap file as signed numbers. */
static bool
times_agree(const struct pcap_pkthdr *h, uint64_t ns)
{
	uint64_t theirs = (uint64_t)h->ts.tv_sec * UINT64_C(1000000000) + (uint64_t)h->ts.tv_usec;
	if (theirs == ns)
		return true;
	uint64_t seconds = (uint32_t)h->ts.tv_sec * UINT64_C(1000000000);
	tally.far_times++;
	return seconds + (uint32_t)h->ts.tv_usec == ns ||
	       seconds + (uint32_t)(h->ts.tv_usec / 1000) * UINT64_C(1000) == ns;
}

static bool
lengths_agree(const struct pcap_pkthdr *h, const struct frame *f, int snaplen)
{
	/* Of USB transfers libpcap corrects wrong lengths. */
	if (h->len != f->wire_len && f->linktype != 220)
		return false;
	if (h->caplen == f->cap_len)
		return true;
	tally.cut++;
	return (int)h->caplen == snaplen && f->cap_len > h->caplen;
}

/* The link types that have another number inside libpcap. */
static bool
linktypes_agree(int theirs, uint16_t ours)
{
	return (uint16_t)theirs == ours || (ours >= 100 && ours <= 106);
}

static void
differ(const char *path, uint64_t packet, const char *what)
{
	print_error("%s: packet %llu: %s\n", path, (unsigned long long)packet, what);
	tally.differ++;
}

static void
compare_packets(const char *path, pcap_t *p, struct ours *o)
{
	struct pcap_pkthdr *h;
	const u_char *bytes;
	int r;
	uint64_t n = 0;
	for (; (r = pcap_next_ex(p, &h, &bytes)) == 1; n++) {
		const struct frame *f = ours_next(o);
		/* A time that is not in 1970..2554 ends our reading, not libpcap's. */
		if (!f && strstr(o->said, "packet time outside"))
			return;
		if (!f)
			return differ(path, n, o->said);
		if (!times_agree(h, f->ts_ns))
			return differ(path, n, "time");
		if (!lengths_agree(h, f, pcap_snapshot(p)))
			return differ(path, n, "lengths");
		if (!linktypes_agree(pcap_datalink(p), f->linktype))
			return differ(path, n, "link type");
		if (memcmp(bytes, frames->bytes + f->at, h->caplen) != 0)
			return differ(path, n, "bytes");
	}
	tally.packets += n;
	bool more = ours_next(o) != NULL;
	if (r == PCAP_ERROR_BREAK && (more || o->end != END))
		return differ(path, n, more ? "more than libpcap" : o->said);
	if (r == PCAP_ERROR && (more || o->end == END))
		tally.more++; /* several link types, snapshot lengths, byte orders in a pcapng file */
	else
		tally.same++;
}

static void
compare_file(const char *path)
{
	char refusal[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, refusal);
	struct ours o = { 0 };
	frames_reset(frames);
	o.end = trace_open(&o.t, path);
	if (o.end != OK)
		snprintf(o.said, sizeof o.said, "%s", err_text());
	if (!p && !o.t) {
		tally.neither++;
	} else if (!p) {
		tally.only_ours++;
		while (ours_next(&o))
			;
	} else if (!o.t) {
		differ(path, 0, o.said);
	} else {
		compare_packets(path, p, &o);
	}
	/* Every refusal names the file and a place in it. */
	if (o.end != END && o.end != OK && (!strstr(o.said, path) || !strstr(o.said, "byte")))
		differ(path, 0, o.said);
	trace_close(&o.t);
	if (p)
		pcap_close(p);
}

/* --- the shared data --- */

static int
compare_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st, (void)where;
	if (kind == FTW_F)
		compare_file(path);
	return 0;
}

static void
compare_archive(const char *archive)
{
	if (!shared_unpack(archive, scratch))
		skip();
	tally = (struct tally){ 0 };
	assert_int_equal(nftw(scratch, compare_one, 16, FTW_PHYS), 0);
	print_message("%s: %u files as libpcap (%llu packets), %u of which we read more, %u we alone read, %u neither; "
	              "%u records kept whole that libpcap cuts, %u times past 2038\n",
	              archive, tally.same, (unsigned long long)tally.packets, tally.more, tally.only_ours, tally.neither,
	              tally.cut, tally.far_times);
	assert_int_equal(tally.differ, 0);
	scratch_empty(scratch);
}

static void
reads_every_real_capture_as_libpcap_does(void **state)
{
	(void)state;
	compare_archive("pcap/originals-le64k.tar.zst");
}

static void
reads_of_every_hostile_file_at_least_what_libpcap_reads(void **state)
{
	(void)state;
	compare_archive("hostile/hostile.tar.zst");
	struct rusage use;
	getrusage(RUSAGE_SELF, &use);
	assert_true(use.ru_maxrss < 256 * 1024); /* KiB; the sanitizers' share included */
}

/* --- pseudo-headers --- */

static uint32_t
next_random(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

/* Random records, in places what the swapping looks at. */
static void
write_swapped(const char *path, uint16_t linktype, uint32_t *x)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	uint8_t header[24] = { 0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4 };
	store_be32(header + 16, 65535);
	store_be32(header + 20, linktype);
	fwrite(header, sizeof header, 1, f);
	for (int i = 0; i < 500; i++) {
		uint8_t record[16 + 300];
		uint32_t n = next_random(x) % 200;
		store_be32(record, 1);
		store_be32(record + 4, 2);
		store_be32(record + 8, n);
		store_be32(record + 12, n);
		for (uint32_t k = 0; k < 300; k++)
			record[16 + k] = (uint8_t)next_random(x);
		if (i % 2) {
			record[16 + 9] = (uint8_t)(next_random(x) % 4);                    /* USB: transfer type */
			store_be32(record + 16 + 60, next_random(x) % 12);                 /* USB: descriptors */
			store_be16(record + 16 + 14, (uint16_t)(11 + next_random(x) % 3)); /* cooked: CAN */
		}
		if (i % 3 == 0 && linktype == 239) { /* NFLOG: a chain of values */
			record[16 + 1] = 0;
			for (uint32_t at = 4; at < 280; at += 4 + next_random(x) % 3 * 4)
				store_be16(record + 16 + at, (uint16_t)(next_random(x) % 24));
		}
		fwrite(record, 16 + n, 1, f);
	}
	assert_int_equal(fclose(f), 0);
}

static void
swaps_pseudo_headers_as_libpcap_does(void **state)
{
	(void)state;
	static const uint16_t linktypes[] = { 113, 189, 220, 239, 1 };
	char path[PATH_BYTES + 16];
	snprintf(path, sizeof path, "%s/swapped.pcap", scratch);
	uint32_t x = 1;
	tally = (struct tally){ 0 };
	for (int round = 0; round < 20; round++)
		for (size_t i = 0; i < sizeof linktypes / sizeof *linktypes; i++) {
			write_swapped(path, linktypes[i], &x);
			compare_file(path);
		}
	assert_int_equal(tally.differ, 0);
	assert_int_equal(tally.same, 100);
	assert_int_equal(tally.packets, 50000);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(swaps_pseudo_headers_as_libpcap_does),
		cmocka_unit_test(reads_every_real_capture_as_libpcap_does),
		cmocka_unit_test(reads_of_every_hostile_file_at_least_what_libpcap_reads),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
