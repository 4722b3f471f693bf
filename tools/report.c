#include <stdio.h>

#include "base/when.h"
#include "tools/verbs.h"

enum err
given_archive_dir(const char **dir, const struct given *g)
{
	*dir = given_text(g, "archive", NULL);
	if (!*dir)
		return fail(ERR_USAGE, "say which archive: -A DIR, or ATOLL_ARCHIVE=DIR in the environment");
	return OK;
}

enum err
given_archive(struct archive **out, const struct given *g, enum archive_access access)
{
	const char *dir;
	TRY(given_archive_dir(&dir, g));
	return archive_open(out, dir, given_text(g, "key-file", NULL), access);
}

struct json
report_json(void)
{
	struct json j = json_to(stdout, JSON_PRETTY);
	json_object(&j, NULL);
	json_u64(&j, "version", JSON_VERSION);
	return j;
}

void
report_time(struct json *j, const char *key, uint64_t ns, bool there)
{
	char text[WHEN_TEXT_BYTES];
	if (!there) {
		json_null(j, key);
		return;
	}
	when_format(text, ns);
	json_text(j, key, text);
}

uint64_t
report_until(uint64_t last_ns)
{
	return last_ns == UINT64_MAX ? last_ns : last_ns + 1;
}
