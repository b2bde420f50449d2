/* Loaded before libc: makes the n-th call on a record's files fail, as a broken disk would.

   `arm` says which call, from which on, with which error, and how often; `disarm` says how many
   calls of that kind there were. Only calls on a file whose path holds "record.db" count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char armed[32] = "";
static int n_passed, first, n_failing, with;

void arm(const char *call, int nth, int how_many, int error) {
  snprintf(armed, sizeof armed, "%s", call);
  n_passed = 0, first = nth, n_failing = how_many, with = error;
}

int disarm(void) {
  armed[0] = 0;
  return n_passed;
}

static int fails(const char *call, const char *path) {
  if (strcmp(armed, call) || !path || !strstr(path, "record.db")) return 0;
  n_passed++;
  if (n_passed < first || n_passed >= first + n_failing) return 0;
  errno = with;
  return 1;
}

static int fails_at(const char *call, int fd) {
  char link[64], path[4096];
  if (strcmp(armed, call)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return fails(call, path);
}

#define NEXT(name) __typeof__(&name) real = dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
  NEXT(pwrite64);
  if (!fails_at("pwrite", fd)) return real(fd, data, n, at);
  if (with != ENOSPC || n < 2) return -1;
  return real(fd, data, n / 2, at); /* a disk that is full takes a part first */
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

ssize_t pread64(int fd, void *data, size_t n, off64_t at) {
  NEXT(pread64);
  return fails_at("pread", fd) ? -1 : real(fd, data, n, at);
}
ssize_t pread(int fd, void *data, size_t n, off_t at) { return pread64(fd, data, n, at); }

int fsync(int fd) {
  NEXT(fsync);
  return fails_at("fsync", fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  return fails_at("fsync", fd) ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t n) {
  NEXT(ftruncate64);
  return fails_at("ftruncate", fd) ? -1 : real(fd, n);
}
int ftruncate(int fd, off_t n) { return ftruncate64(fd, n); }

int unlink(const char *path) {
  NEXT(unlink);
  return fails("unlink", path) ? -1 : real(path);
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
  int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
  return fails("open", path) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("open64", path, flags, mode);
}
int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("open", path, flags, mode);
}
