#include "ingest/identity.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/seal.h"
#include "base/bytes.h"
#include "base/human.h"
#include "base/io.h"
#include "base/limits.h"

#define FILE_MAGIC "ATOLLMON"

enum {
#define F(codec, size, name, meaning) +size
	FILE_BYTES = 0 IDENTITY_FILE(F),
#undef F
	CHECKED_BYTES = FILE_BYTES - 32,
};

struct identity_file {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	IDENTITY_FILE(F)
#undef F
};

#define READ_le32(r, size, to)     (to) = reader_le32(r)
#define READ_bytes(r, size, to)    reader_get(r, to, size)
#define WRITE_le32(w, size, from)  writer_le32(w, from)
#define WRITE_bytes(w, size, from) writer_put(w, from, size)

/* --- keys --- */

static void
derive(uint8_t out[32], const uint8_t seed[IDENTITY_SEED_BYTES], const char *label)
{
	crypto_generichash(out, 32, (const uint8_t *)label, strlen(label), seed, IDENTITY_SEED_BYTES);
}

enum err
identity_make(struct identity **out, const uint8_t seed[IDENTITY_SEED_BYTES])
{
	uint8_t signing[crypto_sign_SEEDBYTES];
	TRY(seal_start());
	struct identity *i = sodium_malloc(sizeof *i);
	if (!i)
		return fail(ERR_NOMEM, "no memory that can be locked for the monitor's keys");
	sodium_memzero(i, sizeof *i);
	if (seed)
		memcpy(i->seed, seed, sizeof i->seed);
	else
		randombytes_buf(i->seed, sizeof i->seed);
	derive(i->noise_secret, i->seed, "noise key");
	noise_public(i->noise_public, i->noise_secret);
	derive(signing, i->seed, "signing key");
	crypto_sign_seed_keypair(i->sign_public, i->sign_secret, signing);
	sodium_memzero(signing, sizeof signing);
	i->port = WIRE_PORT;
	*out = i;
	return OK;
}

void
identity_close(struct identity **i)
{
	if (*i)
		sodium_free(*i);
	*i = NULL;
}

/* --- the file --- */

/* Text of a field: it has its NUL, and zeros behind it. */
static bool
text_get(char *out, const uint8_t *field, size_t n)
{
	size_t length = strnlen((const char *)field, n);
	if (length == n || !sodium_is_zero(field + length, n - length))
		return false;
	memcpy(out, field, n);
	return true;
}

static enum err
parse(struct identity **out, const uint8_t bytes[FILE_BYTES], const char *path)
{
	struct identity_file f;
	struct identity *i = NULL;
	uint8_t sum[32];
	struct reader r = reader_of(bytes, FILE_BYTES);
#define F(codec, size, name, meaning) READ_##codec(&r, size, f.name);
	IDENTITY_FILE(F)
#undef F
	enum err e = OK;
	crypto_generichash(sum, sizeof sum, bytes, CHECKED_BYTES, NULL, 0);
	if (memcmp(f.magic, FILE_MAGIC, sizeof f.magic) != 0)
		e = fail(ERR_FORMAT, "%s: not an identity file", path);
	else if (f.version != IDENTITY_VERSION)
		e = fail(ERR_UNSUPPORTED, "%s: version %u; this program knows %u", path, f.version, IDENTITY_VERSION);
	else if (memcmp(sum, f.checksum, sizeof sum) != 0)
		e = fail(ERR_FORMAT, "%s: damaged: bring it back from a backup, or enroll again with a new code", path);
	else
		e = identity_make(&i, f.seed);
	if (e == OK && (!text_get(i->monitor, f.monitor, sizeof f.monitor) || !text_get(i->host, f.host, sizeof f.host) ||
	                f.port == 0 || f.port > 65535 || f.enrolled > 1)) {
		identity_close(&i);
		e = fail(ERR_FORMAT, "%s: contradicts itself", path);
	}
	if (e == OK) {
		i->enrolled = f.enrolled == 1;
		i->port = (uint16_t)f.port;
		memcpy(i->archive_key, f.archive_key, sizeof i->archive_key);
		memcpy(i->archive, f.archive, sizeof i->archive);
		memcpy(i->ingest, f.ingest, sizeof i->ingest);
		*out = i;
	}
	sodium_memzero(&f, sizeof f);
	return e;
}

static enum err
read_private(int fd, uint8_t bytes[FILE_BYTES], const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fail_errno("%s", path);
	if (st.st_mode & 077)
		return fail(ERR_DENIED, "%s: others may read it, and it holds a secret: chmod 600 it, or enroll again if somebody did",
		            path);
	if (st.st_size != FILE_BYTES)
		return fail(ERR_FORMAT, "%s: %lld bytes, not %d: not an identity file, or damaged", path, (long long)st.st_size,
		            FILE_BYTES);
	return io_pread(fd, bytes, FILE_BYTES, 0, path);
}

enum err
identity_load(struct identity **out, const char *dir)
{
	char path[PATH_BYTES];
	uint8_t bytes[FILE_BYTES];
	int fd = -1;
	TRY(seal_start());
	TRY(io_path(path, dir, "identity"));
	enum err e = io_open(&fd, path);
	if (e == ERR_ABSENT)
		return fail(ERR_ABSENT, "%s: this monitor belongs to no archive yet: `atoll enroll NAME` there gives a code for "
		                        "`atoll-collect enroll URL CODE` here", path);
	TRY(e);
	e = read_private(fd, bytes, path);
	io_close(&fd);
	if (e == OK)
		e = parse(out, bytes, path);
	sodium_memzero(bytes, sizeof bytes);
	return e;
}

static enum err
write_new(const char *path, const uint8_t bytes[FILE_BYTES])
{
	int fd = -1;
	enum err e = io_unlink(path); /* left by one who died */
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(io_create(&fd, path, 0600));
	e = io_write(fd, bytes, FILE_BYTES, path);
	if (e == OK)
		e = io_datasync(fd, path);
	io_close(&fd);
	return e;
}

enum err
identity_store(const char *dir, const struct identity *i)
{
	char path[PATH_BYTES], next[PATH_BYTES];
	uint8_t bytes[FILE_BYTES];
	struct identity_file f = { .version = IDENTITY_VERSION, .enrolled = i->enrolled, .port = i->port };
	TRY(io_path(path, dir, "identity"));
	TRY(io_path(next, dir, "identity.new"));
	enum err e = io_mkdir(dir, 0711); /* the spool in it may be another user's, who captures without being root */
	if (e != OK && e != ERR_EXISTS)
		return e;
	memcpy(f.magic, FILE_MAGIC, sizeof f.magic);
	memcpy(f.seed, i->seed, sizeof f.seed);
	memcpy(f.archive_key, i->archive_key, sizeof f.archive_key);
	memcpy(f.archive, i->archive, sizeof f.archive);
	memcpy(f.ingest, i->ingest, sizeof f.ingest);
	memcpy(f.monitor, i->monitor, strlen(i->monitor));
	memcpy(f.host, i->host, strlen(i->host));
	struct writer w = writer_of(bytes, sizeof bytes);
#define F(codec, size, name, meaning) WRITE_##codec(&w, size, f.name);
	IDENTITY_FILE(F)
#undef F
	crypto_generichash(bytes + CHECKED_BYTES, 32, bytes, CHECKED_BYTES, NULL, 0);
	e = write_new(next, bytes);
	sodium_memzero(bytes, sizeof bytes);
	sodium_memzero(&f, sizeof f);
	if (e == OK)
		e = io_rename(next, path);
	return e == OK ? io_sync_dir(dir) : e;
}

/* --- the address --- */

static enum err
address_port(uint16_t *port, const char *text, const char *url)
{
	uint64_t n;
	char shown[HUMAN_BYTES];
	if (number_parse(&n, text, "the port") != OK || n == 0 || n > 65535)
		return fail(ERR_USAGE, "%s: a port is 1 to 65535", human_text(shown, sizeof shown, url));
	*port = (uint16_t)n;
	return OK;
}

enum err
identity_address(struct identity *i, const char *url)
{
	static const char scheme[] = "atoll://";
	char shown[128];
	const char *host = strncmp(url, scheme, sizeof scheme - 1) == 0 ? url + sizeof scheme - 1 : url, *end, *behind;
	human_text(shown, sizeof shown, url);
	if (strstr(host, "://"))
		return fail(ERR_USAGE, "%s: not an address of an archive: that begins with atoll://", shown);
	if (*host == '[') {
		end = strchr(++host, ']');
		behind = end ? end + 1 : NULL;
	} else {
		end = host + strcspn(host, ":/");
		behind = end;
	}
	size_t n = end ? (size_t)(end - host) : 0;
	if (n == 0 || n >= IDENTITY_HOST_BYTES || strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                                                       "0123456789.-_:%") < n)
		return fail(ERR_USAGE, "%s: not an address; wanted: atoll://HOST or atoll://HOST:PORT, an IPv6 address in brackets",
		            shown);
	uint16_t port = WIRE_PORT;
	if (*behind == ':') {
		char digits[8];
		size_t m = strcspn(behind + 1, "/");
		snprintf(digits, sizeof digits, "%.*s", (int)(m < sizeof digits ? m : sizeof digits - 1), behind + 1);
		TRY(address_port(&port, digits, url));
		behind += 1 + m;
	}
	if (*behind && strcmp(behind, "/") != 0)
		return fail(ERR_USAGE, "%s: an address ends with the port", shown);
	memset(i->host, 0, sizeof i->host);
	memcpy(i->host, host, n);
	i->port = port;
	return OK;
}
