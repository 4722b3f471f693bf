/* The view of packets in columns: the functions that a block decoder calls. view.c fills struct packet_view from it. */
#ifndef ANONYMIZE_VIEW_PACKETS_H
#define ANONYMIZE_VIEW_PACKETS_H

#include "anonymize/view_parts.h"

/* Of a view whose other parts are there. */
void view_packets_fill(struct view *v);

#endif
