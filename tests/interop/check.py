"""Holds hardtack.py against every file of tests/vectors, in both directions. The last line counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hardtack
from hardtack import Key, Opened, Payload, Refused

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
BYTES = ("id", "subject", "public", "secret", "record_id")

Case = dict[str, Any]


def read(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def keys_of(case: Case) -> list[Key]:
    return [Key(bytes.fromhex(key)) for key in case["keys"]]


def payload_of(fields: Case) -> Payload:
    """The payload that a case describes: the names are those of the dataclass."""
    parts: Case = {name: fields[name] for name in Payload.__dataclass_fields__ if name in fields}
    return Payload(**parts | {name: read(parts[name]) for name in BYTES if name in parts})


def equal(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


# One function for each file. It opens what the case holds, which may be refused; what opens is sealed again.

def token(case: Case) -> None:
    key = Key(bytes.fromhex(case["key"]))
    purpose = case["app"], case["cookie_name"], case["kind"]
    a, nonce, plaintext = (bytes.fromhex(case[name]) for name in ("aad", "nonce", "plaintext"))
    opened = hardtack.open_token([key], *purpose, hardtack.from_text(case["token"]), a)
    equal("plaintext", opened, plaintext)
    equal("token", hardtack.to_text(hardtack.seal(key, *purpose, nonce, plaintext, a)), case["token"])


def payload(case: Case) -> None:
    plaintext = bytes.fromhex(case["plaintext"])
    decoded = Payload.decode(plaintext)
    if case["expect"] == "open":
        equal("payload", decoded, payload_of(case))
        equal("plaintext", payload_of(case | case.get("given", {})).encode(), plaintext)
        segments = len(decoded.public or b"") + len(decoded.secret or b"")
        equal("metadata", len(plaintext) - segments, case["metadata"])


def segment(case: Case) -> None:
    carried = bytes.fromhex(case["segment"])
    if case["kind"] == "compressed":
        inflated = hardtack.unpack(carried, case["cap"])
        if case["expect"] == "open":
            equal("inflated", inflated.hex(), case["inflated"])
            equal("segment", hardtack.pack(bytes.fromhex(case["frame"])), carried)
    else:
        secrets = hardtack.split_secrets(carried)
        if case["expect"] == "open":
            equal("secrets", [secret.hex() for secret in secrets], case["secrets"])
            equal("segment", hardtack.join_secrets(secrets), carried)


def subject(case: Case) -> None:
    key = Key(bytes.fromhex(case["key"]))
    equal("kid", key.kid.hex(), case["kid"])
    equal("subject", key.subject(case["app"], bytes.fromhex(case["user"])).hex(), case["subject"])


def seen(case: Case) -> None:
    keys, app, name, id = keys_of(case), case["app"], case["cookie_name"], bytes.fromhex(case["id"])
    seconds = hardtack.latest_seen(keys, app, name, id, case["headers"])
    if seconds is None:
        hardtack.refuse("none verifies")
    if case["expect"] == "open":
        equal("seconds", seconds, case["seconds"])
        key = hardtack.key_of(keys, hardtack.from_text(case["seen"])[:4])
        equal("seen", hardtack.seal_seen(key, app, name, id, seconds), case["seen"])


def chunk(case: Case) -> None:
    found = hardtack.candidates(case["cookie_name"], case["headers"])
    if not found:
        hardtack.refuse("no candidate")
    if case["expect"] == "open":
        equal("tokens", found, case["tokens"])
    if "n" in case:
        cookies = hardtack.split(case["cookie_name"], case["token"], case["n"])
        equal("headers", ["; ".join(f"{name}={value}" for name, value in cookies)], case["headers"])


def opened_as(case: Case, opened: Opened, token: bytes, kind: str, a: bytes) -> None:
    if case["expect"] != "open":
        return
    equal("payload", opened.payload, payload_of(case["payload"]))
    equal("value", opened.value, read(case["value"]))
    equal("secrets", [secret.hex() for secret in opened.secrets], case["secrets"])
    key = hardtack.key_of(keys_of(case), token[1:5])
    nonce, plaintext = bytes.fromhex(case["nonce"]), payload_of(case["payload"]).encode()
    equal("token", hardtack.seal(key, case["app"], case["cookie_name"], kind, nonce, plaintext, a), token)


def cookie(case: Case) -> None:
    purpose = keys_of(case), case["app"], case["cookie_name"]
    opened = hardtack.open_cookies(*purpose, case["headers"], case["now"])
    opened_as(case, opened, hardtack.from_text(case.get("token", "")), "cookie", b"")


def record(case: Case) -> None:
    id, record_id, record = (bytes.fromhex(case[name]) for name in ("id", "record_id", "record"))
    purpose = keys_of(case), case["app"], case["cookie_name"]
    opened = hardtack.open_record(*purpose, id, record_id, case["version"], record, case["now"])
    opened_as(case, opened, record, "record", record_id)


CHECKS: dict[str, Callable[[Case], None]] = {
    f"{check.__name__}-v1.json": check
    for check in (token, payload, segment, subject, seen, chunk, cookie, record)
}


def verdict(check: Callable[[Case], None], case: Case) -> str | None:
    """What is wrong, or nothing."""
    try:
        check(case)
    except Refused as refused:
        return None if case["expect"] == "reject" else f"refused: {refused}"
    except Exception as error:  # A reader must refuse, and do nothing else.
        return f"{type(error).__name__}: {error}"
    return None if case["expect"] == "open" else "opened, though it must be refused"


def main() -> int:
    passed = failed = 0
    files = {path.name: path for path in sorted(VECTORS.glob("*.json"))}
    for name in sorted(files.keys() ^ CHECKS.keys()):
        print(f"{name}: {'nobody checks it' if name in files else 'missing'}")
        failed += 1
    for name in sorted(files.keys() & CHECKS.keys()):
        cases = json.loads(files[name].read_text(encoding="utf-8"))
        print(f"{name}: {len(cases)} cases")
        for case in cases:
            wrong = verdict(CHECKS[name], case)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(f"  {case['comment']}: {wrong}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
