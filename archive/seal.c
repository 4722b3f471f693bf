#include "archive/seal.h"

#include <sodium.h>

#include "base/bytes.h"

#define NONCE_BYTES 12u
#define NAME_BYTES  (ARCHIVE_ID_BYTES + 8 + 4 + 4)

static void
nonce_of(uint32_t number, uint8_t nonce[NONCE_BYTES])
{
	store_le32(nonce, number);
	store_le32(nonce + 4, 0);
	store_le32(nonce + 8, 0);
}

static void
bytes_of(const struct segment_name *name, uint8_t ad[NAME_BYTES])
{
	struct writer w = writer_of(ad, NAME_BYTES);
	writer_put(&w, name->archive, ARCHIVE_ID_BYTES);
	writer_le64(&w, name->id);
	writer_le32(&w, name->key_slot);
	writer_le32(&w, name->stream);
}

static void
encrypt(const uint8_t *key, const uint8_t *ad, size_t ad_bytes, uint32_t number, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];
	nonce_of(number, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, p, n, ad, ad_bytes, NULL, nonce, key);
}

static enum err
decrypt(const uint8_t *key, const uint8_t *ad, size_t ad_bytes, uint32_t number, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];
	nonce_of(number, nonce);
	if (n < SEAL_TAG_BYTES ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, p, n, ad, ad_bytes, nonce, key) != 0)
		return fail(ERR_DENIED, "not authentic (damaged, or another key)");
	return OK;
}

enum err
seal_start(void)
{
	return sodium_init() < 0 ? fail(ERR_UNSUPPORTED, "libsodium does not start: no source of randomness") : OK;
}

void
seal_chunk(const uint8_t key[BLOCK_KEY_BYTES], const uint8_t header[BLOCK_HEADER_BYTES], uint32_t chunk, const uint8_t *p,
           size_t n, uint8_t *out)
{
	encrypt(key, header, BLOCK_HEADER_BYTES, chunk, p, n, out);
}

enum err
unseal_chunk(const uint8_t key[BLOCK_KEY_BYTES], const uint8_t header[BLOCK_HEADER_BYTES], uint32_t chunk,
             const uint8_t *p, size_t n, uint8_t *out)
{
	return decrypt(key, header, BLOCK_HEADER_BYTES, chunk, p, n, out);
}

static void
nonce_at(uint64_t at, uint32_t cuts, uint8_t nonce[NONCE_BYTES])
{
	store_le64(nonce, at);
	store_le32(nonce + 8, cuts);
}

void
seal_block_key(const uint8_t key[SEGMENT_KEY_BYTES], uint64_t at, uint32_t cuts, const void *ad, size_t ad_bytes,
               const uint8_t block_key[BLOCK_KEY_BYTES], uint8_t out[SEALED_BLOCK_KEY_BYTES])
{
	uint8_t nonce[NONCE_BYTES];
	nonce_at(at, cuts, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, block_key, BLOCK_KEY_BYTES, ad, ad_bytes, NULL, nonce, key);
}

enum err
unseal_block_key(const uint8_t key[SEGMENT_KEY_BYTES], uint64_t at, uint32_t cuts, const void *ad, size_t ad_bytes,
                 const uint8_t sealed[SEALED_BLOCK_KEY_BYTES], uint8_t block_key[BLOCK_KEY_BYTES])
{
	uint8_t nonce[NONCE_BYTES];
	nonce_at(at, cuts, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(block_key, NULL, NULL, sealed, SEALED_BLOCK_KEY_BYTES, ad, ad_bytes, nonce,
	                                              key) != 0)
		return fail(ERR_DENIED, "not authentic (damaged, or another key)");
	return OK;
}

void
seal_page(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t page, const uint8_t *p, size_t n,
          uint8_t *out)
{
	uint8_t ad[NAME_BYTES];
	bytes_of(name, ad);
	encrypt(key, ad, sizeof ad, page, p, n, out);
}

enum err
unseal_page(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t page, const uint8_t *p,
            size_t n, uint8_t *out)
{
	uint8_t ad[NAME_BYTES];
	bytes_of(name, ad);
	return decrypt(key, ad, sizeof ad, page, p, n, out);
}

static void
frame_nonce(uint64_t number, uint8_t nonce[NONCE_BYTES])
{
	store_le32(nonce, 0);
	store_le64(nonce + 4, number);
}

void
seal_frame(const uint8_t key[32], uint64_t number, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];
	frame_nonce(number, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, p, n, ad, ad_bytes, NULL, nonce, key);
}

enum err
unseal_frame(const uint8_t key[32], uint64_t number, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t nonce[NONCE_BYTES];
	frame_nonce(number, nonce);
	if (n < SEAL_TAG_BYTES ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, p, n, ad, ad_bytes, nonce, key) != 0)
		return fail(ERR_DENIED, "not authentic (damaged, or another key)");
	return OK;
}
