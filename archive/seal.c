#include "archive/seal.h"

#include <sodium.h>

#include "base/bytes.h"

#define PLACE_BYTES (ARCHIVE_ID_BYTES + 8 + 4 + 4)

static void
place(const struct segment_name *name, uint32_t block, uint32_t chunk, uint8_t ad[PLACE_BYTES], uint8_t nonce[12])
{
	struct writer w = writer_of(ad, PLACE_BYTES);
	writer_put(&w, name->archive, ARCHIVE_ID_BYTES);
	writer_le64(&w, name->id);
	writer_le32(&w, name->key_slot);
	writer_le32(&w, name->stream);
	store_le32(nonce, block);
	store_le32(nonce + 4, chunk);
	store_le32(nonce + 8, 0);
}

enum err
seal_start(void)
{
	return sodium_init() < 0 ? fail(ERR_UNSUPPORTED, "libsodium does not start: no source of randomness") : OK;
}

void
seal(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t block, uint32_t chunk,
     const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t ad[PLACE_BYTES], nonce[12];
	place(name, block, chunk, ad, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, p, n, ad, sizeof ad, NULL, nonce, key);
}

enum err
unseal(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t block, uint32_t chunk,
       const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t ad[PLACE_BYTES], nonce[12];
	place(name, block, chunk, ad, nonce);
	if (n < SEAL_TAG_BYTES ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, p, n, ad, sizeof ad, nonce, key) != 0)
		return fail(ERR_DENIED, "not authentic (damaged, or another key)");
	return OK;
}
