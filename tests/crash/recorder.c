/* What a program writes below one directory and when it flushes, as a log from which any crash state can be made again.

   Preloaded into the service. RECORDER_DIR is the directory, RECORDER_LOG the log, RECORDER_COUNT a file of eight bytes
   that holds the number of records, for whoever wants to know what had been flushed when. Flushes are not carried out:
   they take RECORDER_FLUSH_US microseconds, as a card would. Shared memory of SQLite (-shm) is not recorded: it is
   gone after a power cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, TRUNCATE, FLUSH, FLUSH_DIR, RENAME, UNLINK };

struct record {
    uint32_t kind, length;
    uint64_t inode, offset, ns;
};

#define MOST 65536
static uint64_t inodes[MOST]; /* by descriptor; 0: not below the directory, 1: the directory itself */
static uint64_t *count;
static const char *directory;
static size_t directory_length;
static int log_fd = -1;
static unsigned flush_us;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("RECORDER_LOG"), *counter = getenv("RECORDER_COUNT"), *us = getenv("RECORDER_FLUSH_US");
    directory = getenv("RECORDER_DIR");
    if (!log || !counter || !directory) return;
    directory_length = strlen(directory);
    flush_us = us ? (unsigned)atoi(us) : 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, counter, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) abort();
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (count == MAP_FAILED || log_fd < 0) abort();
}

/* Everything is written down while the lock is held, so that the log has the order of what happened. */
static void note(enum kind kind, uint64_t inode, uint64_t offset, const void *data, size_t length) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct record record = {kind, (uint32_t)length, inode, offset, (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)data, length}};
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(sizeof record + length)) abort();
    __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
}

static const char *below(const char *path) { /* the name in the directory; NULL where it is not recorded */
    if (log_fd < 0 || !path || strncmp(path, directory, directory_length) || path[directory_length] != '/') return NULL;
    const char *name = path + directory_length + 1;
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, "-shm") ? NULL : name;
}

struct whole { char path[4096]; };

/* The path that a name has from the root on, where it is one in an open directory; NULL where that is not known. */
static const char *whole(int at, const char *path, struct whole *room) {
    if (path[0] == '/' || at == AT_FDCWD) return path;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, room->path, sizeof room->path);
    if (length <= 0 || (size_t)length + strlen(path) + 2 > sizeof room->path) return NULL;
    room->path[length] = '/';
    strcpy(room->path + length + 1, path);
    return room->path;
}

static uint64_t inode_of(int fd) { return fd >= 0 && fd < MOST ? inodes[fd] : 0; }

static int opened(const char *path, int flags, mode_t mode) {
    const char *name = below(path);
    if (!name) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (fd >= 0 && fd < MOST) inodes[fd] = log_fd >= 0 && !strcmp(path, directory);
        return fd;
    }
    pthread_mutex_lock(&lock);
    struct stat before, after;
    int existed = !syscall(SYS_newfstatat, AT_FDCWD, path, &before, 0);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), failed = errno;
    if (fd >= 0 && fd < MOST && !syscall(SYS_fstat, fd, &after)) {
        inodes[fd] = after.st_ino;
        if (!existed) note(CREATE, after.st_ino, 0, name, strlen(name));
        else if (flags & O_TRUNC && before.st_size) note(TRUNCATE, after.st_ino, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = failed;
    return fd;
}

static int opened_at(int at, const char *path, int flags, mode_t mode) {
    struct whole room;
    const char *there = whole(at, path, &room);
    return there ? opened(there, flags, mode) : (int)syscall(SYS_openat, at, path, flags, mode);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode); }

int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened_at(at, path, flags, mode); }

int close(int fd) {
    if (fd >= 0 && fd < MOST) inodes[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    uint64_t inode = inode_of(fd);
    if (inode < 2) return syscall(SYS_pwrite64, fd, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwrite64, fd, data, length, offset);
    int failed = errno;
    if (written > 0) note(WRITE, inode, (uint64_t)offset, data, (size_t)written);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return written;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    uint64_t inode = inode_of(fd);
    if (inode < 2) return syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_write, fd, data, length);
    int failed = errno;
    off_t end = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    if (written > 0) note(WRITE, inode, (uint64_t)(end - written), data, (size_t)written);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return written;
}

static int resized(int fd, off_t length) {
    uint64_t inode = inode_of(fd);
    if (inode < 2) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length), failed = errno;
    if (!result) note(TRUNCATE, inode, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return result;
}
int ftruncate(int fd, off_t length) { return resized(fd, length); }
int ftruncate64(int fd, off64_t length) { return resized(fd, length); }

static int allocated(int fd, int mode, off_t offset, off_t length) {
    uint64_t inode = inode_of(fd);
    if (inode < 2) return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    struct stat before, after;
    syscall(SYS_fstat, fd, &before);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, length), failed = errno;
    syscall(SYS_fstat, fd, &after);
    if (!result && before.st_size != after.st_size) note(TRUNCATE, inode, (uint64_t)after.st_size, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return result;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return allocated(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return allocated(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return allocated(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return allocated(fd, 0, offset, length) ? errno : 0; }

/* A flush covers what had been written when it began; it may take its time. */
static int flushed(int fd, long number) {
    uint64_t inode = inode_of(fd);
    if (!inode) return (int)syscall(number, fd);
    uint64_t covers = __atomic_load_n(count, __ATOMIC_SEQ_CST);
    if (flush_us) usleep(flush_us);
    pthread_mutex_lock(&lock);
    note(inode == 1 ? FLUSH_DIR : FLUSH, inode, covers, NULL, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}
int fsync(int fd) { return flushed(fd, SYS_fsync); }
int fdatasync(int fd) { return flushed(fd, SYS_fdatasync); }

static int renamed(const char *from, const char *to) {
    const char *old = below(from), *new = below(to);
    if (!old || !new) return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    char both[2048];
    size_t first = strlen(old) + 1, second = strlen(new);
    if (first + second > sizeof both) abort();
    memcpy(both, old, first);
    memcpy(both + first, new, second);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), failed = errno;
    if (!result) note(RENAME, 0, 0, both, first + second);
    pthread_mutex_unlock(&lock);
    errno = failed;
    return result;
}
int rename(const char *from, const char *to) { return renamed(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    struct whole old, new;
    const char *before = whole(a, from, &old), *after = whole(b, to, &new);
    return before && after ? renamed(before, after) : (int)syscall(SYS_renameat, a, from, b, to);
}

static int unlinked(const char *path) {
    const char *name = below(path);
    if (!name) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), failed = errno;
    if (!result) note(UNLINK, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    errno = failed;
    return result;
}
int unlink(const char *path) { return unlinked(path); }
int unlinkat(int at, const char *path, int flags) {
    struct whole room;
    const char *there = whole(at, path, &room);
    return there && !flags ? unlinked(there) : (int)syscall(SYS_unlinkat, at, path, flags);
}
