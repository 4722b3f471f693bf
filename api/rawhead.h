/* The head of a request as it came over the wire, looked at before libmicrohttpd sees it: what two readers could take for two
 * different requests is refused, whatever it was meant to be.
 *
 * Taken is (the strict part of RFC 9112): GET or HEAD, a target that starts with "/", HTTP/1.0 or 1.1; lines that end with CR LF;
 * field names of token characters right before the colon; values without control bytes; exactly one Host in HTTP/1.1; no field
 * twice that may be there once; no Transfer-Encoding, no Content-Length but 0, no Expect.
 */
#ifndef API_RAWHEAD_H
#define API_RAWHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAWHEAD_BYTES_MAX  8192u /* request line and fields */
#define RAWHEAD_FIELDS_MAX 64u
#define RAWHEAD_TARGET_MAX 1024u

#define RAWHEAD_MORE 0u   /* good so far, but not whole */
#define RAWHEAD_GOOD 200u

/* Whether the head, which was good, asks for this machine: it has no Host, or one that is an address or "localhost". A name may be
 * one that a web page made to point here (DNS rebinding). */
bool     rawhead_is_local(const uint8_t *bytes, size_t head_bytes);
/* Of the first n bytes of a connection: RAWHEAD_MORE, RAWHEAD_GOOD, or the status to refuse it with: 400, 405, 413, 414, 417, 431,
 * 501, 505. With RAWHEAD_GOOD *head_bytes is how many of them the head has. */
unsigned rawhead_check(const uint8_t *bytes, size_t n, size_t *head_bytes);

#endif
