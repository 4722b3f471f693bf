#include "ingest/trace.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "ingest/inflate.h"
#include "ingest/pcapfile.h"

/* One read: small enough that the header walk behind it finds the bytes in the second-level cache and that little is
 * carried over at the end of a block, large enough that the system call costs nothing (64..512 KiB measured equal). */
#define READ_BYTES 131072u
/* Less room than this at the end of a block is not worth a read. */
#define ROOM_MIN_BYTES 4096u

struct trace {
	struct inflate *in;
	bool            classic;      /* pcap, not pcapng */
	struct pcapfile pcap;
	struct pcapng   ng;
	struct pcapng_interface only; /* the one interface of a pcap file */

	uint8_t *carry;               /* read, but not yet part of a block */
	uint32_t carry_bytes, carry_room;
	uint64_t offset;              /* in the unpacked file, of carry[0]; during a fill offset + walker.at is that of
	                               * the next byte to use */
	uint64_t skip_bytes;          /* still to be passed over before the next record */

	struct fingerprint *print;    /* of a stream; otherwise NULL */
	uint64_t records, captured_bytes, wire_bytes;
	enum err ended;               /* not OK: what every further fill answers */
	char     sentence[ERR_TEXT_BYTES];
};

enum walk
walk_damage(struct walker *w, enum err e, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(w->reason, sizeof w->reason, format, args);
	va_end(args);
	w->error = e;
	return WALK_DAMAGE;
}

/* --- opening --- */

/* Magic numbers of what people mistake for a trace. */
static const struct {
	uint8_t     n;
	const char *magic, *what;
} known_files[] = {
	{ 8, "snoop\0\0\0", "a Solaris snoop capture" },
	{ 8, "btsnoop\0", "a Bluetooth snoop capture" },
	{ 4, "RTSS", "a Microsoft Network Monitor 1 capture" },
	{ 4, "GMBU", "a Microsoft Network Monitor 2 capture" },
	{ 4, "\xaa\xaa\xaa\xaa", "an Accellent 5View capture" },
	{ 4, "XCP\0", "a NetXRay or Windows Sniffer capture" },
	{ 11, "TRSNIFF dat", "a DOS Sniffer capture" },
	{ 8, "iptrace ", "an AIX iptrace capture" },
	{ 4, "\x7fver", "a WildPackets Peek capture" },
	{ 8, "ObserverP", "a Network Instruments Observer capture" },
	{ 5, "\5VNFF", "a Visual Networks capture" },
	{ 4, "\xac\x01\x00\x1c", "an IxVeriWave or Ixia lcap capture" },
	{ 4, "\xab\x01\x00\x1c", "an IxVeriWave or Ixia lcap capture" },
	{ 4, "\xa1\xb2\x34\xcd", "a modified pcap variant that libpcap does not read either" },
	{ 4, "\xcd\x34\xb2\xa1", "a modified pcap variant that libpcap does not read either" },
	{ 4, "\xa1\x2b\x3c\x4d", "Navtel's pcap variant" },
	{ 4, "\x4d\x3c\x2b\xa1", "Navtel's pcap variant" },
	{ 4, "\x0a\x0d\x0d\x0a", "pcapng with a damaged byte-order magic" },
	{ 3, "BZh", "bzip2 data: unpack it first (bzip2 -dc FILE | ... -)" },
	{ 4, "LZIP", "lzip data: unpack it first" },
	{ 2, "\x1f\x9d", "compress (.Z) data: unpack it first (zcat FILE | ... -)" },
	{ 2, "\x1f\x8b", "gzip data inside packed data, or of an unknown method" },
	{ 4, "\x02\x21\x4c\x18", "lz4 data in the legacy format: unpack it first (lz4 -dc FILE | ... -)" },
	{ 4, "PK\3\4", "a zip archive: unpack it first" },
	{ 6, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first" },
	{ 2, "\x0c\xa5", "an nfdump flow file" },
	{ 2, "\xa5\x0c", "an nfdump flow file" },
};

static enum err
not_a_trace(const struct trace *t, const uint8_t *head, size_t n)
{
	const char *name = inflate_name(t->in);
	for (size_t i = 0; i < sizeof known_files / sizeof known_files[0]; i++)
		if (n >= known_files[i].n && memcmp(head, known_files[i].magic, known_files[i].n) == 0)
			return fail(ERR_FORMAT, "%s: not a pcap or pcapng file at byte 0: this is %s", name,
			            known_files[i].what);
	char hex[3 * 8 + 1] = "";
	for (size_t i = 0; i < n && i < 8; i++)
		snprintf(hex + 3 * i, 4, " %02x", head[i]);
	return fail(ERR_FORMAT, "%s: not a pcap or pcapng file at byte 0: it begins with%s", name, hex);
}

/* As many of the first bytes as there are, up to a pcap header. An error only when there are none at all: what follows
 * a few bytes is the next read's to report. */
static enum err
read_head(struct trace *t, uint8_t *head, size_t *n)
{
	*n = 0;
	while (*n < PCAPFILE_HEADER_BYTES) {
		size_t got = 0;
		enum err e = inflate_read(t->in, head + *n, PCAPFILE_HEADER_BYTES - *n, &got);
		if (e != OK && e != END)
			return e;
		if (e == END)
			break;
		*n += got;
	}
	if (*n == 0)
		return fail(ERR_FORMAT, "%s: empty, no pcap or pcapng header at byte 0", inflate_name(t->in));
	return OK;
}

static enum err
begin_pcap(struct trace *t, const uint8_t *head, size_t n)
{
	if (n < PCAPFILE_HEADER_BYTES)
		return fail(ERR_FORMAT, "%s: ends at byte %zu, inside the pcap file header of %d bytes",
		            inflate_name(t->in), n, PCAPFILE_HEADER_BYTES);
	enum err e = pcapfile_begin(&t->pcap, head);
	if (e != OK)
		return fail_prefix(e, "%s: byte 4: ", inflate_name(t->in));
	t->classic = true;
	t->offset = PCAPFILE_HEADER_BYTES;
	t->only = (struct pcapng_interface){ .linktype = t->pcap.linktype,
		                             .tsresol = t->pcap.nanoseconds ? 9 : 6,
		                             .snaplen = t->pcap.snaplen };
	return OK;
}

static enum err
trace_begin(struct trace *t)
{
	uint8_t head[PCAPFILE_HEADER_BYTES] = { 0 };
	size_t n;
	TRY(read_head(t, head, &n));
	if (n >= 4 && pcapfile_magic(head))
		return begin_pcap(t, head, n);
	if (n < 12 || !pcapng_magic(head))
		return not_a_trace(t, head, n);
	memcpy(t->carry, head, n);
	t->carry_bytes = (uint32_t)n;
	return OK;
}

/* Takes in, also on failure. */
static enum err
trace_adopt(struct trace **out, struct inflate *in)
{
	struct trace *t = calloc(1, sizeof *t);
	if (t) {
		t->carry_room = 2 * READ_BYTES;
		t->carry = malloc(t->carry_room);
	}
	if (!t || !t->carry) {
		enum err e = fail(ERR_NOMEM, "%s: out of memory", inflate_name(in));
		free(t);
		inflate_close(&in);
		return e;
	}
	t->in = in;
	enum err e = trace_begin(t);
	if (e != OK) {
		trace_close(&t);
		return e;
	}
	*out = t;
	return OK;
}

static void
see_stored(void *arg, const void *bytes, size_t n)
{
	fingerprint_see(arg, bytes, n);
}

enum err
trace_open(struct trace **out, const char *path)
{
	struct inflate *in = NULL;
	struct fingerprint *print = NULL;
	TRY(inflate_open(&in, path));
	if (inflate_is_stream(in)) {
		enum err e = fingerprint_open(&print);
		if (e != OK) {
			inflate_close(&in);
			return e;
		}
		inflate_watch(in, see_stored, print);
	}
	enum err e = trace_adopt(out, in);
	if (e == OK)
		(*out)->print = print;
	else
		fingerprint_close(&print);
	return e;
}

enum err
trace_open_memory(struct trace **out, const void *bytes, size_t n, size_t piece_bytes, const char *name)
{
	struct inflate *in = NULL;
	TRY(inflate_open_memory(&in, bytes, n, piece_bytes, name));
	return trace_adopt(out, in);
}

void
trace_close(struct trace **out)
{
	struct trace *t = *out;
	*out = NULL;
	if (!t)
		return;
	inflate_close(&t->in);
	fingerprint_close(&t->print);
	pcapng_fini(&t->ng);
	free(t->carry);
	free(t);
}

/* --- filling --- */

static enum err
trace_end(struct trace *t, enum err e)
{
	t->ended = e;
	if (e != END)
		snprintf(t->sentence, sizeof t->sentence, "%s", err_text());
	return e;
}

static enum err
trace_damage(struct trace *t, const struct walker *w, enum err e, const char *reason)
{
	char rest[80] = "";
	uint64_t at = t->offset + w->at, size = inflate_size(t->in);
	bool packed = *inflate_format(t->in) != 0;
	if (!packed && size > at)
		snprintf(rest, sizeof rest, "; %llu bytes from there on were not read",
		         (unsigned long long)(size - at));
	else if (packed && size > inflate_in_bytes(t->in))
		snprintf(rest, sizeof rest, "; %llu packed bytes remain unread",
		         (unsigned long long)(size - inflate_in_bytes(t->in)));
	return fail(e, "%s: byte %llu%s: %s%s", inflate_name(t->in), (unsigned long long)at, packed ? " (unpacked)" : "",
	            reason, rest);
}

static enum err
keep_carry(struct trace *t, const struct frames *f, const struct walker *w)
{
	uint32_t n = w->end - w->at;
	if (n > t->carry_room) {
		uint8_t *grown = realloc(t->carry, n);
		if (!grown)
			return fail(ERR_NOMEM, "%s: out of memory for %u bytes", inflate_name(t->in), n);
		t->carry = grown;
		t->carry_room = n;
	}
	memcpy(t->carry, f->bytes + w->at, n);
	t->carry_bytes = n;
	t->offset += w->at;
	return OK;
}

/* With no frame in it, the front of the buffer is free again. */
static void
move_to_front(struct trace *t, struct frames *f, struct walker *w)
{
	memmove(f->bytes, f->bytes + w->at, w->end - w->at);
	t->offset += w->at;
	w->end -= w->at;
	w->at = 0;
}

/* Makes at least `need` bytes lie behind w->at. OK: so it is; END with *full: no room for them here; END without: the
 * file ended first. */
static enum err
read_more(struct trace *t, struct frames *f, struct walker *w, uint32_t need, bool *full)
{
	*full = false;
	if (f->count == 0 && w->at > 0)
		move_to_front(t, f, w);
	while (w->end - w->at < need) {
		uint32_t room = f->room_bytes - w->end, missing = need - (w->end - w->at);
		if (missing > room || (f->count > 0 && room < ROOM_MIN_BYTES)) {
			*full = true;
			return END;
		}
		size_t got = 0, n = missing > READ_BYTES ? missing : READ_BYTES;
		TRY(inflate_read(t->in, f->bytes + w->end, n < room ? n : room, &got));
		w->end += (uint32_t)got;
	}
	return OK;
}

/* Passes over what is not wanted: first what is in the buffer, then what still comes, using the free room as scratch. */
static enum err
read_past(struct trace *t, struct frames *f, struct walker *w, bool *full)
{
	*full = false;
	while (t->skip_bytes) {
		uint32_t here = w->end - w->at;
		if (here > t->skip_bytes)
			here = (uint32_t)t->skip_bytes;
		w->at += here;
		t->skip_bytes -= here;
		if (t->skip_bytes == 0)
			break;
		if (f->count == 0)
			move_to_front(t, f, w);
		uint32_t room = f->room_bytes - w->end;
		if (room == 0 || (f->count > 0 && room < ROOM_MIN_BYTES)) {
			*full = true;
			return END;
		}
		size_t got = 0, n = room < READ_BYTES ? room : READ_BYTES;
		if (n > t->skip_bytes)
			n = (size_t)t->skip_bytes;
		TRY(inflate_read(t->in, f->bytes + w->end, n, &got));
		/* Read and passed at once: the room is used again, only the offset moves. */
		t->offset += got;
		t->skip_bytes -= got;
	}
	return OK;
}

static enum err
file_end(struct trace *t, const struct frames *f, const struct walker *w)
{
	char reason[128];
	if (t->skip_bytes)
		snprintf(reason, sizeof reason, "the file ends inside a block, %llu bytes before its end",
		         (unsigned long long)t->skip_bytes);
	else if (w->end > w->at || t->ng.trailer_due)
		snprintf(reason, sizeof reason, "the file ends inside a record: %u bytes of at least %u are there",
		         w->end - w->at, w->need_bytes);
	else
		return f->count ? OK : END;
	return trace_damage(t, w, ERR_FORMAT, reason);
}

static enum err
no_room(struct trace *t, const struct frames *f, const struct walker *w)
{
	if (f->count)
		return OK;
	char reason[128];
	snprintf(reason, sizeof reason, "record of %u bytes, more than the buffer's %u", w->need_bytes, f->room_bytes);
	return trace_damage(t, w, ERR_LIMIT, reason);
}

/* OK: f is as full as it gets, what is left goes into the carry. */
static enum err
fill_frames(struct trace *t, struct frames *f, struct walker *w)
{
	for (;;) {
		bool full = false;
		enum err e;
		if (t->skip_bytes) {
			e = read_past(t, f, w, &full);
		} else {
			enum walk state = t->classic ? pcapfile_walk(&t->pcap, f, w) : pcapng_walk(&t->ng, f, w);
			if (state == WALK_FULL)
				return OK;
			if (state == WALK_DAMAGE)
				return trace_damage(t, w, w->error, w->reason);
			if (state == WALK_SKIP) {
				t->skip_bytes = w->skip_bytes;
				continue;
			}
			e = read_more(t, f, w, w->need_bytes, &full);
		}
		if (e == END)
			return full ? no_room(t, f, w) : file_end(t, f, w);
		TRY(e);
	}
}

enum err
trace_fill(struct trace *t, struct frames *into)
{
	frames_reset(into);
	if (t->ended != OK)
		return t->ended == END ? END : fail(t->ended, "%s", t->sentence);
	assert(into->room_bytes >= TRACE_ROOM_BYTES_MIN && into->room_bytes >= t->carry_bytes);
	struct walker w = { .end = t->carry_bytes };
	memcpy(into->bytes, t->carry, t->carry_bytes);
	t->carry_bytes = 0;
	enum err e = fill_frames(t, into, &w);
	into->used_bytes = w.at;
	t->records += into->count;
	t->only.records += into->count;
	t->captured_bytes += w.captured_bytes;
	t->wire_bytes += w.wire_bytes;
	if (e == OK)
		e = keep_carry(t, into, &w);
	return e == OK ? OK : trace_end(t, e);
}

/* --- looking --- */

void
trace_stats(const struct trace *t, struct trace_stats *out)
{
	const char *packed = inflate_format(t->in);
	const char *kind = "pcapng";
	if (t->classic)
		kind = t->pcap.nanoseconds ? "pcap nanosecond" : t->pcap.modified ? "pcap modified" : "pcap";
	bool swapped = t->classic ? t->pcap.swapped : t->ng.swapped;
	*out = (struct trace_stats){
		.records = t->records,
		.captured_bytes = t->captured_bytes,
		.wire_bytes = t->wire_bytes,
		.skipped_blocks = t->ng.skipped_blocks,
		.rounded_times = t->ng.rounded_times,
		.sections = t->classic ? 1 : t->ng.sections,
		.interface_count = t->classic ? 1 : t->ng.interface_count,
		.interfaces = t->classic ? &t->only : t->ng.interfaces,
	};
	snprintf(out->format, sizeof out->format, "%s%s%s%s", kind, swapped ? ", big-endian" : "", *packed ? ", " : "",
	         packed);
}

uint64_t    trace_offset(const struct trace *t) { return inflate_in_bytes(t->in); }
uint64_t    trace_size(const struct trace *t) { return inflate_size(t->in); }
const char *trace_name(const struct trace *t) { return inflate_name(t->in); }
bool        trace_is_stream(const struct trace *t) { return t->print; }

enum err
trace_fingerprint(struct trace *t, uint8_t out[TRACE_FINGERPRINT_BYTES], bool *whole)
{
	if (t->print) {
		TRY(inflate_ahead(t->in, TRACE_FINGERPRINT_START_BYTES));
		fingerprint_get(t->print, out, whole);
		return OK;
	}
	TRY(fingerprint_file(inflate_fd(t->in), inflate_name(t->in), out));
	*whole = true;
	return OK;
}

const char *
trace_stem(const char *path, size_t *n)
{
	static const char *const endings[] = { ".gz", ".zst", ".xz", ".lz4", ".pcap", ".pcapng", ".cap", ".dmp" };
	const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path;
	if (strcmp(path, "-") == 0)
		stem = "stdin";
	*n = strlen(stem);
	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
			size_t m = strlen(endings[i]);
			if (*n > m && memcmp(stem + *n - m, endings[i], m) == 0) {
				*n -= m;
				again = true;
			}
		}
	}
	return stem;
}
