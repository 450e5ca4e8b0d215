// Badges: strict JSON, JCS, commitments (docs/protocol.md, "Commitments") and claims ("Verdicts").
import { createHmac } from "node:crypto";
import { base64, need, sha256, utf8 } from "./conventions.mjs";

// Strict JSON: objects become Maps, integers BigInts (but -0 the number -0), other numbers numbers

export function parseJson(bytes, error) {
  const text = utf8(bytes);
  need(text !== null, error);
  let at = 0;
  const match = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found?.[0];
  };
  const token = (pattern) => {
    match(/[ \t\r\n]*/y);
    return match(pattern);
  };
  const string = () => {
    const raw = token(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y);
    need(raw !== undefined, error);
    const value = JSON.parse(raw);
    need(value.isWellFormed(), error);
    return value;
  };
  const number = (raw) => {
    const value = Number(raw);
    const isInteger = !/[.eE]/.test(raw);
    need(Number.isFinite(value) && !(isInteger && Math.abs(value) >= 2 ** 53), error);
    return isInteger && raw !== "-0" ? BigInt(raw) : value;
  };
  const members = (close, member) => {
    if (token(close)) return;
    do member(); while (token(/,/y));
    need(token(close), error);
  };
  const value = (depth) => {
    if (token(/(?=[{[])/y) !== undefined) need(depth <= 1000, error);
    if (token(/\{/y)) {
      const map = new Map();
      members(/\}/y, () => {
        const name = string();
        need(!map.has(name) && token(/:/y), error);
        map.set(name, value(depth + 1));
      });
      return map;
    }
    if (token(/\[/y)) {
      const list = [];
      members(/\]/y, () => list.push(value(depth + 1)));
      return list;
    }
    const raw = token(/true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y);
    if (raw === undefined) return string();
    return /[tfn]/.test(raw[0]) ? JSON.parse(raw) : number(raw);
  };
  const top = value(1);
  token(/$/y);
  need(at === text.length && top instanceof Map, error);
  return top;
}

function jcs(value) {
  if (Array.isArray(value)) return `[${value.map(jcs).join()}]`;
  if (typeof value === "bigint") return value.toString();
  if (!(value instanceof Map)) return JSON.stringify(value);
  return `{${[...value.keys()].sort().map((name) => `${JSON.stringify(name)}:${jcs(value.get(name))}`).join()}}`;
}

// Commitments

const JWS_ALGORITHMS = new Set(("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 ES256K EdDSA Ed25519 Ed448 " +
  "ML-DSA-44 ML-DSA-65 ML-DSA-87").split(" "));
const CRYPTOSUITES = new Set(("eddsa-rdfc-2022 eddsa-jcs-2022 eddsa-2022 ecdsa-rdfc-2019 ecdsa-jcs-2019 ecdsa-2019 " +
  "ecdsa-sd-2023 bbs-2023 mldsa44-rdfc-2024 mldsa44-jcs-2024").split(" "));
const PROOF_TYPES = new Set(("Ed25519Signature2018 Ed25519Signature2020 JsonWebSignature2020 RsaSignature2018 " +
  "EcdsaSecp256k1Signature2019 EcdsaSecp256k1RecoverySignature2020 EcdsaSecp256r1Signature2019 " +
  "BbsBlsSignature2020").split(" "));

function isProof(proof) {
  if (!(proof instanceof Map)) return false;
  const isLong = (name) => typeof proof.get(name) === "string" && [...proof.get(name)].length >= 80;
  const type = proof.get("type");
  return ["proofValue", "jws", "signatureValue"].some(isLong) &&
    (PROOF_TYPES.has(type) || (type === "DataIntegrityProof" && CRYPTOSUITES.has(proof.get("cryptosuite"))));
}

const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const UNREADABLE = "malformed-badge";

// The compact JWS that a JSON document wraps, null if none.
const ENVELOPE = "EnvelopedVerifiableCredential";
const ENVELOPE_CONTEXT = "https://www.w3.org/ns/credentials/v2";
const DATA_URL = /^data:application\/(?:vc\+jwt|vc\+ld\+jwt|vc-ld\+jwt|jwt),([A-Za-z0-9._-]+)$/i;

function tokenIn(document) {
  const only = (...names) => need([...document.keys()].every((name) => names.includes(name)), UNREADABLE);
  const isAlone = (name, text) => [document.get(name)].flat().length === 1 && [document.get(name)].flat()[0] === text;
  const types = [document.get("type"), document.get("@type")].flat();
  if (types.some((type) => typeof type === "string" && type.endsWith(ENVELOPE))) {
    only("@context", "id", "type");
    need(isAlone("type", ENVELOPE) && (!document.has("@context") || isAlone("@context", ENVELOPE_CONTEXT)), UNREADABLE);
    const url = document.get("id");
    const [, token] = (typeof url === "string" && DATA_URL.exec(url)) || [];
    need(token && COMPACT.test(token), UNREADABLE);
    return token;
  }
  if (!document.has("payload") || !(document.has("signature") || document.has("signatures"))) return null;
  let holder = document;
  if (document.has("signatures")) {
    only("payload", "signatures");
    const signatures = document.get("signatures");
    need(Array.isArray(signatures) && signatures.length === 1 && signatures[0] instanceof Map, UNREADABLE);
    [holder] = signatures;
    need([...holder.keys()].every((name) => ["protected", "signature"].includes(name)), UNREADABLE);
  } else only("payload", "protected", "signature");
  const parts = [holder.get("protected"), document.get("payload"), holder.get("signature")];
  need(parts.every((part) => typeof part === "string" && /^[A-Za-z0-9_-]+$/.test(part)), UNREADABLE);
  return parts.join(".");
}

export function readBadge(bytes) {
  need(bytes.length <= 2 << 20, UNREADABLE);
  const text = utf8(bytes)?.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
  need(text, UNREADABLE);
  if (COMPACT.test(text)) return readToken(text);
  const document = parseJson(bytes, UNREADABLE);
  const token = tokenIn(document);
  if (token !== null) return readToken(token);
  const hasProof = [document.get("proof")].flat().some(isProof);
  return { form: 2, canonical: Buffer.from(jcs(document)), hasProof, ...readClaims(document, null) };
}

function readToken(text) {
  const parts = text.split(".").map((part) => base64(part, "base64url"));
  need(parts.every((part) => part?.length), UNREADABLE);
  const [header, payload] = parts.slice(0, 2).map((part) => parseJson(part, UNREADABLE));
  const algorithm = header.get("alg");
  need(typeof algorithm === "string" && algorithm.toLowerCase() !== "none", UNREADABLE);
  const hasProof = JWS_ALGORITHMS.has(algorithm) && parts[2].length >= 64;
  return { form: 1, canonical: Buffer.from(text), hasProof, ...readClaims(payload, payload) };
}

export function commitment({ form, canonical, hasProof }, salt) {
  need(salt || hasProof, UNREADABLE);
  const bytes = salt ?? Buffer.alloc(0);
  return sha256("badge-ledger/v1 commitment\n", Buffer.from([form, bytes.length]), bytes, canonical);
}

export function deriveSalt(saltKey, { form, canonical }) {
  return createHmac("sha256", saltKey).update("badge-ledger/v1 salt\n").update(Buffer.from([form])).update(canonical)
    .digest();
}

// Claims

const CONTEXTS = ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/2018/credentials/v1"];
const LIST_TYPES = ["BitstringStatusListCredential", "StatusList2021Credential"];
const DATE = new RegExp("^(\\d{4})-(\\d\\d)-(\\d\\d)(?:[Tt ](\\d\\d):(\\d\\d)(?::(\\d\\d)(?:\\.(\\d{1,32}))?)?" +
  "(?:[Zz]|([+-])(\\d\\d):?(\\d\\d))?)?$");

const ADDRESS = /^https?:\/\/([a-z0-9._-]+)(?::([0-9]*))?(?:[/?#][!#-&(-?A-[\]-~]*)?$/i;

const strings = (value) => [value].flat().filter((item) => typeof item === "string");
const firstObject = (value) => [value].flat().find((item) => item instanceof Map);
const isText = (value) => typeof value === "string" && value !== "";

// Milliseconds since the epoch.
function readDate(value) {
  if (typeof value === "bigint" || typeof value === "number") {
    need(value >= 0 && value < 253402300800, UNREADABLE);
    return Math.trunc(Number(value) * 1000);
  }
  const found = typeof value === "string" ? DATE.exec(value) : null;
  need(found, UNREADABLE);
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map((digits) => Number(digits ?? 0));
  const [hours, minutes] = found.slice(9, 11).map((digits) => Number(digits ?? 0));
  const time = new Date(0);
  time.setUTCFullYear(year, month - 1, day);
  need(year >= 1 && time.getUTCMonth() === month - 1 && time.getUTCDate() === day, UNREADABLE);
  need(hour < 24 && minute < 60 && second < 60 && hours < 24 && minutes < 60, UNREADABLE);
  time.setUTCHours(hour, minute, second, Number((found[7] ?? "").padEnd(3, "0").slice(0, 3)));
  return time.getTime() - (found[8] === "-" ? -1 : 1) * (60 * hours + minutes) * 60000;
}

function readDates(...values) {
  return values.filter((value) => value !== undefined && value !== null).map(readDate);
}

const BESIDE_VC = ("@context type issuer credentialSubject credentialStatus validFrom validUntil issuanceDate " +
  "expirationDate credentialSchema proof revoked").split(" ");

// `claims`: the payload of a JWS.
function readClaims(document, claims) {
  const isCredential = (map) => strings(map.get("type")).includes("VerifiableCredential") ||
    strings(map.get("@context")).some((context) => CONTEXTS.includes(context));
  const inner = claims?.get("vc");
  need(!(inner instanceof Map && (isCredential(document) || BESIDE_VC.some((name) => document.has(name)))), UNREADABLE);
  const credential = inner instanceof Map ? inner : document;
  return isCredential(credential) ? readCredential(credential, claims ?? new Map()) : readAssertion(document);
}

function readCredential(credential, claims) {
  const types = strings(credential.get("type"));
  need(!types.some((type) => LIST_TYPES.includes(type)), UNREADABLE);
  need(types.includes("VerifiableCredential") || !types.includes("VerifiablePresentation"), UNREADABLE);
  need(firstObject(credential.get("credentialSubject")), UNREADABLE);
  const member = credential.get("issuer");
  const issuers = [claims.get("iss"), member instanceof Map ? member.get("id") : member]
    .filter((name) => name !== undefined && name !== null);
  need(issuers.length && issuers.every((name) => isText(name) && name === issuers[0]), UNREADABLE);
  const isListed = (entry) => entry instanceof Map && strings(entry.get("type")).includes("BitstringStatusListEntry");
  const status = credential.get("credentialStatus") ?? [];
  const statuses = Array.isArray(status) ? status : [status];
  const isAliased = [...credential.keys()].some((name) => name.includes(":") || /^@(?!context$)/.test(name)) ||
    firstObject(credential.get("@context")) !== undefined;
  const hasClaim = (claims.get("status") ?? null) !== null;
  const revoked = credential.get("revoked") ?? false;
  need(typeof revoked === "boolean", UNREADABLE);
  return {
    issuer: issuers[0],
    from: readDates(credential.get("validFrom"), credential.get("issuanceDate"), claims.get("nbf")),
    until: readDates(credential.get("validUntil"), credential.get("expirationDate"), claims.get("exp")),
    statusEntries: statuses.filter(isListed).map(readStatusEntry),
    hasOtherStatus: !statuses.every(isListed) || isAliased || hasClaim,
    isRevoked: revoked,
    host: null,
  };
}

function addressHost(address) {
  const [, name, port] = (typeof address === "string" && ADDRESS.exec(address)) || [];
  return name && Number(port ?? 0) < 65536 && name.toLowerCase() + (port ? `:${Number(port)}` : "");
}

// Host and port of the address where an assertion lies that is hosted, with its class and issuer; null for any other.
function hostOf(document, way) {
  const ways = strings(way?.get("type")).map((type) => type.toLowerCase());
  const host = addressHost(document.get("id")) || addressHost(way?.get("url"));
  const isHosted = ways.some((type) => ["hosted", "hostedbadge"].includes(type));
  const member = document.get("badge"), issuer = member instanceof Map ? member.get("issuer") : null;
  const places = [
    ...(addressHost(document.get("id")) ? [document.get("id")] : []),
    ...["verification", "verify"].map((name) => firstObject(document.get(name))?.get("url")),
    member instanceof Map ? member.get("id") : member,
    ...[issuer, document.get("issuer")].flatMap((one) =>
      one instanceof Map ? ["id", "url", "origin"].map((name) => one.get(name)) : [one]),
  ].filter((place) => place !== undefined && place !== null);
  if (!places.every((place) => addressHost(place) === host)) return null;
  return host && (isHosted || !ways.some((type) => ["signed", "signedbadge"].includes(type))) ? host : null;
}

function readAssertion(document) {
  const way = firstObject(document.get("verification")) ?? firstObject(document.get("verify"));
  const revoked = document.get("revoked") ?? false;
  need(strings(document.get("type")).includes("Assertion") ||
    (way && document.has("badge") && document.get("recipient") instanceof Map) ||
    (revoked === true && !document.has("type") && addressHost(document.get("id"))), UNREADABLE);
  need(typeof revoked === "boolean", UNREADABLE);
  const badgeClass = document.get("badge");
  const member = badgeClass instanceof Map ? badgeClass.get("issuer") : null;
  const named = [badgeClass, member, document.get("issuer")];
  need(!named.some(Array.isArray), UNREADABLE);
  need(![document, way, ...named].some((one) => one instanceof Map && one.has("@id")), UNREADABLE);
  const issuer = member instanceof Map ? member.get("id") : member;
  return {
    issuer: isText(issuer) ? issuer : null,
    from: readDates(document.get("issuedOn")),
    until: readDates(document.get("expires")),
    statusEntries: [],
    hasOtherStatus: false,
    isRevoked: revoked,
    host: hostOf(document, way),
  };
}

function readStatusEntry(entry) {
  const [address, purpose] = [entry.get("statusListCredential"), entry.get("statusPurpose")];
  const index = entry.get("statusListIndex");
  need(isText(address) && isText(purpose), UNREADABLE);
  need(typeof index === "bigint" || (isText(index) && /^(0|[1-9][0-9]{0,18})$/.test(index)), UNREADABLE);
  need(BigInt(index) >= 0n && BigInt(index) < 2n ** 63n, UNREADABLE);
  return { address, purpose, index: BigInt(index) };
}
