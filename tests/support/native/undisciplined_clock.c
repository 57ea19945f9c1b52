/* A kernel's clock that a test disciplines or not: preloaded (LD_PRELOAD), it answers adjtimex in the kernel's place.
 * While there is a file UNDISCIPLINED_CLOCK, the clock is not disciplined.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

int adjtimex(struct timex *timex) {
    const char *flag = getenv("UNDISCIPLINED_CLOCK");
    memset(timex, 0, sizeof *timex);
    if (flag && access(flag, F_OK) == 0) timex->status = STA_UNSYNC;
    return timex->status ? TIME_ERROR : TIME_OK;
}
