// Answers length-prefixed frames on the Unix socket it is given: the least that a Node child
// of a relay can do.
import net from "node:net";

const body = Buffer.from("hello");
const answer = Buffer.alloc(4 + body.length);
answer.writeUInt32BE(body.length);
body.copy(answer, 4);

const connection = net.connect(process.argv[2]);
let pending = Buffer.alloc(0);
connection.on("data", (read) => {
  pending = pending.length ? Buffer.concat([pending, read]) : read;
  while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32BE(0)) {
    pending = pending.subarray(4 + pending.readUInt32BE(0));
    connection.write(answer);
  }
});
