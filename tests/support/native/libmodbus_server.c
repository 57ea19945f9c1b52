/* A Modbus server by libmodbus, as an independent peer for tests: `tcp PORT` or `rtu PORT_PATH UNIT`.
 *
 * 100 coils, discrete inputs, holding and input registers from 0; input register n holds 1000 + n. It prints "ready"
 * once it can be reached, and serves one client after the other until it is ended. */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(modbus_t *ctx, modbus_mapping_t *map) {
    unsigned char query[MODBUS_RTU_MAX_ADU_LENGTH > MODBUS_TCP_MAX_ADU_LENGTH ? MODBUS_RTU_MAX_ADU_LENGTH
                                                                            : MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int n = modbus_receive(ctx, query);
        if (n > 0)
            modbus_reply(ctx, query, n, map);
        else if (n < 0 && errno != EMBBADCRC && errno != ETIMEDOUT)
            return;
    }
}

int main(int argc, char **argv) {
    modbus_mapping_t *map = modbus_mapping_new(100, 100, 100, 100);
    if (map == NULL || argc < 3)
        return 2;
    for (int n = 0; n < 100; n++) {
        map->tab_input_registers[n] = 1000 + n;
        map->tab_input_bits[n] = n % 2;
    }
    if (strcmp(argv[1], "rtu") == 0) {
        modbus_t *ctx = modbus_new_rtu(argv[2], 19200, 'E', 8, 1);
        if (ctx == NULL || modbus_set_slave(ctx, atoi(argv[3])) || modbus_connect(ctx))
            return 1;
        puts("ready");
        fflush(stdout);
        for (;;)
            serve(ctx, map);
    }
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", atoi(argv[2]));
    int listener = ctx == NULL ? -1 : modbus_tcp_listen(ctx, 1);
    if (listener < 0)
        return 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (modbus_tcp_accept(ctx, &listener) < 0)
            return 1;
        serve(ctx, map);
        modbus_close(ctx);
    }
}
