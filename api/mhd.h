/* libmicrohttpd, loaded when the http process starts and not with the program: with it come gnutls and ten libraries more,
 * which cost every command 1.7 ms of its start. */
#ifndef API_MHD_H
#define API_MHD_H

#include <microhttpd.h>

#include "base/err.h"

#define MHD_FUNCTIONS(F)                                                                                   \
	F(start_daemon) F(stop_daemon) F(run) F(get_timeout) F(get_daemon_info) F(add_connection)          \
	F(create_response_from_buffer) F(add_response_header) F(queue_response) F(destroy_response)

struct mhd {
	void *handle; /* of dlopen() */
#define F(name) __typeof__(MHD_##name) *name;
	MHD_FUNCTIONS(F)
#undef F
};

/* ERR_ABSENT: it is not installed, or not as it should be; the sentence says what is missing. */
enum err mhd_open(struct mhd *m);
void     mhd_close(struct mhd *m); /* idempotent */

#endif
