/* Decodes of a block only what the rows of selected conversations need. Used by packet_decode.c only. */
#ifndef ARCHIVE_PACKET_SELECT_H
#define ARCHIVE_PACKET_SELECT_H

#include "archive/packet_rows.h"

/* Columns of which a part can be decoded. */
#define PART_COLUMNS ((unsigned)(BATCH_WIRE_LEN | BATCH_DIR | BATCH_TCP_FLAGS))

/* These of PART_COLUMNS: the rows of selected conversations only. */
enum err packet_select_columns(struct packet_decoder *d, unsigned columns, const struct selection *sel);
/* BATCH_SELECTED: the selected rows in capture order, with their times. */
enum err packet_select_records(struct packet_decoder *d, const struct selection *sel);

#endif
