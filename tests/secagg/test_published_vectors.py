"""The primitives as this package calls them, against the vectors of their standards."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cryptography_vectors
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedsec import keystream
from fedsec.keystream import TILE_BYTES, KeyStream
from secagg import Identity, identity, kem, keys, messages
from secagg.encoding import digest, fields
from secagg.identity import verify
from tests.secagg.helpers import flip

VECTORS = Path(cryptography_vectors.__file__).parent
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_PLAIN = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")


def _cases(file: str) -> list[dict[str, str]]:
    blocks = (VECTORS / file).read_text().split("COUNT")[1:]
    return [dict(re.findall(r"^(\w+)\s*=[ \t]*(\S*)$", block, re.M)) for block in blocks]


@pytest.mark.parametrize("case", _cases("asymmetric/X25519/rfc7748.txt")[:2])
def test_x25519_rfc_7748_section_5_2(case: dict[str, str]) -> None:
    # The RFC's second u-coordinate has its top bit set, which implementations must mask and our protocol refuses.
    public = bytes.fromhex(case["INPUT_U"])
    reduced = public[:31] + bytes([public[31] & 0x7F])
    private = keys.private_key(bytes.fromhex(case["INPUT_SCALAR"]))
    assert keys.agree(private, reduced) == bytes.fromhex(case["OUTPUT_U"])
    assert (keys.agree(private, public) is None) == (reduced != public)
    assert keys.agree(private, flip(reduced)) != bytes.fromhex(case["OUTPUT_U"])


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (1, _cases("asymmetric/X25519/rfc7748.txt")[2]["OUTPUT_U"]),
        (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
    ],
)
def test_x25519_rfc_7748_section_5_2_iterated(rounds: int, expected: str) -> None:
    """Each result is the next scalar, each scalar the next coordinate; a thousand steps, through what masks use."""
    scalar = u = (9).to_bytes(32, "little")
    for _ in range(rounds):
        result = keys.agree(keys.private_key(scalar), u)
        assert result is not None
        scalar, u = result, scalar
    assert scalar.hex() == expected
    again = keys.agree(keys.private_key(scalar), u)  # control: one step more or less is another value
    assert u.hex() != expected != (again or b"").hex()


def test_x25519_rfc_7748_section_6_1() -> None:
    alice = keys.private_key(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = keys.private_key(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert keys.public_bytes(alice).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert keys.public_bytes(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert keys.agree(alice, keys.public_bytes(bob)) == keys.agree(bob, keys.public_bytes(alice)) == shared


@pytest.mark.parametrize("case", _cases("KDF/rfc-5869-HKDF-SHA256.txt"))
def test_hkdf_rfc_5869(case: dict[str, str]) -> None:
    """Whole, and as our keys are: the first 32 bytes of the output keying material."""
    secret, salt, info = (bytes.fromhex(case[name]) for name in ("IKM", "salt", "info"))
    whole = bytes.fromhex(case["OKM"])
    assert keys.derive(secret, salt or None, info, length=len(whole)) == whole
    expected = whole[:32]
    assert keys.derive(secret, salt or None, info) == expected
    assert keys.derive(flip(secret), salt or None, info) != expected
    assert keys.derive(secret, salt + b"1", info) != expected
    assert keys.derive(secret, salt or None, info + b"1") != expected


ED25519 = (VECTORS / "asymmetric/Ed25519/sign.input").read_text().splitlines()


def test_ed25519_rfc_8032(monkeypatch: pytest.MonkeyPatch) -> None:
    """The authors' 1024 vectors, which have the RFC's, through the code that signs and verifies for us.

    It never signs bare bytes, as these vectors ask; so here, and nowhere else, its encoding of fields is left out.
    """
    monkeypatch.setattr(identity, "fields", lambda context: context)
    assert len(ED25519) == 1024
    for line in ED25519:
        private, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        key, signature = Identity.from_private_bytes(private[:32]), signed[:64]
        assert key.public_key == public
        assert key.sign(message) == signature
        assert verify(public, signature, message)
        for wrong in (
            (flip(public), signature, message),
            (public, flip(signature, 63), message),
            (public, flip(signature), message),
            (public, signature, message + b"x"),
            (public, signature[:63], message),
        ):
            assert not verify(*wrong)


def test_ed25519_refuses_a_second_spelling_of_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8032 section 5.1.7: S not below the group's order is refused, or one signature would have several forms."""
    monkeypatch.setattr(identity, "fields", lambda context: context)
    order = 2**252 + 27742317777372353535851937790883648493
    for line in ED25519[:64]:
        _, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        s = int.from_bytes(signed[32:64], "little") + order
        assert verify(public, signed[:64], message)
        assert not verify(public, signed[:32] + s.to_bytes(32, "little"), message)


def _stream_from(counter: bytes, key: bytes, length: int, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The production stream, made to start at ``counter`` and not at zero, since published vectors do."""
    monkeypatch.setattr(keystream, "modes", SimpleNamespace(CTR=lambda zero: modes.CTR(counter)))
    out = bytearray(length)
    KeyStream(key).read_into(memoryview(out))
    monkeypatch.undo()
    return bytes(out)


def test_aes_256_ctr_sp_800_38a_f_5_5(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    stream = _stream_from(counter, NIST_KEY, 32, monkeypatch)
    expected = "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    assert bytes(a ^ b for a, b in zip(stream, NIST_PLAIN, strict=True)).hex() == expected
    assert _stream_from(flip(counter), NIST_KEY, 32, monkeypatch) != stream
    assert _stream_from(counter, flip(NIST_KEY), 32, monkeypatch) != stream
    block = Cipher(algorithms.AES(NIST_KEY), modes.ECB()).encryptor()
    assert block.update(NIST_PLAIN[:16]).hex() == "f3eed1bdb5d2a03c064b5a7e3db181f8"


@pytest.mark.parametrize("case", _cases("ciphers/AES/CTR/aes-256-ctr.txt"))
def test_aes_256_ctr_rfc_3686(case: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    key, counter, plain = (bytes.fromhex(case[name]) for name in ("KEY", "IV", "PLAINTEXT"))
    stream = _stream_from(counter, key, len(plain), monkeypatch)
    assert bytes(a ^ b for a, b in zip(stream, plain, strict=True)) == bytes.fromhex(case["CIPHERTEXT"])
    assert _stream_from(flip(counter), key, len(plain), monkeypatch) != stream


def _ml_kem() -> list[dict[str, bytes]]:
    blocks = (VECTORS / "asymmetric/MLKEM/kat_MLKEM_768.rsp").read_text().split("count =")[1:]
    return [
        {name: bytes.fromhex(value) for name, value in re.findall(r"^(\w+) = (\S+)$", block, re.M)} for block in blocks
    ]


ML_KEM = _ml_kem()


def test_ml_kem_768_key_generation_and_decapsulation() -> None:
    """A thousand known answers for FIPS 203: keys from (d, z), secrets from good and from forged ciphertexts."""
    assert len(ML_KEM) == 1000
    for case in ML_KEM:
        private = kem.private_key(case["d"] + case["z"])
        assert kem.public_bytes(private) == case["pk"]
        assert kem.is_sound(case["pk"])
        assert kem.decapsulate(private, case["ct"]) == case["ss"]
        # Implicit rejection: a forged ciphertext gives a secret that hangs on z, and says nothing.
        assert kem.decapsulate(private, case["ct_n"]) == case["ss_n"]
        assert kem.decapsulate(private, flip(case["ct"])) not in (case["ss"], None)


def test_control_ml_kem_768_vectors_hang_on_every_part_of_the_key() -> None:
    case = ML_KEM[0]
    other_d, other_z = kem.private_key(flip(case["d"]) + case["z"]), kem.private_key(case["d"] + flip(case["z"]))
    assert kem.public_bytes(other_d) != case["pk"] == kem.public_bytes(other_z)
    assert kem.decapsulate(other_d, case["ct"]) != case["ss"] == kem.decapsulate(other_z, case["ct"])
    assert kem.decapsulate(other_z, case["ct_n"]) != case["ss_n"]


def test_ml_kem_768_encapsulation_is_opened_by_the_key_it_is_for() -> None:
    """It takes no coins, so there is no known answer for it: what it gives must open, fresh each time, for one key."""
    for case, other in pairwise(ML_KEM[:50]):
        secret, ciphertext = kem.encapsulate(case["pk"])
        again, _ = kem.encapsulate(case["pk"])
        assert len(ciphertext) == messages.KEM_CIPHERTEXT_BYTES
        assert kem.decapsulate(kem.private_key(case["d"] + case["z"]), ciphertext) == secret != again
        assert kem.decapsulate(kem.private_key(other["d"] + other["z"]), ciphertext) != secret


def test_ml_kem_768_input_checks() -> None:
    """FIPS 203 section 7.2, type and modulus check; 7.3, length of the ciphertext. Each value one below is accepted."""
    public, private = ML_KEM[0]["pk"], kem.private_key(ML_KEM[0]["d"] + ML_KEM[0]["z"])
    assert not any(kem.is_sound(bad) for bad in (b"", public[:-1], public + b"\x00"))
    for place in (0, 1, 381, 766, 767):  # coefficients, 12 bits each, of the three polynomials
        for value, sound in ((0, True), (3328, True), (3329, False), (4095, False)):
            packed = int.from_bytes(public[:1152], "little")
            packed = packed & ~(0xFFF << 12 * place) | value << 12 * place
            assert kem.is_sound(packed.to_bytes(1152, "little") + public[1152:]) == sound, (place, value)
    ciphertext = ML_KEM[0]["ct"]
    for bad in (b"", ciphertext[:-1], ciphertext + b"\x00"):
        assert kem.decapsulate(private, bad) is None
    assert kem.decapsulate(private, bytes(len(ciphertext))) is not None


@pytest.mark.parametrize("length", [1, 15, 16, 17, 1000, TILE_BYTES, TILE_BYTES + 1, 3 * TILE_BYTES - 5])
def test_key_stream_is_the_cipher_applied_to_a_counter_from_zero(length: int) -> None:
    """SP 800-38A section 6.5 with T_i = i, by the block cipher alone; in one read and in uneven pieces."""
    blocks = b"".join(number.to_bytes(16, "big") for number in range(-(-length // 16)))
    expected = Cipher(algorithms.AES(NIST_KEY), modes.ECB()).encryptor().update(blocks)[:length]
    whole = bytearray(length)
    KeyStream(NIST_KEY).read_into(memoryview(whole))
    assert whole == expected
    pieces, stream = bytearray(length), KeyStream(NIST_KEY)
    for start in range(0, length, 1013):
        stream.read_into(memoryview(pieces)[start : start + 1013])
    assert pieces == expected
    other = bytearray(length)
    KeyStream(flip(NIST_KEY)).read_into(memoryview(other))
    assert length < 16 or other != expected


@pytest.mark.parametrize("start", [0, 16, 4096, TILE_BYTES - 16, TILE_BYTES, 3 * TILE_BYTES + 48])
def test_key_stream_that_starts_later_is_the_rest_of_the_same_stream(start: int) -> None:
    """Where parts of one stream are read by several processes. Control: one block too early or too late differs."""
    whole, part = bytearray(start + 1000), bytearray(1000)
    KeyStream(NIST_KEY).read_into(memoryview(whole))
    KeyStream(NIST_KEY, start=start).read_into(memoryview(part))
    assert part == whole[start:]
    for wrong in (start + 16, abs(start - 16)):
        KeyStream(NIST_KEY, start=wrong).read_into(memoryview(part))
        assert part != whole[start:]


def test_key_stream_starts_far_on_and_at_whole_blocks_only() -> None:
    """The counter is 128 bits wide: beyond 2^32 blocks it is still the block's number."""
    block = 2**32 + 5
    expected = Cipher(algorithms.AES(NIST_KEY), modes.ECB()).encryptor().update(block.to_bytes(16, "big"))
    found = bytearray(16)
    KeyStream(NIST_KEY, start=16 * block).read_into(memoryview(found))
    assert found == expected
    KeyStream(NIST_KEY, start=16 * 5).read_into(memoryview(found))
    assert found != expected
    for start in (1, 8, 17, 4095):
        with pytest.raises(ValueError, match="multiple of 16"):
            KeyStream(NIST_KEY, start=start)


def test_key_stream_words_are_little_endian() -> None:
    raw = bytearray(32)
    KeyStream(NIST_KEY).read_into(memoryview(raw))
    for dtype, size in ((np.uint8, 1), (np.uint16, 2), (np.uint32, 4), (np.uint64, 8)):
        words = [int(word) for word in KeyStream(NIST_KEY).words(32 // size, dtype)]
        assert words == [int.from_bytes(raw[i : i + size], "little") for i in range(0, 32, size)]
    with pytest.raises(ValueError, match="32 bytes"):
        KeyStream(NIST_KEY[:16])
    assert bytes(KeyStream.from_os().words(32, np.uint8)) != bytes(KeyStream.from_os().words(32, np.uint8))


def test_encoding_is_the_documented_one() -> None:
    assert fields(b"ab", b"", b"c").hex() == "000000000000000261620000000000000000000000000000000163"
    assert digest(b"ab", b"c") == hashlib.sha256(fields(b"ab", b"c")).digest()


def test_sealing_binds_key_and_data() -> None:
    sealed = keys.seal(bytes(32), b"shares", b"data")
    assert keys.unseal(bytes(32), sealed, b"data") == b"shares"
    for key, ciphertext, data in (
        (flip(bytes(32)), sealed, b"data"),
        (bytes(32), flip(sealed), b"data"),
        (bytes(32), sealed[:-1], b"data"),
        (bytes(32), b"", b"data"),
        (bytes(32), sealed, b"Data"),
    ):
        assert keys.unseal(key, ciphertext, data) is None
