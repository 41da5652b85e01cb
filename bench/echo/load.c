/* The load's packets: many calls' encrypted audio, in one thread and through one socket. A library, for calls.py.
 *
 * Each call says a packet every 20 ms, at its own moment of those 20 ms, and every packet carries its call, its number and when
 * it left. What comes back is authenticated and checked for its call, its length and its timestamp, and counted once. The
 * calls' keys are sessions of libsrtp that Python made; so are the checks, which are sent again and again to keep consent
 * (RFC 7675): ICE answers a repeated request as it did the first. What is neither media nor an answer goes up to Python.
 *
 * With words, the packets carry those instead, as real speech for servers that decode; then an echo is any authentic packet. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
    BATCH = 64,
    SPACE = 2048,
    CHECK = 256,
    HEADER = 12,
    SHORTEST = 80, LONGEST = 120,    /* octets of payload: 32 to 48 kb/s of Opus, and never twice the same length in a row */
    STAMP = 24,                      /* octets of the payload that this file writes */
    FRAME = 20000000,                /* nanoseconds */
    SAMPLES = 960,                   /* of a frame at 48 kHz (RFC 7587) */
    NUMBERS = 1 << 14,               /* packets of one call in one measurement: five minutes of speech */
    MICROSECONDS = 2000001,          /* the last one for all that took two seconds or longer */
    NEAR = 20000,                    /* nanoseconds for which it is not worth to sleep */
};
static const uint64_t CONSENT = 2500000000ull; /* nanoseconds from one check of a call to the next, as Chromium has them */

struct call {
    void *sender, *receiver;   /* libsrtp's sessions */
    struct sockaddr_in server;
    struct in_addr host;       /* the call's own address */
    uint32_t ssrc, check_length;
    double phase;              /* of 20 ms, 0 to 1, and not below that of the call before */
    uint8_t check[CHECK];
};

struct handed {
    uint32_t call, length;
    struct sockaddr_in from;
    uint8_t octets[SPACE];
};

struct outcome {
    uint64_t sent, unsent, echoed, twice, forged, strange, checks, answers, reports, lost_here;
    double echo_50, echo_99, late_50, late_99; /* seconds */
};

typedef int verb(void *session, void *packet, int *length);

static struct call *calls;
static unsigned count, speaking;
static uint32_t first_host;
static int fd;
static verb *protect, *unprotect;

static struct outcome outcome;
static uint32_t echo_times[MICROSECONDS], lateness[MICROSECONDS];
static uint32_t *said;          /* per call, in all measurements: SRTP allows no number twice */
static uint32_t *said_before;   /* the same when the measurement began */
static uint8_t *seen;           /* per call, a bit for each number of the measurement */
static uint32_t measurement, next_call, next_check;
static uint64_t round_began, check_round_began, lost_before;

static struct mmsghdr leaving[BATCH], arriving[BATCH];
static struct iovec leaving_parts[BATCH], arriving_parts[BATCH];
static struct sockaddr_in arriving_names[BATCH];
static union control {
    char octets[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct cmsghdr aligned;
} leaving_controls[BATCH], arriving_controls[BATCH];
static uint8_t leaving_octets[BATCH][SPACE], arriving_octets[BATCH][SPACE];

static const uint8_t *words;    /* of `word_lengths` octets each, one after the other in SPACE octets; or none */
static const uint32_t *word_lengths;
static unsigned word_count;

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void note(uint32_t *histogram, uint64_t took) {
    uint64_t microseconds = took / 1000;
    histogram[microseconds < MICROSECONDS ? microseconds : MICROSECONDS - 1]++;
}

static double quantile(const uint32_t *histogram, double share) {
    uint64_t all = 0, sum = 0;
    for (unsigned i = 0; i < MICROSECONDS; i++)
        all += histogram[i];
    for (unsigned i = 0; i < MICROSECONDS; i++)
        if ((sum += histogram[i]) && sum >= all * share)
            return i / 1e6;
    return 0;
}

/* What the system has dropped because this program was too slow. */
static uint64_t dropped(void) {
    uint32_t values[SK_MEMINFO_VARS] = {0};
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &(socklen_t){sizeof values});
    return values[SK_MEMINFO_DROPS];
}

/* Sending */

static void address_leaving(unsigned index, struct call *call, void *octets, size_t length) {
    struct msghdr *message = &leaving[index].msg_hdr;
    leaving_parts[index] = (struct iovec){octets, length};
    *message = (struct msghdr){.msg_name = &call->server, .msg_namelen = sizeof call->server,
                               .msg_iov = &leaving_parts[index], .msg_iovlen = 1,
                               .msg_control = &leaving_controls[index], .msg_controllen = sizeof(union control)};
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    *control = (struct cmsghdr){
        .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO, .cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo))};
    struct in_pktinfo from = {.ipi_spec_dst = call->host};
    memcpy(CMSG_DATA(control), &from, sizeof from);
}

static void say(unsigned index, unsigned speaker, uint64_t now) {
    static uint32_t chance = 1;
    struct call *call = &calls[speaker];
    uint8_t *packet = leaving_octets[index], *payload = packet + HEADER;
    uint32_t number = said[speaker]++, payload_length = SHORTEST + (chance >> 16) % (LONGEST - SHORTEST + 1);
    chance = chance * 1103515245 + 12345;
    uint16_t sequence = htons(number);
    uint32_t timestamp = htonl(number * SAMPLES), ssrc = htonl(call->ssrc);
    packet[0] = 0x80, packet[1] = 111 | (number == 0) << 7;
    memcpy(packet + 2, &sequence, 2), memcpy(packet + 4, &timestamp, 4), memcpy(packet + 8, &ssrc, 4);
    uint32_t stamp[] = {speaker, measurement, number, payload_length};
    if (words) {
        payload_length = word_lengths[number % word_count];
        memcpy(payload, words + (size_t)(number % word_count) * SPACE, payload_length);
    } else {
        memcpy(payload, stamp, sizeof stamp), memcpy(payload + sizeof stamp, &now, sizeof now);
        memset(payload + STAMP, number, payload_length - STAMP);
    }
    int length = HEADER + payload_length;
    protect(call->sender, packet, &length);
    address_leaving(index, call, packet, length);
}

static void depart(unsigned burst) {
    int sent = sendmmsg(fd, leaving, burst, 0);
    outcome.unsent += burst - (sent > 0 ? sent : 0);
}

static uint64_t due(void) {
    return speaking ? round_began + (uint64_t)(calls[next_call].phase * FRAME) : UINT64_MAX;
}

static uint64_t check_due(void) {
    return check_round_began + CONSENT / count * next_check;
}

static unsigned speak(uint64_t now) {
    unsigned burst = 0;
    for (; burst < BATCH && due() <= now; burst++) {
        note(lateness, now - due());
        say(burst, next_call, now);
        if (++next_call == speaking)
            next_call = 0, round_began += FRAME;
    }
    outcome.sent += burst;
    if (burst)
        depart(burst);
    return burst;
}

static void check(uint64_t now) {
    unsigned burst = 0;
    for (; burst < BATCH && check_due() <= now; burst++) {
        struct call *call = &calls[next_check];
        address_leaving(burst, call, call->check, call->check_length);
        if (++next_check == count)
            next_check = 0, check_round_began += CONSENT;
    }
    outcome.checks += burst;
    if (burst)
        depart(burst);
}

/* What arrives */

static void hear(unsigned listener, uint8_t *packet, int length, uint64_t now) {
    uint32_t stamp[4], timestamp;
    uint64_t left;
    if (unprotect(calls[listener].receiver, packet, &length)) {
        outcome.forged++;
        return;
    }
    int start = HEADER + 4 * (packet[0] & 15);
    if (packet[0] & 16 && length >= start + 4)
        start += 4 + 4 * (packet[start + 2] << 8 | packet[start + 3]);
    if (words) {
        outcome.echoed++;
        return;
    }
    if (length < start + STAMP) {
        outcome.strange++;
        return;
    }
    memcpy(stamp, packet + start, sizeof stamp), memcpy(&left, packet + start + sizeof stamp, sizeof left);
    memcpy(&timestamp, packet + 4, 4);
    uint32_t number = stamp[2] - said_before[listener];
    if (stamp[0] != listener || stamp[3] != (uint32_t)(length - start) || ntohl(timestamp) != stamp[2] * SAMPLES)
        outcome.strange++;
    else if (stamp[1] != measurement || number >= NUMBERS)
        return; /* late for the measurement before */
    else if (seen[listener * (NUMBERS / 8) + number / 8] & 1 << number % 8)
        outcome.twice++;
    else {
        seen[listener * (NUMBERS / 8) + number / 8] |= 1 << number % 8;
        outcome.echoed++;
        note(echo_times, now - left);
    }
}

static unsigned owner_of(struct msghdr *message) {
    struct in_pktinfo info = {0};
    if (CMSG_FIRSTHDR(message)) /* there is no other control message */
        memcpy(&info, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof info);
    return ntohl(info.ipi_addr.s_addr) - first_host;
}

/* Take a burst; what is Python's is put into `handed`. */
static int receive(struct handed *handed, unsigned *hands) {
    for (unsigned i = 0; i < BATCH; i++) {
        arriving_parts[i] = (struct iovec){arriving_octets[i], SPACE};
        arriving[i].msg_hdr = (struct msghdr){.msg_name = &arriving_names[i], .msg_namelen = sizeof arriving_names[i],
                                              .msg_iov = &arriving_parts[i], .msg_iovlen = 1,
                                              .msg_control = &arriving_controls[i], .msg_controllen = sizeof(union control)};
    }
    int burst = recvmmsg(fd, arriving, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = nanoseconds();
    for (int i = 0; i < burst; i++) {
        uint8_t *packet = arriving_octets[i];
        unsigned owner = owner_of(&arriving[i].msg_hdr), length = arriving[i].msg_len;
        if (owner >= count || length < HEADER || memcmp(&arriving_names[i], &calls[owner].server, 8))
            outcome.strange++;
        else if (packet[0] >> 6 == 2 && packet[1] >= 192 && packet[1] < 224)
            outcome.reports++; /* RTCP (RFC 5761, 4) */
        else if (packet[0] >> 6 == 2)
            hear(owner, packet, length, now);
        else if (packet[0] == 1 && packet[1] == 1)
            outcome.answers++;
        else {
            struct handed *hand = &handed[(*hands)++];
            *hand = (struct handed){.call = owner, .length = length, .from = arriving_names[i]};
            memcpy(hand->octets, packet, length);
        }
    }
    return burst;
}

/* For Python */

/* Take the calls. `all` stays Python's; its hosts are `first` and those that follow it. */
void load_open(int with, struct call *all, unsigned many, uint32_t first, verb *protects, verb *unprotects) {
    fd = with, calls = all, count = many, first_host = first, protect = protects, unprotect = unprotects;
    said = realloc(said, count * sizeof *said), said_before = realloc(said_before, count * sizeof *said);
    seen = realloc(seen, (size_t)count * NUMBERS / 8);
    memset(said, 0, count * sizeof *said);
    next_check = 0, check_round_began = nanoseconds();
    prctl(PR_SET_TIMERSLACK, 1);
}

/* Say these from now on. They stay Python's. */
void load_words(const uint8_t *octets, const uint32_t *lengths, unsigned many) {
    words = octets, word_lengths = lengths, word_count = many;
}

/* Begin a measurement in which the first `many` calls speak. */
void load_begin(unsigned many) {
    outcome = (struct outcome){0};
    measurement++;
    memset(echo_times, 0, sizeof echo_times), memset(lateness, 0, sizeof lateness);
    memset(seen, 0, (size_t)count * NUMBERS / 8);
    memcpy(said_before, said, count * sizeof *said);
    lost_before = dropped();
    speaking = many, next_call = 0, round_began = nanoseconds();
}

/* Speak no more, and wait for what is on its way. */
void load_hush(void) {
    speaking = 0;
}

/* Send and receive for so long, or until something is Python's: how many datagrams, in `handed`, of which there are 64. */
unsigned load_run(double seconds, struct handed *handed) {
    unsigned hands = 0;
    uint64_t now = nanoseconds(), end = now + seconds * 1e9;
    for (; now < end && !hands; now = nanoseconds()) {
        unsigned busy = speak(now);
        check(now);
        if (receive(handed, &hands) > 0 || busy)
            continue;
        uint64_t next = due() < check_due() ? due() : check_due();
        next = next < end ? next : end;
        now = nanoseconds();
        if (next > now + NEAR) {
            struct timespec wait = {.tv_sec = (next - now) / 1000000000, .tv_nsec = (next - now) % 1000000000};
            ppoll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, &wait, NULL);
        }
    }
    return hands;
}

/* What the measurement has given so far; the quantiles take milliseconds, and are left out where they are not wanted. */
void load_outcome(struct outcome *into, int with_quantiles) {
    outcome.lost_here = dropped() - lost_before;
    if (with_quantiles)
        outcome.echo_50 = quantile(echo_times, .5), outcome.echo_99 = quantile(echo_times, .99),
        outcome.late_50 = quantile(lateness, .5), outcome.late_99 = quantile(lateness, .99);
    *into = outcome;
}
