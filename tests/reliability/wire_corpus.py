"""Bytes that no client should send, and paths that lead nowhere: both are kept as they once did harm somewhere."""

from __future__ import annotations

import json

_DEEP = 100_000

BODIES: list[tuple[str, bytes]] = [
    ("NaN", b'{"prompt": "x", "guidance": NaN}'),
    ("Infinity", b'{"prompt": "x", "duration_sec": Infinity}'),
    ("1e999", b'{"prompt": "x", "fps": 1e999}'),
    ("-1e999", b'{"prompt": "x", "guidance": -1e999}'),
    ("lone high surrogate", b'{"prompt": "\\ud800"}'),
    ("lone low surrogate", b'{"prompt": "a\\udc00b"}'),
    ("surrogates the wrong way round", b'{"prompt": "\\udc00\\ud800"}'),
    ("NUL", b'{"prompt": "a\\u0000b"}'),
    ("raw NUL", b'{"prompt": "a\x00b"}'),
    ("raw newline", b'{"prompt": "a\nb"}'),
    ("10 MB prompt", b'{"prompt": "' + b"a" * 10_000_000 + b'"}'),
    ("deep lists", b"[" * _DEEP),
    ("deep lists, closed", b'{"prompt": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    ("deep objects", b'{"a":' * 12_000 + b"1" + b"}" * 12_000),
    ("invalid UTF-8", b'{"prompt": "\xff\xfe\xfd"}'),
    ("overlong UTF-8", b'{"prompt": "\xc0\xaf"}'),
    ("UTF-16", '{"prompt": "x"}'.encode("utf-16")),
    ("byte order mark", b'\xef\xbb\xbf{"prompt": "x"}'),
    ("cut in a character", '{"prompt": "歩'.encode()[:-1]),
    ("cut in an escape", b'{"prompt": "\\u12'),
    ("5,000 digits", b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}"),
    ("2**64", b'{"prompt": "x", "seed": 18446744073709551616}'),
    ("-0", b'{"prompt": "x", "seed": -0}'),
    ("hexadecimal", b'{"prompt": "x", "seed": 0x10}'),
    ("two values", b'{"prompt": "x"}{"prompt": "y"}'),
    ("twice the same key", b'{"prompt": "x", "prompt": 5}'),
    ("10,000 keys", json.dumps({f"k{i}": i for i in range(5_000)} | {"prompt": "x"}).encode()[: 64 * 1024]),
    ("comment", b'{"prompt": "x" /* y */}'),
    ("pickle", b"cos\nsystem\n(S'touch pwned'\ntR."),
    ("pickle 4", b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
    ("prototype", b'{"prompt": "x", "__proto__": {"a": 1}, "constructor": 1, "__class__": "x"}'),
    ("format string", b'{"prompt": "%s%n{0.__class__}{{7*7}}${jndi:ldap://127.0.0.1/a}"}'),
    ("SQL", b'{"prompt": "x\'; DROP TABLE jobs; --", "avatar": "1 OR 1=1"}'),
    ("script", b'{"prompt": "<script>alert(1)</script>"}'),
    ("combining marks", json.dumps({"prompt": "a" + "\u0301" * 1500}).encode()),
    ("right to left", json.dumps({"prompt": "\u202eskaeps\u202c walks \u200d\u200d\ufeff"}).encode()),
]
"""(name, body)"""

_JOB = "0123456789abcdef" * 2
SECRET = "top secret"

_LINES = r"""
..
../secret
../../secret
../../../../../../etc/passwd
....//secret
..;/secret
...
./secret
..%2fsecret
..%2Fsecret
%2e%2e/secret
%2e%2e%2fsecret
%2E%2E%2Fsecret
.%2e/secret
%2e./secret
..%252fsecret
%252e%252e%252fsecret
..%25252fsecret
..%c0%afsecret
..%e0%80%afsecret
%c0%ae%c0%ae/secret
..\secret
..%5csecret
%2e%2e%5csecret
..%255csecret
..\..\..\windows\win.ini
\\host\share\secret
/etc/passwd
%2fetc%2fpasswd
//etc/passwd
file:///etc/passwd
C:\secret
c:%5csecret
%2f%2fhost%2fsecret
secret
secret.json
secret%00.json
secret.json%00
%00
secret%0a
secret%0d%0aX-Evil:%201
secret%20
JOB/secret
JOB/../secret
JOB/../../secret
JOB/%2e%2e%2fsecret
JOB/results.npy/..
JOB/results.npy/../../secret
JOB/.partial-1
JOBUPPER.json
JOB.JSON
JOB.json/
JOB.json/..
JOB%0a.json
JOB .json
 JOB.json
JOBCUT．json
．．／secret
‥/secret
%ef%bc%8e%ef%bc%8e%ef%bc%8fsecret
~root
~/secret
$HOME/secret
*
?
.partial-1
.git/config
"""

PATHS: list[str] = [
    line.replace("JOBUPPER", _JOB.upper()).replace("JOBCUT", _JOB[:-1]).replace("JOB", _JOB)
    for line in _LINES.strip("\n").split("\n")
] + ["x" * 4000]
"""Behind the URL prefix of artifacts; none of them names a file that may be read."""
