/* The archive of a test in which parcels land: opened, with two monitors. Begins and ends with each test:
 *
 *     cmocka_unit_test_setup_teardown(name, site_make, site_unmake)
 *
 * There is one in a program. What goes wrong fails the test. */
#ifndef TESTS_SUPPORT_SITE_H
#define TESTS_SUPPORT_SITE_H

#include "tests/support/make_archive.h"
#include "tests/support/sender.h"

extern struct site {
	char     top[PATH_BYTES], dir[PATH_BYTES]; /* a scratch folder, and the archive in it */
	struct store *store;
	struct sender one, two;
	uint64_t now_ns;
} site;

int  site_make(void **state);
int  site_unmake(void **state);
void site_reopen(void);
void site_commit(void);
struct catalogue *site_catalogue(void);

/* A microsecond after the one before; mark may be NULL. */
enum landing_answer site_land(const struct sender *m, const struct sent *p, struct feed_mark *mark);
/* Lands and forgets it; its digest is added to want (unless NULL). */
void site_give(const struct sender *m, struct sent *p, struct digest *want);

/* The records of a stream (NULL: all) are these. */
#define SITE_HOLDS(stream, want) site_holds(stream, want, __FILE__, __LINE__)
void site_holds(const char *stream, const struct digest *want, const char *file, int line);
/* fsck finds nothing, and a rebuild comes to an equal index; then it is opened again. */
void site_is_in_order(void);

#endif
