// A verifier of the badge ledger's receipts, offline: written from docs/protocol.md, not from the Python code. Headings
// are those of that text.
import { commitment, parseJson, readBadge } from "./badges.mjs";
import {
  CONTROL, NONE, Reader, Refusal, ed25519, integer, isText, isZeros, jsonReaders, need, ori, sha256,
} from "./conventions.mjs";
import { acceptHead } from "./policy.mjs";

// Entries: [name, kind, least, most]; a number as kind is that many bytes

const STATUS_EVENT = [["issuer", 32], ["slot", "u64"], ["reason", "u8", 0, 6]];
const ENTRIES = {
  1: ["log_params", [["time", "u64"], ["origin", "ori"], ["protocol", "u8", 1, 1],
    ["list_slots", "u32", 131072, 131072], ["chunk_slots", "u16", 256, 256], ["hash", "u8", 1, 1],
    ["predecessor", "predecessor"]]],
  2: ["issuer_key", [["time", "u64"], ["action", "u8", 1, 2], ["prev", 32], ["identifier", "identifier"],
    ["roles", "u8", 1, 7], ["algorithm", "u8", 1, 1], ["public_key", 32], ["binding", "u8", 1, 4], ["evidence", 32],
    ["signer", "u64"], ["possession_sig", 64], ["manage_sig", 64]]],
  3: ["status_list", [["time", "u64"], ["list", "u32"], ["issuer", 32]]],
  4: ["submission", [["time", "u64"], ["issuer", 32], ["key", "u64"], ["count", "u32", 1, 100000], ["not_after", "u64"],
    ["nonce", 16], ["events_root", 32], ["algorithm", "u8", 1, 1], ["signature", 64]]],
  5: ["issue", [["issuer", 32], ["slot", "u64"], ["commitment", 32]]],
  6: ["revoke", STATUS_EVENT],
  7: ["suspend", STATUS_EVENT],
  8: ["reinstate", STATUS_EVENT],
  9: ["status_root", [["time", "u64"], ["previous", "u64"], ["lists", "u64"], ["issued", "u64"], ["revoked", "u64"],
    ["suspended", "u64"], ["root", 32]]],
};
export const EVENTS = { 5: "issue", 6: "revoke", 7: "suspend", 8: "reinstate" };
export const ADD = 1, ISSUE = 1, STATUS = 2, MANAGE = 4;

function readFields(reader, fields) {
  const entry = {};
  for (const [name, kind, least, most] of fields) {
    entry[name] = typeof kind === "number" ? reader.take(kind) : reader[kind]();
    need(least === undefined || (entry[name] >= least && entry[name] <= most), reader.error);
  }
  return entry;
}

export function decodeEntry(bytes) {
  need(bytes.length >= 2, "malformed-entry");
  need(bytes[0] === 1 && bytes[1] in ENTRIES, "unknown-entry");
  const [type, fields] = ENTRIES[bytes[1]];
  const reader = new Reader(bytes.subarray(2), "malformed-entry");
  const entry = readFields(reader, fields);
  reader.end();
  return { type, bytes, leaf: sha256("\0", bytes), ...entry };
}

// Signed messages

export function submissionMessage(origin, { issuer, key, count, not_after, nonce, events_root, algorithm }) {
  return Buffer.concat([Buffer.from("badge-ledger/v1 submission\n"), ori(origin), issuer, integer(key, 8),
    integer(count, 4), integer(not_after, 8), nonce, events_root, integer(algorithm, 1)]);
}

export function keyMessage(origin, { action, prev, identifier, roles, algorithm, public_key }) {
  const name = Buffer.from(identifier);
  return Buffer.concat([Buffer.from("badge-ledger/v1 key\n"), ori(origin), integer(action, 1), prev,
    integer(name.length, 2), name, integer(roles, 1), integer(algorithm, 1), public_key]);
}

// Trees and proofs

export const node = (left, right) => sha256("\x01", left, right);

const splitPoint = (count) => 1n << BigInt((count - 1n).toString(2).length - 1);

export function multiproofRoot(size, targets, hashes) {
  const indexes = [...targets.keys()];
  need(indexes.length && indexes.every((index) => index >= 0n && index < size) && size < 2n ** 63n, "proof-invalid");
  need(hashes.every((hash) => hash.length === 32), "proof-invalid");
  let used = 0;
  const f = (lo, hi) => {
    if (!indexes.some((index) => index >= lo && index < hi)) {
      need(used < hashes.length, "proof-invalid");
      return hashes[used++];
    }
    if (hi - lo === 1n) return targets.get(lo);
    const middle = lo + splitPoint(hi - lo);
    return node(f(lo, middle), f(middle, hi));
  };
  const root = f(0n, size);
  need(used === hashes.length, "proof-invalid");
  return root;
}

// Packed receipt and JSON receipt

const MALFORMED = "malformed-receipt";

function readPacked(bytes) {
  const reader = new Reader(bytes, MALFORMED);
  const list = (count, item) => Array.from({ length: count }, item);
  const hash = () => reader.take(32);
  const indexed = () => ({ index: reader.u64(), entry: reader.take(reader.u16()) });
  reader.take(4);
  const flags = reader.u8();
  need(flags <= 3, MALFORMED);
  const isFull = (flags & 1) !== 0;
  const parts = {
    isFull,
    salt: flags & 2 ? reader.take(32) : null,
    origin: reader.ori(),
    size: reader.u64(),
    index: reader.u64(),
    issue: reader.take(74),
    statusRoot: reader.take(reader.u8()),
    chunk: reader.take(64),
    submission: isFull ? indexed() : null,
    keys: isFull ? list(reader.u8(), indexed) : [],
    logProof: list(reader.u16(), hash),
    statusProof: list(reader.u16(), hash),
    eventsProof: isFull ? list(reader.u8(), hash) : [],
    signatures: list(reader.u8(), () => ({ name: reader.ori(), signature: reader.take(reader.u16()) })),
  };
  reader.end();
  return parts;
}

// The parts of a JSON receipt that was read as a map.
export function partsOfJson(top) {
  const { members, array, number, binary, hashes, indexed, signature, origin } = jsonReaders(MALFORMED);
  need(top instanceof Map, MALFORMED);
  const isFull = top.get("profile") === "full";
  const value = members(top, "format", "profile", ...(top.has("salt") ? ["salt"] : []), "origin", "tree_size", "index",
    "issue", "status_root", "chunk", ...(isFull ? ["submission", "keys", "events_proof"] : []), "log_proof",
    "status_proof", "signatures");
  need(value.format === "badge-ledger/v1 receipt" && (isFull || value.profile === "short"), MALFORMED);
  need(!top.has("salt") || (isText(value.salt) && /^[0-9a-f]{64}$/.test(value.salt)), MALFORMED);
  return {
    isFull,
    salt: top.has("salt") ? Buffer.from(value.salt, "hex") : null,
    origin: origin(value.origin),
    size: number(value.tree_size),
    index: number(value.index),
    issue: binary(value.issue),
    statusRoot: binary(value.status_root),
    chunk: binary(value.chunk),
    submission: isFull ? indexed(value.submission) : null,
    keys: isFull ? array(value.keys, indexed) : [],
    logProof: hashes(value.log_proof),
    statusProof: hashes(value.status_proof),
    eventsProof: isFull ? hashes(value.events_proof) : [],
    signatures: array(value.signatures, signature),
  };
}

// The receipt in its parts, or a Refusal of step 1.
export function readReceipt(bytes) {
  return inStep(1, () => {
    need(bytes.length <= 65536, "too-large");
    const isPacked = bytes.subarray(0, 4).toString("latin1") === "BLR1";
    return receiptOf(isPacked ? readPacked(bytes) : partsOfJson(parseJson(bytes, MALFORMED)));
  });
}

// The entry of one of these types, with its index; else `error`.
export function entryAt({ index, entry: raw }, types, error) {
  need(raw.length >= 2 && raw[0] === 1 && types.includes(ENTRIES[raw[1]]?.[0]), error);
  try {
    return { index, ...decodeEntry(raw) };
  } catch {
    throw new Refusal(error);
  }
}

export function receiptOf(parts) {
  const at = (indexed, type) => entryAt(indexed, [type], MALFORMED);
  const { size, index, chunk, isFull } = parts;
  const receipt = {
    ...parts,
    issue: at({ index, entry: parts.issue }, "issue"),
    statusRoot: at({ index: size - 1n, entry: parts.statusRoot }, "status_root"),
    submission: isFull ? at(parts.submission, "submission") : null,
    keys: parts.keys.map((key) => at(key, "issuer_key")),
  };
  receipt.shown = [receipt.issue, receipt.statusRoot, ...(isFull ? [receipt.submission] : []), ...receipt.keys];
  const indexes = receipt.shown.map((shown) => shown.index);
  need(size > 0n && size < 2n ** 63n && indexes.every((shown) => shown < size), MALFORMED);
  need(new Set(indexes).size === indexes.length && chunk.length === 64, MALFORMED);
  need(!isFull || (receipt.keys.length >= 1 && receipt.keys.length <= 255), MALFORMED);
  need(parts.logProof.length < 65536 && parts.statusProof.length < 65536 && parts.eventsProof.length < 256, MALFORMED);
  need(parts.signatures.length >= 1 && parts.signatures.length <= 64, MALFORMED);
  need(parts.signatures.every(({ signature }) => signature.length > 4 && signature.length < 65536), MALFORMED);
  receipt.state = slotState(receipt.issue.slot, chunk);
  need(receipt.state, MALFORMED);
  return receipt;
}

export function slotState(slot, chunk) {
  const byte = Number(slot >> 3n) & 31;
  const mask = 0x80 >> Number(slot & 7n);
  const [isRevoked, isSuspended] = [chunk[byte] & mask, chunk[32 + byte] & mask];
  if (isRevoked && isSuspended) return null;
  return isRevoked ? "revoked" : isSuspended ? "suspended" : "active";
}

// Verifying a receipt

export const LIST_SLOTS = 131072n;
export const DAY_MS = 86400000n;
const BINDINGS = { 1: "self-certifying", 2: "published", 3: "vouched" };

function base58(bytes) {
  const digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  let [value, text] = [BigInt(`0x${bytes.toString("hex")}`), ""];
  for (; value > 0n; value /= 58n) text = digits[Number(value % 58n)] + text;
  return text;
}

export function isFirstBinding({ binding, identifier, public_key, evidence }) {
  if (binding === 4 || (binding === 1) !== identifier.startsWith("did:key:")) return false;
  const expected = () => `did:key:z${base58(Buffer.concat([Buffer.from([0xed, 0x01]), public_key]))}`;
  return binding !== 1 || (identifier === expected() && isZeros(evidence));
}

export function verifyKeys({ origin, submission, keys }, roles = ISSUE) {
  const proven = (condition, rule) => need(condition, "not-proven", rule);
  proven(keys[0].index === submission.key, "unknown-key");
  proven((keys[0].roles & roles) === roles, "key-role");
  keys.forEach((key, k) => {
    const message = keyMessage(origin, key);
    proven(key.index < (k ? keys[k - 1] : submission).index, "unknown-key");
    proven(key.action === ADD, "key-retired");
    proven(sha256(key.identifier).equals(submission.issuer), "foreign-issuer");
    if (k + 1 < keys.length) {
      const signer = keys[k + 1];
      proven(!isZeros(key.prev) && key.signer !== NONE, "key-prev");
      proven(key.signer === signer.index, "unknown-key");
      proven(key.binding === 4 && isZeros(key.evidence), "binding");
      proven(signer.roles & MANAGE, "key-role");
      need(ed25519(signer.public_key, message, key.manage_sig), "signature-invalid");
    } else {
      proven(isZeros(key.prev) && key.signer === NONE, "key-prev");
      proven(isZeros(key.manage_sig), "signature");
      proven(key.roles & MANAGE, "key-role");
      proven(isFirstBinding(key), "binding");
    }
    need(ed25519(key.public_key, message, key.possession_sig), "signature-invalid");
  });
}

export function logRoot({ size, shown, logProof }) {
  return multiproofRoot(size, new Map(shown.map((entry) => [entry.index, entry.leaf])), logProof);
}

export function acceptReceiptHead(receipt, root, policy, now, maxAge) {
  const head = acceptHead(policy, { ...receipt, root }, now, maxAge);
  const time = receipt.statusRoot.time / 1000n;
  if (policy.quorum !== "none") {
    need(time <= BigInt(head.time) + 60n, "not-proven", "time");
    return { ...head, by: "witnesses" };
  }
  need(time <= BigInt(now) + 60n, "not-proven", "time");
  need(maxAge === null || time >= BigInt(now) - BigInt(maxAge), "stale");
  return { ...head, time, by: "log" };
}

export function verifyStatus({ issue, statusRoot, chunk, statusProof }) {
  need(issue.slot < LIST_SLOTS * statusRoot.lists, "proof-invalid");
  const target = new Map([[issue.slot >> 8n, sha256("\0", chunk)]]);
  need(multiproofRoot(512n * statusRoot.lists, target, statusProof).equals(statusRoot.root), "proof-invalid");
}

export function verifyWindow({ time, not_after }) {
  need(time <= not_after && not_after <= time + DAY_MS, "not-proven", "window");
}

function verifyEvent({ issue, submission, eventsProof }) {
  const { index, issuer, count, events_root } = submission;
  const k = issue.index - index - 1n;
  need(k >= 0n && k < count, "proof-invalid");
  need(issue.issuer.equals(issuer), "not-proven", "foreign-issuer");
  verifyWindow(submission);
  const root = multiproofRoot(BigInt(count), new Map([[k, issue.leaf]]), eventsProof);
  need(root.equals(events_root), "proof-invalid");
}

function verifyTimes({ keys, submission, statusRoot }) {
  verifyRising([...[...keys].reverse(), submission, statusRoot]);
}

export function verifyRising(entries) {
  const times = entries.map((entry) => entry.time);
  need(times.every((time, i) => i === 0 || times[i - 1] <= time), "not-proven", "time-decreases");
}

export function verifySubmission({ origin, keys: [key], submission }) {
  need(ed25519(key.public_key, submissionMessage(origin, submission), submission.signature), "signature-invalid");
}

export function inStep(step, check) {
  try {
    return check();
  } catch (refusal) {
    if (refusal instanceof Refusal) refusal.step = step;
    throw refusal;
  }
}

// The head that the receipt is proven under, or a Refusal. `badge`: { commitment, issuer }, each null where unknown.
export function verifyReceipt(receipt, policy, now, maxAge, badge) {
  const root = inStep(2, () => logRoot(receipt));
  const head = inStep(3, () => acceptReceiptHead(receipt, root, policy, now, maxAge));
  inStep(4, () => verifyStatus(receipt));
  if (receipt.isFull) {
    inStep(5, () => verifyEvent(receipt));
    inStep(6, () => verifyKeys(receipt));
    inStep(6, () => verifyTimes(receipt));
    inStep(7, () => verifySubmission(receipt));
  }
  inStep(8, () => {
    need(!badge.commitment || badge.commitment.equals(receipt.issue.commitment), "not-issued");
    need(!badge.issuer || badge.issuer.equals(receipt.issue.issuer), "not-issued");
  });
  return head;
}

// Verdicts

const NOT_SHOWN = "not shown";

function isAnotherSlot({ address, purpose, index }, base, slot) {
  const [, rest] = /:\/\/(.*)$/s.exec(address) ?? [];
  if (!rest?.startsWith(base)) return false;
  const list = `${base}${slot / LIST_SLOTS}`;
  const isPath = rest === list || (["revocation", "suspension"].includes(purpose) && rest === `${list}/${purpose}`);
  return !isPath || index !== slot % LIST_SLOTS;
}

function prove(receipt, badge, policy, now, maxAge) {
  const name = badge.issuer && Buffer.from(badge.issuer);
  need(!name || (name.length <= 2048 && !CONTROL.test(badge.issuer)), "not-issued");
  const expected = { commitment: commitment(badge, receipt.salt), issuer: name && sha256(name) };
  try {
    return { head: verifyReceipt(receipt, policy, now, maxAge, expected), isStale: false };
  } catch (refusal) {
    if (refusal.error !== "stale") throw refusal;
    return { head: verifyReceipt(receipt, policy, now, null, expected), isStale: true };
  }
}

// A badge's entries in lists of somebody else, each with what its list said, and those in this ledger's.
function sortEntries(badge, receipt, lists) {
  const base = `${receipt.origin}/status/`;
  const isOwn = ({ address }) => /:\/\/(.*)$/s.exec(address)?.[1].startsWith(base) ?? false;
  const said = (entry) => lists.find(({ address, index, purpose }) =>
    address === entry.address && purpose === entry.purpose && BigInt(index) === entry.index)?.state ?? "not-asked";
  const others = badge.statusEntries.filter((entry) => !isOwn(entry));
  return { own: badge.statusEntries.filter(isOwn), others: others.map((entry) => ({ ...entry, state: said(entry) })) };
}

// Results in the order of the findings; the first that applies.
function resultOf({ receipt, badge, proven, entries, now, ownSignature, signer, hosted }) {
  const base = `${receipt.origin}/status/`;
  const says = (state, ...purposes) => entries.others.some((entry) => entry.state === state &&
    (!purposes.length || purposes.includes(entry.purpose)));
  const isElsewhere = entries.own.some((entry) => isAnotherSlot(entry, base, receipt.issue.slot));
  const isEarly = badge.from.some((time) => time > now * 1000);
  const isAnothers = signerOf({ badge, ownSignature, signer }) && !isSigner({ receipt, badge, ownSignature, signer });
  if (ownSignature === "invalid" || (proven && (isElsewhere || isAnothers)) || isEarly) return "not_proven";
  if ((proven && receipt.state === "revoked") || says("set", "revocation") || badge.isRevoked ||
    hosted === "revoked") return "revoked";
  if (!proven) return "not_proven";
  if (badge.until.some((time) => time < now * 1000)) return "expired";
  if (proven.isStale) return "stale";
  if (says("unknown")) return "not_proven";
  return receipt.state === "suspended" || says("set", "suspension") ? "suspended" : "valid";
}

const URL_HOST = /^https?:\/\/([a-z0-9._-]+)(?::([0-9]{1,5}))?(?:[/?#].*)?$/is;
const WEB_HOST = /^did:web:([a-z0-9._-]+)(?:%3a([0-9]{1,5}))?(?::.*)?$/is;

function hostOf(identifier) {
  const [, host, port] = URL_HOST.exec(identifier) ?? WEB_HOST.exec(identifier) ?? [];
  return host && (port === undefined ? host.toLowerCase() : `${host.toLowerCase()}:${Number(port)}`);
}

// The issuer that the signature names where the badge does not.
const signerOf = ({ badge, ownSignature, signer }) => (!badge.issuer && ownSignature === "verified" && signer) || null;

const isSigner = ({ receipt, ...found }) => sha256(signerOf(found) ?? "").equals(receipt.issue.issuer);

function tieOf({ receipt, badge, ownSignature, signer }) {
  const { isFull, keys } = receipt;
  if (badge.issuer) return "identifier";
  if (isSigner({ receipt, badge, ownSignature, signer })) return "signature";
  return isFull && badge.host && badge.host === hostOf(keys.at(-1).identifier) ? "host" : null;
}

function wordOf({ ownSignature, binding, isAudited }) {
  if (ownSignature !== "verified") {
    if (binding === NOT_SHOWN) return isAudited ? "anchored, audited" : "anchored by the operator's word";
    if (binding === BINDINGS[3]) return "anchored, vouched by the operator";
  }
  return null;
}

function qualifierOf({ badge, entries: { others }, ...trust }) {
  const isOther = others.some(({ state, purpose }) => state === "set" && !["revocation", "suspension"].includes(purpose));
  const word = wordOf(trust);
  const unnamed = "the badge does not name its issuer";
  return [
    word,
    !trust.tie && (word ? unnamed : `anchored, ${unnamed}`),
    others.some(({ state }) => state === "not-asked") && "status lists of others were not asked",
    (badge.hasOtherStatus || isOther) && "a status that is not understood",
  ].filter(Boolean).join("; ");
}

// The members of the verdict's JSON form, without the sentences. `now` and `maxAge` (null: no limit) in seconds;
// `signer`: the issuer of the key that the own signature holds under; `lists`: what lists of others said;
// `hosted`: what a hosted badge's address answered.
export function verdict(receiptBytes, badgeBytes, policy, now, maxAge, { ownSignature, signer, lists, hosted }) {
  const receipt = readReceipt(receiptBytes);
  const badge = readBadge(badgeBytes);
  const { isFull, issue, submission, keys, state } = receipt;
  const entries = sortEntries(badge, receipt, lists);
  const always = {
    own_signature: ownSignature,
    lists: entries.others.map(({ address, index, purpose, state: said }) =>
      ({ address, index: String(index), purpose, state: said })),
    ...(hosted && { hosted }),
    profile: isFull ? "full" : "short",
  };
  let proven;
  try {
    proven = prove(receipt, badge, policy, now, maxAge);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    const result = resultOf({ receipt, badge, proven: null, entries, now, ownSignature, signer, hosted });
    return { result, error: refusal.error, ...always, binding: NOT_SHOWN, audited_by: [], audited: false };
  }
  const { head, isStale } = proven;
  const binding = isFull ? BINDINGS[keys.at(-1).binding] : NOT_SHOWN;
  const isAudited = head.auditedBy.length > 0;
  const tie = tieOf({ receipt, badge, ownSignature, signer });
  const isNamed = entries.own.length > 0 &&
    !entries.own.some((entry) => isAnotherSlot(entry, `${receipt.origin}/status/`, issue.slot));
  const result = resultOf({ receipt, badge, proven, entries, now, ownSignature, signer, hosted });
  const qualifier = result === "valid" && qualifierOf({ badge, entries, ownSignature, binding, isAudited, tie });
  return {
    result,
    ...(qualifier && { qualifier }),
    ...(isStale && { error: "stale" }),
    ...always,
    origin: receipt.origin,
    tree_size: Number(receipt.size),
    index: Number(issue.index),
    slot: Number(issue.slot),
    ...(isNamed && { slot_named: true }),
    ...(isFull && { issued_at_ms: Number(submission.time), identifier: keys[0].identifier }),
    ...(!isFull && { issued_before_ms: Number(receipt.statusRoot.time) }),
    state,
    status_as_of_s: Number(head.time),
    status_by: head.by,
    issuer: issue.issuer.toString("hex"),
    ...(tie && { issuer_by: tie }),
    binding,
    audited_by: head.auditedBy,
    audited: isAudited,
  };
}
