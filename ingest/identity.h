/* Who a collector is: one secret seed, from which its two key pairs follow, and the archive that it belongs to. The file
 * DIR/identity (0600) holds them; in memory they are sodium_malloc'ed and wiped.
 *
 *     Noise secret (X25519) = BLAKE2b-256 keyed with the seed over "noise key"
 *     signing seed (Ed25519) = BLAKE2b-256 keyed with the seed over "signing key"
 *
 * The file is written before the archive is asked to enrol the keys (with `enrolled` 0), so that a collector that died before
 * it heard the answer still has the keys that the archive may know by now.
 */
#ifndef INGEST_IDENTITY_H
#define INGEST_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/parcel.h"
#include "base/err.h"
#include "ingest/noise.h"

#define COLLECTOR_DIR        "/var/lib/atoll-collect"
#define IDENTITY_SEED_BYTES  32u
#define IDENTITY_HOST_BYTES  256u
#define IDENTITY_VERSION     1u

/* F(codec, size, name, meaning): the file, in this order. Texts are padded with zeros. */
#define IDENTITY_FILE(F)                                                                   \
	F(bytes, 8, magic, "ATOLLMON")                                                     \
	F(le32, 4, version, "1")                                                           \
	F(le32, 4, enrolled, "1: the archive has said so")                                 \
	F(bytes, 32, seed, "secret")                                                       \
	F(bytes, 32, archive_key, "the archive's Noise public key, pinned")                \
	F(bytes, 16, archive, "archive id")                                                \
	F(bytes, 32, ingest, "the archive's public key for block keys")                    \
	F(bytes, 64, monitor, "the monitor's name in the archive")                         \
	F(bytes, 256, host, "name or address of the archive")                              \
	F(le32, 4, port, "TCP")                                                            \
	F(bytes, 32, checksum, "BLAKE2b-256 of the bytes before")

struct identity {
	bool     enrolled;
	uint8_t  seed[IDENTITY_SEED_BYTES];
	uint8_t  noise_secret[NOISE_KEY_BYTES], noise_public[NOISE_KEY_BYTES];
	uint8_t  sign_secret[PARCEL_SIGN_BYTES], sign_public[PARCEL_MONITOR_BYTES];
	uint8_t  archive_key[NOISE_KEY_BYTES];
	uint8_t  archive[ARCHIVE_ID_BYTES];
	uint8_t  ingest[INGEST_KEY_BYTES];
	char     monitor[64];
	char     host[IDENTITY_HOST_BYTES];
	uint16_t port;
};

/* A new one with a random seed (seed NULL) or this one. ERR_NOMEM. */
enum err identity_make(struct identity **out, const uint8_t seed[IDENTITY_SEED_BYTES]);
/* ERR_ABSENT: not enrolled (the sentence says how); ERR_DENIED: others may read the file, or we may not; ERR_FORMAT: damaged;
 * ERR_UNSUPPORTED: another version. One whose enrolment was not answered is given too: see enrolled. */
enum err identity_load(struct identity **out, const char *dir);
/* Makes dir (0711) when it is not there; durable on return, whole or not at all. */
enum err identity_store(const char *dir, const struct identity *i);
void     identity_close(struct identity **i); /* wipes, sets *i to NULL */

/* "atoll://HOST[:PORT]", "HOST[:PORT]", "[IPV6]:PORT"; without a port WIRE_PORT. ERR_USAGE. */
enum err identity_address(struct identity *i, const char *url);

#endif
