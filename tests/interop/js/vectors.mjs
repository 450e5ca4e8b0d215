// node vectors.mjs FOLDER    every test vector in the folder; a line for each that does not hold, exit status 1 if any
import assert from "node:assert/strict";
import { createPrivateKey, sign } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Auditor, Violation, statusTreeRoot, treeRoot } from "./auditor.mjs";
import { commitment, deriveSalt, readBadge } from "./badges.mjs";
import { Refusal, base64, ed25519, integer, ori, sha256 } from "./conventions.mjs";
import { readDated, readHistory, verifyDated, verifyHistory } from "./past.mjs";
import { acceptHead, checkpointText, cosignedMessage, parsePolicy, readVerifierKey } from "./policy.mjs";
import {
  decodeEntry, keyMessage, multiproofRoot, readReceipt, slotState, submissionMessage, verdict, verifyReceipt,
} from "./verifier.mjs";

const folder = process.argv[2];
const load = (name) => JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"));
const hex = (text) => Buffer.from(text, "hex");
const toHex = (bytes) => bytes.toString("hex");

function refusal(work) {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal || error instanceof Violation) return error;
    throw error;
  }
  assert.fail("nothing was refused");
}

function signed(seed, message) {
  const der = Buffer.concat([hex("302e020100300506032b657004220420"), hex(seed)]);
  return toHex(sign(null, message, createPrivateKey({ key: der, format: "der", type: "pkcs8" })));
}

// A value as the vectors write it.
function plain(value) {
  if (Buffer.isBuffer(value)) return toHex(value);
  if (typeof value === "bigint") return value < 2n ** 53n ? Number(value) : value.toString();
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
}

function fieldsOf({ bytes, leaf, type, ...fields }) {
  return plain(["revoke", "suspend", "reinstate"].includes(type) ? { ...fields, type: bytes[1] } : fields);
}

// Fields of a message: hex as bytes.
function parsed(fields) {
  const isHex = (name, value) => typeof value === "string" && name !== "identifier";
  const parse = ([name, value]) => [name, isHex(name, value) ? hex(value) : value];
  return Object.fromEntries(Object.entries(fields).map(parse));
}

function slotsMessage(origin, { issuer, key, not_after, nonce, count }) {
  return Buffer.concat([Buffer.from("badge-ledger/v1 slots\n"), ori(origin), issuer, integer(key, 8),
    integer(not_after, 8), nonce, integer(count, 4)]);
}

function idempotencyKey({ issuer, key, count, not_after, nonce, events_root, algorithm, signature }) {
  return sha256(issuer, integer(key, 8), integer(count, 4), integer(not_after, 8), nonce, events_root,
    integer(algorithm, 1), signature);
}

const verifiers = {
  commitment(vector) {
    const badge = readBadge(Buffer.from(vector.badge));
    const salt = vector.salt_key && deriveSalt(hex(vector.salt_key), badge);
    assert.equal(badge.form, vector.form);
    assert.equal(toHex(badge.canonical), vector.canonical);
    assert.equal(salt && toHex(salt), vector.salt);
    assert.equal(toHex(commitment(badge, salt)), vector.commitment);
  },
  "badge-refused"({ cases }) {
    for (const { badge } of cases) assert.equal(refusal(() => readBadge(hex(badge))).error, "malformed-badge");
  },
  entry(vector) {
    const entry = decodeEntry(hex(vector.entry));
    assert.equal(entry.type, vector.type);
    assert.equal(toHex(entry.leaf), vector.leaf_hash);
    assert.deepEqual(fieldsOf(entry), vector.fields);
  },
  "entry-refused"({ cases }) {
    for (const { reason, entry, error } of cases) {
      assert.equal(refusal(() => decodeEntry(hex(entry))).error, error, reason);
    }
  },
  "message-key"(vector) {
    const message = keyMessage(vector.origin, parsed(vector.fields));
    assert.equal(toHex(message), vector.message);
    assert.equal(signed(vector.possession_seed, message), vector.possession_sig);
    assert.equal(signed(vector.manage_seed, message), vector.manage_sig);
  },
  "message-slots"(vector) {
    const message = slotsMessage(vector.origin, parsed(vector.fields));
    assert.equal(toHex(message), vector.message);
    assert.equal(signed(vector.seed, message), vector.signature);
  },
  "message-submission"(vector) {
    const fields = parsed(vector.fields);
    const message = submissionMessage(vector.origin, fields);
    assert.equal(toHex(message), vector.message);
    assert.equal(signed(vector.seed, message), vector.signature);
    assert(ed25519(hex(vector.public_key), message, fields.signature));
    const leaves = vector.events.map((event) => decodeEntry(hex(event)).leaf);
    assert.deepEqual(treeRoot(leaves), fields.events_root);
    assert.equal(toHex(idempotencyKey(fields)), vector.idempotency_key);
  },
  "bulk-body"({ body }) {
    const { fields, events } = load("message-submission");
    const [magic, middle, rest] = [hex(body).subarray(0, 4), hex(body).subarray(4, 169), hex(body).subarray(169)];
    assert.equal(magic.toString(), "BLS1");
    assert.deepEqual(fieldsOf(decodeEntry(Buffer.concat([hex("0104"), integer(fields.time, 8), middle]))), fields);
    assert.equal(toHex(rest), events.join(""));
  },
  ed25519({ cases }) {
    for (const { reason, public_key, message, signature, accepted } of cases) {
      assert.equal(ed25519(hex(public_key), hex(message), hex(signature)), accepted, reason);
    }
  },
  "checkpoint-ed25519"(vector) {
    const { origin, size, root, text, timestamp_s, verifier_keys: [log, witness] } = vector;
    const lines = vector.note.slice(text.length + 1).trim().split("\n").map((line) => line.split(" "));
    const head = {
      origin,
      size,
      root: hex(root),
      signatures: lines.map(([, name, signature]) => ({ name, signature: base64(signature) })),
    };
    assert.equal(checkpointText(origin, size, hex(root)), text);
    assert.equal(toHex(Buffer.from(cosignedMessage(timestamp_s, text))), vector.cosigned_message);
    assert.deepEqual([log, witness].map((key) => readVerifierKey(key).id), vector.key_ids);
    const policy = parsePolicy(`log ${log}\nwitness w ${witness}\nquorum w\n`);
    assert.equal(acceptHead(policy, head, timestamp_s, 0).time, BigInt(timestamp_s));
  },
  "checkpoint-mldsa44"(vector) {
    const { name, id } = readVerifierKey(vector.verifier_key);
    const message = Buffer.concat([Buffer.from("subtree/v1\n\0"), ori(name), integer(vector.timestamp_s, 8),
      ori(vector.origin), integer(0, 8), integer(vector.size, 8), hex(vector.root)]);
    assert.equal(id, vector.key_id);
    assert.equal(toHex(message), vector.cosigned_message);
    assert.equal(hex(vector.signature).readBigUInt64BE(), BigInt(vector.timestamp_s));
    const unsupported = refusal(() => parsePolicy(`log ${vector.verifier_key}\nquorum none\n`));
    assert.equal(unsupported.error, "ml-dsa-44-unsupported");
  },
  "log-valid"(vector) {
    const auditor = new Auditor();
    auditor.read(vector.entries.map(hex));
    assert(auditor.isSealed);
    for (const { size, root } of vector.heads) assert.equal(toHex(treeRoot(auditor.leaves.slice(0, size))), root);
  },
  "log-violation"(vector) {
    const entries = [...load(vector.log).entries, ...vector.then].map(hex);
    const { rule, index } = refusal(() => new Auditor().read(entries));
    assert.deepEqual({ rule, index }, { rule: vector.rule, index: vector.index });
  },
  multiproof(vector) {
    const targets = new Map(Object.entries(vector.targets).map(([index, leaf]) => [BigInt(index), hex(leaf)]));
    assert.equal(toHex(multiproofRoot(BigInt(vector.size), targets, vector.proof.map(hex))), vector.root);
  },
  "multiproof-refused"({ cases }) {
    for (const one of cases) assert.throws(() => verifiers.multiproof(one), one.reason);
  },
  status(vector) {
    const [slot, chunk] = [BigInt(vector.slot), hex(vector.chunk)];
    const leaf = new Map([[slot >> 8n, sha256("\0", chunk)]]);
    const root = statusTreeRoot(vector.lists, vector.revoked.map(BigInt), vector.suspended.map(BigInt));
    assert.equal(toHex(root), vector.root);
    assert.equal(slotState(slot, chunk), vector.state);
    assert.equal(toHex(multiproofRoot(512n * BigInt(vector.lists), leaf, vector.proof.map(hex))), vector.root);
  },
  receipt(vector) {
    const badge = Buffer.from(vector.badge);
    const policy = parsePolicy(vector.policy);
    for (const receipt of [Buffer.from(vector.packed, "base64"), Buffer.from(vector.json)]) {
      const { now_s, max_age_s, own_signature: ownSignature, signer, lists, hosted } = vector;
      const found = verdict(receipt, badge, policy, now_s, max_age_s, { ownSignature, signer, lists, hosted });
      assert.deepEqual(found, vector.verdict);
    }
  },
  dated({ document, policy, now_s, max_age_s, proven }) {
    const dated = readDated(Buffer.from(document, "base64"));
    const past = verifyDated(dated, parsePolicy(policy), now_s, max_age_s);
    assert.deepEqual({
      at_ms: Number(past.at),
      state_then: past.state,
      head_size: Number(past.size),
      head_time_ms: Number(past.time),
      until_ms: Number(past.until),
      state: dated.receipt.state,
    }, proven);
  },
  "dated-refused"({ document, policy, now_s, max_age_s, ...refused }) {
    const { error, step, rule } = refusal(() =>
      verifyDated(readDated(Buffer.from(document, "base64")), parsePolicy(policy), now_s, max_age_s));
    assert.deepEqual({ error, step, ...(rule && { rule }) }, refused);
  },
  history({ document, policy, now_s, max_age_s, proven }) {
    const found = verifyHistory(readHistory(Buffer.from(document, "base64")), parsePolicy(policy), now_s, max_age_s);
    assert.deepEqual({
      slot: Number(found.issue.slot),
      commitment: toHex(found.issue.commitment),
      identifier: found.identifier,
      binding: found.binding,
      state: found.state,
      events: found.events.map(({ index, type, reason, submission }) => ({
        index: Number(index),
        type,
        reason: reason ?? null,
        time_ms: Number(submission.time),
        submission: Number(submission.index),
        key: Number(submission.key),
      })),
    }, proven);
  },
  "history-refused"({ document, policy, now_s, max_age_s, ...refused }) {
    const { error, step, rule } = refusal(() =>
      verifyHistory(readHistory(Buffer.from(document, "base64")), parsePolicy(policy), now_s, max_age_s));
    assert.deepEqual({ error, step, ...(rule && { rule }) }, refused);
  },
  "receipt-refused"({ receipt, policy, now_s, max_age_s, commitment: badge, issuer, ...refused }) {
    const { error, step, rule } = refusal(() => {
      const read = readReceipt(Buffer.from(receipt, "base64"));
      verifyReceipt(read, parsePolicy(policy), now_s, max_age_s, { commitment: hex(badge), issuer: hex(issuer) });
    });
    assert.deepEqual({ error, step, ...(rule && { rule }) }, refused);
  },
};

let failures = 0;
const names = readdirSync(folder).filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));
for (const name of names.sort()) {
  const kinds = Object.keys(verifiers).filter((kind) => name.startsWith(kind));
  try {
    assert(kinds.length, "a vector of no kind");
    verifiers[kinds.sort((a, b) => b.length - a.length)[0]](load(name));
  } catch (error) {
    failures += 1;
    console.log(`${name}: ${error.stack}`);
  }
}
console.log(`${names.length} vectors, ${failures} failed`);
process.exitCode = failures ? 1 : 0;
