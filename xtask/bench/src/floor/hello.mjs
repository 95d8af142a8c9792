// A bare HTTP hello in Node: its own http server and nothing else.
import http from "node:http";

const server = http.createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": 5 });
  response.end("hello");
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening 127.0.0.1:${server.address().port}`);
});
