/* The limit: as little as a forwarder in user space can do for a datagram, in bursts by recvmmsg and sendmmsg.
 *
 *     forwarder PUBLIC-PORT TRANSCEIVER-PORT
 *
 * A client's flow is found by its address in a hash table, one cache line each, and its header is put in front. The way back
 * needs no flow: the header names the client, and only the transceiver is believed. Any STUN request makes a flow; there are
 * no tokens, no proof, no expiry: it shows what these may cost, and is no relay to run. */

#include "udp.h"

enum { DATAGRAM = 2048, SLOTS = 1 << 17, FLOWS = SLOTS / 2 };

struct flow {
    uint64_t client; /* family, port and host, as in a sockaddr_in; 0 is nobody */
    uint8_t header[HEADER];
} __attribute__((aligned(64)));

struct burst {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_in names[BATCH];
};

static struct flow flows[SLOTS];
static unsigned flow_count;
static struct burst in, out;
static uint8_t datagrams[BATCH][HEADER + DATAGRAM]; /* rewritten in place: in front there is room for a header */
static struct sockaddr_in proxy, transceiver;

static struct flow *find(const struct sockaddr_in *client) {
    uint64_t key;
    memcpy(&key, client, sizeof key);
    unsigned slot = key * 0x9e3779b97f4a7c15u >> 47;
    while (flows[slot].client && flows[slot].client != key)
        slot = (slot + 1) % SLOTS;
    return &flows[slot];
}

static int receive(int fd, unsigned offset) {
    for (unsigned i = 0; i < BATCH; i++) {
        in.parts[i] = (struct iovec){datagrams[i] + offset, DATAGRAM};
        in.messages[i].msg_hdr.msg_namelen = sizeof in.names[i];
    }
    int count = recvmmsg(fd, in.messages, BATCH, MSG_DONTWAIT, NULL);
    return count > 0 ? count : 0;
}

static void put(int index, uint8_t *octets, size_t length, struct sockaddr_in to) {
    out.parts[index] = (struct iovec){octets, length};
    out.names[index] = to;
}

static void send_all(int fd, int count) {
    for (int first = 0; first < count;) {
        int sent = sendmmsg(fd, out.messages + first, count - first, 0);
        first += sent > 0 ? sent : 1; /* what does not fit is lost */
    }
}

static int from_clients(int public, int inner) {
    int count = receive(public, HEADER), kept = 0;
    for (int i = 0; i < count; i++) {
        struct flow *flow = find(&in.names[i]);
        if (!flow->client) {
            if (datagrams[i][HEADER] != 0 || flow_count == FLOWS)
                continue;
            flow_count++;
            memcpy(&flow->client, &in.names[i], sizeof flow->client);
            write_header(flow->header, &in.names[i], &proxy);
        }
        memcpy(datagrams[i], flow->header, HEADER);
        put(kept++, datagrams[i], HEADER + in.messages[i].msg_len, transceiver);
    }
    send_all(inner, kept);
    return count;
}

static int from_transceiver(int public, int inner) {
    int count = receive(inner, 0), kept = 0;
    for (int i = 0; i < count; i++) {
        unsigned length = in.messages[i].msg_len;
        if (memcmp(&in.names[i], &transceiver, 8) || length <= HEADER || datagrams[i][0] != 0x56)
            continue;
        struct sockaddr_in client = {.sin_family = AF_INET};
        memcpy(&client.sin_addr, datagrams[i] + 14, 4), memcpy(&client.sin_port, datagrams[i] + 34, 2);
        put(kept++, datagrams[i] + HEADER, length - HEADER, client);
    }
    send_all(public, kept);
    return count;
}

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    for (unsigned i = 0; i < BATCH; i++) {
        in.messages[i].msg_hdr =
            (struct msghdr){.msg_iov = &in.parts[i], .msg_iovlen = 1, .msg_name = &in.names[i]};
        out.messages[i].msg_hdr = (struct msghdr){
            .msg_iov = &out.parts[i], .msg_iovlen = 1, .msg_name = &out.names[i], .msg_namelen = sizeof out.names[i]};
    }
    proxy = address(INADDR_LOOPBACK, atoi(arguments[1]));
    transceiver = address(INADDR_LOOPBACK, atoi(arguments[2]));
    int public = bound(proxy), inner = bound(address(INADDR_LOOPBACK, 0));
    printf("relay on port %s\n", arguments[1]);
    fflush(stdout);
    struct pollfd both[] = {{public, POLLIN, 0}, {inner, POLLIN, 0}};
    for (;;)
        if (!(from_clients(public, inner) + from_transceiver(public, inner)))
            poll(both, 2, -1);
}
