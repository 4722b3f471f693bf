/* A trace file that is being written: pcap (nanosecond magic, one link type) or pcapng (one interface description per
 * stream, interface and link type, times in nanoseconds), little-endian, to a file or standard output.
 *
 *	struct tracefile *w;
 *	TRY(tracefile_open(&w, path, TRACEFILE_PCAPNG));
 *	TRY(tracefile_interface(w, stream, iface, linktype, "eth0", &id));     once per source; cheap when asked again
 *	TRY(tracefile_room(w, cap_len, &bytes));                               build the packet right there
 *	TRY(tracefile_commit(w, id, ts_ns, wire_len, cap_len));
 *	TRY(tracefile_finish(w));
 *	tracefile_close(&w);                                                   without finish: the file never appears
 *
 * A file gets a hidden name in the same folder and its own name in tracefile_finish(), replacing what had that name; an
 * interrupted export leaves nothing under it. A new one is readable by its owner only (0600): raw packets are personal data;
 * one that replaces a file has the mode and group of that. It is not synced: an export can be made again. Devices, pipes and
 * standard output are written to directly.
 *
 * The snapshot length in headers is the largest that libpcap takes for the link type, 262144 for most; a longer record
 * raises it afterwards where the output is a file (libpcap refuses such records all the same, others read them).
 * Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
 */
#ifndef QUERY_TRACEFILE_H
#define QUERY_TRACEFILE_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define TRACEFILE_SLACK          64u      /* bytes behind those asked of tracefile_room() that may be overwritten, too */
#define TRACEFILE_INTERFACES_MAX 1048576u /* interface descriptions in one file: 96 MiB of table at most */

enum tracefile_format { TRACEFILE_PCAP, TRACEFILE_PCAPNG };

struct tracefile;

/* The file that an output of this name is: what a symbolic link names, there or not, is made or replaced, and the link stays.
 * ERR_USAGE: links in a circle; ERR_LIMIT: too long. */
enum err tracefile_place(const char *path, char out[PATH_BYTES]);
/* path "-" is standard output. ERR_ABSENT (no such folder), ERR_DENIED, ERR_IO, ERR_FULL, ERR_NOMEM; ERR_USAGE: a folder. */
enum err tracefile_open(struct tracefile **out, const char *path, enum tracefile_format format);

/* The number of an interface in this file, described in it when it is new. name is for pcapng's if_name ("" or NULL: none;
 * cut to 65535 bytes), used the first time only. ERR_USAGE: a second link type in a pcap file (the sentence tells to use
 * pcapng); ERR_LIMIT: more than TRACEFILE_INTERFACES_MAX; and as commit. Never between room and commit. */
enum err tracefile_interface(struct tracefile *w, uint32_t stream, uint16_t iface, uint16_t linktype, const char *name,
                             uint32_t *id);

/* Where the captured bytes of the next record go: *bytes has room for cap_len and TRACEFILE_SLACK, until the next call.
 * ERR_LIMIT: cap_len above RECORD_BYTES_MAX; ERR_NOMEM; and what writing gives: ERR_IO, ERR_FULL. */
enum err tracefile_room(struct tracefile *w, uint32_t cap_len, uint8_t **bytes);
/* Adds the record whose bytes were put there; cap_len is at most what room was asked for. ERR_USAGE: a time that pcap's 32
 * bits of seconds do not hold (after 2106; pcapng does); then nothing was added. */
enum err tracefile_commit(struct tracefile *w, uint32_t id, uint64_t ts_ns, uint32_t wire_len, uint32_t cap_len);
/* Both at once, from bytes elsewhere. */
enum err tracefile_append(struct tracefile *w, uint32_t id, uint64_t ts_ns, uint32_t wire_len, uint32_t cap_len,
                          const uint8_t *bytes);

/* Writes out what is still in memory; a file gets its name. A trace without records is a valid one (Ethernet). Nothing may
 * be added afterwards. ERR_IO, ERR_FULL. */
enum err tracefile_finish(struct tracefile *w);
/* Removes what was not finished. Sets *w to NULL. */
void     tracefile_close(struct tracefile **w);

uint64_t tracefile_records(const struct tracefile *w);
uint64_t tracefile_bytes(const struct tracefile *w); /* of the file so far */

#endif
