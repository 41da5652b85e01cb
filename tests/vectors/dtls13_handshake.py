"""The keys of tests/vectors/dtls13_handshake.hex, as published beside it: TLS_AES_128_GCM_SHA256, X25519, no client certificate.

Names are those of tests/vectors/rfc8448.py; `_SN` is the key that hides record numbers.
"""

CLIENT_PRIVATE = bytes(range(0x20, 0x40))
CLIENT_PUBLIC = bytes.fromhex("358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254")
SERVER_PRIVATE = bytes(range(0x90, 0xB0))
SERVER_PUBLIC = bytes.fromhex("9fd7ad6dcff4298dd3f96d5b1b2af910a0535b1488d7f8fabb349a982880b615")
SHARED = bytes.fromhex("df4a291baa1eb7cfa6934b29b474baad2697e29f1f920dcc77c8a0a088447624")

HANDSHAKE_SECRET = bytes.fromhex("d0d1397bb3c445d37f26f7ed00c83b73d2f67540de3761465ffe524f8f944e12")

# From the handshake secret, over the two hellos. A client numbers its records from 0 in each epoch, and so does a server.
HELLOS_HASH = bytes.fromhex("aee8eba0d2ee87052fbbc6864c1514c5a927d6f0ffb4f7954c7f379d95f1b1d7")
CLIENT_HANDSHAKE_TRAFFIC = bytes.fromhex("33e472fb8d821b0193314626bebee307ccbd1aeb3d3a17ba468888ffc5246da1")
SERVER_HANDSHAKE_TRAFFIC = bytes.fromhex("8ad7990b9d249bcbaa0805d8d3f3ad2259e75f3a42c5d84db3ea3c6ee57b3d38")
CLIENT_HANDSHAKE_KEY = bytes.fromhex("6caa2633d5e48f10051e69dc45549c97")
CLIENT_HANDSHAKE_IV = bytes.fromhex("106dc6e393b7a9ea8ef29dd7")
CLIENT_HANDSHAKE_SN = bytes.fromhex("beed6218676635c2cb46a45694144fec")
SERVER_HANDSHAKE_KEY = bytes.fromhex("004e03e64ab6cba6b542775ec230e20a")
SERVER_HANDSHAKE_IV = bytes.fromhex("6d9924be044ee97c624913f2")
SERVER_HANDSHAKE_SN = bytes.fromhex("7173fac51194e775001d625ef69d7c9f")

# From the master secret, over all up to the server's Finished.
SERVER_FLIGHT_HASH = bytes.fromhex("77ff5eee528abc269960b0ea316eb8578dc8325d86ec1336ffe4b2941e26d82b")
CLIENT_APPLICATION_KEY = bytes.fromhex("9ba90dbce8857bc1fcb81d41a0465cfe")
CLIENT_APPLICATION_IV = bytes.fromhex("682219974631fa0656ee4eff")
CLIENT_APPLICATION_SN = bytes.fromhex("5cb5bd8bac29777c650c0dde22d16d47")
SERVER_APPLICATION_KEY = bytes.fromhex("2b65fffbbc8189474aa2003c43c32d4d")
SERVER_APPLICATION_IV = bytes.fromhex("582f5a11bdaf973fe3ffeb4e")
SERVER_APPLICATION_SN = bytes.fromhex("57ba02596c6a1352d7fe8416c7e17d5a")

# The content of both Finished.
SERVER_VERIFY_DATA = bytes.fromhex("1d89aa62e5f88a0fc952884715d8acb3798659afb9e7789a8db2b3816ba45246")
CLIENT_VERIFY_DATA = bytes.fromhex("6f2801396b0e90ebb4a3ba384abcfc6b24201abd81b316b2391da378377facf5")

# What the records behind the handshake carry, each with its content type behind it.
ACK = bytes.fromhex("0010 0000000000000002 0000000000000000 1a")
"""Of the client's Finished: epoch 2, sequence 0."""
PING = b"ping\x17"
PONG = b"pong\x17"
CLOSE_NOTIFY = bytes.fromhex("0100 15")
