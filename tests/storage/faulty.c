/* A disk that fails on order: preloaded, it counts what a process does to files below one directory and lets the
 * operation fail whose turn it is. FAULTY_DIR names the directory, FAULTY_ORDERS a file that both sides map.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITES = 1, FLUSHES = 2, TRUNCATES = 4, OPENS = 8, ALLOCATES = 16 };
#define MOST_FILES 4096

static struct {
    _Atomic int64_t done;    /* operations since it was set to 0 */
    _Atomic int64_t at;      /* the one that fails; 0 for none */
    _Atomic int64_t error;   /* errno */
    _Atomic int64_t sticky;  /* and all after it */
    _Atomic int64_t kinds;   /* which are counted */
    _Atomic int64_t slow_us; /* each flush takes this much longer */
    _Atomic int64_t failed;  /* operations that did fail */
    _Atomic int64_t retried; /* flushes of a descriptor whose last flush had failed */
} *orders;

static const char *directory;
static size_t length;
static _Atomic char spoiled[MOST_FILES];
static int ready;

static void begin(void) {
    if (ready) return;
    ready = 1;
    const char *path = getenv("FAULTY_ORDERS");
    directory = getenv("FAULTY_DIR");
    if (!path || !directory) return;
    length = strlen(directory);
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    int file = real_open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) orders = mapped;
}

static int ours(const char *path) {
    return path && !strncmp(path, directory, length) && (path[length] == '/' || !path[length]);
}

static int below(int file) {
    char link[64] = "/proc/self/fd/", found[4096];
    char digits[16];
    int n = 0, value = file;
    do digits[n++] = '0' + value % 10; while (value /= 10);
    char *end = link + strlen(link);
    while (n) *end++ = digits[--n];
    *end = 0;
    ssize_t size = readlink(link, found, sizeof found - 1);
    if (size <= 0) return 0;
    found[size] = 0;
    return ours(found);
}

/* 1 if this operation is to fail. */
static int due(int kind) {
    if (!(orders->kinds & kind)) return 0;
    int64_t number = ++orders->done, at = orders->at;
    if (!at || number < at || (number > at && !orders->sticky)) return 0;
    orders->failed++;
    errno = (int)orders->error;
    return 1;
}

static int fails(int kind, int file) {
    begin();
    return orders && file >= 0 && below(file) && due(kind);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    return fails(WRITES, file) ? -1 : real(file, data, size);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    return fails(WRITES, file) ? -1 : real(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    return fails(WRITES, file) ? -1 : real(file, data, size, at);
}

int ftruncate(int file, off_t size) {
    REAL(ftruncate);
    return fails(TRUNCATES, file) ? -1 : real(file, size);
}

int ftruncate64(int file, off64_t size) {
    REAL(ftruncate64);
    return fails(TRUNCATES, file) ? -1 : real(file, size);
}

int posix_fallocate(int file, off_t at, off_t size) {
    REAL(posix_fallocate);
    return fails(ALLOCATES, file) ? errno : real(file, at, size);
}

int posix_fallocate64(int file, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    return fails(ALLOCATES, file) ? errno : real(file, at, size);
}

int fallocate(int file, int mode, off_t at, off_t size) {
    REAL(fallocate);
    return fails(ALLOCATES, file) ? -1 : real(file, mode, at, size);
}

static int flush(int file, int (*real)(int)) {
    begin();
    if (!orders || file < 0 || !below(file)) return real(file);
    if (orders->slow_us) usleep((useconds_t)orders->slow_us);
    int known = file < MOST_FILES;
    if (known && spoiled[file]) orders->retried++;
    if (!due(FLUSHES)) return real(file);
    if (known) spoiled[file] = 1;
    return -1;
}

int fsync(int file) {
    REAL(fsync);
    return flush(file, real);
}

int fdatasync(int file) {
    REAL(fdatasync);
    return flush(file, real);
}

int close(int file) {
    REAL(close);
    if (file >= 0 && file < MOST_FILES) spoiled[file] = 0;
    return real(file);
}

/* Only what can have this error: a full disk or one that is read-only still lets files be read. */
static int may_open(const char *path, int flags) {
    begin();
    if (!orders || !ours(path)) return 1;
    int writes = (flags & O_ACCMODE) != O_RDONLY, makes = flags & O_CREAT && access(path, F_OK);
    if (orders->error == ENOSPC && !makes) return 1;
    if (orders->error == EROFS && !writes && !makes) return 1;
    return !due(OPENS);
}

#define OPEN(name)                                            \
    int name(const char *path, int flags, ...) {              \
        REAL(name);                                           \
        va_list more;                                         \
        va_start(more, flags);                                \
        mode_t mode = va_arg(more, mode_t);                   \
        va_end(more);                                         \
        return may_open(path, flags) ? real(path, flags, mode) : -1; \
    }

OPEN(open)
OPEN(open64)
