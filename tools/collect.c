#include "tools/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/amount.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/sandbox.h"
#include "base/when.h"

const struct option_spec collect_spool_option_specs[] = {
	{ "spool-bytes", 0, OPTION_TEXT, "SIZE", "ATOLL_SPOOL_BYTES", "room for what the archive has not acknowledged (default: 1 GiB)" },
	{ "spool-full", 0, OPTION_TEXT, "POLICY", "ATOLL_SPOOL_FULL",
	  "when it is full: stop (new packets are lost) or oldest (the oldest unsent are); both are counted" },
	{ 0 },
};

const char *
collect_dir(const struct given *g)
{
	return given_text(g, "dir", COLLECTOR_DIR);
}

enum err
collect_spool_options(const struct given *g, struct spool_options *o)
{
	const char *size = given_text(g, "spool-bytes", NULL), *policy = given_text(g, "spool-full", "stop");
	if (size)
		TRY(size_parse(&o->bytes_max, size, "--spool-bytes"));
	if (size && o->bytes_max < SPOOL_BYTES_MIN)
		return fail(ERR_USAGE, "--spool-bytes: at least %u", SPOOL_BYTES_MIN);
	if (strcmp(policy, "stop") != 0 && strcmp(policy, "oldest") != 0)
		return fail(ERR_USAGE, "--spool-full is stop or oldest");
	o->policy = strcmp(policy, "oldest") == 0 ? SPOOL_OLDEST : SPOOL_STOP;
	return OK;
}

/* --- reports --- */

struct json
collect_json(void)
{
	struct json j = json_to(stdout, JSON_PRETTY);
	json_object(&j, NULL);
	json_u64(&j, "version", COLLECT_JSON_VERSION);
	return j;
}

void
collect_json_time(struct json *j, const char *key, uint64_t ns)
{
	char text[WHEN_TEXT_BYTES];
	if (ns == 0) {
		json_null(j, key);
		return;
	}
	when_format(text, ns);
	json_text(j, key, text);
}

/* --- privileges --- */

enum err
collect_harden(void)
{
	struct rlimit none = { 0, 0 };
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail_errno("core dumps and new privileges could not be turned off");
	return OK;
}

static enum err
capabilities_clear(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return fail_errno("ambient capabilities");
	if (syscall(SYS_capset, &head, none) < 0)
		return fail_errno("capabilities");
	return OK;
}

/* dir/spool and what is in it to this user; what was pushed by root lies there as well. */
static enum err
give_spool(const char *dir, const struct passwd *user)
{
	char path[PATH_BYTES];
	TRY(io_path(path, dir, "spool"));
	enum err e = io_mkdir(path, 0700);
	if (e != OK && e != ERR_EXISTS)
		return e;
	DIR *d = opendir(path);
	if (!d || fchown(dirfd(d), user->pw_uid, user->pw_gid) < 0) {
		e = fail_errno("%s: give it to user %s", path, user->pw_name);
		if (d)
			closedir(d);
		return e;
	}
	e = OK;
	for (struct dirent *entry; e == OK && (entry = readdir(d));)
		if (entry->d_name[0] != '.' &&
		    fchownat(dirfd(d), entry->d_name, user->pw_uid, user->pw_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
			e = fail_errno("%s/%s: give it to user %s", path, entry->d_name, user->pw_name);
	closedir(d);
	return e;
}

enum err
collect_drop_privileges(const char *name, const char *dir)
{
	if (geteuid() != 0) {
		struct passwd *self = name ? getpwnam(name) : NULL;
		if (name && (!self || self->pw_uid != geteuid()))
			return fail(ERR_USAGE, "only root can become user %s: start as root or as %s", name, name);
		return capabilities_clear();
	}
	struct passwd *user = getpwnam(name ? name : "atoll-collect");
	if (!user && !name)
		user = getpwnam("nobody");
	if (!user || user->pw_uid == 0)
		return fail(ERR_USAGE, "there is no user %s to become (adduser --system --group atoll-collect makes one)",
		            name ? name : "atoll-collect");
	TRY(give_spool(dir, user));
	TRY(sandbox_become(user));
	TRY(capabilities_clear());
	/* a change of user makes a process dumpable as the system's default says */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? fail_errno("core dumps could not be turned off") : OK;
}
