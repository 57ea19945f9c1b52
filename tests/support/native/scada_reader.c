/* A SCADA client by libmodbus that reads at full speed and looks for torn values: PORT UNIT FIRST BLOCKS REQUESTS SEED.
 *
 * From FIRST on there are BLOCKS blocks of ten registers. The four words of a value (registers 0 to 3) are all the same,
 * and below 0x4000 exactly when the quality (register 4) is good, 192. Each request reads 1 to 125 registers from anywhere; what lies
 * whole within it is looked at. Prints requests, values, distinct words seen, torn values and mismatched qualities. */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>

enum { PITCH = 10, READ_MAX = 125 };

static unsigned char seen[65536];

int main(int argc, char **argv) {
    if (argc < 7)
        return 2;
    int first = atoi(argv[3]), end = first + PITCH * atoi(argv[4]);
    long requests = atol(argv[5]), values = 0, torn = 0, mismatched = 0, distinct = 0;
    unsigned seed = (unsigned)atoi(argv[6]);
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    if (ctx == NULL || modbus_set_slave(ctx, atoi(argv[2])) || modbus_set_response_timeout(ctx, 30, 0) ||
        modbus_connect(ctx)) {
        fprintf(stderr, "connect: %s\n", modbus_strerror(errno));
        return 1;
    }
    uint16_t words[READ_MAX];
    for (long request = 0; request < requests; request++) {
        int count = 1 + rand_r(&seed) % READ_MAX;
        int address = first + rand_r(&seed) % (end - first - count + 1);
        if (modbus_read_registers(ctx, address, count, words) != count) {
            fprintf(stderr, "request %ld, %d from %d: %s\n", request, count, address, modbus_strerror(errno));
            return 1;
        }
        int block = (address - first + PITCH - 1) / PITCH * PITCH - (address - first);
        for (; block + 4 <= count; block += PITCH) {
            const uint16_t *value = words + block;
            values++;
            if (!seen[value[0]]) {
                seen[value[0]] = 1;
                distinct++;
            }
            torn += value[1] != value[0] || value[2] != value[0] || value[3] != value[0];
            if (block + 5 <= count)
                mismatched += (value[0] < 0x4000) != (value[4] == 192);
        }
    }
    printf("{\"requests\": %ld, \"values\": %ld, \"distinct\": %ld, \"torn\": %ld, \"mismatched\": %ld}\n", requests,
           values, distinct, torn, mismatched);
    modbus_close(ctx);
    return 0;
}
