#include "tests/support/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "ingest/trace.h"
#include "query/tracefile.h"

static char folder[] = "/tmp/atoll-tracefile-XXXXXX";
static char path[64];
static struct frames *frames;

static int
open_all(void **state)
{
	(void)state;
	if (frames_open(&frames, BLOCK_BYTES_MAX) != OK || !mkdtemp(folder))
		return 1;
	snprintf(path, sizeof path, "%s/out", folder);
	return 0;
}

static int
close_all(void **state)
{
	(void)state;
	frames_close(&frames);
	unlink(path);
	return rmdir(folder);
}

static unsigned
files_in_folder(void)
{
	unsigned n = 0;
	DIR *d = opendir(folder);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static size_t
read_file(uint8_t *to, size_t room)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(to, 1, room, f);
	fclose(f);
	return n;
}

static void
check_said(const char *words)
{
	if (!strstr(err_text(), words))
		fail_msg("\"%s\" is not in \"%s\"", words, err_text());
}

static void
writes_these_very_bytes_as_pcap(void **state)
{
	(void)state;
	static const uint8_t want[] = {
		0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 113, 0, 0, 0,
		2, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0, 'a', 'b', 'c', 'd', 'e',
		0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x9a, 0x3b, 0, 0, 0, 0, 0, 0, 0, 0,
	};
	struct tracefile *w;
	uint32_t id;
	assert_int_equal(tracefile_open(&w, path, TRACEFILE_PCAP), OK);
	assert_int_equal(tracefile_interface(w, 3, 4, 113, "eth0", &id), OK);
	assert_int_equal(tracefile_append(w, id, 2000000003, 60, 5, (const uint8_t *)"abcde"), OK);
	assert_int_equal(tracefile_append(w, id, UINT32_MAX * UINT64_C(1000000000) + 999999999, 0, 0, NULL), OK);
	assert_int_equal(tracefile_records(w), 2);
	assert_int_equal(tracefile_bytes(w), sizeof want);
	assert_int_equal(tracefile_finish(w), OK);
	tracefile_close(&w);
	assert_null(w);
	uint8_t got[sizeof want + 1];
	assert_int_equal(read_file(got, sizeof got), sizeof want);
	assert_memory_equal(got, want, sizeof want);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
writes_these_very_bytes_as_pcapng(void **state)
{
	(void)state;
	static const uint8_t want[] = {
		0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0,
		1, 0, 0, 0, 44, 0, 0, 0, 113, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0,
		2, 0, 5, 0, 'e', 't', 'h', '0', '1', 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0,
		6, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0,
		'a', 'b', 'c', 'd', 'e', 0, 0, 0, 40, 0, 0, 0,
	};
	struct tracefile *w;
	uint32_t id;
	assert_int_equal(tracefile_open(&w, path, TRACEFILE_PCAPNG), OK);
	assert_int_equal(tracefile_interface(w, 3, 4, 113, "eth01", &id), OK);
	assert_int_equal(tracefile_append(w, id, UINT64_C(0x100000002), 60, 5, (const uint8_t *)"abcde"), OK);
	assert_int_equal(tracefile_finish(w), OK);
	tracefile_close(&w);
	uint8_t got[sizeof want + 1];
	assert_int_equal(read_file(got, sizeof got), sizeof want);
	assert_memory_equal(got, want, sizeof want);
}

/* --- round trip --- */

static uint32_t
next_random(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

#define RECORDS 5000

struct made {
	uint64_t ts_ns;
	uint32_t wire_len, cap_len, stream;
	uint16_t iface, linktype;
	uint8_t  first;
};

static struct made
make_record(uint32_t *x, bool one)
{
	struct made m = {
		.ts_ns = (uint64_t)next_random(x) << 37 | next_random(x), /* before 2106 */
		.wire_len = next_random(x),
		.cap_len = next_random(x) % 50 ? next_random(x) % 1500 : next_random(x) % 262145,
		.stream = one ? 0 : next_random(x) % 3,
		.iface = (uint16_t)(one ? 0 : next_random(x) % 5),
		.linktype = (uint16_t)(one ? 1 : next_random(x) % 2 ? 101 : 113),
		.first = (uint8_t)next_random(x),
	};
	return m;
}

static void
write_records(enum tracefile_format format, uint32_t seed)
{
	struct tracefile *w;
	assert_int_equal(tracefile_open(&w, path, format), OK);
	for (int i = 0; i < RECORDS; i++) {
		struct made m = make_record(&seed, format == TRACEFILE_PCAP);
		char name[32];
		snprintf(name, sizeof name, "s%u.%u.%u", m.stream, m.iface, m.linktype);
		uint32_t id;
		uint8_t *bytes;
		assert_int_equal(tracefile_interface(w, m.stream, m.iface, m.linktype, name, &id), OK);
		assert_int_equal(tracefile_room(w, m.cap_len, &bytes), OK);
		for (uint32_t k = 0; k < m.cap_len; k++)
			bytes[k] = (uint8_t)(m.first + k);
		memset(bytes + m.cap_len, 0xff, TRACEFILE_SLACK); /* as it may be */
		assert_int_equal(tracefile_commit(w, id, m.ts_ns, m.wire_len, m.cap_len), OK);
	}
	assert_int_equal(tracefile_finish(w), OK);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, tracefile_bytes(w));
	tracefile_close(&w);
}

static void
gives_back_what_was_written(void **state)
{
	(void)state;
	for (int format = 0; format < 2; format++) {
		write_records((enum tracefile_format)format, 42);
		uint32_t seed = 42, seen = 0;
		struct trace *t;
		assert_int_equal(trace_open(&t, path), OK);
		struct trace_stats stats;
		while (trace_fill(t, frames) == OK) {
			trace_stats(t, &stats);
			for (uint32_t i = 0; i < frames->count; i++, seen++) {
				struct made m = make_record(&seed, format == TRACEFILE_PCAP);
				const struct frame *f = &frames->v[i];
				char name[32];
				snprintf(name, sizeof name, "s%u.%u.%u", m.stream, m.iface, m.linktype);
				assert_int_equal(f->ts_ns, m.ts_ns);
				assert_int_equal(f->wire_len, m.wire_len);
				assert_int_equal(f->cap_len, m.cap_len);
				assert_int_equal(f->linktype, m.linktype);
				assert_string_equal(stats.interfaces[f->iface].name, format == TRACEFILE_PCAP ? "" : name);
				for (uint32_t k = 0; k < m.cap_len; k++)
					if (frames->bytes[f->at + k] != (uint8_t)(m.first + k))
						fail_msg("record %u, byte %u", seen, k);
			}
		}
		assert_int_equal(seen, RECORDS);
		trace_stats(t, &stats);
		assert_int_equal(stats.interface_count, format == TRACEFILE_PCAP ? 1 : 30);
		trace_close(&t);
	}
}

static uint32_t
count_by_libpcap(void)
{
	char refusal[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, refusal);
	if (!p)
		fail_msg("%s", refusal);
	struct pcap_pkthdr *h;
	const u_char *bytes;
	uint32_t n = 0;
	int r;
	while ((r = pcap_next_ex(p, &h, &bytes)) == 1)
		n++;
	assert_int_equal(r, PCAP_ERROR_BREAK);
	pcap_close(p);
	return n;
}

static void
writes_what_libpcap_reads_also_without_a_record(void **state)
{
	(void)state;
	write_records(TRACEFILE_PCAP, 7);
	assert_int_equal(count_by_libpcap(), RECORDS);
	for (int format = 0; format < 2; format++) {
		struct tracefile *w;
		assert_int_equal(tracefile_open(&w, path, (enum tracefile_format)format), OK);
		assert_int_equal(tracefile_finish(w), OK);
		tracefile_close(&w);
		assert_int_equal(count_by_libpcap(), 0);
		assert_int_equal(tracefile_open(&w, path, (enum tracefile_format)format), OK);
		for (uint16_t iface = 0; iface < 100; iface++) {
			uint32_t id;
			assert_int_equal(tracefile_interface(w, 0, iface, 1, NULL, &id), OK);
			assert_int_equal(tracefile_append(w, id, iface, 3, 3, (const uint8_t *)"abc"), OK);
		}
		assert_int_equal(tracefile_finish(w), OK);
		tracefile_close(&w);
		assert_int_equal(count_by_libpcap(), 100);
	}
}

static void
raises_the_snapshot_length_of_a_file_with_a_longer_record(void **state)
{
	(void)state;
	uint8_t *big = calloc(1, RECORD_BYTES_MAX);
	for (int format = 0; format < 2; format++) {
		struct tracefile *w;
		uint32_t first, second;
		assert_int_equal(tracefile_open(&w, path, (enum tracefile_format)format), OK);
		assert_int_equal(tracefile_interface(w, 0, 0, 1, "a", &first), OK);
		assert_int_equal(tracefile_append(w, first, 1, 5, 5, big), OK);
		assert_int_equal(tracefile_interface(w, 0, 1, 1, "b", &second), OK);
		assert_int_equal(tracefile_append(w, second, 1, 5, RECORD_BYTES_MAX, big), OK);
		uint8_t *bytes;
		assert_int_equal(tracefile_room(w, RECORD_BYTES_MAX + 1, &bytes), ERR_LIMIT);
		assert_int_equal(tracefile_finish(w), OK);
		tracefile_close(&w);
		struct trace *t;
		assert_int_equal(trace_open(&t, path), OK);
		assert_int_equal(trace_fill(t, frames), OK);
		assert_int_equal(frames->count, 2);
		assert_int_equal(frames->v[1].cap_len, RECORD_BYTES_MAX);
		struct trace_stats stats;
		trace_stats(t, &stats);
		assert_int_equal(stats.interfaces[stats.interface_count - 1].snaplen, RECORD_BYTES_MAX);
		if (format == TRACEFILE_PCAPNG)
			assert_int_equal(stats.interfaces[0].snaplen, 262144);
		trace_close(&t);
	}
	free(big);
}

/* --- refusals and faults --- */

static void
refuses_what_pcap_can_not_hold_and_names_pcapng(void **state)
{
	(void)state;
	struct tracefile *w;
	uint32_t id, same;
	assert_int_equal(tracefile_open(&w, path, TRACEFILE_PCAP), OK);
	assert_int_equal(tracefile_interface(w, 0, 0, 1, NULL, &id), OK);
	assert_int_equal(tracefile_interface(w, 5, 6, 1, NULL, &same), OK);
	assert_int_equal(id, same);
	assert_int_equal(tracefile_interface(w, 0, 0, 101, NULL, &id), ERR_USAGE);
	check_said("link types 1 and 101");
	check_said("pcapng");
	assert_int_equal(tracefile_append(w, same, UINT64_C(4294967296000000000), 0, 0, NULL), ERR_USAGE);
	check_said("pcapng");
	assert_int_equal(tracefile_records(w), 0);
	tracefile_close(&w);
}

static void
leaves_nothing_when_not_finished_and_the_old_file_as_it_was(void **state)
{
	(void)state;
	unlink(path);
	struct tracefile *w;
	assert_int_equal(tracefile_open(&w, path, TRACEFILE_PCAPNG), OK);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(files_in_folder(), 1);
	tracefile_close(&w);
	assert_int_equal(files_in_folder(), 0);
	write_records(TRACEFILE_PCAP, 9);
	assert_int_equal(tracefile_open(&w, path, TRACEFILE_PCAPNG), OK);
	tracefile_close(&w);
	assert_int_equal(files_in_folder(), 1);
	assert_int_equal(count_by_libpcap(), RECORDS);
}

static void
replaces_the_file_behind_a_link_and_writes_beside_left_overs(void **state)
{
	(void)state;
	char link[80], left[128];
	snprintf(link, sizeof link, "%s/link", folder);
	snprintf(left, sizeof left, "%s/.atoll-export-%ld-0.part", folder, (long)getpid());
	write_records(TRACEFILE_PCAP, 9);
	assert_int_equal(symlink("out", link), 0);
	int fd = open(left, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	struct tracefile *w;
	assert_int_equal(tracefile_open(&w, link, TRACEFILE_PCAP), OK);
	assert_int_equal(tracefile_finish(w), OK);
	tracefile_close(&w);
	assert_int_equal(count_by_libpcap(), 0);
	struct stat st;
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	unlink(link);
	unlink(left);
	assert_int_equal(files_in_folder(), 1);
}

static void
says_when_the_output_is_full_missing_or_a_folder(void **state)
{
	(void)state;
	struct tracefile *w = NULL;
	assert_int_equal(tracefile_open(&w, "/tmp/atoll-no-such-folder/x", TRACEFILE_PCAP), ERR_ABSENT);
	assert_int_equal(tracefile_open(&w, folder, TRACEFILE_PCAP), ERR_USAGE);
	assert_null(w);
	assert_int_equal(tracefile_open(&w, "/dev/full", TRACEFILE_PCAP), OK);
	assert_int_equal(tracefile_finish(w), ERR_FULL);
	check_said("/dev/full");
	tracefile_close(&w);
}

static void
writes_to_standard_output(void **state)
{
	(void)state;
	int output = dup(STDOUT_FILENO), ends[2];
	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	dup2(ends[1], STDOUT_FILENO);
	close(ends[1]);
	struct tracefile *w;
	enum err opened = tracefile_open(&w, "-", TRACEFILE_PCAP);
	enum err finished = tracefile_finish(w);
	tracefile_close(&w);
	dup2(output, STDOUT_FILENO);
	close(output);
	uint8_t got[100];
	assert_int_equal(opened, OK);
	assert_int_equal(finished, OK);
	assert_int_equal(read(ends[0], got, sizeof got), 24);
	close(ends[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_these_very_bytes_as_pcap),
		cmocka_unit_test(writes_these_very_bytes_as_pcapng),
		cmocka_unit_test(gives_back_what_was_written),
		cmocka_unit_test(writes_what_libpcap_reads_also_without_a_record),
		cmocka_unit_test(raises_the_snapshot_length_of_a_file_with_a_longer_record),
		cmocka_unit_test(refuses_what_pcap_can_not_hold_and_names_pcapng),
		cmocka_unit_test(leaves_nothing_when_not_finished_and_the_old_file_as_it_was),
		cmocka_unit_test(replaces_the_file_behind_a_link_and_writes_beside_left_overs),
		cmocka_unit_test(says_when_the_output_is_full_missing_or_a_folder),
		cmocka_unit_test(writes_to_standard_output),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
