/* The code that an operator carries from `atoll enroll` to the collector: a secret that is good for one enrolment, and the key
 * by which the collector will know the archive. As text: base32 (RFC 4648, section 6) in lower case without padding, of the
 * bytes below; 84 characters without blanks, so it survives a double click. Upper case is read as well. */
#ifndef INGEST_ENROL_CODE_H
#define INGEST_ENROL_CODE_H

#include <stdint.h>

#include "base/err.h"

#define ENROL_CODE(F)                                                                             \
	F(bytes, 16, secret, "random, single use")                                                \
	F(bytes, 32, archive, "the archive's identity: its X25519 public key, Noise's static key") \
	F(bytes, 4, checksum, "the first bytes of BLAKE2b-256 of the bytes before: typing errors")

#define ENROL_CODE_BYTES      52u
#define ENROL_CODE_TEXT_BYTES 85u /* with the NUL */

struct enrol_code {
	uint8_t secret[16];
	uint8_t archive[32];
};

void     enrol_code_print(const struct enrol_code *code, char text[ENROL_CODE_TEXT_BYTES]);
/* ERR_USAGE: not such a code (length, character, or checksum: the sentence says which); code is unchanged. */
enum err enrol_code_parse(const char *text, struct enrol_code *code);

#endif
