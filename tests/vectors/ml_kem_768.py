"""ML-KEM-768 as NIST and others have it: keys from seeds, and secrets from ciphertexts, right ones and wrong ones (FIPS 203)."""

from pathlib import Path

import attrs

# Seeds with the digest of the encapsulation key that they give. The first is NIST's: ACVP-Server, ML-KEM-keyGen-FIPS203, tcId 26, with
# the digest by SHA-256, as a key fills 15 lines. The second is mlkem_768_keygen_seed_test.json's of C2SP/wycheproof, tcId 1, with the
# digest that FIPS 203 keeps in the decapsulation key: SHA3-256. The second half of a seed has no part in the encapsulation key.
ACVP_SEED = bytes.fromhex(
    "e34a701c4c87582f42264ee422d3c684d97611f2523efe0c998af05056d693dc"
    "a85768f3486bd32a01bf9a8f21ea938e648eae4e5448c34c3eb88820b159eedd"
)
ACVP_KEY_SHA256 = bytes.fromhex("7799c9d8eef172aa78c073514f2f039c240de8c5cb61bca82ba0bc46041ce279")
WYCHEPROOF_SEED = bytes.fromhex(
    "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
    "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
)
WYCHEPROOF_KEY_SHA3_256 = bytes.fromhex("f57262661358cde8d3ebf990e5fd1d5b896c992ccfaadb5256b68bbf5943b132")


@attrs.frozen(kw_only=True)
class Case:
    """One case of ml_kem_768.rsp."""

    seed: bytes
    encapsulation_key: bytes
    ciphertext: bytes
    secret: bytes
    wrong_ciphertext: bytes
    rejection: bytes
    """What decapsulation gives for `wrong_ciphertext`: no error, and no secret of anybody's (FIPS 203, algorithm 18)."""


def _cases() -> list[Case]:
    records: list[dict[str, bytes]] = []
    for line in Path(__file__).with_suffix(".rsp").read_text().splitlines():
        name, equals, value = line.partition(" = ")
        if name == "count":
            records.append({})
        elif equals and not line.startswith("#"):
            records[-1][name] = bytes.fromhex(value)
    return [
        Case(
            seed=record["d"] + record["z"],
            encapsulation_key=record["pk"],
            ciphertext=record["ct"],
            secret=record["ss"],
            wrong_ciphertext=record["ct_n"],
            rejection=record["ss_n"],
        )
        for record in records
    ]


CASES = _cases()
