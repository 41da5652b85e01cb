"""What the network can do to a DTLS association by itself: dropped and counted, never fatal (RFC 6347, 4.1.2.7)."""

import enum


class Drop(enum.Enum):
    """Why a record or a fragment was ignored."""

    BAD_COOKIE = "a ClientHello with a cookie that is not ours"
    BAD_RECORD = "a record that its key does not open"
    CONTRADICTION = "a fragment that does not fit the others of its message"
    EMPTY_FRAGMENT = "a fragment of nothing"
    MALFORMED = "octets that are no record, fragment or alert"
    OVER_ALLOWANCE = "a datagram of ours that the peer had not earned"
    PLAINTEXT_ACK = "an acknowledgement that nothing proves"
    PLAINTEXT_ALERT = "an alert that nothing proves"
    PLAINTEXT_DATA = "application data outside encryption"
    PLAINTEXT_HANDSHAKE = "a handshake message outside encryption where it has to be inside"
    RENEGOTIATION = "an attempt to renegotiate"
    REPEATED = "a fragment of a message that was read already"
    REPLAYED = "a record that was opened already, or is too old to tell"
    TOO_EARLY = "a record from before its keys, with no room to keep it"
    TOO_FAR = "a fragment of a message that is too far ahead"
    TOO_LONG = "a handshake message longer than any that we need"
    UNKNOWN_TYPE = "a record of a type that is not ours"
    WARNING = "a warning of the peer"
    WRONG_EPOCH = "a record of an epoch that does not exist"
