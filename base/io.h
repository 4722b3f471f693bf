/* Files. Every call either does all that was asked or returns an error whose sentence names the file: EINTR is retried,
 * short writes are continued, descriptors are close-on-exec. Nothing here retries a failed fsync (its state is unknown
 * afterwards; PostgreSQL's "fsyncgate", 2018). Tests make these calls fail or die at step N with tests/fault/shim.c, which
 * stands between the program and libc, LMDB's calls included. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum err io_open(int *fd, const char *path);                          /* read only */
enum err io_create(int *fd, const char *path, mode_t mode);           /* read and write; ERR_EXISTS when there */
enum err io_open_write(int *fd, const char *path);                    /* an existing file, read and write */
void     io_close(int *fd);                                           /* sets -1; -1 is fine */
/* Up to n bytes; *got < n only at the end of the file. name is for the message. */
enum err io_read(int fd, void *p, size_t n, size_t *got, const char *name);
enum err io_pread(int fd, void *p, size_t n, uint64_t at, const char *name); /* all n, or ERR_FORMAT "ends early" */
enum err io_write(int fd, const void *p, size_t n, const char *name);
enum err io_pwrite(int fd, const void *p, size_t n, uint64_t at, const char *name);
enum err io_size(int fd, uint64_t *bytes, const char *name);
enum err io_datasync(int fd, const char *name);
/* Starts writing to the disk what lies in memory of these bytes, so that a later io_datasync() has less to wait for. */
void     io_writeback(int fd, uint64_t at, uint64_t n);
/* The same, and waits until this part is on the disk: then io_datasync() has little left to wait for. It does not take its
 * place: an error that it returns is not told a second time. */
enum err io_settle(int fd, uint64_t at, uint64_t n, const char *name);
enum err io_rename(const char *from, const char *to);
enum err io_unlink(const char *path);                                 /* ERR_ABSENT when not there */
enum err io_mkdir(const char *path, mode_t mode);
enum err io_sync_dir(const char *path);
/* Whether this process may not write there (its user, or the file system); false also when there is no such file. */
bool     io_read_only(const char *path);
/* dir + "/" + name into out[PATH_BYTES]; ERR_LIMIT when longer. */
enum err io_path(char *out, const char *dir, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
