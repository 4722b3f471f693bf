/* A collector's first words with its archive. */
#ifndef INGEST_ENROLMENT_H
#define INGEST_ENROLMENT_H

#include <stdint.h>

#include "base/err.h"
#include "ingest/identity.h"

/* Asks the archive that id names to enrol id's keys with this secret; fills id's archive, ingest, monitor, and enrolled. When the
 * code was used up by these very keys before (and the answer was lost), that is found out. Takes 20 s at most. ERR_DENIED:
 * refused, or not the archive that the code is of; ERR_IO: not reached, or it hung up, as an archive with another key does. */
enum err enrolment(struct identity *id, const uint8_t secret[16]);

#endif
