/* Noise_IK_25519_ChaChaPoly_BLAKE2b, revision 34 of the Noise Protocol Framework (noiseprotocol.org/noise.html): the keys of
 * a connection from two static key pairs, of which the initiator knows both public halves beforehand.
 *
 *     <- s
 *     ...
 *     -> e, es, s, ss      noise_write_first()    | noise_read_ephemeral(), noise_read_static(), noise_read_payload()
 *     <- e, ee, se         noise_read_second()    | noise_write_second()
 *                          noise_split()          | noise_split()
 *
 * The responder's static secret key need not be in this process: reading message 1 is cut where that key is used, so that
 * whoever holds the key can give the two shared secrets (X25519 of it with a public key that the step names) at leisure.
 *
 * Nothing here allocates or reads a clock. All of struct noise is secret: it lies in memory that its owner locks, and
 * noise_split() and noise_wipe() clear it. A call that fails leaves a handshake that is good for nothing but noise_wipe().
 * Calls out of order are our bugs (assert).
 */
#ifndef INGEST_NOISE_H
#define INGEST_NOISE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define NOISE_PROTOCOL   "Noise_IK_25519_ChaChaPoly_BLAKE2b"
#define NOISE_KEY_BYTES  32u /* X25519: either half, a shared secret; a cipher's key */
#define NOISE_HASH_BYTES 64u
#define NOISE_TAG_BYTES  16u
#define NOISE_EPHEMERAL_BYTES NOISE_KEY_BYTES
#define NOISE_STATIC_BYTES    (NOISE_KEY_BYTES + NOISE_TAG_BYTES)
#define NOISE_FIRST_BYTES  (NOISE_EPHEMERAL_BYTES + NOISE_STATIC_BYTES + NOISE_TAG_BYTES) /* message 1 without payload */
#define NOISE_SECOND_BYTES (NOISE_EPHEMERAL_BYTES + NOISE_TAG_BYTES)                      /* message 2 without payload */

/* One direction of a connection: the CipherState of the specification. */
struct noise_cipher {
	uint8_t  key[NOISE_KEY_BYTES];
	uint64_t nonce; /* of the next message */
};

/* What comes next. */
enum noise_step {
	NOISE_WRITE_FIRST,
	NOISE_READ_SECOND,
	NOISE_READ_EPHEMERAL,
	NOISE_READ_STATIC,
	NOISE_READ_PAYLOAD,
	NOISE_WRITE_SECOND,
	NOISE_SPLIT,
	NOISE_OVER,
};

/* HandshakeState, embedded. Of these only step, peer_static (once known) and hash (after the last message: the handshake
 * hash, for channel binding) are for others. */
struct noise {
	enum noise_step     step;
	int                 initiator;
	uint8_t             chain[NOISE_HASH_BYTES], hash[NOISE_HASH_BYTES];
	struct noise_cipher cipher;
	uint8_t             static_secret[NOISE_KEY_BYTES], static_public[NOISE_KEY_BYTES]; /* secret: the initiator's only */
	uint8_t             own_secret[NOISE_KEY_BYTES];                                    /* ephemeral */
	uint8_t             peer_static[NOISE_KEY_BYTES], peer_ephemeral[NOISE_KEY_BYTES];
};

/* The public half of an X25519 secret. */
void     noise_public(uint8_t public[NOISE_KEY_BYTES], const uint8_t secret[NOISE_KEY_BYTES]);
/* The shared secret, as whoever holds the responder's static secret computes it for noise_read_static() and
 * noise_read_payload(). ERR_DENIED: public is of small order, the outcome all zero. */
enum err noise_dh(uint8_t shared[NOISE_KEY_BYTES], const uint8_t secret[NOISE_KEY_BYTES], const uint8_t public[NOISE_KEY_BYTES]);

void     noise_initiate(struct noise *n, const void *prologue, size_t prologue_bytes, const uint8_t secret[NOISE_KEY_BYTES],
                        const uint8_t peer_static[NOISE_KEY_BYTES]);
void     noise_respond(struct noise *n, const void *prologue, size_t prologue_bytes, const uint8_t public[NOISE_KEY_BYTES]);
void     noise_wipe(struct noise *n);

/* ephemeral: the secret half, for tests; NULL: random. out gets NOISE_FIRST_BYTES (NOISE_SECOND_BYTES) + payload_bytes.
 * ERR_DENIED: a key of the peer is of small order. */
enum err noise_write_first(struct noise *n, const uint8_t *ephemeral, const void *payload, size_t payload_bytes, uint8_t *out);
enum err noise_write_second(struct noise *n, const uint8_t *ephemeral, const void *payload, size_t payload_bytes, uint8_t *out);

/* Message 1 has NOISE_EPHEMERAL_BYTES, NOISE_STATIC_BYTES, then the payload and its tag. After the first call the shared
 * secret of our static key with n->peer_ephemeral is wanted (es), after the second that with n->peer_static (ss).
 * ERR_DENIED: not authentic, or a shared secret is all zero. payload gets bytes - NOISE_TAG_BYTES. */
void     noise_read_ephemeral(struct noise *n, const uint8_t message[NOISE_EPHEMERAL_BYTES]);
enum err noise_read_static(struct noise *n, const uint8_t es[NOISE_KEY_BYTES], const uint8_t message[NOISE_STATIC_BYTES]);
enum err noise_read_payload(struct noise *n, const uint8_t ss[NOISE_KEY_BYTES], const uint8_t *message, size_t bytes,
                            uint8_t *payload);

/* payload gets bytes - NOISE_SECOND_BYTES. ERR_FORMAT: shorter; ERR_DENIED as above. */
enum err noise_read_second(struct noise *n, const uint8_t *message, size_t bytes, uint8_t *payload);

/* The keys of both directions; clears the handshake but for hash and peer_static. */
void     noise_split(struct noise *n, struct noise_cipher *send, struct noise_cipher *receive);

/* One message of n bytes, out gets n + NOISE_TAG_BYTES; out may be p. Additional data may be NULL. ERR_LIMIT: the nonces
 * are used up (the last one belongs to noise_rekey()). */
enum err noise_encrypt(struct noise_cipher *c, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out);
/* Of n bytes; out gets n - NOISE_TAG_BYTES; out may be p. ERR_DENIED: not authentic; the nonce is unchanged. ERR_LIMIT. */
enum err noise_decrypt(struct noise_cipher *c, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out);
/* Rekey(): another key, the nonce goes on. */
void     noise_rekey(struct noise_cipher *c);

#endif
