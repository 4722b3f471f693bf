#include "tests/support/site.h"

#include "base/io.h"
#include "tests/support/archive_check.h"
#include "tests/support/unit.h"

struct site site;

int
site_make(void **state)
{
	(void)state;
	scratch_make(site.top);
	MUST(io_path(site.dir, site.top, "a"));
	MUST(archive_init(site.dir, NULL));
	MUST(store_open(&site.store, site.dir, NULL));
	sender_open(&site.one, site.store, "one", 1);
	sender_open(&site.two, site.store, "two", 2);
	site.now_ns = 1000000000000u;
	return 0;
}

int
site_unmake(void **state)
{
	(void)state;
	store_close(&site.store);
	scratch_remove(site.top);
	return 0;
}

void
site_reopen(void)
{
	store_close(&site.store);
	MUST(store_open(&site.store, site.dir, NULL));
}

void
site_commit(void)
{
	MUST(store_land_commit(site.store));
}

struct catalogue *
site_catalogue(void)
{
	return archive_catalogue(store_archive(site.store));
}

enum landing_answer
site_land(const struct sender *m, const struct sent *p, struct feed_mark *mark)
{
	enum landing_answer answer;
	struct feed_mark unasked;
	MUST(send_land(site.store, m, p, site.now_ns += 1000, &answer, mark ? mark : &unasked));
	return answer;
}

void
site_give(const struct sender *m, struct sent *p, struct digest *want)
{
	assert_int_equal(site_land(m, p, NULL), LANDED);
	if (want)
		digest_add(want, &p->digest);
	sent_free(&p);
}

void
site_holds(const char *stream, const struct digest *want, const char *file, int line)
{
	struct digest have;
	MUST(archive_digest(store_archive(site.store), stream, 0, UINT64_MAX, &have, NULL));
	if (have.records != want->records || have.sum != want->sum)
		print_message("# %s:%d: %llu records, not %llu\n", file, line, (unsigned long long)have.records,
		              (unsigned long long)want->records);
	assert_int_equal(have.records, want->records);
	assert_int_equal(have.sum, want->sum);
}

void
site_is_in_order(void)
{
	store_close(&site.store);
	archive_is_clean(site.dir, "site");
	archive_rebuilds_to_itself(site.dir, "site");
	MUST(store_open(&site.store, site.dir, NULL));
}
