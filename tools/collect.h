/* The verbs of atoll-collect, one per file tools/collect_*.c, and what they share. */
#ifndef TOOLS_COLLECT_H
#define TOOLS_COLLECT_H

#include "base/json.h"
#include "base/options.h"
#include "ingest/collector.h"

#define COLLECT_JSON_VERSION 1u /* of the shapes that --json gives; larger when one loses or changes a member */

extern const struct verb collect_enroll, collect_run, collect_push, collect_status;

const char *collect_dir(const struct given *g);
/* No core dumps, no tracing by others, no new privileges by execve: keys are in memory. */
enum err    collect_harden(void);
/* Root becomes the user of this name (NULL: atoll-collect, or else nobody) and gives it the spool; whoever else we are, the
 * capabilities go. ERR_USAGE: no such user, or a user was named and we are not root. */
enum err    collect_drop_privileges(const char *user, const char *dir);
struct json collect_json(void);
/* RFC 3339, or null when 0. */
void        collect_json_time(struct json *j, const char *key, uint64_t ns);
/* "--spool-bytes", "--spool-full". */
enum err    collect_spool_options(const struct given *g, struct spool_options *o);
extern const struct option_spec collect_spool_option_specs[];

#endif
