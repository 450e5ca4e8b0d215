// Dated receipts and histories of badges, offline: written from docs/protocol.md, not from the Python code. Headings are
// those of that text.
import { parseJson } from "./badges.mjs";
import { jsonReaders, need } from "./conventions.mjs";
import {
  EVENTS, ISSUE, STATUS, acceptReceiptHead, entryAt, inStep, logRoot, multiproofRoot,
  partsOfJson, receiptOf, slotState, verifyKeys, verifyReceipt, verifyRising, verifyStatus, verifySubmission,
  verifyWindow,
} from "./verifier.mjs";

const byIndex = (a, b) => (a.index < b.index ? -1 : a.index > b.index ? 1 : 0);
const leaves = (entries) => new Map(entries.map((entry) => [entry.index, entry.leaf]));

// Dated receipt

export function readDated(bytes) {
  return inStep(1, () => {
    const error = "malformed-receipt";
    const { members, number, binary, hashes, indexed } = jsonReaders(error);
    need(bytes.length <= 98304, "too-large");
    const { format, at, receipt: inner, past } =
      members(parseJson(bytes, error), "format", "at", "receipt", "past");
    need(format === "badge-ledger/v1 dated receipt" && past instanceof Map, error);
    const receipt = receiptOf(partsOfJson(inner));
    const isIssued = past.has("chunk") || past.has("status_proof");
    const shown = members(past, "status_root", "successor", "log_proof", ...(isIssued ? ["chunk", "status_proof"] : []));
    const first = entryAt(indexed(shown.status_root), ["status_root"], error);
    const successor = entryAt(indexed(shown.successor), ["status_root"], error);
    need(first.index < successor.index && successor.index < receipt.size, error);
    need(isIssued === (receipt.issue.index < first.index), error);
    for (const entry of [first, successor]) {
      const same = receipt.shown.find((other) => other.index === entry.index);
      need(!same || same.bytes.equals(entry.bytes), error);
    }
    const chunk = isIssued ? binary(shown.chunk) : null;
    need(!isIssued || chunk.length === 64, error);
    const statusProof = isIssued ? hashes(shown.status_proof) : [];
    return { at: number(at), receipt, first, successor, logProof: hashes(shown.log_proof), chunk, statusProof };
  });
}

// What was the newest head at the moment, and the slot's state then; or a Refusal.
export function verifyDated(dated, policy, now, maxAge, badge = {}) {
  const { at, receipt, first, successor, logProof, chunk, statusProof } = dated;
  verifyReceipt(receipt, policy, now, maxAge, badge);
  inStep(9, () => {
    const root = multiproofRoot(receipt.size, leaves([first, successor]), logProof);
    need(root.equals(logRoot(receipt)), "proof-invalid");
  });
  inStep(10, () => {
    need(successor.previous === first.index, "proof-invalid");
    need(first.time <= at && at < successor.time, "proof-invalid");
    const { isFull, submission, keys, statusRoot } = receipt;
    verifyRising([first, successor, statusRoot, ...(isFull ? [submission, ...keys] : [])].sort(byIndex));
  });
  return inStep(11, () => {
    let state = "unissued";
    if (chunk) {
      verifyStatus({ issue: receipt.issue, statusRoot: first, chunk, statusProof });
      state = slotState(receipt.issue.slot, chunk);
      need(state, "malformed");
      need(state !== "revoked" || receipt.state === "revoked", "not-proven", "illegal-transition");
    }
    return { at, state, size: first.index + 1n, time: first.time, until: successor.time };
  });
}

// History of a badge

const TRANSITIONS = {
  "unissued issue": "active",
  "active suspend": "suspended",
  "suspended reinstate": "active",
  "active revoke": "revoked",
  "suspended revoke": "revoked",
};

export function readHistory(bytes) {
  return inStep(1, () => {
    const error = "malformed";
    const { members, array, number, binary, hashes, indexed, signature, origin } = jsonReaders(error);
    need(bytes.length <= 2 * 1024 * 1024, "too-large");
    const value = members(parseJson(bytes, error), "format", "origin", "tree_size", "submissions", "keys", "status_root",
      "chunk", "log_proof", "status_proof", "signatures");
    need(value.format === "badge-ledger/v1 history", error);
    const size = number(value.tree_size);
    const submissions = array(value.submissions, (item) => {
      const { index, entry, events, events_proof } = members(item, "index", "entry", "events", "events_proof");
      return {
        ...entryAt({ index: number(index), entry: binary(entry) }, ["submission"], error),
        events: array(events, (event) => entryAt(indexed(event), Object.values(EVENTS), error)),
        eventsProof: hashes(events_proof),
      };
    });
    const keys = array(value.keys, (key) => entryAt(indexed(key), ["issuer_key"], error));
    const statusRoot = entryAt({ index: size - 1n, entry: binary(value.status_root) }, ["status_root"], error);
    const chunk = binary(value.chunk);
    const signatures = array(value.signatures, signature);
    const events = submissions.flatMap((submission) => submission.events);
    need(events.length <= 1000, "too-large");
    need(submissions.length && submissions.every((submission) => submission.events.length), error);
    need(events[0].type === "issue", error);
    need(events.every(({ issuer, slot }) => slot === events[0].slot && issuer.equals(events[0].issuer)), error);
    const order = submissions.flatMap((submission) => [submission, ...submission.events]);
    const isRising = (list) => list.every((entry, k) => k === 0 || list[k - 1].index < entry.index);
    const shown = [...order, ...keys];
    need(isRising(order) && isRising(keys) && keys.length >= 1 && keys.length <= 255, error);
    need(new Set(shown.map(({ index }) => index)).size === shown.length, error);
    need(shown.every(({ index }) => index < size - 1n) && chunk.length === 64, error);
    need(signatures.length >= 1 && signatures.length <= 64, error);
    return {
      origin: origin(value.origin), size, submissions, keys, statusRoot, chunk, events, shown: [...shown, statusRoot],
      logProof: hashes(value.log_proof), statusProof: hashes(value.status_proof), signatures,
    };
  });
}

function verifyEvents(submission, issue) {
  const positions = submission.events.map((event) => [event.index - submission.index - 1n, event.leaf]);
  need(positions.every(([k]) => k >= 0n && k < submission.count), "proof-invalid");
  need(submission.issuer.equals(issue.issuer), "not-proven", "foreign-issuer");
  verifyWindow(submission);
  const root = multiproofRoot(BigInt(submission.count), new Map(positions), submission.eventsProof);
  need(root.equals(submission.events_root), "proof-invalid");
}

// The submission's key, each one's signer, and so on as far as they are shown.
function chainOf(submission, keys) {
  const chain = [];
  let index = submission.key;
  while (keys.has(index) && (!chain.length || index < chain.at(-1).index)) {
    chain.push(keys.get(index));
    index = chain.at(-1).signer;
  }
  need(chain.length, "not-proven", "unknown-key");
  return chain;
}

// Slot, state and issuer, each event with its submission; or a Refusal.
export function verifyHistory(history, policy, now, maxAge, badge = {}) {
  const { origin, submissions, statusRoot, chunk, statusProof, events: [issue] } = history;
  const root = inStep(2, () => logRoot(history));
  inStep(3, () => acceptReceiptHead(history, root, policy, now, maxAge));
  const state = inStep(4, () => {
    verifyStatus({ issue, statusRoot, chunk, statusProof });
    const found = slotState(issue.slot, chunk);
    need(found, "malformed");
    return found;
  });
  inStep(5, () => submissions.forEach((submission) => verifyEvents(submission, issue)));
  const keys = new Map(history.keys.map((key) => [key.index, key]));
  const first = inStep(6, () => {
    const chains = submissions.map((submission) => {
      const chain = chainOf(submission, keys);
      const needed = submission.events.reduce((roles, { type }) => roles | (type === "issue" ? ISSUE : STATUS), 0);
      verifyKeys({ origin, submission, keys: chain }, needed);
      return chain;
    });
    need(chains.every((chain) => chain.at(-1) === chains[0].at(-1)), "not-proven", "key-prev");
    need(new Set(chains.flat()).size === keys.size, "malformed");
    verifyRising([...[...submissions, ...history.keys].sort(byIndex), statusRoot]);
    return chains[0].at(-1);
  });
  inStep(7, () => submissions.forEach((submission) =>
    verifySubmission({ origin, keys: [keys.get(submission.key)], submission })));
  const events = inStep(8, () => {
    let now = "unissued";
    const walked = submissions.flatMap((submission) => submission.events.map((event) => {
      now = TRANSITIONS[`${now} ${event.type}`];
      need(now, "not-proven", event.type === "issue" ? "slot-issued" : "illegal-transition");
      return { ...event, submission };
    }));
    need(now === state, "proof-invalid");
    need(!badge.commitment || badge.commitment.equals(issue.commitment), "not-issued");
    need(!badge.issuer || badge.issuer.equals(issue.issuer), "not-issued");
    return walked;
  });
  return { issue, state, events, identifier: first.identifier, binding: first.binding };
}
