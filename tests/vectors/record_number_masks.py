"""What hides a sequence number, by key and by the first 16 octets of ciphertext (RFC 9147, 4.2.3).

QUIC hides its packet numbers the same way, and prints examples (RFC 9001, A.2, A.3 and A.5), if only of the first five octets.
AES with a key of 256 bits is not among them: that is the example of the cipher itself (FIPS 197, C.3).
"""

AES = [
    ("9f50449e04a0e810283a1e9933adedd2", "d1b1c98dd7689fb8ec11d242b123dc9b", "437b9aec36"),
    ("c206b8d9b9f0f37644430b490eeaa314", "2cd0991cd25b0aac406a5816b6394100", "2ec0d8356a"),
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "00112233445566778899aabbccddeeff",
        "8ea2b7ca516745bfeafc49904b496089",
    ),
]

CHACHA20 = [
    (
        "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
        "5e5cd55c41f69080575d7999c25a5bfb",
        "aefefe7d03",
    )
]
