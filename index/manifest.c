#include "index/manifest.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"

#define WORD          "atoll-manifest "
#define MAC_BYTES     8
#define TAIL_BYTES    (1 + 1 + 2 * MAC_BYTES) /* blank, mark, hex */
#define WINDOW_BYTES  (64u << 10)

struct manifest {
	int      fd;
	bool     writable, resumed, stopped;
	uint8_t  key[MANIFEST_KEY_BYTES];
	uint8_t  id[MANIFEST_ID_BYTES];
	uint64_t start;
	/* reading: window holds [window_at, window_at + window_used) of the file */
	uint64_t at, window_at;
	size_t   window_used;
	uint8_t *window;
	/* writing */
	uint64_t end, sequence;
	char    *change;
	size_t   change_used, change_room, last_mark; /* last_mark: where the last line's tail starts */
	uint64_t change_lines;
	char     path[PATH_BYTES];
};

static void
line_mac(const uint8_t *key, const uint8_t *id, const char *text, size_t n, char hex[2 * MAC_BYTES + 1])
{
	uint8_t sum[16];
	crypto_generichash_state h;
	crypto_generichash_init(&h, key, MANIFEST_KEY_BYTES, sizeof sum);
	crypto_generichash_update(&h, id, MANIFEST_ID_BYTES);
	crypto_generichash_update(&h, (const uint8_t *)text, n);
	crypto_generichash_final(&h, sum, sizeof sum);
	sodium_bin2hex(hex, 2 * MAC_BYTES + 1, sum, MAC_BYTES);
}

/* --- the first line --- */

static size_t
head_print(char line[MANIFEST_LINE_BYTES_MAX], const uint8_t *key, const uint8_t *archive, const uint8_t *id)
{
	char archive_hex[2 * ARCHIVE_ID_BYTES + 1], id_hex[2 * MANIFEST_ID_BYTES + 1], mac[2 * MAC_BYTES + 1];
	sodium_bin2hex(archive_hex, sizeof archive_hex, archive, ARCHIVE_ID_BYTES);
	sodium_bin2hex(id_hex, sizeof id_hex, id, MANIFEST_ID_BYTES);
	int n = snprintf(line, MANIFEST_LINE_BYTES_MAX, WORD "%u archive=%s id=%s .", MANIFEST_VERSION, archive_hex, id_hex);
	line_mac(key, id, line, (size_t)n, mac);
	n += snprintf(line + n, MANIFEST_LINE_BYTES_MAX - (size_t)n, "%s\n", mac);
	return (size_t)n;
}

static enum err
head_read(struct manifest *m, const uint8_t *archive)
{
	char line[256], want[MANIFEST_LINE_BYTES_MAX], archive_hex[33], id_hex[33];
	size_t got = 0;
	TRY(io_read(m->fd, line, sizeof line - 1, &got, m->path));
	line[got] = 0;
	unsigned version = 0;
	if (sscanf(line, WORD "%9u", &version) != 1)
		return fail(ERR_FORMAT, "%s: damaged at byte 0: run atoll fsck --repair", m->path);
	if (version != MANIFEST_VERSION)
		return fail(ERR_UNSUPPORTED, "%s: manifest version %u, this program knows %u", m->path, version,
		            MANIFEST_VERSION);
	if (sscanf(line, WORD "%*u archive=%32[0-9a-f] id=%32[0-9a-f] .", archive_hex, id_hex) != 2 ||
	    sodium_hex2bin(m->id, sizeof m->id, id_hex, strlen(id_hex), NULL, NULL, NULL) != 0)
		return fail(ERR_FORMAT, "%s: damaged first line: run atoll fsck --repair", m->path);
	size_t n = head_print(want, m->key, archive, m->id);
	if (got < n || memcmp(want, line, n) != 0)
		return fail(ERR_FORMAT, "%s: first line damaged or another archive's: run atoll fsck --repair", m->path);
	m->start = n;
	return OK;
}

enum err
manifest_create(const char *dir, const char *name, const uint8_t key[MANIFEST_KEY_BYTES],
                const uint8_t archive[ARCHIVE_ID_BYTES], uint8_t id[MANIFEST_ID_BYTES])
{
	char path[PATH_BYTES], line[MANIFEST_LINE_BYTES_MAX];
	TRY(io_path(path, dir, "%s", name));
	randombytes_buf(id, MANIFEST_ID_BYTES);
	int fd = -1;
	TRY(io_create(&fd, path, 0600));
	size_t n = head_print(line, key, archive, id);
	enum err e = io_write(fd, line, n, path);
	if (e == OK)
		e = io_datasync(fd, path);
	io_close(&fd);
	if (e != OK)
		(void)unlink(path); /* ours; the first error is the one to tell */
	return e;
}

enum err
manifest_open(struct manifest **out, const char *dir, const char *name, const uint8_t key[MANIFEST_KEY_BYTES],
              const uint8_t archive[ARCHIVE_ID_BYTES], bool writable)
{
	struct manifest *m = calloc(1, sizeof *m);
	if (m == NULL)
		return fail(ERR_NOMEM, "%s: no memory for the manifest", dir);
	m->fd = -1;
	m->writable = writable;
	memcpy(m->key, key, sizeof m->key);
	enum err e = io_path(m->path, dir, "%s", name);
	if (e == OK) {
		e = writable ? io_open_write(&m->fd, m->path) : io_open(&m->fd, m->path);
		if (e == ERR_ABSENT)
			e = fail(e, "%s: no manifest: run atoll fsck --repair", m->path);
	}
	if (e == OK)
		e = head_read(m, archive);
	if (e != OK) {
		manifest_close(&m);
		return e;
	}
	m->at = m->start;
	*out = m;
	return OK;
}

void
manifest_close(struct manifest **m)
{
	if (*m == NULL)
		return;
	io_close(&(*m)->fd);
	sodium_memzero((*m)->key, sizeof (*m)->key);
	free((*m)->window);
	free((*m)->change);
	free(*m);
	*m = NULL;
}

void
manifest_id(const struct manifest *m, uint8_t id[MANIFEST_ID_BYTES])
{
	memcpy(id, m->id, MANIFEST_ID_BYTES);
}

enum err
manifest_bytes(const struct manifest *m, uint64_t *bytes)
{
	return io_size(m->fd, bytes, m->path);
}

uint64_t
manifest_start(const struct manifest *m)
{
	return m->start;
}

/* --- reading --- */

void
manifest_seek(struct manifest *m, uint64_t at)
{
	m->at = at;
	m->window_used = 0;
}

/* Looks at the next line without its newline. *text is NULL for a line of more than MANIFEST_LINE_BYTES_MAX bytes, and
 * *whole is false for bytes at the end of the file without a newline. END when there are none. */
static enum err
line_view(struct manifest *m, const char **text, size_t *n, bool *whole)
{
	if (m->window == NULL && (m->window = malloc(WINDOW_BYTES)) == NULL)
		return fail(ERR_NOMEM, "%s: no memory to read it", m->path);
	if (m->at < m->window_at || m->at > m->window_at + m->window_used)
		m->window_used = 0;
	for (bool long_line = false, ended = false;;) {
		size_t skip = m->window_used ? (size_t)(m->at - m->window_at) : 0;
		const uint8_t *from = m->window + skip;
		size_t have = m->window_used - skip;
		const uint8_t *newline = have ? memchr(from, '\n', have) : NULL;
		if (newline) {
			*n = (size_t)(newline - from);
			*text = long_line || *n > MANIFEST_LINE_BYTES_MAX ? NULL : (const char *)from;
			*whole = true;
			m->at += *n + 1;
			return OK;
		}
		if (ended) {
			*n = have;
			*text = NULL;
			*whole = false;
			m->at += have;
			return have || long_line ? OK : END;
		}
		if (have > MANIFEST_LINE_BYTES_MAX) {
			long_line = true;
			m->at += have;
			have = 0;
		}
		memmove(m->window, m->window + m->window_used - have, have);
		m->window_at = m->at;
		ssize_t r;
		do
			r = pread(m->fd, m->window + have, WINDOW_BYTES - have, (off_t)(m->at + have));
		while (r < 0 && errno == EINTR);
		if (r < 0)
			return fail_errno("%s: read failed at byte %" PRIu64, m->path, m->at + have);
		m->window_used = have + (size_t)r;
		ended = r == 0;
	}
}

enum err
manifest_parse_line(const uint8_t key[MANIFEST_KEY_BYTES], const uint8_t id[MANIFEST_ID_BYTES], const char *text, size_t n,
                    struct manifest_line *line)
{
	char mac[2 * MAC_BYTES + 1];
	if (n <= TAIL_BYTES || n > MANIFEST_LINE_BYTES_MAX)
		return fail(ERR_FORMAT, "not a manifest line");
	size_t body = n - TAIL_BYTES;
	char mark = text[body + 1];
	line_mac(key, id, text, body + 2, mac);
	if (text[body] != ' ' || (mark != '.' && mark != '+') || memcmp(mac, text + body + 2, 2 * MAC_BYTES) != 0)
		return fail(ERR_FORMAT, "damaged manifest line");
	uint64_t sequence = 0;
	size_t at = 0;
	for (; at < body && text[at] >= '0' && text[at] <= '9'; at++)
		if (__builtin_mul_overflow(sequence, 10u, &sequence) ||
		    __builtin_add_overflow(sequence, (uint64_t)(text[at] - '0'), &sequence))
			return fail(ERR_FORMAT, "damaged manifest line number");
	if (at == 0 || at == body || text[at] != ' ')
		return fail(ERR_FORMAT, "damaged manifest line number");
	const char *word = text + at + 1, *blank = memchr(word, ' ', body - at - 1);
	enum row_kind kind;
	if (blank == NULL || !row_kind_of(&kind, word, (size_t)(blank - word)) || !row_in_manifest(kind))
		return fail(ERR_FORMAT, "unknown manifest line");
	TRY(row_parse(kind, &line->row, blank + 1, (size_t)(text + body - blank - 1)));
	line->kind = kind;
	line->sequence = sequence;
	line->more = mark == '+';
	return OK;
}

/* *valid false: a damaged line, passed over. END. */
static enum err
line_next(struct manifest *m, struct manifest_line *line, bool *valid)
{
	const char *text = NULL;
	size_t n = 0;
	bool whole = false;
	uint64_t start = m->at;
	TRY(line_view(m, &text, &n, &whole));
	line->start = start;
	line->end = m->at;
	*valid = whole && text != NULL && manifest_parse_line(m->key, m->id, text, n, line) == OK;
	return OK;
}

enum err
manifest_next(struct manifest *m, struct manifest_line *line)
{
	for (bool valid = false; !valid;)
		TRY(line_next(m, line, &valid));
	return OK;
}

enum err
manifest_scan(struct manifest *m, uint64_t at, uint64_t sequence, struct manifest_scan *scan)
{
	struct manifest_scan s = { .good_end = at, .sequence = sequence };
	struct manifest_line line;
	uint64_t expected = sequence + 1, lines = 0, open_damage = 0, open_at = 0;
	manifest_seek(m, at);
	for (;;) {
		bool valid;
		enum err e = line_next(m, &line, &valid);
		if (e == END)
			break;
		if (e != OK)
			return e;
		if (!valid || line.sequence != expected) {
			if (open_damage++ == 0)
				open_at = line.start;
		}
		if (!valid)
			continue;
		lines++;
		expected = line.sequence + 1;
		if (line.more)
			continue;
		/* a complete change: what was wrong before it is damage, not a torn tail */
		if (open_damage && s.damaged_lines == 0)
			s.damage_at = open_at;
		s.damaged_lines += open_damage;
		open_damage = 0;
		s.good_end = line.end;
		s.sequence = line.sequence;
		s.lines = lines;
	}
	uint64_t bytes;
	TRY(manifest_bytes(m, &bytes));
	s.torn = bytes > s.good_end;
	*scan = s;
	return OK;
}

/* --- writing --- */

enum err
manifest_resume(struct manifest *m, const struct manifest_scan *scan)
{
	assert(m->writable);
	uint64_t bytes;
	TRY(manifest_bytes(m, &bytes));
	if (bytes > scan->good_end) {
		if (ftruncate(m->fd, (off_t)scan->good_end) < 0)
			return fail_errno("%s: cut off at byte %" PRIu64, m->path, scan->good_end);
		TRY(io_datasync(m->fd, m->path));
	}
	m->end = scan->good_end;
	m->sequence = scan->sequence;
	m->resumed = true;
	return OK;
}

static enum err
change_room(struct manifest *m, size_t n)
{
	if (n <= m->change_room - m->change_used)
		return OK;
	if (n > MANIFEST_CHANGE_BYTES_MAX - m->change_used)
		return fail(ERR_LIMIT, "%s: one change of more than %u bytes", m->path, MANIFEST_CHANGE_BYTES_MAX);
	size_t room = 2 * (m->change_used + n);
	char *grown = realloc(m->change, room);
	if (grown == NULL)
		return fail(ERR_NOMEM, "%s: no memory for a change of %zu bytes", m->path, room);
	m->change = grown;
	m->change_room = room;
	return OK;
}

/* Writes mark, check and newline behind the line whose text ends at last_mark. */
static void
line_finish(struct manifest *m, size_t line_at, char mark)
{
	char mac[2 * MAC_BYTES + 1];
	char *tail = m->change + m->last_mark;
	tail[0] = ' ';
	tail[1] = mark;
	line_mac(m->key, m->id, m->change + line_at, m->last_mark + 2 - line_at, mac);
	memcpy(tail + 2, mac, 2 * MAC_BYTES);
	tail[TAIL_BYTES] = '\n';
}

enum err
manifest_add(struct manifest *m, enum row_kind kind, const void *row)
{
	assert(m->resumed);
	if (m->stopped)
		return fail(ERR_IO, "%s: stopped after an earlier failure: start again", m->path);
	assert(row_in_manifest(kind));
	TRY(change_room(m, MANIFEST_LINE_BYTES_MAX));
	char *line = m->change + m->change_used, text[ROW_TEXT_MAX];
	row_print(kind, row, text);
	int n = snprintf(line, MANIFEST_LINE_BYTES_MAX - TAIL_BYTES - 1, "%" PRIu64 " %s %s",
	                 m->sequence + m->change_lines + 1, row_word(kind), text);
	assert(n > 0 && n < (int)(MANIFEST_LINE_BYTES_MAX - TAIL_BYTES - 1));
	m->last_mark = m->change_used + (size_t)n;
	line_finish(m, m->change_used, '+');
	m->change_used = m->last_mark + TAIL_BYTES + 1;
	m->change_lines++;
	return OK;
}

void
manifest_discard(struct manifest *m)
{
	m->change_used = 0;
	m->change_lines = 0;
}

enum err
manifest_commit(struct manifest *m, uint64_t *end, uint64_t *sequence)
{
	assert(m->resumed && m->change_lines);
	if (m->stopped)
		return fail(ERR_IO, "%s: stopped after an earlier failure: start again", m->path);
	size_t line_at = m->last_mark;
	while (line_at > 0 && m->change[line_at - 1] != '\n')
		line_at--;
	line_finish(m, line_at, '.');
	enum err e = io_pwrite(m->fd, m->change, m->change_used, m->end, m->path);
	if (e == OK)
		e = io_datasync(m->fd, m->path);
	if (e != OK) {
		m->stopped = true;
		return e;
	}
	m->end += m->change_used;
	m->sequence += m->change_lines;
	manifest_discard(m);
	*end = m->end;
	*sequence = m->sequence;
	return OK;
}
