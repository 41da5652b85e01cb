/* What the C programs here share: UDP sockets on loopback, and giving up. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64,       /* datagrams in one system call; more gain little */
    BUFFER = 4 << 20, /* octets of socket buffer asked for: what trioice asks for */
    HEADER = 38,      /* octets that trioice/relay/encapsulation.py describes */
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in address(uint32_t host, uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host)};
}

static int bound(struct sockaddr_in to) {
    int size = BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("bind");
    return fd;
}

/* The header of a client: magic, ::ffff:client, ::ffff:proxy, both ports. */
static void write_header(uint8_t *header, const struct sockaddr_in *client, const struct sockaddr_in *proxy) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    header[0] = 0x56, header[1] = 0xec;
    memcpy(header + 2, mapped, 12), memcpy(header + 14, &client->sin_addr, 4);
    memcpy(header + 18, mapped, 12), memcpy(header + 30, &proxy->sin_addr, 4);
    memcpy(header + 34, &client->sin_port, 2), memcpy(header + 36, &proxy->sin_port, 2);
}
