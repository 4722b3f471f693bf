#include "anonymize/addrmap.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "anonymize/prefix_map.h"
#include "base/bytes.h"

struct addrmap { /* all of it in sodium_malloc memory, which is aligned for anything whose size is a multiple of its alignment */
	struct scheme     scheme;
	enum family       family;
	struct prefix_key prefix; /* pfx, cryptopan */
	struct aes128_ctx encrypt, decrypt, tweak; /* det, ndx */
	uint8_t           keystream[crypto_stream_chacha20_KEYBYTES]; /* of ndx's tweaks */
};

static bool
is_prefix_scheme(struct scheme s)
{
	return s.kind == SCHEME_PFX || s.kind == SCHEME_CRYPTOPAN;
}

/* --- published questions --- */

/* Does the engine map an address of the family as the scheme's authors say? Sources: draft-denis-ipcrypt, appendix A;
 * Crypto-PAn's sample program and yacryptopan for IPv6, whose key its 32 bytes are. */
static enum err
engine_check(struct prefix_key *k, enum scheme_kind kind, enum family family, const struct prefix_engine *engine)
{
	static const uint8_t keys[2][PREFIX_KEY_BYTES] = {
		{ 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10,
		  0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01 },
		{ 21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16,
		  216, 152, 143, 131, 121, 121, 101, 39, 98, 87, 76, 45, 42, 132, 34, 2 },
	};
	static const uint32_t raw4[2] = { 0xc0000201, 0x800b4484 }, mapped4[2] = { 0x64734883, 0x87f2b484 };
	static const uint8_t raw6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };
	static const uint8_t mapped6[2][16] = {
		{ 0xc1, 0x80, 0x5d, 0xd4, 0x25, 0x87, 0x35, 0x24, 0x30, 0xab, 0xfa, 0x65, 0x6a, 0xb6, 0x0f, 0x88 },
		{ 0x44, 0x01, 0x02, 0xbc, 0x60, 0x3f, 0xd9, 0x1d, 0x02, 0x7f, 0xff, 0x8e, 0xe6, 0xf1, 0xdc, 0x1e },
	};
	unsigned which = kind == SCHEME_CRYPTOPAN;
	bool right;
	TRY(prefix_key_init(k, kind, family, keys[which], engine));
	if (family == FAMILY_IP4) {
		uint32_t out;
		prefix_map4(k, &raw4[which], &out, 1);
		right = out == mapped4[which] && prefix_unmap4(k, out, 32) == raw4[which];
	} else {
		uint8_t out[1][16];
		prefix_map6(k, &raw6, out, 1);
		right = memcmp(out[0], mapped6[which], 16) == 0;
	}
	return right ? OK : fail(ERR_UNSUPPORTED, "the %s engine gave a wrong answer to a published question of %s: nothing is "
	                         "anonymized on this machine", engine->name, scheme_name(kind));
}

/* The same of the block cipher that det and ndx use (FIPS 197, appendix C.1). */
static enum err
cipher_check(void)
{
	static const uint8_t cipher[16] = { 0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
	                                     0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a };
	uint8_t key[16], plain[16], out[16], back[16];
	struct aes128_ctx c;
	for (unsigned i = 0; i < 16; i++) {
		key[i] = (uint8_t)i;
		plain[i] = (uint8_t)(i * 0x11);
	}
	aes128_set_encrypt_key(&c, key);
	aes128_encrypt(&c, 16, out, plain);
	aes128_set_decrypt_key(&c, key);
	aes128_decrypt(&c, 16, back, out);
	if (memcmp(out, cipher, 16) != 0 || memcmp(back, plain, 16) != 0)
		return fail(ERR_UNSUPPORTED, "AES gave a wrong answer to the example of its standard: nothing is anonymized on this machine");
	return OK;
}

/* --- open, close --- */

static enum err
set_keys(struct addrmap *m, const uint8_t key[ADDRMAP_KEY_BYTES], const struct prefix_engine *engine)
{
	if (is_prefix_scheme(m->scheme)) {
		if (!engine)
			engine = prefix_engine_best();
		TRY(engine_check(&m->prefix, m->scheme.kind, m->family, engine));
		TRY(prefix_key_init(&m->prefix, m->scheme.kind, m->family, key, engine));
		if (m->family == FAMILY_IP4)
			prefix_map_top(&m->prefix);
		return OK;
	}
	if (!scheme_reversible(m->scheme))
		return OK;
	TRY(cipher_check());
	if (m->scheme.kind == SCHEME_NDX && sodium_memcmp(key, key + 16, 16) == 0)
		return fail(ERR_DENIED, "the two halves of the ipcrypt-ndx key are equal");
	aes128_set_encrypt_key(&m->encrypt, key);
	aes128_set_decrypt_key(&m->decrypt, key);
	aes128_set_encrypt_key(&m->tweak, key + 16);
	static const char label[] = "atoll ndx tweaks";
	crypto_generichash(m->keystream, sizeof m->keystream, (const uint8_t *)label, sizeof label - 1, key, ADDRMAP_KEY_BYTES);
	return OK;
}

enum err
addrmap_open(struct addrmap **out, struct scheme scheme, enum family family, const uint8_t key[ADDRMAP_KEY_BYTES],
             const struct prefix_engine *engine)
{
	if (sodium_init() < 0)
		return fail(ERR_IO, "no random numbers from the system");
	struct addrmap *m = sodium_malloc(sizeof *m);
	if (!m)
		return fail(ERR_NOMEM, "out of memory");
	m->scheme = scheme;
	m->family = family;
	enum err e = set_keys(m, key, engine);
	if (e == OK)
		*out = m;
	else
		addrmap_close(&m);
	return e;
}

void
addrmap_close(struct addrmap **m)
{
	sodium_free(*m); /* wipes; NULL-safe */
	*m = NULL;
}

/* --- schemes that keep prefixes --- */

/* The first bits of each of 16 bytes; the others 0. */
static void
truncate16(const uint8_t in[16], unsigned bits, uint8_t out[16])
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
		out[i] = kept >= 8 ? in[i] : in[i] & (uint8_t)(0xff00u >> kept);
	}
}

static uint32_t
mask4(unsigned bits)
{
	return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

void
addrmap_map4(const struct addrmap *m, const uint32_t *in, uint32_t *out, size_t n)
{
	assert(m->family == FAMILY_IP4 && scheme_fits(m->scheme, FAMILY_IP4));
	if (is_prefix_scheme(m->scheme)) {
		prefix_map4(&m->prefix, in, out, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		out[i] = in[i] & mask4(m->scheme.bits);
}

void
addrmap_map6(const struct addrmap *m, const uint8_t (*in)[16], uint8_t (*out)[16], size_t n)
{
	assert(m->family == FAMILY_IP6 && scheme_fits(m->scheme, FAMILY_IP6));
	if (is_prefix_scheme(m->scheme))
		prefix_map6(&m->prefix, in, out, n);
	else if (m->scheme.kind == SCHEME_DET)
		addrmap_wide(m, in, 0, out[0], n);
	else
		for (size_t i = 0; i < n; i++)
			truncate16(in[i], m->scheme.bits, out[i]);
}

/* --- back --- */

enum err
addrmap_unmap4(const struct addrmap *m, uint32_t view, unsigned bits, uint32_t *raw, unsigned *raw_bits)
{
	assert(m->family == FAMILY_IP4 && bits <= 32);
	view &= mask4(bits);
	if (!scheme_fits(m->scheme, FAMILY_IP4))
		return fail(ERR_UNSUPPORTED, "%s gives no IPv4 addresses that a filter could name", scheme_name(m->scheme.kind));
	if (is_prefix_scheme(m->scheme)) {
		*raw = prefix_unmap4(&m->prefix, view, bits);
		*raw_bits = bits;
		return OK;
	}
	if (view & ~mask4(m->scheme.bits))
		return END;
	*raw_bits = bits < m->scheme.bits ? bits : m->scheme.bits;
	*raw = view;
	return OK;
}

enum err
addrmap_unmap6(const struct addrmap *m, const uint8_t view[16], unsigned bits, uint8_t raw[16], unsigned *raw_bits)
{
	assert(m->family == FAMILY_IP6 && bits <= 128);
	uint8_t prefix[16], kept[16];
	truncate16(view, bits, prefix);
	if (!scheme_fits(m->scheme, FAMILY_IP6) || (m->scheme.kind == SCHEME_DET && bits != 0 && bits != 128))
		return fail(ERR_UNSUPPORTED, "%s gives no IPv6 %s that a filter could name", scheme_name(m->scheme.kind),
		            m->scheme.kind == SCHEME_DET ? "networks" : "addresses");
	if (is_prefix_scheme(m->scheme)) {
		prefix_unmap6(&m->prefix, prefix, bits, raw);
		*raw_bits = bits;
		return OK;
	}
	if (m->scheme.kind == SCHEME_DET) {
		if (bits == 0) /* everything */
			memset(raw, 0, 16);
		else
			aes128_decrypt(&m->decrypt, 16, raw, prefix);
		*raw_bits = bits;
		return OK;
	}
	truncate16(prefix, m->scheme.bits, kept);
	if (memcmp(kept, prefix, 16) != 0)
		return END;
	*raw_bits = bits < m->scheme.bits ? bits : m->scheme.bits;
	memcpy(raw, kept, 16);
	return OK;
}

/* --- det and ndx --- */

static void
xor16(uint8_t *out, const uint8_t *a, const uint8_t *b)
{
	store_le64(out, load_le64(a) ^ load_le64(b));
	store_le64(out + 8, load_le64(a + 8) ^ load_le64(b + 8));
}

/* Tweak number occurrence: that many times 16 bytes into the keystream. */
static void
make_tweak(const struct addrmap *m, uint64_t occurrence, uint8_t tweak[16])
{
	static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
	uint8_t block[64] = { 0 };
	crypto_stream_chacha20_xor_ic(block, block, sizeof block, nonce, occurrence / 4, m->keystream);
	memcpy(tweak, block + occurrence % 4 * 16, 16);
}

void
addrmap_wide(const struct addrmap *m, const uint8_t (*in)[16], uint64_t occurrence, uint8_t *out, size_t n)
{
	if (m->scheme.kind == SCHEME_DET) {
		aes128_encrypt(&m->encrypt, n * 16, out, in[0]);
		return;
	}
	assert(m->scheme.kind == SCHEME_NDX);
	for (size_t i = 0; i < n; i++, out += ADDRMAP_NDX_BYTES) {
		uint8_t mask[16];
		make_tweak(m, occurrence + i, out);
		aes128_encrypt(&m->tweak, 16, mask, out);
		xor16(out + 16, in[i], mask);
		aes128_encrypt(&m->encrypt, 16, out + 16, out + 16);
		xor16(out + 16, out + 16, mask);
	}
}

enum err
addrmap_unwide(const struct addrmap *m, const uint8_t *pseudonym, uint8_t out[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t address[16], mask[16];
	assert(m->scheme.kind == SCHEME_DET || m->scheme.kind == SCHEME_NDX);
	if (m->scheme.kind == SCHEME_DET) {
		aes128_decrypt(&m->decrypt, 16, address, pseudonym);
	} else {
		aes128_encrypt(&m->tweak, 16, mask, pseudonym);
		xor16(address, pseudonym + 16, mask);
		aes128_decrypt(&m->decrypt, 16, address, address);
		xor16(address, address, mask);
	}
	if (m->family == FAMILY_IP4 && memcmp(address, mapped, sizeof mapped) != 0)
		return fail(ERR_FORMAT, "not the pseudonym of an IPv4 address under this key");
	memcpy(out, address, 16);
	return OK;
}
