// Notes over HTTP: GET and POST /notes, GET and DELETE /notes/{id}. They live in /tmp, that is,
// as long as the instance does; a real service keeps them in a database.
import { randomUUID } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";

const FOLDER = "/tmp/notes";
const NOTES_MAX = Number(process.env.NOTES_MAX ?? 100);
const TEXT_MAX = 1000;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

await mkdir(FOLDER, { recursive: true });

const routes = [
  ["GET", /^\/$/, () => reply(200, { routes: ["/notes", "/notes/{id}"] })],
  ["GET", /^\/notes\/?$/, listNotes],
  ["POST", /^\/notes\/?$/, addNote],
  ["GET", /^\/notes\/([^/]+)$/, getNote],
  ["DELETE", /^\/notes\/([^/]+)$/, deleteNote],
];

export const handler = async (event) => {
  const method = event.requestContext?.http?.method ?? "GET";
  const matching = routes
    .map(([verb, pattern, run]) => ({ verb, run, match: pattern.exec(event.rawPath ?? "/") }))
    .filter(({ match }) => match);
  if (matching.length === 0) {
    return reply(404, { error: "no such route" });
  }
  const route = matching.find(({ verb }) => verb === method);
  if (!route) {
    return reply(405, { error: "no such method here" }, { allow: matching.map(({ verb }) => verb).join(", ") });
  }
  return route.run(event, route.match[1]);
};

async function listNotes() {
  const files = await readdir(FOLDER);
  const notes = await Promise.all(files.map((file) => read(file)));
  return reply(200, { notes: notes.sort((a, b) => a.created.localeCompare(b.created)) });
}

async function addNote(event) {
  let note;
  try {
    const body = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : event.body;
    note = JSON.parse(body ?? "");
  } catch {
    return reply(400, { error: "the body must be JSON" });
  }
  if (typeof note?.text !== "string" || note.text.length === 0 || note.text.length > TEXT_MAX) {
    return reply(400, { error: `text must be a string of 1 to ${TEXT_MAX} characters` });
  }
  if ((await readdir(FOLDER)).length >= NOTES_MAX) {
    return reply(409, { error: `there are ${NOTES_MAX} notes already; delete one first` });
  }
  const saved = { id: randomUUID(), text: note.text, created: new Date().toISOString() };
  await writeFile(path.join(FOLDER, `${saved.id}.json`), JSON.stringify(saved));
  return reply(201, saved, { location: `/notes/${saved.id}` });
}

async function getNote(_event, id) {
  const note = ID.test(id) && (await read(`${id}.json`).catch(() => null));
  return note ? reply(200, note) : reply(404, { error: "no such note" });
}

async function deleteNote(_event, id) {
  if (!ID.test(id)) {
    return reply(404, { error: "no such note" });
  }
  try {
    await rm(path.join(FOLDER, `${id}.json`));
  } catch {
    return reply(404, { error: "no such note" });
  }
  return { statusCode: 204 };
}

async function read(file) {
  return JSON.parse(await readFile(path.join(FOLDER, file), "utf8"));
}

function reply(statusCode, body, headers = {}) {
  return { statusCode, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}
