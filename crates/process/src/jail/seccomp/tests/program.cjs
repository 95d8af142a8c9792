// What ordinary programs do, in so far as the kernel has a part in it.
"use strict";
const assert = require("node:assert");
const { execFileSync, spawn } = require("node:child_process");
const crypto = require("node:crypto");
const dns = require("node:dns").promises;
const fs = require("node:fs").promises;
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const { Worker } = require("node:worker_threads");
const zlib = require("node:zlib");

async function main() {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), "filter-"));
  await fs.writeFile(path.join(folder, "a"), "x".repeat(100_000));
  await fs.copyFile(path.join(folder, "a"), path.join(folder, "b"));
  assert.strictEqual((await fs.readFile(path.join(folder, "b"))).length, 100_000);
  assert.deepStrictEqual((await fs.readdir(folder)).sort(), ["a", "b"]);
  const watcher = require("node:fs").watch(folder);
  watcher.close();
  await fs.rm(folder, { recursive: true });

  const worker = new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", {
    eval: true,
  });
  assert.strictEqual(await new Promise((done) => worker.once("message", done)), 42);

  assert.strictEqual(execFileSync("/bin/echo", ["well"]).toString(), "well\n");
  const child = spawn("/bin/cat", { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end("through");
  assert.strictEqual((await child.stdout.toArray()).join(""), "through");

  const server = http.createServer((_, response) => response.end("answer"));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`);
  assert.strictEqual(await answer.text(), "answer");
  server.closeAllConnections();
  server.close();

  assert.ok((await dns.lookup("localhost")).address);
  assert.ok(await dns.lookup("localhost", { family: 4, hints: require("node:dns").ADDRCONFIG }));
  await assert.rejects(dns.lookup("no-such-name.invalid"), /ENOTFOUND|EAI_AGAIN/);

  const key = await new Promise((done, fail) =>
    crypto.scrypt("a", "b", 16, (error, key) => (error ? fail(error) : done(key))),
  );
  assert.strictEqual(key.length, 16);
  assert.ok(zlib.gunzipSync(zlib.gzipSync("x")).equals(Buffer.from("x")));
  let sum = 0;
  for (let i = 0; i < 3_000_000; i++) sum = (sum + i * 7) | 0;
  const empty = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
  assert.ok(new WebAssembly.Instance(empty));
  assert.ok(os.cpus().length > 0 && os.networkInterfaces().lo && os.totalmem() > 0 && os.hostname() && process.memoryUsage());
  console.log("node is well");
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
