/* Messages of every type with made-up content, and whether two say the same. */
#ifndef TESTS_SUPPORT_WIRE_SAMPLES_H
#define TESTS_SUPPORT_WIRE_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>

#include "ingest/wire.h"

extern const enum wire_type wire_types[];
extern const size_t wire_type_count;

/* Well-formed, of this type, from the seed. A parcel's bytes are up to 1,000 of a static buffer. */
void wire_sample(struct wire_message *m, enum wire_type type, uint32_t seed);
bool wire_same(const struct wire_message *a, const struct wire_message *b);
/* Head, body and parcel to out; returns the length. out has WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + 1,000 bytes. */
size_t wire_whole(const struct wire_message *m, uint8_t *out);

#endif
