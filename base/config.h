/* The configuration: one INI file, then the *.conf files of the folder FILE.d by name, then the environment; the last word
 * counts. One table gives parser, check, `atoll config show` and docs/atoll.conf. No secrets in it.
 * INI as base/ini.h reads it. A section [stream "NAME"] has the retention of one stream, or of all streams of a monitor: age,
 * bytes.
 *
 * An environment variable ATOLL_SECTION_KEY gives the value of [section] key.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define CONFIG_PATH_DEFAULT   "/etc/atoll/atoll.conf"
#define CONFIG_TEXT_BYTES     256u      /* a value, with the NUL */
#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define CONFIG_FILES_MAX      64u       /* in the folder */
#define CONFIG_STREAMS_MAX    4096u     /* sections [stream "NAME"] */

/* F(section, key, type, default, sentence). Types: text; address (HOST:PORT, [IP6]:PORT; empty: none); count; size and duration
 * (base/amount.h); bool (yes, no). */
#define CONFIG_SETTINGS(F)                                                                                                       \
	F(server, listen, address, "[::]:7713", "Where collectors connect; [::] is every address, IPv4 too.")                   \
	F(server, metrics, address, "127.0.0.1:7714", "Where /metrics and /healthz are served, unencrypted; empty: not at all.") \
	F(server, user, text, "atoll", "The user that the processes become when they are started by root.")                     \
	F(limits, connections, count, "1024", "Connections of collectors at once.")                                             \
	F(limits, connections_per_address, count, "256", "Connections from one address (IPv6: one /64) that are no monitor's yet: then the oldest goes; 0: no limit.") \
	F(limits, monitor_rate, size, "0", "Bytes a second taken from one monitor, above which it has to wait; 0: no limit.")    \
	F(limits, monitor_bytes, size, "0", "Stored bytes of one monitor, at which nothing more is taken from it; 0: no limit.") \
	F(limits, handshakes_per_second, count, "500", "Handshakes answered a second; more wait; 0: no limit.")            \
	F(retention, age, duration, "0", "Records older than this, in segments written before that, are removed; 0: never.")                                      \
	F(retention, stream_bytes, size, "0", "Stored bytes of one stream, above which its oldest records go; 0: no limit.")    \
	F(retention, free_bytes, size, "0", "With less free on the disk, the oldest records of the largest streams go; 0: never.") \
	F(retention, stop_bytes, size, "256 MB", "With less free on the disk nothing is taken any more; reading goes on.")         \
	F(merge, age, duration, "1h", "What landed is merged into segments after this time at the latest.")

struct config_address {
	char     host[CONFIG_TEXT_BYTES]; /* name or address without brackets; empty: none */
	uint16_t port;
};

#define CONFIG_C_text     char
#define CONFIG_C_address  struct config_address
#define CONFIG_C_count    uint64_t
#define CONFIG_C_size     uint64_t /* bytes */
#define CONFIG_C_duration uint64_t /* ns */
#define CONFIG_C_bool     bool
#define CONFIG_ROOM_text  [CONFIG_TEXT_BYTES]
#define CONFIG_ROOM_address
#define CONFIG_ROOM_count
#define CONFIG_ROOM_size
#define CONFIG_ROOM_duration
#define CONFIG_ROOM_bool

/* What a [stream "NAME"] section says; UINT64_MAX: nothing, so the general setting holds. */
struct config_stream {
	char     name[CONFIG_TEXT_BYTES];
	uint64_t age_ns, bytes;
	char     where[CONFIG_TEXT_BYTES];
};

struct config {
#define F(section, key, type, otherwise, sentence) CONFIG_C_##type section##_##key CONFIG_ROOM_##type;
	CONFIG_SETTINGS(F)
#undef F
	struct config_stream *streams;
	uint32_t              stream_count;
	struct config_origin *origins; /* of each setting: config_walk() */
};

/* Reads path and its folder; NULL: CONFIG_PATH_DEFAULT when it is there, else nothing; then the environment (as environ; NULL:
 * none). see() (may be NULL) gets a sentence for each fault, with FILE:LINE and the nearest name where one is near. ERR_USAGE:
 * there were faults, with the first as sentence; ERR_ABSENT: path is not there; ERR_IO. *out is set on OK only. */
enum err config_load(struct config **out, const char *path, char *const *environment,
                     void (*see)(void *arg, const char *sentence), void *arg);
void     config_close(struct config **c);

/* What holds for a stream: what its own section says, else that of its monitor (MONITOR of MONITOR/STREAM), else *age_ns and *bytes
 * stay as they are. */
void     config_retention(const struct config *c, const char *stream, uint64_t *age_ns, uint64_t *bytes);

/* Each setting as resolved: value as it would be written, and where it comes from ("default", "FILE:LINE", "environment NAME").
 * section is [stream "NAME"]'s for those. */
typedef enum err config_see(void *arg, const char *section, const char *key, const char *value, const char *where);
enum err config_walk(const struct config *c, config_see *see, void *arg);

/* The example file: every setting with its sentence and default. */
void     config_example(FILE *to);

#endif
