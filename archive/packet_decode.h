/* The streams of a packet block to a batch. Used by the block decoder only.
 *
 * Nothing that a block says is trusted: every count, index and length is checked before it is used, so that a block that
 * is authentic but hostile gives ERR_FORMAT with the column's name.
 */
#ifndef ARCHIVE_PACKET_DECODE_H
#define ARCHIVE_PACKET_DECODE_H

#include "archive/batch.h"
#include "archive/packet_model.h"

struct packet_decoder;

enum err packet_decoder_open(struct packet_decoder **out);
void     packet_decoder_close(struct packet_decoder **d);
/* The chunks (1 << CHUNK_) needed for these BATCH_ columns. */
unsigned packet_chunks_for(unsigned columns);
/* Begins a block of this many records (1..BLOCK_RECORDS_MAX), sampled so: all streams empty. */
void     packet_decoder_begin(struct packet_decoder *d, uint32_t records, uint32_t sampled, uint8_t sampler);
/* Room for this block's stored bytes, as long as the decoder holds the block. */
enum err packet_decoder_room(struct packet_decoder *d, uint32_t n, uint8_t **out);
/* Unpacks one opened chunk, which is to stay where it is until another block begins: the pieces of its columns are unpacked
 * when their records are asked for. */
enum err packet_decoder_chunk(struct packet_decoder *d, enum packet_chunk chunk, const uint8_t *p, size_t n);
/* The chunks unpacked since begin, as bits. */
unsigned packet_decoder_chunks(const struct packet_decoder *d);
/* After the chunks: the columns, added to those of earlier calls since begin. */
enum err packet_decode(struct packet_decoder *d, unsigned columns, const struct batch **out);
/* The same for less: of wire_len, dir, tcp_flags, BATCH_CAP_LEN, BATCH_IP and BATCH_TCP only rows of selected conversations are
 * sure to be there. */
enum err packet_decode_selected(struct packet_decoder *d, unsigned columns, const struct selection *sel,
                                const struct batch **out);
/* Names for messages. */
const char *packet_chunk_name(unsigned chunk);
const char *packet_stream_name(unsigned stream);

#endif
