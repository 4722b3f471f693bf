/* Of an archive that nobody has open. The test fails when it is not so; what: of the case, for the words. */
#ifndef TESTS_SUPPORT_ARCHIVE_CHECK_H
#define TESTS_SUPPORT_ARCHIVE_CHECK_H

/* fsck finds nothing. */
void archive_is_clean(const char *dir, const char *what);
/* A rebuild comes to an equal index. */
void archive_rebuilds_to_itself(const char *dir, const char *what);

#endif
