/* A disk that fails: preloaded (LD_PRELOAD), it stands between a process and libc's calls on files.
 *
 * FAULTY_DISK names a file of rules, read at each call, so that a test changes them while the process runs; a line is
 *
 *     write|sync|read PART ERROR|hang|short
 *
 * PART is looked for in the file's path (at its end with a $ behind it), ERROR is an errno's number; hang waits until
 * the rule is gone; short writes half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING = 0, HANG = -1, SHORT = -2 };

static int is_in(const char *path, char *part) {
    size_t size = strlen(part), all = strlen(path);
    if (part[size - 1] != '$') return strstr(path, part) != NULL;
    part[--size] = 0;
    return all >= size && !strcmp(path + all - size, part);
}

static int rule_for(const char *operation, const char *path) {
    const char *rules = getenv("FAULTY_DISK");
    char text[512];
    if (!rules) return NOTHING;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, rules, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NOTHING;
    long size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size <= 0) return NOTHING;
    text[size] = 0;
    char *next = text;
    for (char *line; (line = strsep(&next, "\n"));) {
        char called[16], part[128], what[16];
        if (sscanf(line, "%15s %127s %15s", called, part, what) != 3) continue;
        if (strcmp(called, operation) || !is_in(path, part)) continue;
        if (!strcmp(what, "hang")) return HANG;
        if (!strcmp(what, "short")) return SHORT;
        return atoi(what);
    }
    return NOTHING;
}

static int fault(const char *operation, int fd) {
    char link[64], path[512];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return NOTHING;
    path[size] = 0;
    int found;
    while ((found = rule_for(operation, path)) == HANG) usleep(1000);
    errno = kept;
    return found;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define GUARDED(operation, fd)                    \
    int found = fault(operation, fd);             \
    if (found > 0) { errno = found; return -1; }

ssize_t write(int fd, const void *data, size_t size) {
    GUARDED("write", fd)
    return REAL(write)(fd, data, found == SHORT && size > 1 ? size / 2 : size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    GUARDED("write", fd)
    return REAL(pwrite64)(fd, data, found == SHORT && size > 1 ? size / 2 : size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    GUARDED("write", fd)
    return REAL(pwrite64)(fd, data, found == SHORT && size > 1 ? size / 2 : size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    GUARDED("read", fd)
    return REAL(pread64)(fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
    GUARDED("read", fd)
    return REAL(pread64)(fd, data, size, at);
}

int ftruncate64(int fd, off64_t size) {
    GUARDED("write", fd)
    return REAL(ftruncate64)(fd, size);
}

int ftruncate(int fd, off_t size) {
    GUARDED("write", fd)
    return REAL(ftruncate64)(fd, size);
}

int fsync(int fd) {
    GUARDED("sync", fd)
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    GUARDED("sync", fd)
    return REAL(fdatasync)(fd);
}
