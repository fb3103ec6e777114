// A graphql-ws client that follows a service's audit: `node subscribe.mjs ADDRESS TOKEN SERVICE`. Prints `listening` once
// the server has acknowledged it, then one line of JSON for each event.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [address, token, serviceId] = process.argv.slice(2);
const client = createClient({
  url: `${address.replace(/^http/, "ws")}/graphql/ws`,
  webSocketImpl: WebSocket,
  retryAttempts: 0,
  connectionParams: { authorization: `Bearer ${token}` },
  on: { connected: () => console.log("listening") },
});
const query = "subscription ($serviceId: String!) { auditEvents(serviceId: $serviceId) { action actor subjectType subjectId } }";
try {
  for await (const event of client.iterate({ query, variables: { serviceId } })) console.log(JSON.stringify(event));
} catch (error) {
  console.error(error.reason ?? error.message ?? JSON.stringify(error));
  process.exit(1);
}
