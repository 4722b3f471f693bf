/* Trace into archive: reads a trace, encodes and seals its blocks on several threads, and commits segment after segment,
 * in the order of the trace. */
#ifndef TOOLS_INTAKE_H
#define TOOLS_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "index/store.h"
#include "ingest/trace.h"

struct intake_options {
	unsigned jobs;
	bool headers_only;
	/* Called now and then, by one thread at a time: bytes of the trace as stored (trace_offset()) and records of it that are
	 * encoded. May be NULL. */
	void (*step)(void *arg, uint64_t offset, uint64_t records);
	void *arg;
};

struct intake_result {
	uint64_t records, captured_bytes, stored_bytes; /* committed in this run */
	uint64_t segments;
	bool     damaged;         /* the trace could not be read to its end; damage says why; what came before is kept */
	char     damage[ERR_TEXT_BYTES];
};

/* Goes on behind the first import->records records of the trace, and keeps import->records up to date with what is
 * committed. On an error too *result tells what was committed. ERR_INTERRUPTED: after a signal; what was read by then is
 * committed. ERR_FULL, ERR_IO: the writing failed; what was committed stays. A trace that is damaged is no error: see
 * result->damaged. */
enum err intake_run(struct store *s, struct trace *t, uint32_t stream, struct import_row *import,
                    const struct intake_options *options, struct intake_result *result);

#endif
