/* The columns of archive/packet_schema.h for one record, as text: what query prints. A record without bytes
 * lacks those that its batch has not (see records.h). The texts for people need none of these. */
#ifndef QUERY_PACKET_ROW_H
#define QUERY_PACKET_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/packet_schema.h"
#include "base/json.h"
#include "query/records.h"

#define PACKET_TEXT_BYTES 64

struct packet_row {
	const struct record *record;
	bool     there[PACKET_COLUMN_COUNT];
	uint64_t number[PACKET_COLUMN_COUNT]; /* u8 .. u64 */
	const uint8_t *bytes[PACKET_COLUMN_COUNT]; /* addr, mac: into the record */
	uint8_t  family;                      /* of addresses: 4 or 6 */
	uint8_t  transport;                   /* enum transport */
	bool     later_fragment;              /* of an IPv4 packet, not its first */
	uint8_t  ip4[2][4];                   /* source and destination of a record without bytes */
};

void        packet_row_read(struct packet_row *row, const struct record *r);
const char *packet_column_name(enum packet_column c);
/* The value as text ("" when it is not there), times as RFC 3339. Not for PACKET_BYTES. */
void        packet_column_text(const struct packet_row *row, enum packet_column c, char out[PACKET_TEXT_BYTES]);
/* As a member named after the column; left out when not there. */
void        packet_column_json(const struct packet_row *row, enum packet_column c, struct json *j);
/* For people: "10.0.0.1:443" or "[2001:db8::1]:443" or "00:11:22:33:44:55"; "TCP", "ARP", ...; "SYN ACK". */
void        packet_end_text(const struct packet_row *row, bool source, char out[PACKET_TEXT_BYTES]);
void        packet_proto_text(const struct packet_row *row, char out[PACKET_TEXT_BYTES]);
void        packet_info_text(const struct packet_row *row, char out[PACKET_TEXT_BYTES]);

#endif
