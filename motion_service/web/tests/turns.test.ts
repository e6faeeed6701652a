import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../player/turns.ts";

test("a motion of the turn that is on plays, of a turn to come waits, of a turn that was is late", () => {
  const turns = new Turns<string>();
  assert.equal(turns.offer("1", "a", "A"), "waiting");
  assert.equal(turns.begin("1"), "A");
  assert.equal(turns.offer("1", "b", "B"), "playing");
  assert.equal(turns.begin("2"), null);
  assert.equal(turns.offer("1", "c", "C"), "late");
  assert.equal(turns.offer("2", "d", "D"), "playing");
});

test("no motion comes twice", () => {
  const turns = new Turns<string>();
  turns.begin("1");
  assert.equal(turns.offer("1", "a", "A"), "playing");
  assert.equal(turns.offer("1", "a", "A"), "seen");
  turns.offer("2", "b", "B");
  assert.equal(turns.begin("2"), "B");
  assert.equal(turns.begin("2"), null);
  assert.equal(turns.begin("1"), null, "a turn that is over does not come back");
  assert.equal(turns.current, "2");
});

test("interrupted: neither the turn that is on nor the one that waits plays any more", () => {
  const turns = new Turns<string>();
  turns.begin("1");
  turns.offer("2", "b", "B");
  turns.end();
  assert.equal(turns.begin("2"), null);
  assert.equal(turns.offer("1", "a", "A"), "late");
  assert.equal(turns.offer("2", "c", "C"), "late");
});

test("only the latest motion waits, and what is remembered has an end", () => {
  const turns = new Turns<number>();
  for (let i = 0; i < 5000; i++) {
    assert.equal(turns.offer(`${i}`, "a", i), "waiting");
    assert.equal(turns.begin(`${i}`), i);
  }
  assert.equal(turns.offer("4990", "b", 0), "late");
});
