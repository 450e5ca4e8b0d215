// An auditor of the badge ledger's log: docs/protocol.md, "Replay".
import { NONE, Refusal, ed25519, isZeros, sha256 } from "./conventions.mjs";
import {
  ADD, DAY_MS, EVENTS, ISSUE, LIST_SLOTS, MANAGE, STATUS, decodeEntry, isFirstBinding, keyMessage, node,
  submissionMessage,
} from "./verifier.mjs";

export class Violation extends Error {
  constructor(rule, index) {
    super(`${rule} at ${index}`);
    Object.assign(this, { rule, index });
  }
}

export function treeRoot(leaves) {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return leaves[0];
  let k = 1;
  while (2 * k < leaves.length) k *= 2;
  return node(treeRoot(leaves.slice(0, k)), treeRoot(leaves.slice(k)));
}

export function statusTreeRoot(lists, revoked, suspended) {
  const chunks = Array.from({ length: 512 * lists }, () => Buffer.alloc(64));
  const set = (slots, half) => {
    for (const slot of slots) chunks[Number(slot >> 8n)][half + (Number(slot >> 3n) & 31)] |= 0x80 >> Number(slot & 7n);
  };
  set(revoked, 0);
  set(suspended, 32);
  return treeRoot(chunks.map((chunk) => sha256("\0", chunk)));
}

export class Auditor {
  constructor(origin = null) {
    Object.assign(this, { origin, leaves: [], isSealed: false, issuers: new Map(), lists: [], nonces: new Map() });
    Object.assign(this, { issued: new Set(), revoked: new Set(), suspended: new Set(), time: 0n, previous: NONE });
  }

  // Takes the entries up to the last whole submission, or throws the first violation.
  read(entries) {
    for (let next = 0; next < entries.length;) {
      const index = this.leaves.length;
      const first = this.decode(entries[next], index);
      const count = first.type === "submission" ? first.count : 0;
      const behind = entries.slice(next + 1, next + 1 + count);
      const stray = behind.findIndex((bytes) => !(bytes[1] in EVENTS));
      if (stray >= 0) throw new Violation("count", index + 1 + stray);
      if (behind.length < count) return;
      const events = behind.map((bytes, k) => this.decode(bytes, index + 1 + k));
      this.order(first);
      this[first.type](first, ...events);
      this.leaves.push(first.leaf, ...events.map((event) => event.leaf));
      this.isSealed = first.type === "status_root";
      next += 1 + count;
    }
  }

  decode(bytes, index) {
    try {
      return { ...decodeEntry(bytes), index };
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      throw new Violation(refusal.error, index);
    }
  }

  rule(holds, rule, { index }) {
    if (!holds) throw new Violation(rule, index);
  }

  order(entry) {
    const { index, type, time } = entry;
    const isInPlace = (type === "log_params") === (index === 0) && (index !== 1 || type === "status_root");
    this.rule(isInPlace && !Object.values(EVENTS).includes(type), "entry-order", entry);
    this.rule(time >= this.time, "time-decreases", entry);
    this.time = time;
  }

  log_params(entry) {
    this.rule(this.origin === null || this.origin === entry.origin, "origin", entry);
    this.origin = entry.origin;
  }

  issuer_key(entry) {
    const id = sha256(entry.identifier).toString("hex");
    const issuer = this.issuers.get(id) ?? { keys: [], last: null };
    const rule = (holds, name) => this.rule(holds, name, entry);
    const message = keyMessage(this.origin, entry);
    const isPossessed = () => ed25519(entry.public_key, message, entry.possession_sig);
    if (!issuer.last) {
      rule(entry.action === ADD, "unknown-issuer");
      rule(isZeros(entry.prev), "key-prev");
      rule(entry.signer === NONE, "unknown-key");
      rule(isZeros(entry.manage_sig), "signature");
      rule(entry.roles & MANAGE, "key-role");
      rule(isFirstBinding(entry), "binding");
      rule(isPossessed(), "signature");
    } else {
      const signer = issuer.keys.find((key) => BigInt(key.index) === entry.signer);
      const named = issuer.keys.find((key) => key.public_key.equals(entry.public_key));
      rule(entry.prev.equals(issuer.last), "key-prev");
      rule(entry.binding === 4 && isZeros(entry.evidence), "binding");
      rule(signer, "unknown-key");
      rule(signer.isLive, "key-retired");
      rule(signer.roles & MANAGE, "key-role");
      if (entry.action === ADD) {
        rule(!named, "key-duplicate");
        rule(isPossessed(), "signature");
      } else {
        const isOther = (key) => key !== named && key.isLive && key.roles & MANAGE;
        rule(named, "unknown-key");
        rule(named.isLive, "key-retired");
        rule(named.roles === entry.roles, "key-role");
        rule(isZeros(entry.possession_sig), "signature");
        rule(!(named.roles & MANAGE) || issuer.keys.some(isOther), "last-manage");
      }
      rule(ed25519(signer.public_key, message, entry.manage_sig), "signature");
      if (entry.action !== ADD) named.isLive = false;
    }
    if (entry.action === ADD) issuer.keys.push({ ...entry, isLive: true });
    issuer.last = entry.leaf;
    this.issuers.set(id, issuer);
  }

  status_list(entry) {
    this.rule(entry.list === this.lists.length, "list-number", entry);
    this.rule(this.issuers.has(entry.issuer.toString("hex")), "unknown-issuer", entry);
    this.lists.push(entry.issuer);
  }

  status_root(entry) {
    const root = statusTreeRoot(this.lists.length, this.revoked, this.suspended);
    const counts = [this.lists.length, this.issued.size, this.revoked.size, this.suspended.size].map(BigInt);
    const found = [entry.lists, entry.issued, entry.revoked, entry.suspended];
    const isCounted = counts.every((count, i) => count === found[i]);
    this.rule(entry.previous === this.previous && isCounted && root.equals(entry.root), "status-root", entry);
    this.previous = BigInt(entry.index);
  }

  submission(entry, ...events) {
    const rule = (holds, name) => this.rule(holds, name, entry);
    rule(entry.time <= entry.not_after && entry.not_after <= entry.time + DAY_MS, "window");
    const key = this.issuers.get(entry.issuer.toString("hex"))?.keys.find(({ index }) => BigInt(index) === entry.key);
    rule(key, "unknown-key");
    rule(key.isLive, "key-retired");
    const types = new Set(events.map((event) => event.type));
    const needed = (types.has("issue") ? ISSUE : 0) | (types.size > types.has("issue") ? STATUS : 0);
    rule((key.roles & needed) === needed, "key-role");
    if (types.has("suspend") || types.has("reinstate")) {
      const nonce = Buffer.concat([entry.issuer, entry.nonce]).toString("hex");
      rule(!(this.nonces.get(nonce) >= entry.time), "nonce");
      this.nonces.set(nonce, entry.not_after);
    }
    rule(treeRoot(events.map((event) => event.leaf)).equals(entry.events_root), "events-root");
    rule(ed25519(key.public_key, submissionMessage(this.origin, entry), entry.signature), "signature");
    for (const event of events) this.event(entry, event);
  }

  event(submission, event) {
    const { slot, type } = event;
    const owner = this.lists[Number(slot / LIST_SLOTS)];
    this.rule(event.issuer.equals(submission.issuer), "foreign-issuer", event);
    this.rule(owner?.equals(event.issuer), "not-owner", event);
    if (type === "issue") {
      this.rule(!this.issued.has(slot), "slot-issued", event);
      this.issued.add(slot);
      return;
    }
    const isLegal = this.issued.has(slot) && !this.revoked.has(slot) &&
      (type === "revoke" || this.suspended.has(slot) === (type === "reinstate"));
    this.rule(isLegal, "illegal-transition", event);
    if (type === "suspend") this.suspended.add(slot);
    else this.suspended.delete(slot);
    if (type === "revoke") this.revoked.add(slot);
  }
}
