/* Rules on single values that need no key, each once: for columns, and for the same fields of inner headers. No I/O, nothing that
 * can fail. */
#ifndef ANONYMIZE_RULES_H
#define ANONYMIZE_RULES_H

#include <stdint.h>

#define PORT_SYSTEM_END  1024u  /* RFC 6335, section 6: system ports are below, */
#define PORT_DYNAMIC     49152u /* and dynamic ones from here on */

/* What the sender began with: systems begin with 32, 64, 128 or 255, and few paths are longer than 31 hops. */
static inline uint8_t
ttl_bucket(uint8_t ttl)
{
	return ttl <= 32 ? 32 : ttl <= 64 ? 64 : ttl <= 128 ? 128 : 255;
}

/* A system port stays; the first registered or the first dynamic one stands for all others. */
static inline uint16_t
port_bucket(uint16_t port)
{
	return port < PORT_SYSTEM_END ? port : port < PORT_DYNAMIC ? PORT_SYSTEM_END : PORT_DYNAMIC;
}

#endif
