#include "query/tracefile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/limits.h"

#define BUFFER_BYTES  (1u << 20)    /* one write takes most of this; 256 KiB and 2 MiB were 25 % slower into a pipe */
#define PIPE_BYTES    (1u << 20)    /* asked of the kernel for standard output: fewer switches between the two processes */
#define TEMP_TRIES    100           /* left-overs of killed exports of the same process number */
#define LINKS_MAX     40            /* as the kernel */
#define SNAPLEN       262144u       /* libpcap's MAXIMUM_SNAPLEN */
#define NS_PER_S      UINT64_C(1000000000)

#define PCAP_HEADER_BYTES   24u
#define PCAP_RECORD_BYTES   16u
#define PCAP_SNAPLEN_AT     16u     /* in its header */
#define EPB_BYTES           28u     /* before the packet's bytes */
#define IDB_SNAPLEN_AT      12u     /* in its block */
#define RECORD_OVERHEAD     (EPB_BYTES + 4 + 3) /* header, length behind, padding: the larger format */

struct interface {
	uint64_t key;               /* stream, iface, linktype */
	uint64_t snaplen_at;        /* file offset of its snapshot length */
	uint32_t snaplen, cap_max;  /* as written, and the longest record so far */
};

struct tracefile {
	enum tracefile_format format;
	int      fd;
	bool     owned, finished;
	char     path[PATH_BYTES];  /* final name, or "standard output" */
	char     temp[PATH_BYTES];  /* "" when there is none */
	uint8_t *buffer;
	uint32_t used, room;        /* room has TRACEFILE_SLACK behind it */
	uint64_t flushed, records;

	struct interface *interfaces;
	uint32_t interface_count, interface_room;
	uint32_t *slots;            /* hash table of interface numbers + 1; a power of two, at most half full */
	uint32_t slot_mask;
	uint32_t last;              /* asked for last */

	bool     replaces;          /* a file that is there, of this mode and group */
	mode_t   replaced_mode;
	gid_t    replaced_group;
};

/* --- the output --- */

static enum err
temp_create(struct tracefile *w)
{
	char folder[PATH_BYTES];
	const char *slash = strrchr(w->path, '/');
	size_t n = slash ? (size_t)(slash - w->path) : 1;
	memcpy(folder, slash ? w->path : ".", n);
	folder[n] = 0;
	for (int i = 0; i < TEMP_TRIES; i++) {
		TRY(io_path(w->temp, folder, ".atoll-export-%ld-%d.part", (long)getpid(), i));
		enum err e = io_create(&w->fd, w->temp, 0600);
		if (e == OK)
			return OK;
		if (e != ERR_EXISTS) {
			w->temp[0] = 0;
			return e;
		}
	}
	w->temp[0] = 0;
	return fail(ERR_EXISTS, "%s: %d unfinished exports lie in this folder (.atoll-export-*.part), remove them", w->path,
	            TEMP_TRIES);
}

/* A pipe waits here for its reader. */
static enum err
special_open(struct tracefile *w, const char *path)
{
	if (strlen(path) >= sizeof w->path)
		return fail(ERR_LIMIT, "%s: path longer than %d bytes", path, PATH_BYTES);
	snprintf(w->path, sizeof w->path, "%s", path);
	do
		w->fd = open(w->path, O_WRONLY | O_CLOEXEC);
	while (w->fd < 0 && errno == EINTR);
	return w->fd < 0 ? fail_errno("%s", w->path) : OK;
}

/* Replaces the path of a symbolic link by what it names; *more: it was one. */
static enum err
link_step(char path[PATH_BYTES], bool *more)
{
	char target[PATH_BYTES], folder[PATH_BYTES];
	ssize_t n = readlink(path, target, sizeof target - 1);
	*more = n >= 0;
	if (n < 0)
		return OK;
	target[n] = 0;
	char *slash = strrchr(path, '/');
	if (*target == '/' || !slash) {
		memcpy(path, target, (size_t)n + 1);
		return OK;
	}
	*slash = 0;
	memcpy(folder, path, (size_t)(slash - path) + 1);
	return io_path(path, folder, "%s", target);
}

enum err
tracefile_place(const char *path, char out[PATH_BYTES])
{
	bool more = true;
	if (strlen(path) >= PATH_BYTES)
		return fail(ERR_LIMIT, "%s: path longer than %d bytes", path, PATH_BYTES);
	if (realpath(path, out))
		return OK;
	memcpy(out, path, strlen(path) + 1);
	for (unsigned i = 0; i < LINKS_MAX && more; i++)
		TRY(link_step(out, &more));
	return more ? fail(ERR_USAGE, "%s: symbolic links that go in a circle", path) : OK;
}

static enum err
output_open(struct tracefile *w, const char *path)
{
	if (strcmp(path, "-") == 0) {
		w->fd = STDOUT_FILENO;
		snprintf(w->path, sizeof w->path, "standard output");
		(void)fcntl(w->fd, F_SETPIPE_SZ, PIPE_BYTES); /* only a pipe has one; as it was is well, too */
		return OK;
	}
	w->owned = true;
	struct stat st;
	bool there = stat(path, &st) == 0;
	if (there && S_ISDIR(st.st_mode))
		return fail(ERR_USAGE, "%s: is a folder, name a file in it", path);
	if (there && !S_ISREG(st.st_mode))
		return special_open(w, path);
	TRY(tracefile_place(path, w->path));
	w->replaces = there;
	w->replaced_mode = st.st_mode & 0777;
	w->replaced_group = st.st_gid;
	return temp_create(w);
}

/* A file that took another's place is for the same people: who had set that up meant it. */
static enum err
mode_keep(struct tracefile *w)
{
	struct stat st;
	mode_t mode = w->replaced_mode;
	if (!w->replaces)
		return OK;
	if (fstat(w->fd, &st) < 0)
		return fail_errno("%s", w->path);
	if (st.st_gid != w->replaced_group && fchown(w->fd, (uid_t)-1, w->replaced_group) < 0)
		mode &= ~(mode_t)S_IRWXG; /* another group is not meant */
	return fchmod(w->fd, mode) < 0 ? fail_errno("%s", w->path) : OK;
}

static enum err
flush(struct tracefile *w)
{
	if (w->used == 0)
		return OK;
	TRY(io_write(w->fd, w->buffer, w->used, w->path));
	w->flushed += w->used;
	w->used = 0;
	return OK;
}

/* Room for n more bytes in the buffer, and the slack. */
static enum err
reserve(struct tracefile *w, uint32_t n)
{
	if (n <= w->room - w->used)
		return OK;
	TRY(flush(w));
	if (n <= w->room)
		return OK;
	uint8_t *grown = realloc(w->buffer, (size_t)n + TRACEFILE_SLACK);
	if (!grown)
		return fail(ERR_NOMEM, "%s: out of memory for a record of %u bytes", w->path, n);
	w->buffer = grown;
	w->room = n;
	return OK;
}

enum err
tracefile_open(struct tracefile **out, const char *path, enum tracefile_format format)
{
	struct tracefile *w = calloc(1, sizeof *w);
	if (!w)
		return fail(ERR_NOMEM, "%s: out of memory", path);
	w->fd = -1;
	w->format = format;
	w->room = BUFFER_BYTES;
	w->buffer = malloc(BUFFER_BYTES + TRACEFILE_SLACK);
	enum err e = w->buffer ? output_open(w, path) : fail(ERR_NOMEM, "%s: out of memory", path);
	if (e != OK) {
		tracefile_close(&w);
		return e;
	}
	if (format == TRACEFILE_PCAPNG) {
		uint8_t *p = w->buffer;
		store_le32(p, 0x0a0d0d0a);
		store_le32(p + 4, 28);
		store_le32(p + 8, 0x1a2b3c4d);
		store_le32(p + 12, 1); /* version 1.0 */
		store_le64(p + 16, UINT64_MAX); /* section length: not told */
		store_le32(p + 24, 28);
		w->used = 28;
	}
	*out = w;
	return OK;
}

void
tracefile_close(struct tracefile **out)
{
	struct tracefile *w = *out;
	*out = NULL;
	if (!w)
		return;
	if (w->temp[0] && !w->finished)
		(void)!unlink(w->temp); /* nothing to be done when it stays: it is hidden and says what it is */
	if (w->owned)
		io_close(&w->fd);
	free(w->interfaces);
	free(w->slots);
	free(w->buffer);
	free(w);
}

/* --- interfaces --- */

static uint32_t
slot_of(const struct tracefile *w, uint64_t key)
{
	uint32_t at = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & w->slot_mask;
	while (w->slots[at] && w->interfaces[w->slots[at] - 1].key != key)
		at = (at + 1) & w->slot_mask;
	return at;
}

static enum err
interfaces_grow(struct tracefile *w)
{
	uint32_t room = w->interface_room ? 2 * w->interface_room : 8;
	struct interface *grown = realloc(w->interfaces, room * sizeof *grown);
	if (grown)
		w->interfaces = grown;
	uint32_t *slots = calloc(2 * (size_t)room, sizeof *slots);
	if (!grown || !slots) {
		free(slots);
		return fail(ERR_NOMEM, "%s: out of memory for %u interfaces", w->path, room);
	}
	free(w->slots);
	w->slots = slots;
	w->slot_mask = 2 * room - 1;
	w->interface_room = room;
	for (uint32_t i = 0; i < w->interface_count; i++)
		w->slots[slot_of(w, w->interfaces[i].key)] = i + 1;
	return OK;
}

static uint32_t
snaplen_of(uint16_t linktype)
{
	/* EBHSCR, DBUS and USBPCAP records may be longer, for libpcap, too. */
	return linktype == 279 || linktype == 231 || linktype == 249 ? RECORD_BYTES_MAX : SNAPLEN;
}

/* The pcap file header, or an interface description block; *snaplen_at is set to where its snapshot length lies. */
static enum err
describe(struct tracefile *w, uint16_t linktype, const char *name, uint64_t *snaplen_at)
{
	size_t name_bytes = name ? strlen(name) : 0;
	if (name_bytes > UINT16_MAX)
		name_bytes = UINT16_MAX;
	uint32_t padded = ((uint32_t)name_bytes + 3) & ~3u;
	uint32_t total = 20 + 8 + 4 + (name_bytes ? 4 + padded : 0);
	if (w->format == TRACEFILE_PCAP)
		total = PCAP_HEADER_BYTES;
	TRY(reserve(w, total));
	*snaplen_at = w->flushed + w->used + (w->format == TRACEFILE_PCAP ? PCAP_SNAPLEN_AT : IDB_SNAPLEN_AT);
	uint8_t *p = w->buffer + w->used;
	memset(p, 0, total);
	if (w->format == TRACEFILE_PCAP) {
		store_le32(p, 0xa1b23c4d);
		store_le16(p + 4, 2);
		store_le16(p + 6, 4);
		store_le32(p + PCAP_SNAPLEN_AT, snaplen_of(linktype));
		store_le32(p + 20, linktype);
	} else {
		store_le32(p, 1);
		store_le32(p + 4, total);
		store_le16(p + 8, linktype);
		store_le32(p + IDB_SNAPLEN_AT, snaplen_of(linktype));
		store_le16(p + 16, 9); /* if_tsresol: 10^-9 s */
		store_le16(p + 18, 1);
		p[20] = 9;
		if (name_bytes) {
			store_le16(p + 24, 2); /* if_name */
			store_le16(p + 26, (uint16_t)name_bytes);
			memcpy(p + 28, name, name_bytes);
		}
		store_le32(p + total - 4, total); /* after the end of options, four zeros */
	}
	w->used += total;
	return OK;
}

enum err
tracefile_interface(struct tracefile *w, uint32_t stream, uint16_t iface, uint16_t linktype, const char *name, uint32_t *id)
{
	/* A pcap file knows one source only: streams and interfaces fall together. */
	uint64_t key = w->format == TRACEFILE_PCAP ? linktype : (uint64_t)stream << 32 | (uint32_t)iface << 16 | linktype;
	if (w->interface_count) {
		if (w->interfaces[w->last].key == key) {
			*id = w->last;
			return OK;
		}
		uint32_t slot = w->slots[slot_of(w, key)];
		if (slot) {
			*id = w->last = slot - 1;
			return OK;
		}
		if (w->format == TRACEFILE_PCAP)
			return fail(ERR_USAGE, "%s: records of link types %u and %u do not go into one pcap file; use --format pcapng",
			            w->path, (unsigned)w->interfaces[0].key, linktype);
	}
	if (w->interface_count == TRACEFILE_INTERFACES_MAX)
		return fail(ERR_LIMIT, "%s: more than %u interfaces in one file", w->path, TRACEFILE_INTERFACES_MAX);
	if (w->interface_count == w->interface_room)
		TRY(interfaces_grow(w));
	struct interface i = { .key = key, .snaplen = snaplen_of(linktype) };
	TRY(describe(w, linktype, name, &i.snaplen_at));
	w->slots[slot_of(w, key)] = w->interface_count + 1;
	w->interfaces[w->interface_count] = i;
	*id = w->last = w->interface_count++;
	return OK;
}

/* --- records --- */

static uint32_t
header_bytes(const struct tracefile *w)
{
	return w->format == TRACEFILE_PCAP ? PCAP_RECORD_BYTES : EPB_BYTES;
}

enum err
tracefile_room(struct tracefile *w, uint32_t cap_len, uint8_t **bytes)
{
	if (cap_len > RECORD_BYTES_MAX)
		return fail(ERR_LIMIT, "%s: record of %u captured bytes, more than the limit of %u", w->path, cap_len,
		            RECORD_BYTES_MAX);
	if (cap_len + RECORD_OVERHEAD > w->room - w->used)
		TRY(reserve(w, cap_len + RECORD_OVERHEAD));
	*bytes = w->buffer + w->used + header_bytes(w);
	return OK;
}

enum err
tracefile_commit(struct tracefile *w, uint32_t id, uint64_t ts_ns, uint32_t wire_len, uint32_t cap_len)
{
	assert(id < w->interface_count && !w->finished);
	assert(cap_len <= w->room - w->used && cap_len + RECORD_OVERHEAD <= w->room - w->used);
	uint8_t *p = w->buffer + w->used;
	if (w->format == TRACEFILE_PCAP) {
		uint64_t seconds = ts_ns / NS_PER_S;
		if (seconds > UINT32_MAX)
			return fail(ERR_USAGE, "%s: a record at %llu s since 1970 does not go into a pcap file; use --format pcapng",
			            w->path, (unsigned long long)seconds);
		store_le32(p, (uint32_t)seconds);
		store_le32(p + 4, (uint32_t)(ts_ns % NS_PER_S));
		store_le32(p + 8, cap_len);
		store_le32(p + 12, wire_len);
		w->used += PCAP_RECORD_BYTES + cap_len;
	} else {
		uint32_t padded = (cap_len + 3) & ~3u, total = EPB_BYTES + padded + 4;
		store_le32(p, 6);
		store_le32(p + 4, total);
		store_le32(p + 8, id);
		store_le32(p + 12, (uint32_t)(ts_ns >> 32));
		store_le32(p + 16, (uint32_t)ts_ns);
		store_le32(p + 20, cap_len);
		store_le32(p + 24, wire_len);
		memset(p + EPB_BYTES + cap_len, 0, padded - cap_len);
		store_le32(p + EPB_BYTES + padded, total);
		w->used += total;
	}
	if (cap_len > w->interfaces[id].cap_max)
		w->interfaces[id].cap_max = cap_len;
	w->records++;
	return OK;
}

enum err
tracefile_append(struct tracefile *w, uint32_t id, uint64_t ts_ns, uint32_t wire_len, uint32_t cap_len,
                 const uint8_t *bytes)
{
	uint8_t *to = NULL;
	TRY(tracefile_room(w, cap_len, &to));
	if (cap_len)
		memcpy(to, bytes, cap_len);
	return tracefile_commit(w, id, ts_ns, wire_len, cap_len);
}

/* --- the end --- */

static enum err
raise_snaplens(struct tracefile *w)
{
	for (uint32_t i = 0; i < w->interface_count; i++) {
		const struct interface *f = &w->interfaces[i];
		if (f->cap_max <= f->snaplen)
			continue;
		uint8_t le[4];
		store_le32(le, f->cap_max);
		TRY(io_pwrite(w->fd, le, sizeof le, f->snaplen_at, w->path));
	}
	return OK;
}

enum err
tracefile_finish(struct tracefile *w)
{
	assert(!w->finished);
	uint32_t id;
	if (w->interface_count == 0)
		TRY(tracefile_interface(w, 0, 0, 1, NULL, &id));
	TRY(flush(w));
	if (w->temp[0]) {
		TRY(raise_snaplens(w));
		TRY(mode_keep(w));
		TRY(io_rename(w->temp, w->path));
	}
	w->finished = true;
	return OK;
}

uint64_t tracefile_records(const struct tracefile *w) { return w->records; }
uint64_t tracefile_bytes(const struct tracefile *w) { return w->flushed + w->used; }
