// graphql-http's audit of a server that speaks GraphQL over HTTP: `node audit.mjs ADDRESS TOKEN`. Prints one line of JSON
// for each audit that is not fulfilled, and how many are.
import { serverAudits } from "graphql-http";

const [address, token] = process.argv.slice(2);
const fetchFn = (url, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("authorization", `Bearer ${token}`);
  return fetch(url, { ...options, headers });
};

const audits = serverAudits({ url: `${address}/graphql`, fetchFn });
let fulfilled = 0;
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === "ok") fulfilled += 1;
  else console.log(JSON.stringify({ id: audit.id, name: audit.name, status: result.status, reason: result.reason }));
}
console.log(JSON.stringify({ fulfilled, audits: audits.length }));
