/* SIGINT and SIGTERM as a flag that long loops look at. A second signal ends the process at once: what was not committed
 * then is what a kill leaves, which every command must survive anyway. */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <stdbool.h>

#include "base/err.h"

void     interrupt_watch(void); /* installs the handlers; main() calls it */
bool     interrupt_seen(void);  /* any thread */
enum err interrupt_check(void); /* ERR_INTERRUPTED once a signal was seen */

#endif
