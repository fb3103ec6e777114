// Declares an incident, follows it until it is open, adds a note, and proposes a rollback that waits for approval.
//
// HARMONY_API=http://127.0.0.1:8080 HARMONY_TOKEN=... node generated/build/examples/incident.js KEY
//
// KEY identifies what happened, such as the id of an alert: run again with the same key, it declares nothing new.
import { setTimeout as sleep } from "node:timers/promises";

import { graphql } from "../generated/graphql/gql.js";
import type { TypedDocumentString } from "../generated/graphql/graphql.js";
import { client } from "../generated/rest/client.gen.js";
import {
  getIncidentsId,
  getLogVerify,
  postIncidents,
  postIncidentsIdNotes,
  postIncidentsIdRemediate,
} from "../generated/rest/sdk.gen.js";

const { HARMONY_API: api = "", HARMONY_TOKEN: token = "" } = process.env;
const key = process.argv[2];
if (!api || !token || !key) throw new Error("usage: HARMONY_API=… HARMONY_TOKEN=… incident.js KEY");

// What is no success is thrown: a problem document that says what is wrong, with a hint of what to do.
client.setConfig({ baseUrl: api, auth: token });
const org = "default";

const Waiting = graphql(`
  query Waiting {
    approvals {
      id
      incidentId
      action
      requiredRoles
      deadline
    }
  }
`);

async function ask<Result, Variables>(
  query: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const body = JSON.stringify({ query, variables });
  const answer = await (await fetch(`${api}/graphql`, { method: "POST", headers, body })).json();
  if (answer.errors) throw new Error(answer.errors[0].message);
  return answer.data;
}

/** Looks twice a second, for three minutes, until there is something. */
async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 360; tries++) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(500);
  }
  throw new Error(`gave up waiting for ${what}`);
}

const once = (what: string) => ({ "Idempotency-Key": `${key}${what}` });
const incident = { title: "Checkout answers 500", severity: "P2", serviceName: "checkout" };
const declared = await postIncidents({ path: { org }, headers: once(""), body: incident });
const path = { org, id: declared.data.incidentId };
console.log(`declared ${path.id}`);

const open = await until(`${path.id} to open`, async () => {
  const { data } = await getIncidentsId({ path });
  return data.state === "PENDING" ? undefined : data;
});
console.log(`${path.id} is ${open.state}, commanded by ${open.commander || "nobody"}`);

const note = { note: "Errors began with release 2.4.1." };
const noted = await postIncidentsIdNotes({ path, headers: once("-note"), body: note });
console.log(`noted as record ${noted.data.seq}`);

const rollback = { runbook: "runbooks/rollback-deployment.md", reason: "2.4.1 is bad" };
await postIncidentsIdRemediate({ path, headers: once("-rollback"), body: rollback });
const gate = await until("the rollback to wait for approval", async () =>
  (await ask(Waiting, {})).approvals.find((one) => one.incidentId === path.id),
);
console.log(`${gate.action} waits until ${gate.deadline} for ${gate.requiredRoles.join(" or ")}`);

const { data: report } = await getLogVerify({ path: { org } });
console.log(`the log is ${report.verified ? "verified" : "BROKEN"}: ${report.incidents} incidents, ${report.records} records`);
