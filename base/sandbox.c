#include "base/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"

/* --- files and TCP: Landlock --- */

/* Newer than Debian 12's header; the kernel takes as much of the struct as its version has (linux/landlock.h of 6.12). */
#define ACCESS_TRUNCATE  (1ull << 14)
#define ACCESS_IOCTL_DEV (1ull << 15)
#define NET_BIND_CONNECT 3ull
#define SCOPE_ALL        3ull /* abstract Unix sockets and signals of processes outside */
struct ruleset { uint64_t files, net, scoped; };

#define READ_FILES   (LANDLOCK_ACCESS_FS_READ_FILE)
#define READ_FOLDERS (READ_FILES | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGE_FILES (READ_FILES | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
#define CHANGE_FOLDERS                                                                                     \
	(READ_FOLDERS | CHANGE_FILES | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |    \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |        \
	 LANDLOCK_ACCESS_FS_REFER)

static enum err
allow_paths(int ruleset, const char *const *paths, uint64_t files, uint64_t folders)
{
	for (; paths && *paths; paths++) {
		struct stat st;
		int fd = open(*paths, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return fail_errno("%s", *paths);
		uint64_t access = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? folders : files;
		struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
		long failed = access ? syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) : 0;
		enum err e = failed ? fail_errno("%s: Landlock", *paths) : OK;
		close(fd);
		TRY(e);
	}
	return OK;
}

static enum err
restrict_paths(const struct sandbox *s)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 1) {
		log_line(LOG_WARNED, "this kernel has no Landlock (%s): only system calls and the user's rights limit which "
		         "files this process reaches", strerror(errno));
		return OK;
	}
	struct ruleset handled = { .files = (1ull << 13) - 1, .net = NET_BIND_CONNECT, .scoped = SCOPE_ALL };
	handled.files |= (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (version >= 3 ? ACCESS_TRUNCATE : 0) |
	                 (version >= 5 ? ACCESS_IOCTL_DEV : 0);
	size_t n = version >= 6 ? sizeof handled : version >= 4 ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, n, 0);
	if (ruleset < 0)
		return fail_errno("Landlock");
	enum err e = allow_paths(ruleset, s->read, READ_FILES & handled.files, READ_FOLDERS & handled.files);
	if (e == OK)
		e = allow_paths(ruleset, s->change, CHANGE_FILES & handled.files, CHANGE_FOLDERS & handled.files);
	if (e == OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		e = fail_errno("Landlock");
	close(ruleset);
	return e;
}

/* --- system calls: seccomp --- */

#define CALL(name) SCMP_SYS(name)

/* glibc 2.36, libsodium, zstd and LMDB use these; what only some kernels or versions use is there too. */
static const int calls_of_all[] = {
	CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(close), CALL(lseek), CALL(fstat), CALL(newfstatat), CALL(statx),
	CALL(munmap), CALL(mremap), CALL(madvise), CALL(brk), CALL(mlock), CALL(mlock2), CALL(munlock),
	CALL(futex), CALL(rseq), CALL(set_robust_list), CALL(get_robust_list), CALL(membarrier), CALL(sched_yield),
	CALL(sched_getaffinity), CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigpending), CALL(sigaltstack),
	CALL(restart_syscall), CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep), CALL(nanosleep), CALL(gettimeofday),
	CALL(time), CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid),
	CALL(getrandom), CALL(getrusage), CALL(sysinfo), CALL(uname), CALL(exit), CALL(exit_group),
	CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6), CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait),
	CALL(epoll_pwait), CALL(epoll_pwait2), CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime), CALL(pipe2),
	CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(shutdown), CALL(getsockopt), CALL(getsockname),
	CALL(getpeername), CALL(dup),
};
static const int calls_of_accept[] = { CALL(accept), CALL(accept4), CALL(setsockopt), CALL(sendfile) };
static const int calls_of_files[] = {
	CALL(open), CALL(openat), CALL(creat), CALL(pread64), CALL(pwrite64), CALL(preadv), CALL(pwritev), CALL(preadv2),
	CALL(pwritev2), CALL(stat), CALL(lstat), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink), CALL(readlinkat),
	CALL(getcwd), CALL(getdents64), CALL(statfs), CALL(fstatfs), CALL(fsync), CALL(fdatasync), CALL(sync_file_range),
	CALL(msync), CALL(fallocate), CALL(ftruncate), CALL(fadvise64), CALL(rename), CALL(renameat), CALL(renameat2), CALL(unlink),
	CALL(unlinkat), CALL(rmdir), CALL(mkdir), CALL(mkdirat), CALL(chmod), CALL(fchmod), CALL(fchmodat), CALL(umask),
	CALL(utimensat), CALL(flock), CALL(copy_file_range), CALL(mincore), CALL(ioprio_set),
};
static const int calls_of_local[] = { CALL(bind), CALL(listen), CALL(accept), CALL(accept4), CALL(setsockopt) };

static int
allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}
#define ALLOW(filter, calls) allow(filter, calls, sizeof (calls) / sizeof *(calls))

/* The call with argument number `which` masked being value. */
static int
allow_if(scmp_filter_ctx filter, int call, unsigned which, uint64_t mask, uint64_t value)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_CMP(which, SCMP_CMP_MASKED_EQ, mask, value));
}

static int
allow_basics(scmp_filter_ctx f)
{
	static const int fcntls[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC };
	static const uint64_t ioctls[] = { TCGETS, FIONREAD, FIONBIO }; /* isatty() */
	const uint64_t all = 0xffffffffu;
	int r = ALLOW(f, calls_of_all);
	for (size_t i = 0; i < sizeof fcntls / sizeof *fcntls && r == 0; i++)
		r = allow_if(f, CALL(fcntl), 1, all, (uint64_t)fcntls[i]);
	for (size_t i = 0; i < sizeof ioctls / sizeof *ioctls && r == 0; i++)
		r = allow_if(f, CALL(ioctl), 1, all, ioctls[i]);
	r = r ? r : allow_if(f, CALL(mmap), 2, PROT_EXEC, 0);
	r = r ? r : allow_if(f, CALL(mprotect), 2, PROT_EXEC, 0);
	r = r ? r : allow_if(f, CALL(prlimit64), 0, all, 0);
	r = r ? r : allow_if(f, CALL(tgkill), 0, all, (uint64_t)getpid()); /* abort() */
	r = r ? r : allow_if(f, CALL(prctl), 0, all, PR_SET_NAME);
	return r;
}

static int
allow_duties(scmp_filter_ctx f, unsigned calls)
{
	static const int locks[] = { F_SETLK, F_SETLKW, F_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK };
	const uint64_t all = 0xffffffffu;
	int r = 0;
	if (calls & SANDBOX_ACCEPT)
		r = ALLOW(f, calls_of_accept);
	if (calls & SANDBOX_FILES) {
		r = r ? r : ALLOW(f, calls_of_files);
		for (size_t i = 0; i < sizeof locks / sizeof *locks && r == 0; i++)
			r = allow_if(f, CALL(fcntl), 1, all, (uint64_t)locks[i]);
	}
	if (calls & SANDBOX_LOCAL) {
		r = r ? r : ALLOW(f, calls_of_local);
		r = r ? r : allow_if(f, CALL(socket), 0, all, AF_UNIX);
	}
	if (calls & SANDBOX_THREADS) { /* clone3 hides its flags in memory: glibc goes back to clone when there is none */
		r = r ? r : allow_if(f, CALL(clone), 0, CLONE_VM | CLONE_THREAD | CLONE_NEWUSER, CLONE_VM | CLONE_THREAD);
		r = r ? r : seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
	}
	return r;
}

static enum err
restrict_calls(const struct sandbox *s)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!f)
		return fail(ERR_NOMEM, "no memory for a system call filter");
	int r = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	r = r ? r : seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: 90 calls are not compared one by one */
	r = r ? r : allow_basics(f);
	r = r ? r : allow_duties(f, s->calls);
	r = r ? r : seccomp_load(f);
	seccomp_release(f);
	if (r == 0)
		return OK;
	errno = -r;
	enum err e = fail_errno("system calls can not be limited (seccomp)");
	return e == ERR_NOMEM ? e : ERR_UNSUPPORTED;
}

/* --- limits and user --- */

static enum err
limit(int what, uint64_t most, const char *name)
{
	struct rlimit now;
	if (getrlimit(what, &now) < 0)
		return fail_errno("limit of %s", name);
	rlim_t n = most < now.rlim_max ? (rlim_t)most : now.rlim_max;
	if (setrlimit(what, &(struct rlimit){ n, n }) < 0)
		return fail_errno("limit of %s", name);
	return OK;
}

static enum err
restrict_resources(const struct sandbox *s)
{
	TRY(limit(RLIMIT_CORE, 0, "core files"));
	if (s->files)
		TRY(limit(RLIMIT_NOFILE, s->files, "descriptors"));
	if (s->memory_bytes && !PROGRAM_IS_SANITIZED) /* sanitizers map terabytes */
		TRY(limit(RLIMIT_DATA, s->memory_bytes, "memory"));
	/* a file that it may not open it can not write either; what it has open (a log) is the parent's choice */
	return OK;
}

enum err
sandbox_become(const struct passwd *user)
{
	if (setgroups(0, NULL) < 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return fail_errno("user %s", user->pw_name);
	if (setuid(0) == 0)
		return fail(ERR_DENIED, "user %s could become root again", user->pw_name);
	return OK;
}

/* Of a root that had nobody to become, or was told to stay: who needs no files becomes nobody; the others keep what opens
 * files of other users, and no other capability. */
static enum err
restrict_root(const struct sandbox *s)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	if (geteuid() != 0)
		return OK;
	struct passwd *user = s->calls & SANDBOX_FILES ? NULL : getpwnam("nobody");
	if (user && user->pw_uid != 0)
		return sandbox_become(user);
	if (s->calls & SANDBOX_FILES)
		caps[0].permitted = caps[0].effective = 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER;
	return syscall(SYS_capset, &head, caps) < 0 ? fail_errno("capabilities") : OK;
}

enum err
sandbox_enter(const struct sandbox *s)
{
	pid_t parent = getppid();
	TRY(restrict_resources(s));
	if (!s->off && !PROGRAM_IS_SANITIZED)
		TRY(restrict_root(s));
	process_seclude(); /* again: a change of user forgets it */
	if (getppid() != parent)
		return fail(ERR_IO, "the parent is gone");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail_errno("no_new_privs");
	if (s->off || PROGRAM_IS_SANITIZED) {
		log_line(LOG_WARNED, "no sandbox: %s", s->off ? "switched off with --no-sandbox" : "this program has sanitizers");
		return OK;
	}
	TRY(restrict_paths(s));
	return restrict_calls(s);
}

enum err
sandbox_user(const char *name)
{
	const char *wanted = name ? name : "atoll";
	errno = 0;
	struct passwd *user = getpwnam(wanted);
	if (geteuid() != 0) {
		if (name && (!user || user->pw_uid != geteuid()))
			return fail(ERR_DENIED, "only root can become user %s: start as root or as %s", name, name);
		return OK;
	}
	if (!user && name)
		return fail(ERR_ABSENT, "there is no user %s", name);
	if (!user || user->pw_uid == 0) {
		log_line(LOG_WARNED, user ? "runs as root, as it was told to"
		                          : "the parent and the store process run as root: there is no user atoll "
		                            "(adduser --system --group atoll makes one)");
		return OK;
	}
	return sandbox_become(user);
}
