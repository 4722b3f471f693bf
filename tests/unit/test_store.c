#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define SECOND 1000000000ull

static char top[PATH_BYTES], dir[PATH_BYTES]; /* the archive's */
static const uint8_t fingerprint[FINGERPRINT_BYTES] = "what was imported..............";

static int
begin(void **state)
{
	(void)state;
	scratch_make(top);
	if (io_path(dir, top, "a") != OK)
		return -1;
	return archive_init(dir, NULL) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(top);
	return 0;
}

static void
at(char path[2 * PATH_BYTES], const char *name)
{
	if (snprintf(path, 2 * PATH_BYTES, "%s/%s", dir, name) >= 2 * PATH_BYTES)
		abort();
}

/* Not in the archive. */
static void
beside(char path[2 * PATH_BYTES], const char *name)
{
	if (snprintf(path, 2 * PATH_BYTES, "%s/%s", top, name) >= 2 * PATH_BYTES)
		abort();
}

static void
delete(const char *name)
{
	char path[2 * PATH_BYTES];
	at(path, name);
	assert_int_equal(unlink(path), 0);
}

static bool
exists(const char *name)
{
	char path[2 * PATH_BYTES];
	at(path, name);
	return access(path, F_OK) == 0;
}

static void
flip(const char *name, long byte)
{
	char path[2 * PATH_BYTES];
	uint8_t b;
	struct stat st;
	at(path, name);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	if (byte < 0)
		byte += st.st_size;
	assert_int_equal(pread(fd, &b, 1, byte), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, byte), 1);
	close(fd);
}

/* Commits `count` segments, one a second from second `from` on, in an import. */
static void
fill(uint64_t from, uint32_t count)
{
	struct store *s = NULL;
	struct import_row import;
	uint32_t stream;
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "eth0", &stream));
	MUST(store_import_begin(s, fingerprint, "a file.pcap", stream, false, true, &import));
	for (uint32_t i = 0; i < count; i++) {
		struct test_segment t = { .first_ns = (from + i) * SECOND, .blocks = 2, .per_block = 50, .host = (uint8_t)i };
		MUST(test_segment_commit(s, stream, &t, &import, 0));
	}
	MUST(store_import_finish(s, &import, import.fingerprint));
	store_close(&s);
}

static struct catalogue_totals
totals(void)
{
	struct archive *a = NULL;
	struct catalogue_totals t;
	MUST(archive_open(&a, dir, NULL, ARCHIVE_READ));
	MUST(catalogue_begin(archive_catalogue(a)));
	MUST(catalogue_sum(archive_catalogue(a), 0, &t));
	archive_close(&a);
	return t;
}

static char *
dumped(void)
{
	char *text = test_archive_dump(dir, NULL);
	if (text == NULL)
		print_message("# %s\n", err_text());
	assert_non_null(text);
	return text;
}

struct heard {
	unsigned count;
	char     text[16384];
};

static void
hear(void *arg, const char *sentence)
{
	struct heard *h = arg;
	size_t used = strlen(h->text);
	h->count++;
	snprintf(h->text + used, sizeof h->text - used, "%s\n", sentence);
}

static struct fsck_report
checked(bool repair, struct heard *h)
{
	struct fsck_report report;
	struct fsck_options options = { .repair = repair, .see = h ? hear : NULL, .arg = h };
	if (h)
		memset(h, 0, sizeof *h);
	MUST(fsck_run(dir, NULL, &options, &report));
	return report;
}

static void
rebuilt(struct rebuild_report *report)
{
	struct heard h = { 0 };
	MUST(rebuild_run(dir, NULL, hear, &h, report));
}

/* --- making and opening --- */

static void
init_makes_an_archive_only_where_there_is_nothing(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	struct archive *a = NULL;
	assert_int_equal(archive_init(dir, NULL), ERR_EXISTS);
	assert_non_null(strstr(err_text(), "already an archive"));
	at(path, "segments");
	assert_int_equal(archive_init(path, NULL), ERR_USAGE);
	assert_non_null(strstr(err_text(), "lies in the archive"));
	beside(path, "empty");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(archive_init(path, NULL), OK);
	beside(path, "other");
	assert_int_equal(mkdir(path, 0700), 0);
	beside(path, "other/file");
	assert_int_equal(mkdir(path, 0700), 0);
	beside(path, "other");
	assert_int_equal(archive_init(path, NULL), ERR_EXISTS);
	assert_non_null(strstr(err_text(), "not empty"));
	/* a failure in between leaves nothing */
	beside(path, "third");
	assert_int_equal(archive_init(path, "/nonexistent/owner.key"), ERR_ABSENT);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(archive_open(&a, path, NULL, ARCHIVE_READ), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "atoll init"));
}

/* A folder "half" as a killed init leaves it, with the id of this archive in its mark. */
static void
half_make(char path[2 * PATH_BYTES])
{
	static const char *const folders[] = { "half", "half/segments", "half/index" };
	static const char *const files[] = { "half/keystore", "half/index/lock.mdb" };
	char from[2 * PATH_BYTES];
	for (size_t i = 0; i < 3; i++) {
		beside(path, folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	for (size_t i = 0; i < 2; i++) {
		beside(path, files[i]);
		fclose(fopen(path, "w"));
	}
	at(from, "format");
	beside(path, "half/.format.tmp");
	assert_int_equal(link(from, path), 0);
	beside(path, "half");
}

static void
init_goes_on_where_one_was_killed(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES], key[2 * PATH_BYTES], mine[2 * PATH_BYTES];
	struct archive *a = NULL;
	half_make(path);
	beside(key, "half.key");
	at(mine, "owner.key");
	assert_int_equal(link(mine, key), 0); /* begun by the one that was killed, as its id says */
	MUST(archive_init(path, key));
	MUST(archive_open(&a, path, key, ARCHIVE_WRITE));
	archive_close(&a);
	assert_int_equal(access(mine, F_OK), 0);
}

static void
init_clears_nothing_that_is_not_its_own(void **state)
{
	(void)state;
	static const char *const strangers[] = { "half/notes", "half/segments/0000000000000001.seg", "half/index/notes" };
	char path[2 * PATH_BYTES], stranger[2 * PATH_BYTES], key[2 * PATH_BYTES];
	half_make(path);
	for (size_t i = 0; i < 3; i++) {
		beside(stranger, strangers[i]);
		fclose(fopen(stranger, "w"));
		assert_int_equal(archive_init(path, NULL), ERR_EXISTS);
		assert_non_null(strstr(err_text(), "not empty"));
		assert_int_equal(access(stranger, F_OK), 0);
		assert_int_equal(unlink(stranger), 0);
	}
	/* a folder where a file should be, a link */
	beside(stranger, "half/manifest");
	assert_int_equal(mkdir(stranger, 0700), 0);
	assert_int_equal(archive_init(path, NULL), ERR_EXISTS);
	assert_int_equal(rmdir(stranger), 0);
	assert_int_equal(symlink("/etc/passwd", stranger), 0);
	assert_int_equal(archive_init(path, NULL), ERR_EXISTS);
	assert_int_equal(unlink(stranger), 0);
	/* without the mark it may be anything */
	beside(stranger, "half/.format.tmp");
	beside(key, "kept");
	assert_int_equal(rename(stranger, key), 0);
	assert_int_equal(archive_init(path, NULL), ERR_EXISTS);
	assert_int_equal(rename(key, stranger), 0);
	/* somebody else's key, and an empty file when no init was killed */
	beside(key, "strange.key");
	FILE *f = fopen(key, "w");
	fputs("atoll-owner-key-1 of another archive", f);
	fclose(f);
	assert_int_equal(archive_init(path, key), ERR_EXISTS);
	assert_int_equal(access(key, F_OK), 0);
	assert_int_equal(truncate(key, 0), 0);
	beside(path, "new");
	assert_int_equal(archive_init(path, key), ERR_EXISTS);
	assert_int_equal(access(key, F_OK), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void
two_inits_keep_out_of_each_others_way(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	half_make(path);
	int other = open(path, O_RDONLY);
	assert_int_equal(flock(other, LOCK_EX), 0);
	assert_int_equal(archive_init(path, NULL), ERR_BUSY);
	assert_non_null(strstr(err_text(), "another init"));
	close(other);
	MUST(archive_init(path, NULL));
}

static void
the_owner_key_may_lie_elsewhere(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES], key[2 * PATH_BYTES];
	struct archive *a = NULL;
	beside(path, "elsewhere");
	beside(key, "my.key");
	MUST(archive_init(path, key));
	assert_int_equal(archive_open(&a, path, NULL, ARCHIVE_WRITE), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "--key-file"));
	MUST(archive_open(&a, path, key, ARCHIVE_WRITE));
	archive_close(&a);
	at(key, "owner.key"); /* of the other archive */
	assert_int_equal(archive_open(&a, path, key, ARCHIVE_READ), ERR_DENIED);
}

static void
names_the_version_that_it_does_not_know(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	struct archive *a = NULL;
	at(path, "format");
	FILE *f = fopen(path, "r+");
	fputs("atoll-archive 7", f);
	fclose(f);
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_READ), ERR_UNSUPPORTED);
	assert_non_null(strstr(err_text(), "version 7"));
	f = fopen(path, "w");
	fputs("something", f);
	fclose(f);
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_READ), ERR_FORMAT);
}

static void
network_file_systems_have_a_name(void **state)
{
	(void)state;
	assert_string_equal(archive_network_name(0x6969), "NFS");
	assert_string_equal(archive_network_name(0xff534d42), "CIFS");
	assert_string_equal(archive_network_name(0x65735546), "FUSE");
	assert_null(archive_network_name(0xef53));     /* ext4 */
	assert_null(archive_network_name(0x9123683e)); /* btrfs */
	assert_null(archive_network_name(0x01021994)); /* tmpfs */
}

/* --- imports --- */

static void
an_import_is_known_again_and_goes_on_where_it_stopped(void **state)
{
	(void)state;
	struct store *s = NULL;
	struct import_row import;
	uint32_t stream, other;
	struct test_segment t = { .first_ns = SECOND, .blocks = 1, .per_block = 70 };
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "one", &stream));
	MUST(store_stream(s, "two", &other));
	MUST(store_import_begin(s, fingerprint, "x.pcap", stream, false, false, &import));
	assert_int_equal(import.records, 0);
	MUST(test_segment_commit(s, stream, &t, &import, 0));
	store_close(&s); /* interrupted */
	MUST(store_open(&s, dir, NULL));
	uint32_t again;
	MUST(store_stream(s, "one", &again));
	assert_int_equal(again, stream);
	assert_int_equal(store_import_begin(s, fingerprint, "x.pcap", other, false, false, &import), ERR_USAGE);
	assert_non_null(strstr(err_text(), "--stream one"));
	MUST(store_import_begin(s, fingerprint, "x.pcap", stream, false, false, &import));
	assert_int_equal(import.records, 70);
	MUST(test_segment_commit(s, stream, &t, &import, 0));
	MUST(store_import_finish(s, &import, import.fingerprint));
	assert_int_equal(store_import_begin(s, fingerprint, "y.pcap", stream, false, false, &import), ERR_EXISTS);
	assert_non_null(strstr(err_text(), "x.pcap"));
	assert_non_null(strstr(err_text(), "--again"));
	assert_non_null(strstr(err_text(), "140 records"));
	MUST(store_import_begin(s, fingerprint, "y.pcap", other, false, true, &import));
	assert_int_equal(import.records, 0);
	assert_int_equal(import.runs, 2);
	store_close(&s);
}

/* What comes from a stream is known by its beginning, until its end was seen; then as a file is. */
static void
an_import_from_a_stream_and_one_from_a_file_notice_each_other(void **state)
{
	(void)state;
	struct store *s = NULL;
	struct import_row import, found;
	uint32_t stream;
	struct test_segment t = { .first_ns = SECOND, .blocks = 1, .per_block = 70 };
	uint8_t head[FINGERPRINT_BYTES] = { 0 }, other[FINGERPRINT_BYTES];
	memcpy(head, fingerprint, FINGERPRINT_HEAD_BYTES);
	memcpy(other, fingerprint, sizeof other);
	other[FINGERPRINT_BYTES - 1] ^= 1;
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "one", &stream));
	MUST(store_import_begin(s, head, "standard input", stream, false, false, &import));
	assert_int_equal(store_import_find(s, head, &found), ERR_ABSENT); /* nothing of it is stored yet */
	MUST(test_segment_commit(s, stream, &t, &import, 0));
	MUST(store_import_begin(s, fingerprint, "x.pcap", stream, false, false, &import)); /* interrupted; goes on as a file */
	assert_int_equal(import.records, 70);
	MUST(store_import_begin(s, head, "standard input", stream, false, false, &import));
	assert_int_equal(import.records, 70);
	MUST(store_import_finish(s, &import, fingerprint));
	assert_int_equal(store_import_begin(s, fingerprint, "x.pcap", stream, false, false, &import), ERR_EXISTS);
	assert_non_null(strstr(err_text(), "standard input"));
	assert_int_equal(store_import_begin(s, head, "standard input", stream, false, false, &import), ERR_EXISTS);
	MUST(store_import_begin(s, other, "longer.pcap", stream, false, false, &import)); /* a file that begins like it */
	assert_int_equal(import.records, 0);
	MUST(store_import_begin(s, head, "standard input", stream, false, true, &import));
	assert_int_equal(import.records, 0);
	MUST(store_import_finish(s, &import, fingerprint));
	assert_int_equal(import.runs, 2);
	/* One that was damaged stays known by its beginning, for files, too. */
	memset(head, 7, FINGERPRINT_HEAD_BYTES);
	MUST(store_import_begin(s, head, "standard input", stream, false, false, &import));
	MUST(test_segment_commit(s, stream, &t, &import, 0));
	MUST(store_import_finish(s, &import, head));
	memset(head + FINGERPRINT_HEAD_BYTES, 1, sizeof head - FINGERPRINT_HEAD_BYTES);
	assert_int_equal(store_import_begin(s, head, "y.pcap", stream, false, false, &import), ERR_EXISTS);
	store_close(&s);
}

static void
stream_names_are_checked(void **state)
{
	(void)state;
	struct store *s = NULL;
	uint32_t stream;
	char name[200];
	MUST(store_open(&s, dir, NULL));
	assert_int_equal(store_stream(s, "", &stream), ERR_USAGE);
	assert_int_equal(store_stream(s, "a\nb", &stream), ERR_USAGE);
	memset(name, 'x', sizeof name);
	name[STREAM_NAME_BYTES] = 0;
	assert_int_equal(store_stream(s, name, &stream), ERR_USAGE);
	name[STREAM_NAME_BYTES - 1] = 0;
	MUST(store_stream(s, name, &stream));
	MUST(store_stream(s, "with blank % and \xc3\xa9", &stream));
	store_close(&s);
	assert_int_equal(totals().streams, 2);
}

static void
an_aborted_segment_leaves_nothing(void **state)
{
	(void)state;
	struct store *s = NULL;
	struct store_segment *g[STORE_OPEN_SEGMENTS_MAX + 1] = { 0 };
	uint32_t stream, slots;
	char path[PATH_BYTES];
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "one", &stream));
	for (unsigned i = 0; i < STORE_OPEN_SEGMENTS_MAX; i++)
		MUST(store_segment_begin(s, stream, &g[i]));
	assert_int_equal(store_segment_begin(s, stream, &g[STORE_OPEN_SEGMENTS_MAX]), ERR_LIMIT);
	store_segment_abort(s, &g[3]);
	MUST(store_segment_begin(s, stream, &g[3]));
	assert_int_equal(store_segment_commit(s, &g[3], NULL), ERR_USAGE); /* no blocks */
	assert_null(g[3]);
	assert_int_equal(store_segment_begin(s, 77, &g[3]), ERR_ABSENT); /* no such stream */
	struct test_segment t = { .first_ns = SECOND, .blocks = 1, .per_block = 10 };
	MUST(test_segment_commit(s, stream, &t, NULL, 0));
	uint64_t first = store_segment_name(g[0])->id;
	MUST(archive_segment_temp_path(store_archive(s), first, path));
	assert_int_equal(access(path, F_OK), 0);
	store_close(&s);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(totals().segments, 1);
	struct archive *a = NULL;
	MUST(archive_open(&a, dir, NULL, ARCHIVE_WRITE));
	assert_int_equal(archive_recovered(a)->keys, 0);
	MUST(keystore_slots(archive_keystore(a), &slots));
	unsigned used = 0;
	for (uint32_t i = 0; i < slots; i++) {
		uint64_t id;
		used += keystore_slot(archive_keystore(a), i, &id) == OK;
	}
	assert_int_equal(used, 1);
	archive_close(&a);
}

/* --- one writer, many readers --- */

static void
a_reader_beside_a_writer_sees_what_is_committed(void **state)
{
	(void)state;
	struct store *s = NULL;
	uint32_t stream;
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "one", &stream));
	for (uint64_t i = 1; i <= 3; i++) {
		struct test_segment t = { .first_ns = i * SECOND, .blocks = 1, .per_block = 10 };
		MUST(test_segment_commit(s, stream, &t, NULL, 0));
		int status;
		pid_t child = fork();
		if (child == 0) { /* LMDB after fork only: a handle of its own */
			struct store *second = NULL;
			char held[64];
			snprintf(held, sizeof held, "process %d", (int)getppid());
			if (store_open(&second, dir, NULL) != ERR_BUSY || strstr(err_text(), held) == NULL)
				_exit(2);
			_exit(totals().segments == i && checked(false, NULL).faults == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	store_close(&s);
}

/* --- removal --- */

static void
removed_segments_stay_removed(void **state)
{
	(void)state;
	char saved[PATH_BYTES + 16], path[2 * PATH_BYTES];
	struct store *s = NULL;
	struct store_removal removal;
	struct rebuild_report report;
	struct heard h;
	uint32_t stream;
	fill(10, 4);
	snprintf(saved, sizeof saved, "%s.saved", dir);
	scratch_copy(dir, saved);
	MUST(store_open(&s, dir, NULL));
	MUST(store_stream(s, "eth0", &stream));
	MUST(store_remove(s, stream, 12 * SECOND + 5000, &removal));
	assert_int_equal(removal.segments, 2);
	assert_int_equal(removal.records, 200);
	assert_int_equal(removal.straddling, 1);
	MUST(store_remove(s, stream, 12 * SECOND + 5000, &removal));
	assert_int_equal(removal.segments, 0);
	struct segment_row row = { 0 };
	MUST(store_next_straddling(s, &row));
	assert_int_equal(row.id, 3);
	assert_int_equal(row.hidden_until_ns, 12 * SECOND + 5000);
	assert_int_equal(store_next_straddling(s, &row), END);
	struct test_segment t = { .first_ns = 12 * SECOND + 5000, .blocks = 1, .per_block = 95 };
	MUST(test_segment_commit(s, stream, &t, NULL, 3));
	row.id = 0;
	assert_int_equal(store_next_straddling(s, &row), END);
	store_close(&s);
	assert_int_equal(totals().segments, 2);
	assert_int_equal(totals().records, 195);
	for (unsigned id = 1; id <= 3; id++) {
		snprintf(path, sizeof path, "segments/%016x.seg", id);
		assert_false(exists(path));
	}
	char *before = dumped();
	/* the files come back from a copy, the index is lost: still gone */
	for (unsigned id = 1; id <= 3; id++) {
		char from[2 * PATH_BYTES];
		snprintf(from, sizeof from, "%s/segments/%016x.seg", saved, id);
		at(path, from + strlen(saved) + 1);
		scratch_copy(from, path);
	}
	delete("index/data.mdb");
	rebuilt(&report);
	assert_int_equal(report.segments, 2);
	assert_int_equal(report.adopted, 0);
	char *after = dumped();
	assert_string_equal(before, after);
	assert_false(exists("segments/0000000000000001.seg"));
	assert_int_equal(checked(false, &h).faults, 0);
	free(before), free(after);
	scratch_remove(saved);
}

/* --- rebuild and fsck --- */

static void
a_lost_index_is_made_again_the_same(void **state)
{
	(void)state;
	struct rebuild_report report;
	struct archive *a = NULL;
	struct heard h;
	fill(1, 5);
	char *before = dumped();
	delete("index/data.mdb");
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_READ), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "atoll rebuild"));
	rebuilt(&report);
	assert_int_equal(report.segments, 5);
	assert_int_equal(report.records, 500);
	assert_int_equal(report.lost_segments, 0);
	assert_false(report.manifest_renewed);
	char *after = dumped();
	assert_string_equal(before, after);
	rebuilt(&report); /* and of a whole one */
	char *again = dumped();
	assert_string_equal(before, again);
	assert_int_equal(checked(false, &h).faults, 0);
	assert_false(exists("index.new"));
	free(before), free(after), free(again);
}

static void
damage_anywhere_in_the_index_is_noticed_or_harmless_and_mended(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	struct stat st;
	struct rebuild_report report;
	fill(1, 3);
	char *before = dumped();
	at(path, "index/data.mdb");
	assert_int_equal(stat(path, &st), 0);
	uint8_t *whole = malloc((size_t)st.st_size), *changed = malloc((size_t)st.st_size);
	int fd = open(path, O_RDWR);
	assert_int_equal(read(fd, whole, (size_t)st.st_size), st.st_size);
	unsigned noticed = 0;
	for (off_t byte = 0; byte < st.st_size; byte += 512) {
		memcpy(changed, whole, (size_t)st.st_size);
		randombytes_buf(changed + byte, 512);
		close(fd); /* a rebuild exchanges the file */
		fd = open(path, O_RDWR | O_TRUNC);
		assert_int_equal(write(fd, changed, (size_t)st.st_size), st.st_size);
		char *now = test_archive_dump(dir, NULL);
		if (now) {
			assert_string_equal(now, before);
			free(now);
			continue;
		}
		noticed++;
		assert_non_null(strstr(err_text(), "atoll rebuild"));
		assert_null(strchr(err_text(), '\n'));
		rebuilt(&report);
		now = dumped();
		assert_string_equal(now, before);
		free(now);
	}
	close(fd);
	assert_true(noticed > 5);
	free(whole), free(changed), free(before);
}

static void
a_damaged_manifest_is_made_again_from_the_index(void **state)
{
	(void)state;
	struct heard h;
	struct archive *a = NULL;
	fill(1, 3);
	struct catalogue_totals before = totals(), after;
	for (int how = 0; how < 4; how++) {
		if (how == 0)
			flip("manifest", 500);
		else if (how == 1)
			flip("manifest", 20); /* the first line */
		else if (how == 2)
			flip("manifest", -3); /* the last change */
		else
			delete("manifest");
		struct fsck_report found = checked(false, &h);
		assert_true(found.faults >= 1);
		assert_int_equal(found.blocks, 6);
		found = checked(true, &h);
		assert_true(found.faults >= 1);
		assert_int_equal(found.lost_segments, 0);
		assert_true(found.repaired >= 1);
		assert_int_equal(checked(false, &h).faults, 0);
		after = totals();
		assert_memory_equal(&before, &after, sizeof before);
		struct import_row import;
		MUST(archive_open(&a, dir, NULL, ARCHIVE_READ));
		MUST(catalogue_begin(archive_catalogue(a)));
		MUST(catalogue_import(archive_catalogue(a), fingerprint, &import));
		assert_int_equal(import.complete, 1);
		archive_close(&a);
	}
}

static void
segments_survive_the_loss_of_index_and_manifest(void **state)
{
	(void)state;
	struct rebuild_report report;
	struct heard h;
	fill(1, 12);
	struct catalogue_totals before = totals(), after;
	delete("manifest");
	delete("index/data.mdb");
	rebuilt(&report);
	assert_int_equal(report.adopted, 12);
	assert_true(report.manifest_renewed);
	after = totals();
	assert_memory_equal(&before, &after, sizeof before);
	assert_int_equal(checked(false, &h).faults, 0);
	/* and the archive goes on */
	fill(100, 1);
	assert_int_equal(totals().segments, 13);
}

static void
an_older_manifest_is_noticed(void **state)
{
	(void)state;
	char saved[PATH_BYTES + 16], path[2 * PATH_BYTES];
	struct archive *a = NULL;
	struct rebuild_report report;
	fill(1, 1);
	snprintf(saved, sizeof saved, "%s.saved", dir);
	scratch_copy(dir, saved);
	fill(50, 9);
	delete("manifest");
	char from[2 * PATH_BYTES];
	snprintf(from, sizeof from, "%s/manifest", saved);
	at(path, "manifest");
	scratch_copy(from, path);
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_READ), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "older copy"));
	/* index and manifest both older: more segments than an interrupted import leaves are not thrown away */
	delete("index/data.mdb");
	snprintf(from, sizeof from, "%s/index/data.mdb", saved);
	at(path, "index/data.mdb");
	scratch_copy(from, path);
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_WRITE), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "atoll rebuild"));
	rebuilt(&report);
	assert_int_equal(report.adopted, 9);
	assert_int_equal(totals().segments, 10);
	scratch_remove(saved);
}

static void
a_missing_or_foreign_segment_is_named_and_counted(void **state)
{
	(void)state;
	char from[2 * PATH_BYTES], to[2 * PATH_BYTES];
	struct heard h;
	fill(1, 3);
	at(from, "segments/0000000000000002.seg");
	at(to, "kept.seg");
	assert_int_equal(rename(from, to), 0);
	struct fsck_report found = checked(false, &h);
	assert_int_equal(found.faults, 1);
	assert_int_equal(found.lost_segments, 1);
	assert_int_equal(found.lost_records, 100);
	assert_non_null(strstr(h.text, "0000000000000002"));
	found = checked(true, &h);
	assert_int_equal(found.lost_segments, 1);
	assert_int_equal(totals().segments, 2);
	assert_int_equal(totals().lost_segments, 1);
	found = checked(false, &h); /* still said, but nothing to mend */
	assert_int_equal(found.faults, 1);
	/* another segment in its place */
	char other[2 * PATH_BYTES];
	at(other, "segments/0000000000000003.seg");
	scratch_copy(other, from);
	found = checked(true, &h);
	assert_int_equal(found.lost_segments, 1);
	assert_int_equal(unlink(from), 0);
	/* it comes back */
	assert_int_equal(rename(to, from), 0);
	found = checked(true, &h);
	assert_int_equal(found.lost_segments, 0);
	assert_int_equal(totals().segments, 3);
	assert_int_equal(checked(false, &h).faults, 0);
}

static void
unknown_files_are_named_and_put_aside(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	struct heard h;
	fill(1, 1);
	at(path, "segments/notes.txt");
	close(open(path, O_CREAT | O_WRONLY, 0600));
	struct fsck_report found = checked(false, &h);
	assert_int_equal(found.faults, 1);
	assert_non_null(strstr(h.text, "notes.txt"));
	assert_int_equal(unlink(path), 0);
	at(path, "owner.key");
	assert_int_equal(chmod(path, 0644), 0);
	found = checked(false, &h);
	assert_int_equal(found.faults, 1);
	assert_non_null(strstr(h.text, "chmod 600"));
}

static void
a_flipped_bit_in_a_segment_is_named_and_the_rest_reads(void **state)
{
	(void)state;
	struct heard h;
	struct archive *a = NULL;
	struct segment *s = NULL;
	struct segment_row row;
	fill(1, 2);
	MUST(archive_open(&a, dir, NULL, ARCHIVE_READ));
	MUST(catalogue_begin(archive_catalogue(a)));
	MUST(catalogue_segment(archive_catalogue(a), 1, &row));
	MUST(archive_open_segment(a, &row, &s));
	long inside = (long)(segment_blocks(s)[1].at + segment_blocks(s)[1].stored_bytes / 2);
	segment_close(&s);
	archive_close(&a);
	flip("segments/0000000000000001.seg", inside);
	struct fsck_report found = checked(false, &h);
	assert_int_equal(found.faults, 1);
	assert_int_equal(found.lost_blocks, 1);
	assert_int_equal(found.lost_records, 50);
	assert_int_equal(found.blocks, 4);
	assert_non_null(strstr(h.text, "0000000000000001"));
	assert_non_null(strstr(h.text, "block 1"));
	found = checked(true, &h); /* nothing to mend, nothing made worse */
	assert_int_equal(found.repaired, 0);
	assert_int_equal(totals().segments, 2);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(init_makes_an_archive_only_where_there_is_nothing, begin, end),
		cmocka_unit_test_setup_teardown(init_goes_on_where_one_was_killed, begin, end),
		cmocka_unit_test_setup_teardown(init_clears_nothing_that_is_not_its_own, begin, end),
		cmocka_unit_test_setup_teardown(two_inits_keep_out_of_each_others_way, begin, end),
		cmocka_unit_test_setup_teardown(the_owner_key_may_lie_elsewhere, begin, end),
		cmocka_unit_test_setup_teardown(names_the_version_that_it_does_not_know, begin, end),
		cmocka_unit_test(network_file_systems_have_a_name),
		cmocka_unit_test_setup_teardown(an_import_is_known_again_and_goes_on_where_it_stopped, begin, end),
		cmocka_unit_test_setup_teardown(an_import_from_a_stream_and_one_from_a_file_notice_each_other, begin, end),
		cmocka_unit_test_setup_teardown(stream_names_are_checked, begin, end),
		cmocka_unit_test_setup_teardown(an_aborted_segment_leaves_nothing, begin, end),
		cmocka_unit_test_setup_teardown(a_reader_beside_a_writer_sees_what_is_committed, begin, end),
		cmocka_unit_test_setup_teardown(removed_segments_stay_removed, begin, end),
		cmocka_unit_test_setup_teardown(a_lost_index_is_made_again_the_same, begin, end),
		cmocka_unit_test_setup_teardown(damage_anywhere_in_the_index_is_noticed_or_harmless_and_mended, begin, end),
		cmocka_unit_test_setup_teardown(a_damaged_manifest_is_made_again_from_the_index, begin, end),
		cmocka_unit_test_setup_teardown(segments_survive_the_loss_of_index_and_manifest, begin, end),
		cmocka_unit_test_setup_teardown(an_older_manifest_is_noticed, begin, end),
		cmocka_unit_test_setup_teardown(a_missing_or_foreign_segment_is_named_and_counted, begin, end),
		cmocka_unit_test_setup_teardown(unknown_files_are_named_and_put_aside, begin, end),
		cmocka_unit_test_setup_teardown(a_flipped_bit_in_a_segment_is_named_and_the_rest_reads, begin, end),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	test_archive_release();
	return failed;
}
