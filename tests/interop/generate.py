"""Writes the files of tests/vectors again, the same bytes each time. token-v1.json is older and left alone.

Keys, nonces and ids are SHA-256 of labels. The frames that zstd compressed stand here as bytes, because
another release of zstd may compress the same text to other bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import hardtack
from check import VECTORS
from hardtack import Key, Payload, pack, to_text, varint

APP, NAME = "demo", "__Host-session"
BORN = 1_760_000_000
DAY = 86_400
LARGEST = 2**28 - 1

Case = dict[str, Any]


def label(text: str, length: int) -> bytes:
    output = b""
    while len(output) < length:
        output += hashlib.sha256(f"hardtack vectors: {text} {len(output) // 32}".encode()).digest()
    return output[:length]


def key(text: str) -> bytes:
    return label(f"key {text}", 32)


def ring(names: tuple[str, ...]) -> list[str]:
    return [key(name).hex() for name in names]


def accept(comment: str, **rest: Any) -> Case:
    return {"comment": comment, **rest, "expect": "open"}


def reject(comment: str, reason: str, **rest: Any) -> Case:
    return {"comment": comment, **rest, "expect": "reject", "reason": reason}


def header(*pairs: tuple[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in pairs)


# zstd.

CART = (
    b'{"user":"018f2b6e-7c1a-7d3e-9b1f-2a6c5d4e3f21","currency":"EUR","items":['
    b'{"sku":"HT-1000","title":"Ship\'s biscuit","qty":1,"cents":995},'
    b'{"sku":"HT-1037","title":"Sea salt","qty":2,"cents":1145},'
    b'{"sku":"HT-1074","title":"Oil lamp","qty":3,"cents":1295},'
    b'{"sku":"HT-1111","title":"Hemp rope","qty":1,"cents":1445},'
    b'{"sku":"HT-1148","title":"Brass compass","qty":2,"cents":1595},'
    b'{"sku":"HT-1185","title":"Sail needle","qty":3,"cents":1745},'
    b'{"sku":"HT-1222","title":"Tar soap","qty":1,"cents":1895},'
    b'{"sku":"HT-1259","title":"Signal flag","qty":2,"cents":2045}]}'
)
CART_FRAME = bytes.fromhex(
    "28b52ffd602b01050800220f30214069ecb3db2a3b8847352d4c94943c19c71371a392597b255914752b398761b8378f8307"
    "5b0933a36393623f0c88688c99edc627d909665e94b8707f52848d604c63fcdf90d378e9bf6500b376ad430d9920c70fbbdb"
    "58819c8e29c281b5ac5d8efda97d51d483b5e6f4e7e34fd53a754c05553a61f41e2ad203401001a14e3d4e38556992248b24"
    "0eea344a785d3070fa8e4fa84a090a04d4a9e33d2e65f454e972a3f85ab06768469a5534c495c582f4be057183821b661375"
    "2afd235d081c005004108807c60074b019dd940d8c01e860b33f940e0c0c10c26685403e3006a083cdf04024301ce80d6c01"
    "080706ee0a0d2897aba2008711c211a4"
)
CHECKSUMMED = bytes.fromhex("28b52ffd241bd90000") + b"baked twice, kept for years" + bytes.fromhex("9e079782")
MAGIC = bytes.fromhex("28b52ffd")


def raw(content: bytes, last: bool = True) -> bytes:
    return (last | len(content) << 3).to_bytes(3, "little") + content


def run(byte: bytes, length: int, last: bool = True) -> bytes:
    return (last | 1 << 1 | length << 3).to_bytes(3, "little") + byte


def frame(size: int, *blocks: bytes) -> bytes:
    """A frame without compression: its content size takes one byte, or four."""
    head = bytes([0x20, size]) if size < 256 else b"\xa0" + size.to_bytes(4, "little")
    return MAGIC + head + b"".join(blocks)


def stored(content: bytes) -> bytes:
    return frame(len(content), raw(content))


# Payloads.

MINIMAL = Payload(
    placement="inline", codec="postcard", compression="none", dictionary=None,
    id=label("id", 16), created=BORN, authenticated=None, sealed=BORN, expires=BORN,
    sequence=0, schema=0, subject=None, public=b"", secret=b"",
)
ORDINARY = replace(
    MINIMAL, authenticated=BORN + 40, sealed=BORN + 3600, expires=BORN + 30 * DAY, sequence=7, schema=1,
    public=bytes.fromhex("036164610300"), secret=bytes.fromhex("0706733363723374"),
)
RECORD_ID = label("record", 16)
REFERENCE = replace(
    ORDINARY, placement="reference", public=None, secret=None, record_id=RECORD_ID, version=7,
)
LARGE = replace(
    ORDINARY, created=2**35 - 1, authenticated=2**35 - 1 + LARGEST - 1, sealed=2**35 - 1 + LARGEST,
    expires=2**35 - 1 + LARGEST, sequence=2**14 - 1, schema=127, public=label("public", 128),
)
SUBJECT = Key(key("primary")).subject(APP, b"018f2b6e-7c1a-7d3e-9b1f-2a6c5d4e3f21")


def described(payload: Payload) -> Case:
    absent = ("public", "secret") if payload.placement == "reference" else ("record_id", "version")
    values = {name: value for name, value in vars(payload).items() if name not in absent}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def payloads() -> Iterator[Case]:
    def case(comment: str, payload: Payload, **given: int) -> Case:
        plaintext = replace(payload, **given).encode()  # type: ignore[arg-type]
        metadata = len(plaintext) - len(payload.public or b"") - len(payload.secret or b"")
        more: Case = {"given": given} if given else {}
        return accept(comment, plaintext=plaintext.hex(), **described(payload), metadata=metadata, **more)

    yield case("the least: nothing happened yet, both segments are empty", MINIMAL)
    yield case("an ordinary session", ORDINARY)
    yield case("created in 1970", replace(MINIMAL, created=0, sealed=0, expires=1))
    yield case("a subject", replace(ORDINARY, subject=SUBJECT))
    yield case("never authenticated", replace(ORDINARY, authenticated=None))
    yield case("authenticated when it was created", replace(ORDINARY, authenticated=BORN))
    yield case("authenticated one second later", replace(ORDINARY, authenticated=BORN + 1))
    yield case("JSON", replace(ORDINARY, codec="json", public=b'{"user":"ada"}', secret=b""))
    yield case("zstd", replace(ORDINARY, compression="zstd", public=pack(stored(b"baked twice"))))
    yield case(
        "JSON and zstd", replace(ORDINARY, codec="json", compression="zstd", public=pack(stored(b"[]"))),
    )
    dictionary = replace(ORDINARY, compression="dictionary", dictionary=1, public=label("public", 32))
    yield case("a dictionary; inflating is refused where it is not held, the layout is not", dictionary)
    yield case("a dictionary id of two bytes", replace(dictionary, dictionary=128))
    yield case("JSON and a dictionary", replace(dictionary, codec="json"))
    yield case("a secret segment alone", replace(ORDINARY, public=b""))
    yield case("a public segment alone", replace(ORDINARY, secret=b""))
    yield case("a public segment of 127 bytes", replace(ORDINARY, public=label("public", 127)))
    yield case("a public segment of 128 bytes", replace(ORDINARY, public=label("public", 128)))
    yield case("39 bytes of metadata", LARGE)
    yield case(
        "40 bytes of metadata: with a dictionary", replace(LARGE, compression="dictionary", dictionary=127),
    )
    yield case("55 bytes of metadata: with a subject", replace(LARGE, subject=SUBJECT))
    most = replace(LARGE, compression="dictionary", dictionary=127, subject=SUBJECT)
    yield case("56 bytes of metadata: with both", most)
    yield case("the largest sequence and schema", replace(ORDINARY, sequence=2**64 - 1, schema=2**32 - 1))
    yield case(
        "sealed before it was created, as far as the clocks say", replace(ORDINARY, sealed=BORN),
        sealed=BORN - 5,
    )
    yield case(
        "authenticated before it was created, as far as the clocks say",
        replace(ORDINARY, authenticated=BORN), authenticated=BORN - 5,
    )
    yield case("expired before it was created", replace(ORDINARY, expires=BORN), expires=BORN - DAY)
    yield case(
        "times beyond what four bytes hold are cut to what they hold",
        replace(ORDINARY, authenticated=BORN + LARGEST - 1, sealed=BORN + LARGEST, expires=BORN + LARGEST),
        authenticated=BORN + LARGEST, sealed=BORN + 2**28, expires=BORN + 2**40,
    )
    yield case("a record", replace(ORDINARY, placement="record"))
    cart = replace(ORDINARY, codec="json", compression="zstd", public=pack(CART_FRAME), subject=SUBJECT)
    yield case("a record, JSON and zstd, with a subject", replace(cart, placement="record"))
    yield case("a reference", REFERENCE)
    yield case("a reference with a subject", replace(REFERENCE, subject=SUBJECT))
    yield case("a reference to the largest version", replace(REFERENCE, version=2**64 - 1))

    def bad(comment: str, reason: str, plaintext: bytes) -> Case:
        return reject(comment, reason, plaintext=plaintext.hex())

    inline, reference = ORDINARY.encode(), REFERENCE.encode()
    times, subject = inline[:17], replace(ORDINARY, subject=SUBJECT).encode()
    yield bad("empty", "cut short", b"")
    yield bad("flags and nothing more", "cut short", inline[:1])
    yield bad("cut in the session id", "cut short", inline[:16])
    yield bad("cut in a time", "cut short", inline[:20])
    yield bad("cut before the schema", "cut short", MINIMAL.encode()[:-2])
    yield bad("cut in the subject", "cut short", subject[: subject.index(SUBJECT) + 15])
    yield bad("cut before the public segment's length", "cut short", MINIMAL.encode()[:-1])
    yield bad("the public segment is longer than what is left", "cut short", MINIMAL.encode()[:-1] + b"\x01")
    yield bad(
        "a public length of 2^64 - 1", "cut short", MINIMAL.encode()[:-1] + varint(2**64 - 1) + bytes(40),
    )
    yield bad("a reference cut in the record id", "cut short", REFERENCE.encode()[:-2])
    yield bad("a reference without its version", "cut short", reference[:-1])
    yield bad("a byte after a reference", "bytes are left over", reference + b"\x00")
    yield bad("bit 7 of the flags", "unknown flags", bytes([inline[0] | 0x80]) + inline[1:])
    yield bad("placement 3", "unknown flags", bytes([inline[0] | 3]) + inline[1:])
    yield bad("codec 2", "unknown flags", bytes([inline[0] | 2 << 2]) + inline[1:])
    yield bad("codec 3", "unknown flags", bytes([inline[0] | 3 << 2]) + inline[1:])
    yield bad("compression 3", "unknown flags", bytes([inline[0] | 3 << 4]) + inline[1:])
    yield bad(
        "a reference with a codec", "a reference has none", bytes([reference[0] | 1 << 2]) + reference[1:],
    )
    yield bad(
        "a reference with zstd", "a reference has no compression",
        bytes([reference[0] | 1 << 4]) + reference[1:],
    )
    yield bad(
        "a reference with a dictionary", "a reference has no compression",
        bytes([reference[0] | 2 << 4, 1]) + reference[1:],
    )
    tail = b"\x00\x00\x00\x00\x00\x00"  # The five varints after created, and an empty public segment.
    yield bad("a varint of two bytes for zero", "not minimal", times + b"\x80\x00" + tail)
    yield bad("a varint that ends in a zero", "not minimal", times + varint(BORN)[:-1] + b"\x86\x00" + tail)
    yield bad("a version that is not minimal", "not minimal", reference[:-1] + b"\x87\x00")
    yield bad("a public length that is not minimal", "not minimal", MINIMAL.encode()[:-1] + b"\x80\x00")
    yield bad(
        "a sequence of 2^64", "over 64 bits",
        times + varint(BORN) + bytes(3) + b"\x80" * 9 + b"\x02" + bytes(2),
    )
    yield bad(
        "a sequence of eleven bytes", "over 64 bits",
        times + varint(BORN) + bytes(3) + b"\x80" * 10 + b"\x01" + bytes(2),
    )
    yield bad("a schema of 2^32", "over 32 bits", times + varint(BORN) + bytes(4) + varint(2**32) + b"\x00")
    too_late = varint(2**28)
    yield bad("authenticated as 2^28", "over 2^28 - 1", times + varint(BORN) + too_late + bytes(5))
    yield bad(
        "sealed 2^28 seconds later", "over 2^28 - 1", times + varint(BORN) + b"\x00" + too_late + bytes(4),
    )
    yield bad(
        "expires 2^28 seconds later", "over 2^28 - 1", times + varint(BORN) + bytes(2) + too_late + bytes(3),
    )
    yield bad(
        "a time over 2^64 - 1", "a time over 64 bits",
        times + varint(2**64 - 1) + bytes(2) + b"\x01" + bytes(3),
    )


# Segments.

def segments() -> Iterator[Case]:
    def good(comment: str, of: bytes, inflated: bytes, cap: int = hardtack.CAP) -> Case:
        segment = pack(of).hex()
        more: Case = {"segment": segment, "frame": of.hex(), "inflated": inflated.hex()}
        return accept(comment, kind="compressed", cap=cap, **more)

    def bad(comment: str, reason: str, segment: bytes, cap: int = hardtack.CAP) -> Case:
        return reject(comment, reason, kind="compressed", cap=cap, segment=segment.hex())

    text = b"baked twice"
    yield good("what zstd makes of a cart in JSON", CART_FRAME, CART)
    yield good("one raw block", stored(text), text)
    yield good("an empty value", frame(0, raw(b"")), b"")
    yield good("no zeros are needed", stored(label("value", 22)), label("value", 22))
    yield good("31 zeros are needed", stored(label("value", 23)), label("value", 23))
    yield good("a frame of 127 bytes", stored(label("value", 118)), label("value", 118))
    yield good("a frame of 128 bytes: its length takes two", stored(label("value", 119)), label("value", 119))
    yield good("several blocks", frame(11, raw(b"baked ", last=False), run(b"x", 5)), b"baked xxxxx")
    yield good("a checksum", CHECKSUMMED, b"baked twice, kept for years")
    yield good(
        "a window, and the content size beside it",
        MAGIC + b"\x80\x00" + (11).to_bytes(4, "little") + raw(text), text,
    )
    yield good(
        "a content size of eight bytes", MAGIC + b"\xe0" + (11).to_bytes(8, "little") + raw(text), text,
    )
    yield good("the cap exactly", stored(text), text, cap=11)
    yield good("4,096 zeros under a cap of 4,096", frame(4096, run(b"\x00", 4096)), bytes(4096), cap=4096)

    packed = pack(stored(text))
    yield bad("the first zero is a one", "the padding is not zero", packed[:21] + b"\x01" + packed[22:])
    yield bad("the last zero is a one", "the padding is not zero", packed[:-1] + b"\x01")
    yield bad("a block of zeros too many", "32 zeros or more", packed + bytes(32))
    exact = pack(stored(label("value", 22)))
    yield bad("a block of zeros where none was needed", "32 zeros or more", exact + bytes(32))
    yield bad("a zero too few", "not a multiple of 32", packed[:-1])
    yield bad("a zero too many", "not a multiple of 32", packed + b"\x00")
    yield bad("no zeros", "not a multiple of 32", packed[:21])
    yield bad("empty", "cut short", b"")
    yield bad("the frame's length is beyond the end", "cut short", b"\x20" + packed[1:])
    yield bad("a frame's length of 2^64 - 1", "cut short", varint(2**64 - 1) + packed[1:23])
    yield bad("a frame's length that is not minimal", "not minimal", b"\x94\x00" + packed[1:-1])
    yield bad("only zeros", "no frame", bytes(32))
    yield bad("the frame's length counts one zero", "not exactly one frame", b"\x15" + packed[1:])
    yield bad("the frame's length is one less", "the padding is not zero", b"\x13" + packed[1:])
    yield bad("a frame without its last byte", "the frame is cut short", pack(stored(text)[:-1]))
    ends_in_zero = pack(stored(b"baked twice\x00"))
    yield bad(
        "a frame's last byte is taken for padding", "the frame is cut short", b"\x14" + ends_in_zero[1:],
    )
    yield bad(
        "a frame without its last block", "the frame is cut short",
        pack(frame(11, raw(b"baked ", last=False))),
    )
    yield bad("a header and nothing more", "the frame is cut short", pack(MAGIC + b"\x20\x0b"))
    yield bad("two frames", "not exactly one frame", pack(stored(b"baked ") + stored(b"twice")))
    yield bad("a frame and an empty frame", "not exactly one frame", pack(stored(text) + frame(0, raw(b""))))
    yield bad("an empty frame and a frame", "not exactly one frame", pack(frame(0, raw(b"")) + stored(text)))
    yield bad("the same frame twice", "not exactly one frame", pack(stored(text) * 2))
    skippable = bytes.fromhex("502a4d1803000000") + b"abc"
    yield bad("a skippable frame", "not a zstd frame", pack(skippable))
    yield bad("a skippable frame and a zstd frame", "not a zstd frame", pack(skippable + stored(text)))
    yield bad("a zstd frame and a skippable frame", "not exactly one frame", pack(stored(text) + skippable))
    yield bad("no content size", "the content size is missing", pack(MAGIC + b"\x00\x00" + raw(text)))
    yield bad("one byte over the cap", "over the cap", pack(stored(text)), cap=10)
    yield bad("65,537 zeros", "over the cap", pack(frame(65537, run(b"\x00", 65537))))
    yield bad(
        "a bomb: eight mebibytes of zeros", "over the cap",
        pack(frame(2**23, *(run(b"\x00", 2**17, last=i == 63) for i in range(64)))),
    )
    yield bad(
        "a content size of 2^63", "over the cap",
        pack(MAGIC + b"\xe0" + (2**63).to_bytes(8, "little") + raw(text)),
    )
    yield bad("more than the content size says", "the content size is wrong", pack(frame(10, raw(text))))
    yield bad("less than the content size says", "the content size is wrong", pack(frame(12, raw(text))))
    yield bad(
        "a bomb that calls itself small", "the content size is wrong",
        pack(frame(11, *(run(b"\x00", 2**17, last=i == 63) for i in range(64)))),
    )
    yield bad("a wrong checksum", "the checksum is wrong", pack(CHECKSUMMED[:-1] + b"\x00"))
    yield bad(
        "a frame that names a dictionary", "it needs a dictionary", pack(MAGIC + b"\x21\x07\x0b" + raw(text)),
    )
    yield bad("a block of the reserved type", "the frame is broken", pack(frame(1, b"\x0f\x00\x00a")))
    yield bad("the magic number of another zstd", "not a zstd frame", pack(b"\x27" + stored(text)[1:]))
    yield bad("garbage", "not a zstd frame", pack(label("garbage", 40)))

    def secret(comment: str, *secrets: bytes) -> Case:
        segment = hardtack.join_secrets(secrets)
        return accept(
            comment, kind="secrets", segment=segment.hex(), secrets=[each.hex() for each in secrets],
        )

    def bad_secret(comment: str, reason: str, segment: bytes) -> Case:
        return reject(comment, reason, kind="secrets", segment=segment.hex())

    yield secret("no secrets")
    yield secret("one secret: a string in postcard", b"\x06s3cr3t")
    yield secret("one secret: a string in JSON", b'"s3cr3t"')
    yield secret("three, one of them empty", b"\x01", b"", label("secret", 20))
    yield secret("one empty secret", b"")
    yield secret("a secret of 127 bytes", label("secret", 127))
    yield secret("a secret of 128 bytes", label("secret", 128))
    yield bad_secret("a secret that is longer than what is left", "cut short", b"\x07\x06s3cr3")
    yield bad_secret("a byte after the last secret", "cut short", b"\x07\x06s3cr3t\x01")
    yield bad_secret("a length that is cut short", "cut short", b"\x01a\x80")
    yield bad_secret("a length that is not minimal", "not minimal", b"\x81\x00a")
    yield bad_secret("a length of 2^64", "over 64 bits", b"\x80" * 9 + b"\x02a")
    yield bad_secret("a length of 2^64 - 1", "cut short", varint(2**64 - 1) + b"a")


# Subjects.

def subjects() -> Iterator[Case]:
    for comment, name, app, user in (
        ("a UUID as text", "primary", APP, b"018f2b6e-7c1a-7d3e-9b1f-2a6c5d4e3f21"),
        ("another application", "primary", "shop", b"018f2b6e-7c1a-7d3e-9b1f-2a6c5d4e3f21"),
        ("another key", "older", APP, b"018f2b6e-7c1a-7d3e-9b1f-2a6c5d4e3f21"),
        ("an empty application and an empty user id", "primary", "", b""),
        ("eight bytes that are not text", "primary", APP, (2**64 - 2).to_bytes(8, "little")),
        ("a user id longer than a block of SHA-256", "primary", APP, label("user", 100)),
    ):
        of = Key(key(name))
        derived = {"kid": of.kid.hex(), "subject": of.subject(app, user).hex()}
        yield accept(comment, key=key(name).hex(), app=app, user=user.hex(), **derived)


# The cookie NAME.seen.

def seens() -> Iterator[Case]:
    id, later = label("id", 16), BORN + 9000

    def case(
        comment: str, *values: str, seconds: int | None = None, reason: str = "", seen: str = "",
        keys: tuple[str, ...] = ("primary",), app: str = APP,
    ) -> Case:
        common: Case = {"keys": ring(keys), "app": app, "cookie_name": NAME, "id": id.hex()}
        common["headers"] = [header(*((f"{NAME}.seen", value) for value in values))]
        if seconds is None:
            return reject(comment, reason, **common)
        return accept(comment, **common, seconds=seconds, seen=seen or values[0])

    def seen(
        seconds: int = later, by: str = "primary", app: str = APP, name: str = NAME, id: bytes = id
    ) -> str:
        return hardtack.seal_seen(Key(key(by)), app, name, id, seconds)

    good, data, both = seen(), hardtack.from_text(seen()), ("primary", "older")
    yield case("an ordinary one", good, seconds=later)
    yield case("zero seconds", seen(0), seconds=0)
    yield case("the last second of 32 bits", seen(2**32 - 1), seconds=2**32 - 1)
    yield case("in the future: nothing forbids it", seen(BORN + 10**8), seconds=BORN + 10**8)
    yield case("under the second key of the ring", seen(by="older"), seconds=later, keys=both)
    yield case("in the application shop", seen(app="shop"), seconds=later, app="shop")
    yield case("of two that verify the later counts", seen(later - 60), good, seconds=later, seen=good)
    yield case(
        "of two that verify the later counts, in the other order", good, seen(later - 60), seconds=later,
    )
    changed = to_text(data[:-1] + b"\x00")
    yield case("a forged one beside a good one", changed, good, seconds=later, seen=good)
    yield case("fifteen forged ones, then a good one", *[changed] * 15, good, seconds=later, seen=good)

    yield case("sixteen forged ones, then a good one", *[changed] * 16, good, reason="only sixteen are tried")
    yield case("none", reason="absent")
    yield case("empty", "", reason="not 24 bytes")
    yield case("of another session", seen(id=label("other id", 16)), reason="the mac is wrong")
    yield case("of another cookie", seen(name="__Host-admin"), reason="the mac is wrong")
    yield case("of another application", seen(app="shop"), reason="the mac is wrong")
    yield case("under an unknown key", seen(by="older"), reason="unknown key")
    yield case("a changed mac", changed, reason="the mac is wrong")
    yield case("a changed time", to_text(data[:4] + b"\xff" + data[5:]), reason="the mac is wrong")
    older = Key(key("older")).kid
    yield case(
        "the kid of the ring's other key", to_text(older + data[4:]), reason="the mac is wrong", keys=both,
    )
    yield case("a byte short", to_text(data[:-1]), reason="not 24 bytes")
    yield case("a byte more", to_text(data + b"\x00"), reason="not 24 bytes")
    yield case("a character more", good + "A", reason="not base64url")
    yield case("padded", good + "=", reason="not canonical base64url")
    _, km = Key(key("primary")).derive(APP, NAME, "cookie")
    forged = data[:8] + hardtack.hmac_sha256(km, data[:4] + id + data[4:8])[:16]
    yield case("under the Km of the kind cookie", to_text(forged), reason="the mac is wrong")


# Chunks.

def chunks() -> Iterator[Case]:
    def token(name: str, length: int = 84) -> str:
        return to_text(b"\x01" + label(f"token {name}", length - 1))

    def pieces(of: str, n: int) -> list[tuple[str, str]]:
        return hardtack.split(NAME, of, n)

    def case(
        comment: str, tokens: list[str], *headers: str, reason: str = "no candidate", **more: Any
    ) -> Case:
        common: Case = {"cookie_name": NAME} | more | {"headers": headers}
        return accept(comment, **common, tokens=tokens) if tokens else reject(comment, reason, **common)

    for comment, n, of in (
        ("two chunks", 2, token("a")),
        ("three chunks", 3, token("a", 90)),
        ("eleven chunks: the last index has two digits", 11, token("a", 66)),
        ("63 chunks, the most", 63, token("a", 189)),
    ):
        yield case(comment, [of], header(*pieces(of, n)), token=of, n=n)

    a, b = token("a"), token("b")
    a3, b2, b3 = pieces(a, 3), pieces(b, 2), pieces(b, 3)
    g = a[-4:]
    uneven = [(NAME, f"{g}AD.{a[:1]}"), (f"{NAME}.1", f"{g}BD.{a[1:3]}"), (f"{NAME}.2", f"{g}CD.{a[3:]}")]
    yield case("uneven pieces", [a], header(*uneven))
    yield case("in any order", [a], header(a3[2], a3[0], a3[1]))
    yield case("over several header fields", [a], header(a3[2]), header(a3[0], a3[1]))
    yield case(
        "other cookies around", [a],
        header(("theme", "dark"), a3[0], ("x", ""), a3[1], ("__Host-sess", "1"), a3[2]),
    )
    yield case(
        "spaces and tabs around", [a], f" {NAME} = {a3[0][1]} ;\t{NAME}.1={a3[1][1]}\t; {NAME}.2={a3[2][1]}",
    )
    yield case("no space after the semicolons, empty pairs", [a], ";" + header(*a3).replace("; ", ";") + ";;")
    yield case("a whole token", [a], header((NAME, a)))
    yield case("two whole tokens, in the order of the header", [b, a], header((NAME, b), (NAME, a)))
    yield case("the same token twice stands twice", [a, a], header((NAME, a), (NAME, a)))
    yield case("a whole token and chunks: whole values come first", [b, a], header(*a3, (NAME, b)))
    yield case("two complete groups, of different counts", [a, b], header(*a3, *b2))
    yield case(
        "two complete groups, mixed; the one that begins first comes first", [b, a],
        header(b3[1], *a3, b3[0], b3[2]),
    )
    yield case("a complete group beside an incomplete one", [a], header(*a3, *b3[:2]))
    yield case("an older generation's last chunk is left", [b], header(*b2, a3[2]))
    yield case("every piece twice", [a], header(*a3, *a3))
    yield case("of two pieces of one index the first counts", [a], header(*a3, (NAME, f"{g}AD.{b[:10]}")))
    yield case("the generation is not compared with the joined text", [a], header(
        (NAME, f"ABCDAC.{a[:40]}"), (f"{NAME}.1", f"ABCDBC.{a[40:]}"),
    ))
    yield case(
        "an index beyond the count beside a complete group", [b], header(*b2, (f"{NAME}.2", f"{b[-4:]}CC.x")),
    )
    yield case("an empty whole value beside chunks", [a], header((NAME, ""), *a3))
    yield case(
        "other names with the same beginning", [a], header((f"{NAME}x", b), (f"{NAME}.seen", b), (NAME, a)),
    )
    dotted = hardtack.split("app.1", a, 2)
    around = header(("app", b), *dotted, ("app.1.x", b), *hardtack.split("app_1", b, 2))
    yield case("a name with a dot and a digit", [a], around, cookie_name="app.1")
    yield case("a value in double quotes keeps them", [f'"{a}"'], f'{NAME}="{a}"')

    yield case("no cookies", [])
    yield case("an empty header", [], "")
    yield case("an empty value", [], header((NAME, "")))
    yield case("a name without an equals sign", [], NAME)
    yield case("a whole value with a dot", [], header((NAME, f"{a[:40]}.{a[40:]}")))
    yield case("the name in other letters", [], header((NAME.lower(), a)))
    yield case("a missing piece", [], header(a3[0], a3[2]), reason="a piece is missing")
    yield case("the first piece is missing", [], header(a3[1], a3[2]), reason="a piece is missing")
    yield case("mixed generations", [], header(a3[0], b3[1], a3[2]), reason="pieces are missing")
    yield case(
        "mixed counts", [], header((NAME, f"{g}AC.{a[:40]}"), (f"{NAME}.1", f"{g}BD.{a[40:]}")),
        reason="pieces are missing",
    )
    swapped = [a3[0], (f"{NAME}.1", a3[2][1]), (f"{NAME}.2", a3[1][1])]
    yield case(
        "the index of the value is not that of the name", [], header(*swapped), reason="indices differ",
    )
    yield case(
        "a leading zero in the name", [], header(a3[0], (f"{NAME}.01", a3[1][1]), a3[2]),
        reason="not a chunk's name",
    )
    yield case(
        "index 0 in the name", [], header((f"{NAME}.0", a3[0][1]), *a3[1:]), reason="not a chunk's name",
    )
    yield case(
        "a sign in the name", [], header(a3[0], (f"{NAME}.+1", a3[1][1]), a3[2]), reason="not a chunk's name",
    )
    yield case("one chunk of one", [], header((NAME, f"{g}AB.{a}")), reason="a count below two")
    yield case("a count of zero", [], header((NAME, f"{g}AA.{a}")), reason="a count below two")
    beyond = [(NAME, f"{g}AC.{a[:40]}"), (f"{NAME}.2", f"{g}CC.{a[40:]}")]
    yield case(
        "an index that is not below the count", [], header(*beyond), reason="an index beyond the count",
    )
    empty = [(NAME, f"{g}AC.{a}"), (f"{NAME}.1", f"{g}BC.")]
    yield case("an empty piece", [], header(*empty), reason="a piece is empty")
    yield case(
        "an index of the standard alphabet", [], header((NAME, f"{g}+C.{a}"), (f"{NAME}.1", f"{g}BC.{a}")),
        reason="not a digit",
    )
    short = [(NAME, f"{g[1:]}AC.{a[:40]}"), (f"{NAME}.1", f"{g[1:]}BC.{a[40:]}")]
    yield case("a generation of three characters", [], header(*short), reason="not a chunk")
    long = [(NAME, f"A{g}AC.{a[:40]}"), (f"{NAME}.1", f"A{g}BC.{a[40:]}")]
    yield case("a generation of five characters", [], header(*long), reason="not a chunk")
    yield case("a whole token under a chunk's name", [], header((f"{NAME}.1", a)), reason="not a chunk")


# From cookies, or a store's record, to a session.

WORKED = replace(ORDINARY, id=label("worked example", 16))
CART_SESSION = replace(
    ORDINARY, codec="json", compression="zstd", public=pack(CART_FRAME), secret=b"", sequence=300,
)
SECRET = b"\x06s3cr3t"


def sealed(
    payload: Payload, by: str = "primary", kind: str = "cookie", a: bytes = b"", cookie: str = NAME
) -> bytes:
    plaintext = payload.encode()
    nonce = label(f"nonce {by} {kind} {cookie} {plaintext.hex()}", 24)
    return hardtack.seal(Key(key(by)), APP, cookie, kind, nonce, plaintext, a)


def outcome(payload: Payload, token: bytes, value: bytes | None, secrets: tuple[bytes, ...]) -> Case:
    value = payload.public if value is None else value
    return {
        "nonce": token[5:29].hex(), "payload": described(payload),
        "value": None if value is None else value.hex(), "secrets": [secret.hex() for secret in secrets],
    }


def whole(*tokens: bytes) -> str:
    return header(*((NAME, to_text(token)) for token in tokens))


def sessions() -> Iterator[Case]:
    def case(
        comment: str, *headers: str, opens: Payload | None = None, by: str = "primary", reason: str = "",
        value: bytes | None = None, secrets: tuple[bytes, ...] = (SECRET,),
        keys: tuple[str, ...] = ("primary",), app: str = APP, now: int = BORN + 7200,
    ) -> Case:
        common: Case = {"keys": ring(keys), "app": app, "cookie_name": NAME, "now": now, "headers": headers}
        if opens is None:
            return reject(comment, reason, **common)
        token = sealed(opens, by)
        return accept(comment, **common, token=to_text(token), **outcome(opens, token, value, secrets))

    yield case("the worked example of format.md", whole(sealed(WORKED)), opens=WORKED)
    least = replace(MINIMAL, expires=BORN + DAY)
    yield case("the least", whole(sealed(least)), opens=least, secrets=())
    text = b'"s3cr3t"'
    json_session = replace(
        ORDINARY, codec="json", subject=SUBJECT, public=b'{"user":"ada","visits":3,"csrf":0}',
        secret=hardtack.join_secrets([text]),
    )
    yield case("JSON, with a subject", whole(sealed(json_session)), opens=json_session, secrets=(text,))
    cart = CART_SESSION
    yield case("zstd", whole(sealed(cart)), opens=cart, value=CART, secrets=())
    parts = hardtack.split(NAME, to_text(sealed(cart)), 3)
    fields = header(("theme", "dark"), parts[2], parts[0]), header(parts[1])
    yield case("zstd, in three chunks over two header fields", *fields, opens=cart, value=CART, secrets=())
    yield case("a reference", whole(sealed(REFERENCE)), opens=REFERENCE, secrets=())

    good, both = sealed(ORDINARY), ("primary", "older")
    under_older = sealed(ORDINARY, "older")
    yield case("under the second key of the ring", whole(under_older), opens=ORDINARY, keys=both, by="older")
    newer = replace(ORDINARY, sealed=BORN + 3601, sequence=6, public=bytes.fromhex("036164610400"))
    pair = good, sealed(newer)
    yield case("the later sealed wins, though its sequence is lower", whole(*pair), opens=newer)
    yield case("the later sealed wins, in the other order", whole(*pair[::-1]), opens=newer)
    pair = good, sealed(newer, "older")
    yield case("the later sealed wins under either key", whole(*pair), opens=newer, keys=both, by="older")
    follower = replace(ORDINARY, sequence=8, public=bytes.fromhex("036164610500"))
    pair = good, sealed(follower)
    yield case("sealed in one second, the higher sequence wins", whole(*pair), opens=follower)
    yield case("sealed in one second, in the other order", whole(*pair[::-1]), opens=follower)
    twin = replace(ORDINARY, public=bytes.fromhex("036164610600"))
    yield case(
        "sealed in one second with one sequence, the first wins", whole(sealed(twin), good), opens=twin,
    )
    moved = replace(REFERENCE, sealed=BORN + 3700)
    yield case(
        "a later reference wins over inline state", whole(good, sealed(moved)), opens=moved, secrets=(),
    )
    late = replace(cart, sealed=BORN + 3700)
    headers = header(*hardtack.split(NAME, to_text(sealed(late)), 2), (NAME, to_text(good)))
    yield case("a later chunked token wins over a whole one", headers, opens=late, value=CART, secrets=())
    headers = header(*parts, (NAME, to_text(sealed(newer))))
    yield case("a later whole token wins over a chunked one", headers, opens=newer)
    headers = header((NAME, to_text(good)), parts[1], parts[2])
    yield case("an incomplete group does not matter", headers, opens=ORDINARY)

    forged, second = good[:-1] + bytes([good[-1] ^ 1]), b"\x02" + good[1:]
    foreign = sealed(ORDINARY, "foreign")
    yield case("a forged token does not matter", whole(forged, good), opens=ORDINARY)
    yield case("fifteen forged tokens, then a good one", whole(*[forged] * 15, good), opens=ORDINARY)
    reason = "only sixteen are tried"
    yield case("sixteen forged tokens, then a good one", whole(*[forged] * 16, good), reason=reason)
    yield case("twenty under unknown keys do not count", whole(*[foreign] * 20, good), opens=ORDINARY)
    yield case("twenty of another version do not count", whole(*[second] * 20, good), opens=ORDINARY)
    yield case("twenty that are too short do not count", whole(*[good[:60]] * 20, good), opens=ORDINARY)
    padded = (NAME, to_text(good) + "=")
    headers = header(*[padded] * 20, (NAME, to_text(good)))
    yield case("twenty that are not canonical base64url do not count", headers, opens=ORDINARY)
    odd = sealed(replace(newer, placement="record"))
    yield case("a record's plaintext sealed as a cookie is passed over", whole(odd, good), opens=ORDINARY)
    with_bit_7 = bytes([newer.encode()[0] | 0x80]) + newer.encode()[1:]
    unknown = hardtack.seal(Key(key("primary")), APP, NAME, "cookie", label("nonce bit 7", 24), with_bit_7)
    yield case("an authentic token of unknown flags is passed over", whole(unknown, good), opens=ORDINARY)

    yield case("the last second", whole(good), opens=ORDINARY, now=BORN + 30 * DAY - 1)
    yield case("its time is over", whole(good), now=BORN + 30 * DAY, reason="expired")
    yield case("opened before it was created: clocks differ", whole(good), opens=ORDINARY, now=BORN - 60)
    brief = sealed(replace(newer, expires=BORN + 7000))
    yield case("the later sealed wins and is over, so nothing opens", whole(good, brief), reason="expired")
    reference = sealed(replace(REFERENCE, expires=BORN + 7000))
    yield case("a reference whose time is over", whole(reference), reason="expired")

    yield case("no cookie", reason="no candidate")
    yield case("of another cookie", whole(sealed(ORDINARY, cookie="__Host-admin")), reason="the mac is wrong")
    yield case("of another application", whole(good), app="shop", reason="the mac is wrong")
    yield case("under an unknown key", whole(foreign), reason="unknown key")
    record = sealed(replace(ORDINARY, placement="record"), kind="record", a=RECORD_ID)
    yield case("a record in a cookie", whole(record), reason="the mac is wrong")
    yield case("a record's plaintext sealed as a cookie", whole(odd), reason="not a cookie's placement")
    yield case("an authentic token of unknown flags", whole(unknown), reason="unknown flags")
    yield case("a forged mac", whole(forged), reason="the mac is wrong")
    broken = good[:29] + bytes([good[29] ^ 1]) + good[30:]
    yield case("a changed ciphertext", whole(broken), reason="the tag is wrong")
    yield case("version 2", whole(second), reason="another version")
    yield case("padded base64", header(padded), reason="not canonical base64url")
    yield case("in double quotes", header((NAME, f'"{to_text(good)}"')), reason="not base64url")
    yield case("the name in other letters", header((NAME.lower(), to_text(good))), reason="no candidate")
    yield case("a missing chunk", header(*parts[:2]), reason="no candidate")
    changed = parts[2][0], parts[2][1][:-8] + "A" * 8
    yield case("a changed chunk", header(*parts[:2], changed), reason="the mac is wrong")
    cut = replace(cart, public=pack(CART_FRAME[:-1]))
    yield case("a broken frame inside", whole(sealed(cut)), reason="the frame is cut short")
    bomb = replace(cart, sealed=BORN + 3800, public=pack(frame(65537, run(b"\x00", 65537))))
    yield case("a bomb inside", whole(sealed(bomb)), reason="over the cap")
    comment = "the later sealed wins and does not inflate, so nothing opens"
    yield case(comment, whole(good, sealed(bomb)), reason="over the cap")
    unheld = replace(cart, compression="dictionary", dictionary=1)
    yield case(
        "a dictionary that the reader does not hold", whole(sealed(unheld)), reason="unknown dictionary",
    )
    cut = replace(ORDINARY, secret=b"\x07\x06s3")
    yield case("a secret that is cut short", whole(sealed(cut)), reason="cut short")


def records() -> Iterator[Case]:
    inside = replace(ORDINARY, placement="record", subject=SUBJECT)

    def case(
        comment: str, record: bytes, opens: Payload | None = None, reason: str = "",
        value: bytes | None = None, secrets: tuple[bytes, ...] = (SECRET,),
        id: bytes = inside.id, record_id: bytes = RECORD_ID, version: int = 7,
        keys: tuple[str, ...] = ("primary",), now: int = BORN + 7200,
    ) -> Case:
        common: Case = {"keys": ring(keys), "app": APP, "cookie_name": NAME, "now": now, "id": id.hex()}
        common |= {"record_id": record_id.hex(), "version": version, "record": record.hex()}
        if opens is None:
            return reject(comment, reason, **common)
        return accept(comment, **common, **outcome(opens, record, value, secrets))

    def stored_as(payload: Payload, by: str = "primary", kind: str = "record") -> bytes:
        return sealed(payload, by, kind, RECORD_ID)

    good, later = stored_as(inside), replace(inside, sequence=9)
    yield case("the version that the cookie saw", good, inside)
    yield case("a later version than the cookie saw", stored_as(later), later)
    cart = replace(CART_SESSION, placement="record")
    yield case("zstd", stored_as(cart), cart, value=CART, secrets=())
    yield case(
        "under the second key of the ring", stored_as(inside, "older"), inside, keys=("primary", "older"),
    )
    yield case("the last second", good, inside, now=BORN + 30 * DAY - 1)
    yield case("rolled back to an earlier version", good, reason="older than the reference", version=8)
    yield case(
        "under another record id", good, reason="the tag is wrong", record_id=label("other record", 16),
    )
    yield case("of another session", good, reason="another session", id=label("other id", 16))
    yield case("as text", to_text(good).encode(), reason="another version")
    yield case("sealed as a cookie", stored_as(inside, kind="cookie"), reason="the mac is wrong")
    yield case("inline state inside", stored_as(replace(inside, placement="inline")), reason="not a record")
    yield case("a reference inside", stored_as(REFERENCE), reason="not a record")
    yield case("its time is over", good, reason="expired", now=BORN + 30 * DAY)
    yield case("a forged mac", good[:-1] + bytes([good[-1] ^ 1]), reason="the mac is wrong")
    yield case("under an unknown key", stored_as(inside, "foreign"), reason="unknown key")
    yield case("cut short", good[:60], reason="shorter than a token")


FILES = {
    "payload-v1.json": payloads, "segment-v1.json": segments, "subject-v1.json": subjects,
    "seen-v1.json": seens, "chunk-v1.json": chunks, "cookie-v1.json": sessions, "record-v1.json": records,
}

if __name__ == "__main__":
    for file, cases in FILES.items():
        text = json.dumps(list(cases()), indent=1, ensure_ascii=True)
        (VECTORS / file).write_text(text + "\n", encoding="utf-8")
