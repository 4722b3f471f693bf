/* The verbs of atoll, one per file tools/verb_*.c, and what they share. */
#ifndef TOOLS_VERBS_H
#define TOOLS_VERBS_H

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/options.h"
#include "index/archive_dir.h"

#define JSON_VERSION 1u /* of the shapes that --json gives; larger when one loses or changes a member */

extern const struct verb verb_init, verb_import, verb_ls, verb_query, verb_export, verb_stat, verb_rm, verb_fsck, verb_rebuild;
extern const struct verb verb_enroll, verb_monitors, verb_revoke, verb_config, verb_policy, verb_serve;

#define CONFIG_OPTION { "config", 0, OPTION_TEXT, "FILE", "ATOLL_CONFIG", "configuration instead of /etc/atoll/atoll.conf" }

/* Opens the archive that -A or ATOLL_ARCHIVE names, with --key-file. ERR_USAGE: none was named. */
enum err given_archive(struct archive **out, const struct given *g, enum archive_access access);
/* The folder alone. */
enum err given_archive_dir(const char **dir, const struct given *g);

/* A JSON document on stdout with the member "version"; ended with json_end() and json_finish(). */
struct json report_json(void);
/* A time as RFC 3339 text, or null when there is none. */
void        report_time(struct json *j, const char *key, uint64_t ns, bool there);
/* The end of a half-open range that ends with a record at last_ns. */
uint64_t    report_until(uint64_t last_ns);

#endif
