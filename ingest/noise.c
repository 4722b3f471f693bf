#include "ingest/noise.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "archive/seal.h"

#define HMAC_BLOCK_BYTES 128u /* BLAKE2b's */
#define NONCE_LAST       UINT64_MAX

_Static_assert(NOISE_TAG_BYTES == SEAL_TAG_BYTES, "Noise's tag is Poly1305's");

/* --- BLAKE2b-512, HMAC (RFC 2104), HKDF (section 4.3) --- */

struct part {
	const void *p;
	size_t      n;
};

static void
hash_parts(uint8_t out[NOISE_HASH_BYTES], const struct part *parts, size_t count)
{
	crypto_generichash_state h;
	crypto_generichash_init(&h, NULL, 0, NOISE_HASH_BYTES);
	for (size_t i = 0; i < count; i++)
		if (parts[i].n)
			crypto_generichash_update(&h, parts[i].p, parts[i].n);
	crypto_generichash_final(&h, out, NOISE_HASH_BYTES);
	sodium_memzero(&h, sizeof h);
}

static void
hmac(uint8_t out[NOISE_HASH_BYTES], const uint8_t key[NOISE_HASH_BYTES], struct part a, struct part b)
{
	uint8_t pad[HMAC_BLOCK_BYTES], inner[NOISE_HASH_BYTES];
	memset(pad, 0x36, sizeof pad);
	for (size_t i = 0; i < NOISE_HASH_BYTES; i++)
		pad[i] ^= key[i];
	hash_parts(inner, (struct part[]){ { pad, sizeof pad }, a, b }, 3);
	for (size_t i = 0; i < sizeof pad; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash_parts(out, (struct part[]){ { pad, sizeof pad }, { inner, sizeof inner } }, 2);
	sodium_memzero(pad, sizeof pad);
	sodium_memzero(inner, sizeof inner);
}

/* Two outputs; first may be chain. */
static void
hkdf(const uint8_t chain[NOISE_HASH_BYTES], const void *input, size_t n, uint8_t first[NOISE_HASH_BYTES],
     uint8_t second[NOISE_HASH_BYTES])
{
	static const uint8_t one = 1, two = 2;
	uint8_t temporary[NOISE_HASH_BYTES];
	hmac(temporary, chain, (struct part){ input, n }, (struct part){ NULL, 0 });
	hmac(first, temporary, (struct part){ &one, 1 }, (struct part){ NULL, 0 });
	hmac(second, temporary, (struct part){ first, NOISE_HASH_BYTES }, (struct part){ &two, 1 });
	sodium_memzero(temporary, sizeof temporary);
}

/* --- CipherState (section 5.1) --- */

enum err
noise_encrypt(struct noise_cipher *c, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out)
{
	if (c->nonce == NONCE_LAST)
		return fail(ERR_LIMIT, "the nonces of this connection are used up");
	seal_frame(c->key, c->nonce, ad, ad_bytes, p, n, out);
	c->nonce++;
	return OK;
}

enum err
noise_decrypt(struct noise_cipher *c, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out)
{
	if (c->nonce == NONCE_LAST)
		return fail(ERR_LIMIT, "the nonces of this connection are used up");
	TRY(unseal_frame(c->key, c->nonce, ad, ad_bytes, p, n, out));
	c->nonce++;
	return OK;
}

void
noise_rekey(struct noise_cipher *c)
{
	static const uint8_t zeros[NOISE_KEY_BYTES];
	uint8_t out[NOISE_KEY_BYTES + NOISE_TAG_BYTES];
	seal_frame(c->key, NONCE_LAST, NULL, 0, zeros, sizeof zeros, out);
	memcpy(c->key, out, NOISE_KEY_BYTES);
	sodium_memzero(out, sizeof out);
}

/* --- SymmetricState (section 5.2) --- */

static void
mix_hash(struct noise *n, const void *p, size_t bytes)
{
	hash_parts(n->hash, (struct part[]){ { n->hash, NOISE_HASH_BYTES }, { p, bytes } }, 2);
}

/* ERR_DENIED: the shared secret is all zero, so the peer's key is one that any secret agrees with. */
static enum err
mix_key(struct noise *n, const uint8_t shared[NOISE_KEY_BYTES])
{
	uint8_t key[NOISE_HASH_BYTES];
	if (sodium_is_zero(shared, NOISE_KEY_BYTES))
		return fail(ERR_DENIED, "the other side's key is of small order");
	hkdf(n->chain, shared, NOISE_KEY_BYTES, n->chain, key);
	memcpy(n->cipher.key, key, NOISE_KEY_BYTES); /* of 64 bytes the first 32 */
	n->cipher.nonce = 0;
	sodium_memzero(key, sizeof key);
	return OK;
}

static enum err
encrypt_and_hash(struct noise *n, const void *p, size_t bytes, uint8_t *out)
{
	TRY(noise_encrypt(&n->cipher, n->hash, NOISE_HASH_BYTES, p, bytes, out));
	mix_hash(n, out, bytes + NOISE_TAG_BYTES);
	return OK;
}

/* out must not be p: the ciphertext is hashed afterwards. */
static enum err
decrypt_and_hash(struct noise *n, const uint8_t *p, size_t bytes, uint8_t *out)
{
	TRY(noise_decrypt(&n->cipher, n->hash, NOISE_HASH_BYTES, p, bytes, out));
	mix_hash(n, p, bytes);
	return OK;
}

/* --- HandshakeState (section 5.3), pattern IK (section 7.5) --- */

void
noise_public(uint8_t public[NOISE_KEY_BYTES], const uint8_t secret[NOISE_KEY_BYTES])
{
	if (crypto_scalarmult_base(public, secret) != 0)
		assert(!"X25519 of the base point does not fail");
}

enum err
noise_dh(uint8_t shared[NOISE_KEY_BYTES], const uint8_t secret[NOISE_KEY_BYTES], const uint8_t public[NOISE_KEY_BYTES])
{
	if (crypto_scalarmult(shared, secret, public) != 0 || sodium_is_zero(shared, NOISE_KEY_BYTES))
		return fail(ERR_DENIED, "the other side's key is of small order");
	return OK;
}

static enum err
mix_dh(struct noise *n, const uint8_t secret[NOISE_KEY_BYTES], const uint8_t public[NOISE_KEY_BYTES])
{
	uint8_t shared[NOISE_KEY_BYTES];
	enum err e = noise_dh(shared, secret, public);
	if (e == OK)
		e = mix_key(n, shared);
	sodium_memzero(shared, sizeof shared);
	return e;
}

/* A protocol name of at most 64 bytes is padded with zeros to be the first hash. */
static void
begin(struct noise *n, const void *prologue, size_t prologue_bytes, const uint8_t responder[NOISE_KEY_BYTES])
{
	_Static_assert(sizeof NOISE_PROTOCOL - 1 <= NOISE_HASH_BYTES, "else it is hashed");
	memset(n, 0, sizeof *n);
	memcpy(n->hash, NOISE_PROTOCOL, sizeof NOISE_PROTOCOL - 1);
	memcpy(n->chain, n->hash, NOISE_HASH_BYTES);
	mix_hash(n, prologue, prologue_bytes);
	mix_hash(n, responder, NOISE_KEY_BYTES);
}

void
noise_initiate(struct noise *n, const void *prologue, size_t prologue_bytes, const uint8_t secret[NOISE_KEY_BYTES],
               const uint8_t peer_static[NOISE_KEY_BYTES])
{
	begin(n, prologue, prologue_bytes, peer_static);
	n->initiator = 1;
	memcpy(n->static_secret, secret, NOISE_KEY_BYTES);
	noise_public(n->static_public, secret);
	memcpy(n->peer_static, peer_static, NOISE_KEY_BYTES);
	n->step = NOISE_WRITE_FIRST;
}

void
noise_respond(struct noise *n, const void *prologue, size_t prologue_bytes, const uint8_t public[NOISE_KEY_BYTES])
{
	begin(n, prologue, prologue_bytes, public);
	memcpy(n->static_public, public, NOISE_KEY_BYTES);
	n->step = NOISE_READ_EPHEMERAL;
}

void
noise_wipe(struct noise *n)
{
	sodium_memzero(n, sizeof *n);
	n->step = NOISE_OVER;
}

/* The step is over until the function ends well and says the next one, so a failed handshake can not go on. */
static void
step_take(struct noise *n, enum noise_step step)
{
	assert(n->step == step);
	n->step = NOISE_OVER;
}

static void
write_ephemeral(struct noise *n, const uint8_t *ephemeral, uint8_t out[NOISE_KEY_BYTES])
{
	if (ephemeral)
		memcpy(n->own_secret, ephemeral, NOISE_KEY_BYTES);
	else
		randombytes_buf(n->own_secret, NOISE_KEY_BYTES);
	noise_public(out, n->own_secret);
	mix_hash(n, out, NOISE_KEY_BYTES);
}

enum err
noise_write_first(struct noise *n, const uint8_t *ephemeral, const void *payload, size_t payload_bytes, uint8_t *out)
{
	step_take(n, NOISE_WRITE_FIRST);
	write_ephemeral(n, ephemeral, out);
	TRY(mix_dh(n, n->own_secret, n->peer_static));
	TRY(encrypt_and_hash(n, n->static_public, NOISE_KEY_BYTES, out + NOISE_EPHEMERAL_BYTES));
	TRY(mix_dh(n, n->static_secret, n->peer_static));
	TRY(encrypt_and_hash(n, payload, payload_bytes, out + NOISE_EPHEMERAL_BYTES + NOISE_STATIC_BYTES));
	n->step = NOISE_READ_SECOND;
	return OK;
}

void
noise_read_ephemeral(struct noise *n, const uint8_t message[NOISE_EPHEMERAL_BYTES])
{
	step_take(n, NOISE_READ_EPHEMERAL);
	memcpy(n->peer_ephemeral, message, NOISE_KEY_BYTES);
	mix_hash(n, message, NOISE_KEY_BYTES);
	n->step = NOISE_READ_STATIC;
}

enum err
noise_read_static(struct noise *n, const uint8_t es[NOISE_KEY_BYTES], const uint8_t message[NOISE_STATIC_BYTES])
{
	step_take(n, NOISE_READ_STATIC);
	TRY(mix_key(n, es));
	TRY(decrypt_and_hash(n, message, NOISE_STATIC_BYTES, n->peer_static));
	n->step = NOISE_READ_PAYLOAD;
	return OK;
}

enum err
noise_read_payload(struct noise *n, const uint8_t ss[NOISE_KEY_BYTES], const uint8_t *message, size_t bytes, uint8_t *payload)
{
	step_take(n, NOISE_READ_PAYLOAD);
	TRY(mix_key(n, ss));
	TRY(decrypt_and_hash(n, message, bytes, payload));
	n->step = NOISE_WRITE_SECOND;
	return OK;
}

enum err
noise_write_second(struct noise *n, const uint8_t *ephemeral, const void *payload, size_t payload_bytes, uint8_t *out)
{
	step_take(n, NOISE_WRITE_SECOND);
	write_ephemeral(n, ephemeral, out);
	TRY(mix_dh(n, n->own_secret, n->peer_ephemeral));
	TRY(mix_dh(n, n->own_secret, n->peer_static));
	TRY(encrypt_and_hash(n, payload, payload_bytes, out + NOISE_EPHEMERAL_BYTES));
	n->step = NOISE_SPLIT;
	return OK;
}

enum err
noise_read_second(struct noise *n, const uint8_t *message, size_t bytes, uint8_t *payload)
{
	step_take(n, NOISE_READ_SECOND);
	if (bytes < NOISE_SECOND_BYTES)
		return fail(ERR_FORMAT, "the archive's handshake message has %zu bytes, at least %u are due", bytes,
		            NOISE_SECOND_BYTES);
	memcpy(n->peer_ephemeral, message, NOISE_KEY_BYTES);
	mix_hash(n, message, NOISE_KEY_BYTES);
	TRY(mix_dh(n, n->own_secret, n->peer_ephemeral));
	TRY(mix_dh(n, n->static_secret, n->peer_ephemeral));
	TRY(decrypt_and_hash(n, message + NOISE_EPHEMERAL_BYTES, bytes - NOISE_EPHEMERAL_BYTES, payload));
	n->step = NOISE_SPLIT;
	return OK;
}

void
noise_split(struct noise *n, struct noise_cipher *send, struct noise_cipher *receive)
{
	uint8_t first[NOISE_HASH_BYTES], second[NOISE_HASH_BYTES], hash[NOISE_HASH_BYTES], peer[NOISE_KEY_BYTES];
	step_take(n, NOISE_SPLIT);
	hkdf(n->chain, NULL, 0, first, second);
	memcpy(send->key, n->initiator ? first : second, NOISE_KEY_BYTES);
	memcpy(receive->key, n->initiator ? second : first, NOISE_KEY_BYTES);
	send->nonce = receive->nonce = 0;
	memcpy(hash, n->hash, sizeof hash);
	memcpy(peer, n->peer_static, sizeof peer);
	noise_wipe(n);
	memcpy(n->hash, hash, sizeof hash);
	memcpy(n->peer_static, peer, sizeof peer);
	sodium_memzero(first, sizeof first);
	sodium_memzero(second, sizeof second);
}
