/* The load: thousands of clients before a relay and the transceiver behind it, in one thread that never sleeps.
 *
 *     load PUBLIC-PORT TRANSCEIVER-PORT FLOWS REQUESTS-FILE [gso | bundles]
 *
 * A client is an address of 127.16.0.0/12 (IP_PKTINFO) and one of two ports. Each first sends its own Binding request, of the
 * file, until the transceiver's answer has come back; then "confirmed N" is printed. After that each line of input,
 *
 *     RATE SECONDS WAY
 *
 * is one measurement: media of that many datagrams a second (0: as many as it can), from the clients ("in"), from the
 * transceiver ("out"), or half and half ("both"); its outcome is one line of JSON. Every datagram carries its client's number and
 * when it left, so what arrives is checked for its address, its header, and its length, which varies. The transceiver takes bundles
 * (trioice/relay/encapsulation.py); with "bundles" it makes them, too. With "gso" it sends and takes whole runs by one system call
 * (UDP_SEGMENT, UDP_GRO), and all datagrams have one length, so that its runs are as long as can be. */

#include "udp.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <sys/stat.h>
#include <time.h>

enum {
    LEAST = 60, MOST = 160,  /* octets of media, as SRTP packets of a voice have them */
    PAYLOAD = 120,           /* the same in runs */
    BUNDLE = 1400,           /* octets of a bundle at most */
    PART = 2 + HEADER,       /* octets that a bundle has more for each datagram in it */
    SPACE = 2048,            /* octets of the longest datagram here */
    PORTS = 2,
    FIRST_HOST = 0x7f100000, /* 127.16.0.0 */
    STRIDE = 7368787,        /* a prime: flows take turns in such strides, so that neither tables nor caches see them in order */
    PASSES = 20,             /* times that a check is sent before its client gives up */
    PATIENCE = 20000000,     /* nanoseconds of waiting for the answers to a burst of checks */
    RUN = 1 << 16,           /* octets of the longest run */
    QUIET = 500000000,       /* nanoseconds without any datagram after which no more will come */
    MICROSECONDS = 1000001, /* of transit, the last one for all that took a second or longer */
};
enum way { IN = 1, OUT = 2 };

struct burst {
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_in names[BATCH];
    union {
        char octets[CMSG_SPACE(sizeof(struct in_pktinfo))];
        struct cmsghdr aligned;
    } controls[BATCH];
    uint8_t datagrams[BATCH][SPACE];
};

static struct outcome {
    uint64_t sent, arrived, misrouted, wrong_length;
} outcome;

static uint32_t transits[MICROSECONDS]; /* how many datagrams took so long */
static struct burst leaving, returning, arriving;
static struct sockaddr_in relay;
static int clients[PORTS], transceiver;
static uint16_t ports[PORTS]; /* in network order, like all that stands in a sockaddr */
static uint16_t *inner;       /* per flow: the port of the relay from which its check came */
static uint8_t *answered;     /* per flow: its check was */
static uint8_t *requests;     /* per flow, one after the other */
static size_t request_length;
static unsigned flows, answers;
static uint8_t measurement; /* which one this is: what is late for the one before does not count */
static int in_runs, in_bundles;

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static struct sockaddr_in client_of(unsigned flow) {
    struct sockaddr_in client = address(FIRST_HOST + flow / PORTS, 0);
    client.sin_port = ports[flow % PORTS];
    return client;
}

/* Whose address this is; `flows` where it is nobody's. */
static unsigned flow_of(struct in_addr host, unsigned port_index) {
    uint64_t flow = (uint64_t)(ntohl(host.s_addr) - FIRST_HOST) * PORTS + port_index;
    return flow < flows ? flow : flows;
}

/* Sending */

static void leave_from(unsigned index, struct in_addr host) {
    struct msghdr *message = &leaving.messages[index].msg_hdr;
    message->msg_control = leaving.controls[index].octets;
    message->msg_controllen = sizeof leaving.controls[index].octets;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    *control = (struct cmsghdr){
        .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
    struct in_pktinfo from = {.ipi_spec_dst = host};
    memcpy(CMSG_DATA(control), &from, sizeof from);
}

/* As many octets as this datagram is to have: every length as often, in no order. */
static unsigned next_length(void) {
    static unsigned count;
    return in_runs ? PAYLOAD : LEAST + ++count * 37 % (MOST - LEAST + 1);
}

static void write_payload(uint8_t *payload, unsigned length, unsigned flow, enum way way, uint64_t now) {
    payload[0] = 0x80, payload[1] = 111; /* it looks like RTP, and the flow stands where the SSRC does */
    memcpy(payload + 8, &flow, 4), memcpy(payload + 16, &now, 8);
    payload[24] = way, payload[25] = measurement, payload[26] = length;
}

static unsigned send_burst(int fd, struct burst *burst, unsigned count) {
    int sent = sendmmsg(fd, burst->messages, count, 0);
    return sent > 0 ? sent : 0;
}

static unsigned send_from_clients(unsigned count, uint64_t now) {
    static unsigned turn, hosts[PORTS];
    unsigned port = turn++ % PORTS, per_port = flows / PORTS;
    for (unsigned i = 0; i < count; i++) {
        hosts[port] = (hosts[port] + STRIDE) % per_port;
        unsigned flow = hosts[port] * PORTS + port;
        leave_from(i, client_of(flow).sin_addr);
        leaving.names[i] = relay;
        unsigned length = next_length();
        write_payload(leaving.datagrams[i], length, flow, IN, now);
        leaving.parts[i] = (struct iovec){leaving.datagrams[i], length};
    }
    return send_burst(clients[port], &leaving, count);
}

/* Send a burst to one address, one worker of the relay, as one run. */
static unsigned send_run(int fd, struct burst *burst, unsigned count) {
    struct msghdr run = burst->messages[0].msg_hdr;
    struct cmsghdr *control = run.msg_control = burst->controls[0].octets;
    run.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    *control = (struct cmsghdr){
        .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
    memcpy(CMSG_DATA(control), &(uint16_t){HEADER + PAYLOAD}, sizeof(uint16_t));
    run.msg_iovlen = count; /* the parts stand one after the other */
    return sendmsg(fd, &run, 0) > 0 ? count : 0;
}

/* Send a burst, to each worker of the relay in bundles. How many datagrams of clients went out in them. */
static unsigned send_bundles(unsigned count, unsigned *flow, uint64_t now) {
    unsigned bundles = 0, sent[BATCH] = {0};
    for (unsigned i = 0; i < count; bundles++) {
        uint8_t *bundle = returning.datagrams[bundles], payloads[BATCH * MOST];
        unsigned lengths[BATCH], parts = 0, octets = 0, port = inner[*flow], length = next_length();
        struct sockaddr_in to[BATCH];
        while (i < count && inner[*flow] == port && 4 + (parts + 1) * PART + octets + length <= BUNDLE) {
            to[parts] = client_of(*flow);
            write_payload(payloads + octets, length, *flow, OUT, now);
            octets += lengths[parts++] = length;
            length = next_length(), i++, *flow = (*flow + STRIDE) % flows;
        }
        bundle[0] = 0x56, bundle[1] = 0xed, bundle[2] = 0, bundle[3] = parts;
        for (unsigned part = 0; part < parts; part++) {
            bundle[4 + 2 * part] = lengths[part] >> 8, bundle[5 + 2 * part] = lengths[part];
            write_header(bundle + 4 + 2 * parts + part * HEADER, &to[part], &relay);
        }
        memcpy(bundle + 4 + parts * PART, payloads, octets);
        returning.names[bundles] = relay;
        returning.names[bundles].sin_port = port;
        returning.parts[bundles] = (struct iovec){bundle, 4 + parts * PART + octets};
        sent[bundles] = parts;
    }
    unsigned all = 0;
    for (unsigned i = send_burst(transceiver, &returning, bundles); i > 0; i--)
        all += sent[i - 1];
    return all;
}

static unsigned send_from_transceiver(unsigned count, uint64_t now) {
    static unsigned flow;
    if (in_bundles)
        return send_bundles(count, &flow, now);
    unsigned i = 0, first_port = inner[flow];
    for (; i < count && (!in_runs || inner[flow] == first_port); i++, flow = (flow + STRIDE) % flows) {
        struct sockaddr_in client = client_of(flow);
        returning.names[i] = relay;
        returning.names[i].sin_port = inner[flow];
        unsigned length = next_length();
        write_header(returning.datagrams[i], &client, &relay);
        write_payload(returning.datagrams[i] + HEADER, length, flow, OUT, now);
        returning.parts[i] = (struct iovec){returning.datagrams[i], HEADER + length};
    }
    return (in_runs ? send_run : send_burst)(transceiver, &returning, i);
}

/* What arrives */

static void count_payload(const uint8_t *payload, unsigned length, unsigned flow, enum way way, uint64_t now) {
    unsigned named;
    uint64_t left;
    memcpy(&named, payload + 8, 4), memcpy(&left, payload + 16, 8);
    if (named != flow || payload[24] != way)
        outcome.misrouted++;
    else if (length != payload[26])
        outcome.wrong_length++;
    else if (payload[25] == measurement) {
        outcome.arrived++;
        uint64_t transit = (now - left) / 1000;
        transits[transit < MICROSECONDS ? transit : MICROSECONDS - 1]++;
    }
}

/* Answer a check as a transceiver does, with XOR-MAPPED-ADDRESS; a relay cannot see whether the answer is authentic. */
static void answer(const uint8_t *header, const uint8_t *request, unsigned flow, const struct sockaddr_in *from) {
    static const uint8_t cookie[4] = {0x21, 0x12, 0xa4, 0x42};
    uint8_t response[HEADER + 32];
    const uint8_t success[] = {1, 1, 0, 12}, mapped[] = {0, 0x20, 0, 8, 0, 1};
    uint8_t *stun = response + HEADER;
    memcpy(response, header, HEADER);
    memcpy(stun, success, 4), memcpy(stun + 4, request + 4, 16), memcpy(stun + 20, mapped, 6);
    for (int i = 0; i < 2; i++)
        stun[26 + i] = header[34 + i] ^ cookie[i];
    for (int i = 0; i < 4; i++)
        stun[28 + i] = header[14 + i] ^ cookie[i];
    inner[flow] = from->sin_port;
    sendto(transceiver, response, sizeof response, 0, (const struct sockaddr *)from, sizeof *from);
}

static void arrive_with_header(const uint8_t *header, const uint8_t *payload, int length,
                               const struct sockaddr_in *from, uint64_t now) {
    struct in_addr host;
    uint16_t port;
    uint8_t expected[HEADER];
    memcpy(&host, header + 14, 4), memcpy(&port, header + 34, 2);
    unsigned flow = flow_of(host, port == ports[0] ? 0 : 1);
    struct sockaddr_in client = client_of(flow);
    write_header(expected, &client, &relay);
    if (length <= 0 || flow == flows || memcmp(header, expected, HEADER))
        outcome.misrouted++;
    else if (payload[0] == 0)
        answer(header, payload, flow, from);
    else
        count_payload(payload, length, flow, IN, now);
}

static void arrive_at_transceiver(const uint8_t *datagram, int length, const struct sockaddr_in *from, uint64_t now) {
    if (datagram[1] != 0xed) {
        arrive_with_header(datagram, datagram + HEADER, length - HEADER, from, now);
        return;
    }
    int parts = datagram[2] << 8 | datagram[3], at = 4 + parts * PART;
    const uint8_t *headers = datagram + 4 + 2 * parts;
    for (int part = 0; part < parts && at <= length; part++) {
        int octets = datagram[4 + 2 * part] << 8 | datagram[5 + 2 * part];
        arrive_with_header(headers + part * HEADER, datagram + at, octets, from, now);
        at += octets;
    }
    outcome.wrong_length += at != length;
}

static void arrive_at_client(const uint8_t *datagram, unsigned length, const struct sockaddr_in *from, unsigned flow,
                             uint64_t now) {
    if (flow == flows || memcmp(from, &relay, 8))
        outcome.misrouted++;
    else if (datagram[0] == 1) {
        if (memcmp(datagram + 8, requests + flow * request_length + 8, 12))
            outcome.misrouted++;
        else if (!answered[flow])
            answered[flow] = 1, answers++;
    } else
        count_payload(datagram, length, flow, OUT, now);
}

static struct in_addr sent_to(struct msghdr *message) {
    struct in_pktinfo info = {0};
    if (CMSG_FIRSTHDR(message)) /* there is no other control message */
        memcpy(&info, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof info);
    return info.ipi_addr;
}

static unsigned receive(int fd, unsigned port_index) {
    for (unsigned i = 0; i < BATCH; i++) {
        struct msghdr *message = &arriving.messages[i].msg_hdr;
        message->msg_namelen = sizeof arriving.names[i];
        message->msg_control = arriving.controls[i].octets;
        message->msg_controllen = fd == transceiver ? 0 : sizeof arriving.controls[i].octets;
    }
    int count = recvmmsg(fd, arriving.messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = nanoseconds();
    for (int i = 0; i < count; i++) {
        struct mmsghdr *message = &arriving.messages[i];
        if (fd == transceiver)
            arrive_at_transceiver(arriving.datagrams[i], message->msg_len, &arriving.names[i], now);
        else
            arrive_at_client(arriving.datagrams[i], message->msg_len, &arriving.names[i],
                             flow_of(sent_to(&message->msg_hdr), port_index), now);
    }
    return count > 0 ? count : 0;
}

/* Take one run apart. */
static unsigned receive_run(void) {
    static uint8_t octets[RUN];
    struct sockaddr_in from;
    struct iovec part = {octets, sizeof octets};
    struct msghdr run = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    run.msg_control = arriving.controls[0].octets, run.msg_controllen = sizeof arriving.controls[0].octets;
    int length = recvmsg(transceiver, &run, MSG_DONTWAIT), size = length;
    if (length > 0 && CMSG_FIRSTHDR(&run)) /* UDP_GRO; a datagram alone has none */
        memcpy(&size, CMSG_DATA(CMSG_FIRSTHDR(&run)), sizeof size);
    unsigned count = 0;
    uint64_t now = nanoseconds();
    for (int at = 0; at < length; at += size, count++)
        arrive_at_transceiver(octets + at, length - at < size ? length - at : size, &from, now);
    return count;
}

/* Empty all sockets, so that nothing is lost here. */
static unsigned receive_all(void) {
    unsigned all = 0, count;
    do
        all += count = in_runs ? receive_run() : receive(transceiver, 0);
    while (in_runs ? count : count == BATCH);
    for (unsigned i = 0; i < PORTS; i++)
        do
            all += count = receive(clients[i], i);
        while (count == BATCH);
    return all;
}

static uint64_t dropped(int fd) {
    uint32_t values[SK_MEMINFO_VARS] = {0};
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &(socklen_t){sizeof values});
    return values[SK_MEMINFO_DROPS];
}

/* What the system has dropped because this program was too slow. */
static uint64_t all_dropped(void) {
    uint64_t all = dropped(transceiver);
    for (unsigned i = 0; i < PORTS; i++)
        all += dropped(clients[i]);
    return all;
}

/* Checks */

/* Send a burst of checks for clients of one port, from `host` on, that have no answer yet, and wait for the answers. */
static unsigned check(unsigned port, unsigned host) {
    unsigned count = 0;
    for (; count < BATCH && host < flows / PORTS; host++) {
        unsigned flow = host * PORTS + port;
        if (answered[flow])
            continue;
        leave_from(count, client_of(flow).sin_addr);
        leaving.names[count] = relay;
        leaving.parts[count++] = (struct iovec){requests + flow * request_length, request_length};
    }
    unsigned wanted = answers + send_burst(clients[port], &leaving, count);
    for (uint64_t end = nanoseconds() + PATIENCE; answers < wanted && nanoseconds() < end;)
        receive_all();
    return host;
}

static void confirm(void) {
    for (unsigned pass = 0; pass < PASSES && answers < flows; pass++)
        for (unsigned port = 0; port < PORTS; port++)
            for (unsigned host = 0; host < flows / PORTS;)
                host = check(port, host);
}

/* Measurements */

static double quantile(double share) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < MICROSECONDS; i++)
        if ((sum += transits[i]) && sum >= outcome.arrived * share)
            return i / 1e6;
    return 0;
}

static void measure(double rate, double seconds, const char *ways) {
    outcome = (struct outcome){0};
    measurement++;
    memset(transits, 0, sizeof transits);
    uint64_t lost_here = all_dropped(), began = nanoseconds(), now = began, end = began + seconds * 1e9;
    for (unsigned turn = 0; now < end; now = nanoseconds()) {
        double due = rate ? (now - began) / 1e9 * rate - outcome.sent : BATCH;
        unsigned count = due < BATCH ? due : BATCH;
        int from_clients = *ways == 'b' ? turn % 2 == 0 : *ways == 'i';
        if (count) {
            outcome.sent += from_clients ? send_from_clients(count, now) : send_from_transceiver(count, now);
            turn++;
        }
        receive_all();
    }
    double sending = (now - began) / 1e9;
    uint64_t in_time = outcome.arrived, last = now;
    while (outcome.arrived < outcome.sent && nanoseconds() < last + QUIET)
        if (receive_all())
            last = nanoseconds();
    printf("{\"seconds\": %f, \"took\": %f, \"sent\": %lu, \"in_time\": %lu, \"arrived\": %lu, ", sending,
           (last - began) / 1e9, outcome.sent, in_time, outcome.arrived);
    printf("\"misrouted\": %lu, \"wrong_length\": %lu, \"lost_by_load\": %lu, \"transit\": [%f, %f]}\n",
           outcome.misrouted, outcome.wrong_length, all_dropped() - lost_here, quantile(.5), quantile(.99));
    fflush(stdout);
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (!file || fstat(fileno(file), &status) < 0)
        die(path);
    request_length = status.st_size / flows;
    requests = malloc(status.st_size);
    if (fread(requests, 1, status.st_size, file) != (size_t)status.st_size)
        die(path);
    fclose(file);
}

static void prepare(struct burst *burst) {
    for (unsigned i = 0; i < BATCH; i++) {
        burst->parts[i] = (struct iovec){burst->datagrams[i], SPACE};
        burst->messages[i].msg_hdr = (struct msghdr){
            .msg_iov = &burst->parts[i], .msg_iovlen = 1, .msg_name = &burst->names[i], .msg_namelen = sizeof burst->names[i]};
    }
}

int main(int count, char **arguments) {
    if (count < 5 || count > 6)
        return 2;
    relay = address(INADDR_LOOPBACK, atoi(arguments[1]));
    transceiver = bound(address(INADDR_LOOPBACK, atoi(arguments[2])));
    in_runs = count == 6 && !strcmp(arguments[5], "gso");
    in_bundles = count == 6 && !strcmp(arguments[5], "bundles");
    if (in_runs && setsockopt(transceiver, IPPROTO_UDP, UDP_GRO, &in_runs, sizeof in_runs) < 0)
        die("UDP_GRO");
    flows = atoi(arguments[3]);
    inner = calloc(flows + 1, sizeof *inner);
    answered = calloc(flows + 1, 1);
    read_requests(arguments[4]);
    prepare(&leaving), prepare(&returning), prepare(&arriving);
    struct sockaddr_in name;
    for (unsigned i = 0; i < PORTS; i++) {
        clients[i] = bound(address(INADDR_ANY, 0));
        /* Of all addresses, but of this machine alone. */
        if (setsockopt(clients[i], SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") < 0)
            die("SO_BINDTODEVICE");
        setsockopt(clients[i], IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int));
        getsockname(clients[i], (struct sockaddr *)&name, &(socklen_t){sizeof name});
        ports[i] = name.sin_port;
    }
    confirm();
    printf("confirmed %u\n", answers);
    fflush(stdout);
    double rate, seconds;
    char way[8];
    while (scanf("%lf %lf %7s", &rate, &seconds, way) == 3)
        measure(rate, seconds, way);
}
