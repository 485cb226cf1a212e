/* Preloaded into the daemon: a serial port whose driver does not come back from a call, and a disk as slow as an SD card.
 *
 * SHIM_CONTROL  a file that is mapped: numbers that the test sets, and counts that it reads (see shim.rs)
 * SHIM_PORT     the path of the port whose calls may hang
 * SHIM_DISK     what the paths of the files on the slow disk begin with
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { HANGS_IN, HUNG, SYNC_US, BYTES_PER_SECOND, SYNCS, BYTES, DELAYED_US, NUMBERS };
enum { OPEN = 1, READ, WRITE, CLOSE };
enum { OTHER, PORT, DISK };
enum { FDS = 4096 };

static volatile uint64_t *control;
static const char *port, *disk;
static unsigned char kind[FDS];
/* Bytes that the disk has been given since its last sync. */
static uint64_t waiting;

#define REAL(name, result, ...)                                                  \
    static result (*real)(__VA_ARGS__);                                          \
    if (!real) {                                                                 \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);                   \
    }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, NUMBERS * sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) {
        close(fd);
    }
    if (map == MAP_FAILED) {
        return;
    }
    port = getenv("SHIM_PORT");
    disk = getenv("SHIM_DISK");
    control = map;
}

static unsigned char kind_of(int fd) {
    return control && fd >= 0 && fd < FDS ? kind[fd] : OTHER;
}

static void sleep_us(uint64_t us) {
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    nanosleep(&t, NULL);
}

static void hang(uint64_t call) {
    if (control[HANGS_IN] != call) {
        return;
    }
    __sync_fetch_and_add(&control[HUNG], 1);
    while (control[HANGS_IN] == call) {
        sleep_us(10000);
    }
}

static int opened(const char *path, int fd) {
    if (control && fd >= 0 && fd < FDS) {
        kind[fd] = disk && strncmp(path, disk, strlen(disk)) == 0 ? DISK : port && strcmp(path, port) == 0 ? PORT : OTHER;
    }
    return fd;
}

#define OPEN_AS(name)                                                            \
    int name(const char *path, int flags, ...) {                                 \
        REAL(#name, int, const char *, int, ...)                                 \
        mode_t mode = 0;                                                         \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                   \
            va_list more;                                                        \
            va_start(more, flags);                                               \
            mode = va_arg(more, mode_t);                                         \
            va_end(more);                                                        \
        }                                                                        \
        if (control && port && strcmp(path, port) == 0) {                        \
            hang(OPEN);                                                          \
        }                                                                        \
        return opened(path, real(path, flags, mode));                            \
    }
OPEN_AS(open)
OPEN_AS(open64)

ssize_t read(int fd, void *buffer, size_t size) {
    REAL("read", ssize_t, int, void *, size_t)
    if (kind_of(fd) == PORT) {
        hang(READ);
    }
    return real(fd, buffer, size);
}

static ssize_t wrote(int fd, ssize_t n) {
    if (n > 0 && kind_of(fd) == DISK) {
        __sync_fetch_and_add(&waiting, (uint64_t)n);
        __sync_fetch_and_add(&control[BYTES], (uint64_t)n);
    }
    return n;
}

ssize_t write(int fd, const void *buffer, size_t size) {
    REAL("write", ssize_t, int, const void *, size_t)
    if (kind_of(fd) == PORT) {
        hang(WRITE);
    }
    return wrote(fd, real(fd, buffer, size));
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t at) {
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t)
    return wrote(fd, real(fd, buffer, size, at));
}

ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t at) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t)
    return wrote(fd, real(fd, buffer, size, at));
}

/* What was written goes to the disk now, at its speed. */
static void sync_slowly(int fd) {
    if (kind_of(fd) != DISK || !control[BYTES_PER_SECOND]) {
        return;
    }
    uint64_t bytes = __sync_fetch_and_and(&waiting, 0);
    uint64_t us = control[SYNC_US] + bytes * 1000000 / control[BYTES_PER_SECOND];
    __sync_fetch_and_add(&control[SYNCS], 1);
    __sync_fetch_and_add(&control[DELAYED_US], us);
    sleep_us(us);
}

int fsync(int fd) {
    REAL("fsync", int, int)
    sync_slowly(fd);
    return real(fd);
}

int fdatasync(int fd) {
    REAL("fdatasync", int, int)
    sync_slowly(fd);
    return real(fd);
}

int close(int fd) {
    REAL("close", int, int)
    if (kind_of(fd) == PORT) {
        hang(CLOSE);
    }
    if (control && fd >= 0 && fd < FDS) {
        kind[fd] = OTHER;
    }
    return real(fd);
}
