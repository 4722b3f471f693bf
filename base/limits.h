/* Every bound in one place: its unit, its value, and why. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define ERR_TEXT_BYTES 1024 /* one sentence, with a long path in it */

/* A block: the unit of encoding, sealing and scanning. */
#define BLOCK_RECORDS_MAX 65536u           /* record numbers fit 16 bits; 65,536 x ~6 bytes is a good zstd window */
#define BLOCK_BYTES_MAX   (16u << 20)      /* captured bytes in one block: bounds what a reader must hold */
#define RECORD_BYTES_MAX  (8u << 20)       /* one record; libpcap's largest ordinary snaplen is 256 KiB, EBHSCR's 8 MiB */
#define CHUNK_BYTES_MAX   (BLOCK_BYTES_MAX + (1u << 20)) /* one column chunk, decompressed: all bytes of a block */

#define CREW_MAX          4u               /* workers; each holds a block packed, unpacked and rebuilt: four stay below 256 MiB */

/* A parcel: a sealed block with its signed header. */
#define PARCEL_BYTES_MAX  (18u << 20)      /* a block of BLOCK_BYTES_MAX that does not compress, its seals, the header */

/* The wire between collector and archive (ingest/wire.h, ingest/session.h). */
#define WIRE_PORT                7713u         /* of atoll://HOST when it names none; not registered for anything */
#define WIRE_FRAME_BYTES_MAX     65535u        /* one Noise message, tag included: the Noise specification's bound */
#define WIRE_SMALL_FRAME_BYTES_MAX 4096u       /* frames to a collector, and to an archive before it said WELCOME */
#define WIRE_SMALL_BODY_BYTES_MAX 2048u        /* the body of any message but PARCEL */
#define WIRE_TEXT_BYTES          256u          /* a sentence, with the NUL */
#define SESSION_HANDSHAKE_NS     10000000000u  /* from connect to HELLO or ENROL: a stranger holds a connection no longer */
#define SESSION_PING_NS          30000000000u  /* a side that sent nothing for so long says PING */
#define SESSION_SILENCE_NS       60000000000u  /* a peer that was not heard for so long is gone: two lost PINGs */
#define SESSION_FRAME_NS         60000000000u  /* a frame not complete by then never will be: its length was changed on the way, or
                                                * somebody trickles bytes; the largest at 1.1 kB/s */
#define SESSION_REKEY_NS         120000000000u /* a sending key serves so long ... */
#define SESSION_REKEY_BYTES      (1u << 30)    /* ... or for so much, whichever is first */
#define SESSION_REKEY_FRAMES_MAX (1ull << 32)  /* frames under one key before the receiver gives up on the sender */
#define SESSION_INPUT_BYTES      (2 * (2 + WIRE_FRAME_BYTES_MAX)) /* received, not decrypted yet: two of the largest frames */
#define SESSION_OUTPUT_BYTES     (4 * (2 + WIRE_FRAME_BYTES_MAX)) /* of a collector: encrypted, not sent yet */
#define SESSION_ANSWER_BYTES     (4 * (2 + WIRE_SMALL_FRAME_BYTES_MAX)) /* the same of an archive: ~200 acknowledgements */
#define SESSION_KEEP_BYTES       (1u << 20)    /* a receive buffer that grew beyond this is given back once it is empty */

/* A collector (ingest/spool.h, sender.h, capture.h, collector.h). At full rate all of it stays below 64 MiB resident. */
#define SPOOL_BYTES_DEFAULT      (1ull << 30)  /* two minutes of 1 M packets/s without an archive */
#define SPOOL_BYTES_MIN          (1u << 20)
#define SPOOL_FILE_BYTES         (16u << 20)   /* a file is closed above this, or an eighth of the spool: what is
                                                * freed or dropped at once */
#define SPOOL_STREAMS_MAX        256u          /* as many as an archive takes of a monitor (MONITOR_STREAMS_MAX) */
#define SPOOL_NAME_BYTES         64u           /* of a stream on a monitor, with the NUL: MONITOR/STREAM fits STREAM_NAME_BYTES */
#define SENDER_WINDOW_BYTES      (16u << 20)   /* sent, not acknowledged: 100 MB/s at 150 ms; kept in the spool */
#define SENDER_FLIGHT_MAX        4096u         /* parcels sent and not acknowledged */
#define SENDER_RETRY_MIN_NS      1000000000u   /* a lost connection is made again after 1 s, 2 s, ... */
#define SENDER_RETRY_MAX_NS      60000000000u
#define SENDER_CONNECT_NS        10000000000u  /* an address that does not answer */
#define SENDER_REPORT_NS         1000000000u
#define CAPTURE_INTERFACES_MAX   16u           /* in one process */
#define CAPTURE_RING_BYTES       (28u << 20)   /* of all interfaces together; a collector may have 64 MiB, the rest is 32; at
                                                * 300,000 packets/s of ~200 bytes with their ring headers half a second */
#define CAPTURE_FRAMES_BYTES     (7u << 20)    /* captured bytes in all buffers, live: a block may close early */
#define PUSH_FRAMES_BYTES        (9u << 20)    /* in each of two buffers of a push: RECORD_BYTES_MAX, and more */
#define COLLECTOR_BLOCK_NS       1000000000u   /* a block of a live capture is closed when it is so old */
#define SAMPLING_RATE_MAX        65536u        /* one in so many */

/* A segment: the unit of commit, of keys and of deletion. */
#define SEGMENT_BLOCKS_MAX 64u             /* a set of blocks is one 64-bit word */
#define SEGMENT_BYTES_MAX  (256u << 20)    /* stored; a segment is cut early when its blocks reach this */

/* Parcels of monitors on their way into segments. */
#define LANDING_BYTES_MAX (64u << 20)      /* a landing file is changed for a new one at this size */
#define MERGE_BLOCKS_MAX  1024u            /* landed parcels of one stream that wait for merging, of any size: 1 MB of rows */
#define MERGE_AGE_NS      3600000000000ull /* how long the oldest of them waits: 1 h */
#define SEGMENT_ADDRESSES_FULL (512u << 10) /* distinct ones, at which a segment is cut: bounds the writer at 50 MB */
#define SEGMENT_ADDRESSES_MAX  (SEGMENT_ADDRESSES_FULL + 2 * BLOCK_RECORDS_MAX) /* its last block adds two a record */

#define STREAM_NAME_BYTES 128              /* with the NUL */
#define STREAMS_MAX       65536u
#define MONITOR_STREAMS_MAX 256u           /* of one monitor: none can use up all numbers */
#define PATH_BYTES        4096

/* A filter expression, and what is made of it. */
#define FILTER_TEXT_BYTES_MAX 65536u       /* more than FILTER_TERMS_MAX hosts */
#define FILTER_TREE_TEXT_BYTES     4096u   /* written out again, in longer words: at first, and */
#define FILTER_TREE_TEXT_BYTES_MAX (32u * FILTER_TEXT_BYTES_MAX) /* at most */
#define FILTER_DEPTH_MAX      200u         /* nested parentheses and nots: bounds the recursion */
#define FILTER_TERMS_MAX      256u         /* primitives; libpcap takes 5 s to compile 1000 hosts */
#define FILTER_OPTIMISED_WORDS_MAX 300u    /* 100 hosts: a longer expression is not given to libpcap's optimiser */
#define FILTER_NETS_MAX       1024u        /* networks looked up in segment filters; with more, none is skipped by address */
#define FILTER_NODES_MAX      (1u << 18)   /* tests in the decision diagram of one thread, 32 bytes each */
#define FILTER_CHAIN_MAX      2000u        /* tests on one path: bounds the recursion; a longer filter runs as BPF */

#endif
