/* A flood: what strangers send, from thousands of addresses.
 *
 *     flood PORT RATE SECONDS LENGTH FILE
 *
 * The file holds datagrams of LENGTH octets each, which are sent in turn, so many a second, from addresses of 127.64.0.0/10
 * (IP_PKTINFO) and a few ports. What was sent is one line of JSON. */

#include "../relay/udp.h"

#include <sys/stat.h>
#include <time.h>

enum {
    PORTS = 4,
    HOSTS = 4096,
    FIRST_HOST = 0x7f400001,
    STRIDE = 1237,   /* a prime: no address comes soon after its neighbour */
    STEP = 500000,   /* nanoseconds between bursts */
};

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

int main(int count, char **arguments) {
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static union {
        char octets[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr aligned;
    } controls[BATCH];
    if (count != 6)
        return 2;
    struct sockaddr_in to = address(INADDR_LOOPBACK, atoi(arguments[1]));
    double rate = atof(arguments[2]), seconds = atof(arguments[3]);
    size_t length = atoi(arguments[4]), turn = 0;
    FILE *file = fopen(arguments[5], "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) < 0)
        die(arguments[5]);
    char *datagrams = malloc(status.st_size);
    size_t kinds = fread(datagrams, 1, status.st_size, file) / length;
    int fds[PORTS];
    for (int i = 0; i < PORTS; i++) {
        fds[i] = bound(address(INADDR_ANY, 0));
        if (setsockopt(fds[i], SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") < 0)
            die("SO_BINDTODEVICE");
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &(int){0}, sizeof(int)); /* whatever is answered is not read */
    }
    uint64_t sent = 0, unsent = 0, began = nanoseconds(), now = began, step = began;
    for (unsigned host = 0; now < began + seconds * 1e9; now = nanoseconds()) {
        uint64_t due = (now - began) / 1e9 * rate - sent;
        unsigned burst = due < BATCH ? due : BATCH;
        for (unsigned i = 0; i < burst; i++, turn++) {
            host = (host + STRIDE) % HOSTS;
            parts[i] = (struct iovec){datagrams + turn % kinds * length, length};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &parts[i],
                .msg_iovlen = 1, .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
            struct cmsghdr *control = CMSG_FIRSTHDR(&messages[i].msg_hdr);
            *control = (struct cmsghdr){.cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO,
                                        .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
            struct in_pktinfo from = {.ipi_spec_dst.s_addr = htonl(FIRST_HOST + host)};
            memcpy(CMSG_DATA(control), &from, sizeof from);
        }
        int done = burst ? sendmmsg(fds[turn % PORTS], messages, burst, 0) : 0;
        sent += burst, unsent += burst - (done > 0 ? done : 0);
        if (due < BATCH) {
            step = step + STEP > now ? step + STEP : now;
            struct timespec until = {.tv_sec = step / 1000000000, .tv_nsec = step % 1000000000};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
    }
    printf("{\"sent\": %lu, \"unsent\": %lu, \"seconds\": %f}\n", sent, unsent, (now - began) / 1e9);
}
