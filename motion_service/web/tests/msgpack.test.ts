import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeMsgpack } from "../player/msgpack.ts";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));

// Byte for byte from the specification of MessagePack.
const READ: [string, unknown][] = [
  ["00", 0],
  ["7f", 127],
  ["ff", -1],
  ["e0", -32],
  ["cc80", 128],
  ["cd0100", 256],
  ["ce00010000", 65536],
  ["cf0000000100000000", 2 ** 32],
  ["d080", -128],
  ["d18000", -32768],
  ["d280000000", -(2 ** 31)],
  ["d3ffffffff00000000", -(2 ** 32)],
  ["c0", null],
  ["c2", false],
  ["c3", true],
  ["ca3fc00000", 1.5],
  ["cb3ff8000000000000", 1.5],
  ["a3e38182", "あ"],
  ["d903616263", "abc"],
  ["93010203", [1, 2, 3]],
  ["dc0001c0", [null]],
  ["82a16101a16202", { a: 1, b: 2 }],
  ["de0001a161a162", { a: "b" }],
  ["c403010203", bytes("010203")],
];
for (const [hex, value] of READ) test(hex, () => assert.deepEqual(decodeMsgpack(bytes(hex)), value));

test("what is cut off, goes on or is unknown is refused", () => {
  for (const hex of ["", "a3e381", "92c0", "0000", "c1", "d40001", "dd7fffffff"]) {
    assert.throws(() => decodeMsgpack(bytes(hex)), TypeError, hex);
  }
});
