// Heads and policies of docs/protocol.md. There is no ML-DSA-44 here, so a policy that names such a key is refused.
import { KEY_NAME, Refusal, base64, ed25519, need, sha256 } from "./conventions.mjs";

export function readVerifierKey(text) {
  const [, name, id, key] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? [];
  const encoded = key && base64(key);
  need(encoded && KEY_NAME.test(name), "malformed-policy");
  const length = { 1: 33, 4: 33, 6: 1313 }[encoded[0]];
  need(encoded.length === length && sha256(`${name}\n`, encoded).toString("hex", 0, 4) === id, "malformed-policy");
  return { name, id, algorithm: encoded[0], publicKey: encoded.subarray(1) };
}

export function parsePolicy(text) {
  const error = "malformed-policy";
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: null };
  const seen = new Set();
  const isNew = (...words) => !seen.has(words.join(" ")) && seen.add(words.join(" "));
  const isKnown = (name) => policy.witnesses.has(name) || policy.groups.has(name);
  const key = (kind, word, algorithm) => {
    const found = readVerifierKey(word);
    need(found.algorithm !== 6, "ml-dsa-44-unsupported");
    need(found.algorithm === algorithm && isNew("id", found.name, found.id), error);
    need(isNew(kind, found.publicKey.toString("hex")), error);
    return found;
  };
  need(text.endsWith("\n") && !/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text), error);
  for (const line of text.slice(0, -1).split("\n")) {
    const [keyword, ...words] = line.split(/[ \t]+/).filter(Boolean);
    if (keyword === undefined || keyword.startsWith("#")) continue;
    const [name] = words;
    if (keyword === "log") {
      need(words.length === 1 || words.length === 2, error);
      policy.logs.push(key("log", name, 1));
    } else if (keyword === "witness") {
      need((words.length === 2 || words.length === 3) && !isKnown(name) && name !== "none", error);
      policy.witnesses.set(name, key("witness", words[1], 4));
    } else if (keyword === "group") {
      const [, threshold, ...members] = words;
      need(members.length && !isKnown(name) && name !== "none", error);
      need(members.every((member) => isKnown(member) && isNew("member", member)), error);
      need(/^(all|any|[1-9][0-9]{0,8})$/.test(threshold), error);
      const k = { all: members.length, any: 1 }[threshold] ?? Number(threshold);
      need(k <= members.length, error);
      policy.groups.set(name, { k, members });
    } else {
      need(keyword === "quorum" && words.length === 1 && policy.quorum === null, error);
      need(name === "none" || isKnown(name), error);
      policy.quorum = name;
    }
  }
  need(policy.quorum !== null && !canSplit(policy, policy.quorum), error);
  return policy;
}

// Whether two disjoint sets of witnesses can both satisfy it; each name is a member of one group at most.
function canSplit({ groups }, name) {
  if (!groups.has(name)) return false;
  const { k, members } = groups.get(name);
  const both = members.filter((member) => canSplit({ groups }, member)).length;
  return both >= k || 2 * (k - both) <= members.length - both;
}

// The latest time at or after which enough witnesses cosigned, or null.
function quorumTime(policy, name, times) {
  if (!policy.groups.has(name)) return times.get(name) ?? null;
  const { k, members } = policy.groups.get(name);
  const found = members.map((member) => quorumTime(policy, member, times)).filter((time) => time !== null);
  return found.sort((a, b) => (a < b ? 1 : -1))[k - 1] ?? null;
}

export const checkpointText = (origin, size, root) => `${origin}\n${size}\n${root.toString("base64")}\n`;
export const cosignedMessage = (seconds, text) => `cosignature/v1\ntime ${seconds}\n${text}`;

function verifyLine({ algorithm, publicKey }, signature, text) {
  if (algorithm === 1) {
    need(ed25519(publicKey, Buffer.from(text), signature), "signature-invalid");
    return null;
  }
  need(signature.length === 72, "signature-invalid");
  const seconds = signature.readBigUInt64BE();
  const message = Buffer.from(cosignedMessage(seconds, text));
  need(seconds < 2n ** 63n && ed25519(publicKey, message, signature.subarray(8)), "signature-invalid");
  return seconds;
}

export function acceptHead(policy, { origin, size, root, signatures }, now, maxAge) {
  const text = checkpointText(origin, size, root);
  const fresh = new Map();
  const aged = new Map();
  let isByLog = false;
  for (const { name, signature } of signatures) {
    const isIts = (key) => key.name === name && key.id === signature.toString("hex", 0, 4);
    for (const key of policy.logs.filter(isIts)) {
      verifyLine(key, signature.subarray(4), text);
      isByLog ||= key.name === origin;
    }
    for (const [witness] of [...policy.witnesses].filter(([, key]) => isIts(key))) {
      const time = verifyLine(policy.witnesses.get(witness), signature.subarray(4), text);
      const keep = (times) => times.get(witness) > time || times.set(witness, time);
      if (time === 0n || time > BigInt(now) + 60n) continue;
      keep(aged);
      if (maxAge === null || time >= BigInt(now) - BigInt(maxAge)) keep(fresh);
    }
  }
  need(isByLog, "signature-invalid");
  const time = policy.quorum === "none" ? null : quorumTime(policy, policy.quorum, fresh);
  if (policy.quorum !== "none" && time === null) {
    throw new Refusal(quorumTime(policy, policy.quorum, aged) === null ? "quorum-not-met" : "stale");
  }
  const auditors = policy.groups.get("auditors")?.members ?? [];
  return { time, auditedBy: auditors.filter((name) => quorumTime(policy, name, fresh) !== null) };
}
