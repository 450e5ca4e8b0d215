// node judge.mjs < CASES    for each line, a receipt in base64 and the inputs of its verification in JSON, a line: how the
// verification ends, "ok <head's time> <state>" or "<error> <step> <rule>"
import { readFileSync } from "node:fs";
import { Refusal } from "./conventions.mjs";
import { parsePolicy } from "./policy.mjs";
import { readReceipt, verifyReceipt } from "./verifier.mjs";

function judge({ receipt, policy, now_s, max_age_s, commitment, issuer }) {
  try {
    const badge = { commitment: Buffer.from(commitment, "hex"), issuer: Buffer.from(issuer, "hex") };
    const read = readReceipt(Buffer.from(receipt, "base64"));
    const { time } = verifyReceipt(read, parsePolicy(policy), now_s, max_age_s, badge);
    return `ok ${time} ${read.state}`;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return `${error.error} ${error.step} ${error.rule ?? ""}`.trimEnd();
  }
}

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) console.log(judge(JSON.parse(line)));
