// Hands requests on to an address, each with a bearer token: `node with_token.mjs ADDRESS TOKEN`. Says where it listens.
import http from "node:http";

const [address, token] = process.argv.slice(2);
const { hostname, port } = new URL(address);

const server = http.createServer((request, answer) => {
  const headers = { ...request.headers, authorization: `Bearer ${token}` };
  const { method, url: path } = request;
  const onward = http.request({ hostname, port, path, method, headers }, (response) => {
    answer.writeHead(response.statusCode, response.headers);
    response.pipe(answer);
  });
  onward.on("error", () => answer.writeHead(502).end());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
