"""A second reader and writer of hardtack's format, version 1, written after src/manual/format.md.

It shares no code with the crate, and the vectors under tests/vectors hold the two against each other.
It needs the package `cryptography`, and `zstandard` where a segment is compressed. It is not for production:
it keeps keys in plain memory and makes no attempt at speed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
OVERHEAD = 61
BLOCK = 32
CAP = 64 * 1024
TRIED_AT_MOST = 16
U32, U64, DELTA = 2**32 - 1, 2**64 - 1, 2**28 - 1
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PLACEMENTS = ("inline", "reference", "record")
CODECS = ("postcard", "json")
COMPRESSIONS = ("none", "zstd", "dictionary")


class Refused(Exception):
    """What was read is not what the format allows. The message is for logs, never for the client."""


def refuse(why: str) -> NoReturn:
    raise Refused(why) from None


# Keys.

def pae(*parts: bytes) -> bytes:
    return struct.pack("<Q", len(parts)) + b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """Two blocks of it, which is all that the format needs."""
    first = hmac_sha256(prk, info + b"\x01")
    return (first + hmac_sha256(prk, first + info + b"\x02"))[:length]


class Key:
    def __init__(self, secret: bytes) -> None:
        self.prk = hmac_sha256(b"hardtack v1", secret)
        self.kid = hkdf_expand(self.prk, pae(b"kid"), 4)

    def derive(self, app: str, name: str, kind: str) -> tuple[bytes, bytes]:
        """Ke and Km for one purpose."""
        both = hkdf_expand(self.prk, pae(b"seal", app.encode(), name.encode(), kind.encode()), 64)
        return both[:32], both[32:]

    def subject(self, app: str, user: bytes) -> bytes:
        return hmac_sha256(hkdf_expand(self.prk, pae(b"subject", app.encode()), 32), user)[:16]


def key_of(keys: Sequence[Key], kid: bytes) -> Key:
    key = next((key for key in keys if key.kid == kid), None)
    return key or refuse("sealed under an unknown key")


# XAES-256-GCM, after c2sp.org/XAES-256-GCM.

def xaes(key: bytes, nonce: bytes) -> tuple[AESGCM, bytes]:
    """The AES-256-GCM key and the 12-byte nonce that belong to a 24-byte nonce."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    l = int.from_bytes(block(bytes(16)), "big")
    k1 = (l << 1) % 2**128 ^ (0b10000111 if l >> 127 else 0)

    def half(counter: int) -> bytes:
        m = int.from_bytes(bytes([0, counter, 0x58, 0]) + nonce[:12], "big")
        return block((m ^ k1).to_bytes(16, "big"))

    return AESGCM(half(1) + half(2)), nonce[12:]


# The token.

def seal(key: Key, app: str, name: str, kind: str, nonce: bytes, plaintext: bytes, a: bytes = b"") -> bytes:
    """The token as raw bytes. A nonce must come from the operating system and be used once."""
    ke, km = key.derive(app, name, kind)
    header = VERSION + key.kid
    aead, short_nonce = xaes(ke, nonce)
    ciphertext = aead.encrypt(short_nonce, plaintext, header + a)
    return header + nonce + ciphertext + hmac_sha256(km, header + nonce + ciphertext[-16:])[:16]


def open_token(keys: Sequence[Key], app: str, name: str, kind: str, token: bytes, a: bytes = b"") -> bytes:
    """The plaintext."""
    key = key_of_token(keys, token)
    ke, km = key.derive(app, name, kind)
    header, nonce, ciphertext, mac = token[:5], token[5:29], token[29:-16], token[-16:]
    if not hmac.compare_digest(hmac_sha256(km, header + nonce + ciphertext[-16:])[:16], mac):
        refuse("the mac is wrong")
    aead, short_nonce = xaes(ke, nonce)
    try:
        return aead.decrypt(short_nonce, ciphertext, header + a)
    except InvalidTag:
        refuse("the tag is wrong")


def key_of_token(keys: Sequence[Key], token: bytes) -> Key:
    if len(token) < OVERHEAD:
        refuse("shorter than a token")
    if token[:1] != VERSION:
        refuse("another version")
    return key_of(keys, token[1:5])


def to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        refuse("not base64url")
    if to_text(data) != text:
        refuse("not canonical base64url")
    return data


# Varints, and a cursor that never reads past the end.

def varint(number: int) -> bytes:
    output = bytearray()
    while number >= 0x80:
        output.append(number & 0x7F | 0x80)
        number >>= 7
    output.append(number)
    return bytes(output)


class Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            refuse("cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self, largest: int = U64) -> int:
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if number > largest:
                refuse("a number is too large")
            if byte == 0 and shift > 0:
                refuse("a varint is longer than it needs to be")
            if byte < 0x80:
                return number
            shift += 7
            if shift > 63:
                refuse("a varint is longer than 64 bits")

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


# The plaintext.

@dataclass(frozen=True)
class Payload:
    """The plaintext's fields. Segments stand as they are carried; a reference names a record instead."""

    placement: str
    codec: str
    compression: str
    dictionary: int | None
    id: bytes
    created: int
    authenticated: int | None
    sealed: int
    expires: int
    sequence: int
    schema: int
    subject: bytes | None
    public: bytes | None = None
    secret: bytes | None = None
    record_id: bytes | None = None
    version: int | None = None

    def encode(self) -> bytes:
        def since_creation(time: int) -> int:
            return min(max(0, time - self.created), DELTA)

        authenticated = 0
        if self.authenticated is not None:
            authenticated = min(1 + max(0, self.authenticated - self.created), DELTA)
        flags = PLACEMENTS.index(self.placement) | CODECS.index(self.codec) << 2
        flags |= COMPRESSIONS.index(self.compression) << 4 | (self.subject is not None) << 6
        output = bytes([flags])
        if self.dictionary is not None:
            output += varint(self.dictionary)
        output += self.id + varint(self.created) + varint(authenticated)
        output += varint(since_creation(self.sealed)) + varint(since_creation(self.expires))
        output += varint(self.sequence) + varint(self.schema) + (self.subject or b"")
        if self.placement == "reference":
            assert self.record_id is not None and self.version is not None
            return output + self.record_id + varint(self.version)
        assert self.public is not None and self.secret is not None
        return output + varint(len(self.public)) + self.public + self.secret

    @classmethod
    def decode(cls, plaintext: bytes) -> Payload:
        cursor = Cursor(plaintext)
        flags = cursor.take(1)[0]
        placement, codec, compression = flags & 3, flags >> 2 & 3, flags >> 4 & 3
        if flags & 0x80 or placement == 3 or codec > 1 or compression == 3:
            refuse("unknown flags")
        if placement == 1 and (codec or compression):
            refuse("a reference with a codec or a compression")
        dictionary = cursor.varint() if compression == 2 else None
        id = cursor.take(16)
        created = cursor.varint()
        authenticated = cursor.varint(DELTA)
        sealed = created + cursor.varint(DELTA)
        expires = created + cursor.varint(DELTA)
        if max(sealed, expires, created + authenticated - 1) > U64:
            refuse("a time is too large")
        sequence = cursor.varint()
        schema = cursor.varint(U32)
        subject = cursor.take(16) if flags & 0x40 else None
        public = secret = record_id = version = None
        if placement == 1:
            record_id, version = cursor.take(16), cursor.varint()
            if cursor.rest():
                refuse("bytes after a reference")
        else:
            public = cursor.take(cursor.varint())
            secret = cursor.rest()
        return cls(
            PLACEMENTS[placement], CODECS[codec], COMPRESSIONS[compression], dictionary,
            id, created, created + authenticated - 1 if authenticated else None, sealed, expires,
            sequence, schema, subject, public, secret, record_id, version,
        )


# Segments.

def pack(frame: bytes) -> bytes:
    """A compressed public segment around one zstd frame that has its content size in its header."""
    segment = varint(len(frame)) + frame
    return segment + bytes(-len(segment) % BLOCK)


def unpack(segment: bytes, cap: int = CAP) -> bytes:
    """The inflated value of a compressed public segment."""
    cursor = Cursor(segment)
    frame = cursor.take(cursor.varint())
    padding = cursor.rest()
    if len(segment) % BLOCK or len(padding) >= BLOCK or any(padding):
        refuse("the padding is wrong")
    return inflate(frame, cap)


def inflate(frame: bytes, cap: int) -> bytes:
    import zstandard

    if not frame.startswith(b"\x28\xb5\x2f\xfd"):
        refuse("not a zstd frame")
    try:
        header = zstandard.get_frame_parameters(frame)
        if header.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            refuse("a frame without its content size")
        if header.content_size > cap:
            refuse("inflated, it is larger than the cap")
        if header.dict_id:
            refuse("a frame that needs a dictionary")
        inflater = zstandard.ZstdDecompressor().decompressobj()
        value = inflater.decompress(frame)
    except zstandard.ZstdError:
        refuse("a broken frame")
    if not inflater.eof or inflater.unused_data or len(value) != header.content_size:
        refuse("not exactly one frame")
    return value


def join_secrets(secrets: Sequence[bytes]) -> bytes:
    return b"".join(varint(len(secret)) + secret for secret in secrets)


def split_secrets(segment: bytes) -> list[bytes]:
    cursor = Cursor(segment)
    secrets = []
    while cursor.at < len(segment):
        secrets.append(cursor.take(cursor.varint()))
    return secrets


# Cookies.

def cookies(headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    for header in headers:
        for pair in header.split(";"):
            name, equals, value = pair.partition("=")
            if equals:
                yield name.strip(" \t"), value.strip(" \t")


def split(name: str, token: str, n: int) -> list[tuple[str, str]]:
    """A token as n cookies, 2 to 63. Where to cut is the writer's choice; these pieces are nearly equal."""
    size, longer = divmod(len(token), n)
    cuts = [i * size + min(i, longer) for i in range(n + 1)]
    return [
        (f"{name}.{i}" if i else name, f"{token[-4:]}{DIGITS[i]}{DIGITS[n]}.{token[cuts[i]:cuts[i + 1]]}")
        for i in range(n)
    ]


def candidates(name: str, headers: Sequence[str]) -> list[str]:
    """The texts that may be tokens: whole values first, then complete groups, each in order of appearance."""
    whole: list[str] = []
    groups: dict[tuple[str, int], dict[int, str]] = {}
    for cookie, value in cookies(headers):
        if cookie == name and value and "." not in value:
            whole.append(value)
            continue
        of_name = re.fullmatch(re.escape(name) + r"(?:\.([1-9][0-9]?))?", cookie)
        of_value = re.fullmatch(r"(.{4})([A-Za-z0-9_-])([A-Za-z0-9_-])\.(.+)", value)
        if not of_name or not of_value:
            continue
        index, n = DIGITS.index(of_value[2]), DIGITS.index(of_value[3])
        if index < n and n >= 2 and index == int(of_name[1] or 0):
            groups.setdefault((of_value[1], n), {}).setdefault(index, of_value[4])
    complete = ([pieces[i] for i in range(n)] for (_, n), pieces in groups.items() if len(pieces) == n)
    return whole + ["".join(pieces) for pieces in complete]


# From Cookie headers, or a store's record, to a session.

@dataclass(frozen=True)
class Opened:
    payload: Payload
    value: bytes | None
    """The inflated public segment, in the payload's codec. A reference has none."""
    secrets: list[bytes]


def open_cookies(
    keys: Sequence[Key], app: str, name: str, headers: Sequence[str], now: int, cap: int = CAP
) -> Opened:
    best: Payload | None = None
    tried = 0
    for text in candidates(name, headers):
        try:
            token = from_text(text)
            key_of_token(keys, token)
        except Refused:
            continue
        if tried == TRIED_AT_MOST:
            break
        tried += 1
        try:
            payload = Payload.decode(open_token(keys, app, name, "cookie", token))
        except Refused:
            continue
        if payload.placement == "record":
            continue
        if best is None or (payload.sealed, payload.sequence) > (best.sealed, best.sequence):
            best = payload
    if best is None:
        refuse("no candidate opened")
    return finish(best, now, cap)


def open_record(
    keys: Sequence[Key], app: str, name: str, id: bytes, record_id: bytes, version: int, record: bytes,
    now: int, cap: int = CAP,
) -> Opened:
    """What the store has under a reference's record id; id and version are the reference's too."""
    payload = Payload.decode(open_token(keys, app, name, "record", record, record_id))
    if payload.placement != "record":
        refuse("not a record inside")
    if payload.id != id:
        refuse("the record of another session")
    if payload.sequence < version:
        refuse("older than the reference")
    return finish(payload, now, cap)


def finish(payload: Payload, now: int, cap: int) -> Opened:
    if now >= payload.expires:
        refuse("expired")
    if payload.public is None or payload.secret is None:
        return Opened(payload, None, [])
    if payload.compression == "dictionary":
        refuse("a dictionary that this reader does not hold")
    value = payload.public if payload.compression == "none" else unpack(payload.public, cap)
    return Opened(payload, value, split_secrets(payload.secret))


# The cookie NAME.seen.

def seal_seen(key: Key, app: str, name: str, id: bytes, seconds: int) -> str:
    _, km = key.derive(app, name, "seen")
    time = seconds.to_bytes(4, "little")
    return to_text(key.kid + time + hmac_sha256(km, key.kid + id + time)[:16])


def open_seen(keys: Sequence[Key], app: str, name: str, id: bytes, text: str) -> int:
    data = from_text(text)
    if len(data) != 24:
        refuse("not 24 bytes")
    key, seconds = key_of(keys, data[:4]), int.from_bytes(data[4:8], "little")
    if not hmac.compare_digest(seal_seen(key, app, name, id, seconds), text):
        refuse("the mac is wrong")
    return seconds


def latest_seen(keys: Sequence[Key], app: str, name: str, id: bytes, headers: Sequence[str]) -> int | None:
    """The latest of the values that verify, of the first sixteen."""
    times = []
    for value in [value for cookie, value in cookies(headers) if cookie == f"{name}.seen"][:TRIED_AT_MOST]:
        with suppress(Refused):
            times.append(open_seen(keys, app, name, id, value))
    return max(times, default=None)
