// Conventions of docs/protocol.md: hashes, signatures, strict text and the reading of bytes.
import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";

export class Refusal extends Error {
  constructor(error, rule = undefined) {
    super(rule ? `${error} (${rule})` : error);
    Object.assign(this, { error, rule, step: undefined });
  }
}

export function need(condition, error, rule) {
  if (!condition) throw new Refusal(error, rule);
}

export const NONE = 2n ** 64n - 1n;
export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
export const isZeros = (bytes) => bytes.every((byte) => byte === 0);
export const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
export const KEY_NAME = /^[^\u0000-\u001f\u007f-\u009f\p{White_Space}+]+$/u;

export function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

export function base64(text, encoding = "base64") {
  const bytes = Buffer.from(text, encoding);
  return bytes.toString(encoding) === text ? bytes : null;
}

export class Reader {
  constructor(bytes, error) {
    Object.assign(this, { bytes, error, at: 0 });
  }
  take(count) {
    need(this.at + count <= this.bytes.length, this.error);
    return this.bytes.subarray(this.at, (this.at += count));
  }
  u8() { return this.take(1)[0]; }
  u16() { return this.take(2).readUInt16BE(); }
  u32() { return this.take(4).readUInt32BE(); }
  u64() { return this.take(8).readBigUInt64BE(); }
  text(length, isValid) {
    const text = utf8(this.take(length));
    need(text !== null && isValid(text), this.error);
    return text;
  }
  ori() { return this.text(this.u8(), (text) => KEY_NAME.test(text)); }
  identifier() {
    const length = this.u16();
    need(length >= 1 && length <= 2048, this.error);
    return this.text(length, (text) => !CONTROL.test(text));
  }
  predecessor() {
    const flag = this.u8();
    need(flag <= 1, this.error);
    return flag ? { origin: this.ori(), size: this.u64(), root: this.take(32) } : null;
  }
  end() { need(this.at === this.bytes.length, this.error); }
}

export function integer(value, bytes) {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out.subarray(8 - bytes);
}
export const ori = (origin) => Buffer.concat([integer(Buffer.byteLength(origin), 1), Buffer.from(origin)]);

const P = 2n ** 255n - 19n;
const EIGHTH = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n; // y of points of order 8
const SMALL_ORDER = new Set([0n, 1n, P - 1n, EIGHTH, P - EIGHTH]);

export function ed25519(publicKey, message, signature) {
  const ordinate = (bytes) => BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`) % 2n ** 255n;
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  for (const y of [ordinate(publicKey), ordinate(signature.subarray(0, 32))]) {
    if (y >= P || SMALL_ORDER.has(y)) return false;
  }
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), publicKey]);
  try {
    return verifySignature(null, message, createPublicKey({ key: der, format: "der", type: "spki" }), signature);
  } catch {
    return false;
  }
}

export const isText = (value) => typeof value === "string";

// Readers of the members of a JSON form, which raise `error`, that of the form.
export function jsonReaders(error) {
  const members = (value, ...names) => {
    need(value instanceof Map && value.size === names.length && names.every((name) => value.has(name)), error);
    return Object.fromEntries(value);
  };
  const array = (value, item) => {
    need(Array.isArray(value), error);
    return value.map(item);
  };
  const number = (value) => {
    need(typeof value === "bigint" && value >= 0n, error);
    return value;
  };
  const binary = (value) => {
    const found = isText(value) ? base64(value) : null;
    need(found, error);
    return found;
  };
  const hashes = (value) => {
    const joined = binary(value);
    need(joined.length % 32 === 0, error);
    return Array.from({ length: joined.length / 32 }, (_, k) => joined.subarray(32 * k, 32 * k + 32));
  };
  const indexed = (value) => {
    const { index, entry } = members(value, "index", "entry");
    return { index: number(index), entry: binary(entry) };
  };
  const signature = (value) => {
    const { name, signature: line } = members(value, "name", "signature");
    need(isText(name) && KEY_NAME.test(name) && Buffer.byteLength(name) <= 255, error);
    return { name, signature: binary(line) };
  };
  const origin = (value) => {
    need(isText(value) && KEY_NAME.test(value) && Buffer.byteLength(value) <= 255, error);
    return value;
  };
  return { members, array, number, binary, hashes, indexed, signature, origin };
}
