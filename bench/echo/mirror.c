/* A mirror: each datagram goes back as it is, in bursts by recvmmsg and sendmmsg. What the load can do at most is seen before it.
 *
 *     mirror PORT LOSS
 *
 * One datagram in LOSS is not sent back (0: none is lost), by which the load is seen to count what is missing. */

#include "../relay/udp.h"

int main(int count, char **arguments) {
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static struct sockaddr_in names[BATCH];
    static char octets[BATCH][2048];
    if (count != 3)
        return 2;
    int fd = bound(address(INADDR_LOOPBACK, atoi(arguments[1])));
    unsigned loss = atoi(arguments[2]), seen = 0;
    printf("mirror\n");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){octets[i], sizeof octets[i]};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &names[i], .msg_namelen = sizeof names[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int burst = recvmmsg(fd, messages, BATCH, 0, NULL), kept = 0;
        if (burst < 0)
            poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
        for (int i = 0; i < burst; i++) {
            if (loss && ++seen % loss == 0)
                continue;
            parts[i].iov_len = messages[i].msg_len;
            messages[kept++] = messages[i];
        }
        if (kept)
            sendmmsg(fd, messages, kept, 0);
    }
}
