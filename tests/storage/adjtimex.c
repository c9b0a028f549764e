/* Whether the kernel's clock is kept right, as the file CLOCK_UNSET says: it is not while that file exists. */
#include <stdlib.h>
#include <unistd.h>

int adjtimex(void *asked) {
    (void)asked;
    const char *path = getenv("CLOCK_UNSET");
    return path && !access(path, F_OK) ? 5 : 0; /* TIME_ERROR */
}
