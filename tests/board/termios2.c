/* Preloaded into the arm64 binary under qemu's user-mode emulation, which does not know the two calls by which a serial
 * port's speed is set on arm64 (TCGETS2, TCSETS2: "Function not implemented"). They are answered by the older pair, which
 * it knows; the speed itself means nothing to a pseudo-terminal. The emulated board of tests/board/run needs nothing of this. */
#define _GNU_SOURCE
#include <asm/ioctls.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>

/* As the kernel has them on arm64 (asm-generic/termbits.h). */
struct termios_old {
    unsigned flags[4];
    unsigned char line, characters[19];
};
struct termios_new {
    struct termios_old old;
    unsigned input_speed, output_speed;
};

enum { GETS2 = 0x802c542a, SETS2 = 0x402c542b, SETSW2 = 0x402c542c, SETSF2 = 0x402c542d };

int ioctl(int file, unsigned long request, ...) {
    static int (*next)(int, unsigned long, void *);
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!next) next = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");

    struct termios_old old;
    struct termios_new *new = argument;
    switch ((unsigned)request) {
    case GETS2:
        if (next(file, TCGETS, &old) < 0) return -1;
        memset(new, 0, sizeof *new);
        new->old = old;
        return 0;
    case SETS2:
    case SETSW2:
    case SETSF2:
        /* The speed's bits of a pseudo-terminal stay as they are: BOTHER is not of the older pair. */
        if (next(file, TCGETS, &old) < 0) return -1;
        unsigned speed = old.flags[2] & 0x100f;
        old = new->old;
        old.flags[2] = (old.flags[2] & ~0x100fu) | speed;
        return next(file, TCSETS + ((unsigned)request - SETS2), &old);
    default:
        return next(file, request, argument);
    }
}
