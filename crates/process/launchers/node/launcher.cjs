'use strict';
// Runs a Node.js handler for the platform: takes invocations as frames from an inherited pipe
// and answers them at a socket. Keeps to the programming model of AWS Lambda, of which there are two:
// up to nodejs22.x with callbacks, from nodejs24.x without. CommonJS, because a module start
// costs several milliseconds more; whatever the function is made of is loaded as what it is.
//
// The frames are described in `contract/lambda/frame.rs`.

const fs = require('fs');
const net = require('net');
const path = require('path');
const Module = require('module');
const { format, types } = require('util');

const SOCKET = 3;
const REQUESTS = 4;
const VERSION = 1;
const [HELLO, INIT, READY, INIT_ERROR, INVOKE, DATA, END, ERROR, CREDIT, CANCEL] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const [BEGIN, BRING, BROUGHT] = [12, 13, 14];
const FLAG_TOO_LARGE = 1;
const FLAG_LAST = 2;
const FLAG_ERROR = 4;
const FLAG_AGAIN = 8;
const FLAG_REFUSED = 16;
const FLAG_STOOD = 32;
const HEADER_BYTES = 24;
const FRAME_BYTES_MAX = 256 * 1024;
const RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100;
const CREDIT_BYTES_INITIAL = 8 * 1024 * 1024;
const CREDIT_BYTES_STREAMED = 1024 * 1024;
// Text shorter than this fits one frame, whatever it is made of.
const SMALL_TEXT = FRAME_BYTES_MAX / 4;
const NOBODY = Buffer.alloc(16);
// Stands for a line end inside one record of the log. It occurs in no UTF-8 text, so that what a
// function prints is never taken for it.
const RECORD_NEWLINE = 0xff;
// Begins a record's line, even where something was printed without a line end.
const RECORD_START = 0xfe;

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

const runtimeMajor = Number(/^AWS_Lambda_nodejs(\d+)\./.exec(process.env.AWS_EXECUTION_ENV ?? '')?.[1] ?? 24);
const hasCallbacks = runtimeMajor < 24;

// --- errors ---------------------------------------------------------------------------------

function faultClass(name) {
  const fault = class extends Error {};
  Object.defineProperty(fault, 'name', { value: name });
  fault.prototype.name = `Runtime.${name}`;
  return fault;
}

const HandlerNotFound = faultClass('HandlerNotFound');
const MalformedHandlerName = faultClass('MalformedHandlerName');
const ImportModuleError = faultClass('ImportModuleError');
const UserCodeSyntaxError = faultClass('UserCodeSyntaxError');
const MalformedStreamingHandler = faultClass('MalformedStreamingHandler');
const InvalidStreamingOperation = faultClass('InvalidStreamingOperation');
const UnhandledPromiseRejection = faultClass('UnhandledPromiseRejection');
const JSONStringifyError = faultClass('JSONStringifyError');
const CallbackHandlerDeprecated = faultClass('CallbackHandlerDeprecated');

const looksLikeError = (value) => value instanceof Error || types.isNativeError(value) ||
  ['name', 'message', 'stack'].every((field) => value?.[field] && typeof value[field] === 'string');

const escapeDelete = (text) => text?.replaceAll('\x7F', '%7F');

/** An error in the form that callers see. */
function errorForm(error) {
  try {
    if (looksLikeError(error)) {
      return {
        errorType: escapeDelete(error.name),
        errorMessage: escapeDelete(error.message),
        trace: escapeDelete(error.stack)?.split('\n') ?? [],
      };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while ' +
        'retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
}

// --- log ------------------------------------------------------------------------------------

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
let logJson = false;
let requestId = hasCallbacks ? undefined : '-';
let tenantId;

const nap = (milliseconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);

/** Writes all of it now; a full pipe is waited for. */
function writeNow(descriptor, bytes) {
  let start = 0;
  while (start < bytes.length) {
    try {
      start += fs.writeSync(descriptor, bytes, start);
    } catch (error) {
      if (error.code !== 'EAGAIN') return;
      nap(1);
    }
  }
}

function writeRecord(line) {
  const bytes = Buffer.from(`\0${line}\n`);
  bytes[0] = RECORD_START;
  for (let at = bytes.indexOf(10); at < bytes.length - 1; at = bytes.indexOf(10, at + 1)) {
    bytes[at] = RECORD_NEWLINE;
  }
  writeNow(1, bytes);
}

const typeOf = (error) => error?.constructor?.name ?? 'UnknownError';
const stackOf = (error) => (typeof error.stack === 'string' ? error.stack.split('\n') : []);

const withErrors = (_key, value) => (value instanceof Error
  ? { errorType: typeOf(value), errorMessage: value.message, stackTrace: stackOf(value), ...value }
  : value);

function jsonRecord(level, message, params) {
  const record = { timestamp: new Date().toISOString(), level, requestId };
  if (tenantId) record.tenantId = tenantId;
  record.message = message;
  if (params.length === 0) {
    try {
      return JSON.stringify(record, withErrors);
    } catch {
      record.message = format(message);
      return JSON.stringify(record);
    }
  }
  record.message = format(message, ...params);
  const error = [message, ...params].find((param) => param instanceof Error);
  if (error !== undefined) {
    record.errorType = typeOf(error);
    record.errorMessage = error.message;
    record.stackTrace = stackOf(error);
  }
  return JSON.stringify(record);
}

const textRecord = (level, message, params) =>
  `${new Date().toISOString()}\t${requestId}\t${level}\t${format(message, ...params)}`;

function patchConsole() {
  const { env } = process;
  logJson = env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const leastLevel = LEVELS[env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
  const record = logJson ? jsonRecord : textRecord;
  for (const level of Object.keys(LEVELS)) {
    console[level.toLowerCase()] = LEVELS[level] < leastLevel
      ? () => {}
      : (message, ...params) => writeRecord(record(level, message, params));
  }
  console.log = console.info;
}

const enumerable = (_key, value) => {
  if (!(value instanceof Error)) return value;
  const fields = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
  if (typeof value.stack === 'string') fields.stack = value.stack.split('\n');
  return fields;
};

function logError(what, error) {
  const shown = error instanceof Error ? error : new Error(String(error));
  if (logJson) {
    console.error(shown);
    return;
  }
  let text;
  try {
    text = JSON.stringify(shown, enumerable);
  } catch {
    text = JSON.stringify(errorForm(shown));
  }
  console.error(what, `\t${text}`);
}

// --- frames ---------------------------------------------------------------------------------

// What is read from, which keeps the process awake while it waits, and what is written to.
let requests;
let answers;
let pending = null;
let credit = 0;
let creditWaiter = null;
let request = null;

function frame(kind, id, payload, flags = 0) {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  bytes.writeUInt32LE(payload.length, 0);
  bytes[4] = VERSION;
  bytes[5] = kind;
  bytes.writeUInt16LE(flags, 6);
  id.copy(bytes, 8);
  payload.copy(bytes, HEADER_BYTES);
  return bytes;
}

/** A frame whose payload is text; made in one go, as nearly every answer is. */
function textFrame(kind, id, text) {
  const size = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + size);
  bytes.writeUInt32LE(size, 0);
  bytes[4] = VERSION;
  bytes[5] = kind;
  bytes.writeUInt16LE(0, 6);
  id.copy(bytes, 8);
  bytes.utf8Write(text, HEADER_BYTES);
  return bytes;
}

/** Sends bytes, at once where the socket has room, and calls `then` when they are on their way. */
function send(bytes, then) {
  let start = 0;
  // What waits already goes first.
  if (answers?.writableLength > 0) {
    answers.write(bytes, () => then?.());
    return;
  }
  try {
    start = fs.writeSync(SOCKET, bytes);
  } catch (error) {
    if (error.code !== 'EAGAIN') process.exit(0);
  }
  if (start === bytes.length) {
    then?.();
  } else {
    answers.write(bytes.subarray(start), () => then?.());
  }
}

/** Sends a body that may be larger than one frame; `kind` and `flags` are the last frame's. */
function sendBody(kind, id, body, flags, then) {
  if (body.length <= FRAME_BYTES_MAX) {
    send(frame(kind, id, body, flags), then);
  } else if (credit < FRAME_BYTES_MAX) {
    requests.ref();
    creditWaiter = () => sendBody(kind, id, body, flags, then);
  } else {
    credit -= FRAME_BYTES_MAX;
    const part = frame(DATA, id, body.subarray(0, FRAME_BYTES_MAX), kind === ERROR ? FLAG_ERROR : 0);
    send(part, () => sendBody(kind, id, body.subarray(FRAME_BYTES_MAX), flags, then));
  }
}

/** Sends a part of a streamed answer, as fast as it is taken at the other end. */
function sendPart(call, bytes, then) {
  if (call.done || call.cancelled || bytes.length === 0) {
    then();
  } else if (credit === 0) {
    // That somebody is to read it keeps the process awake, as any write does.
    requests.ref();
    creditWaiter = () => {
      if (!call.done) requests.unref();
      sendPart(call, bytes, then);
    };
  } else {
    const size = Math.min(bytes.length, FRAME_BYTES_MAX, credit);
    credit -= size;
    send(frame(DATA, call.id, bytes.subarray(0, size)), () => {
      if (!call.done) requests.unref();
      sendPart(call, bytes.subarray(size), then);
    });
  }
}

function receive(bytes) {
  if (pending !== null) {
    bytes = Buffer.concat([pending, bytes]);
    pending = null;
  }
  let start = 0;
  while (bytes.length - start >= HEADER_BYTES) {
    const end = start + HEADER_BYTES + bytes.readUInt32LE(start);
    if (bytes[start + 4] !== VERSION) process.exit(0);
    if (end > bytes.length) break;
    take(bytes[start + 5], bytes.subarray(start + 8, start + 24), bytes.subarray(start + 24, end));
    start = end;
  }
  // What is left is copied: the buffer it came in is filled again. It came before what was read
  // meanwhile by whoever waited for an answer.
  if (start < bytes.length) {
    const rest = Buffer.from(bytes.subarray(start));
    pending = pending === null ? rest : Buffer.concat([rest, pending]);
  }
}

function take(kind, id, payload) {
  switch (kind) {
    case INVOKE:
      request = { id: Buffer.from(id), head: JSON.parse(payload.utf8Slice()), parts: [] };
      break;
    case DATA:
      if (request?.id.equals(id)) request.parts.push(Buffer.from(payload));
      break;
    case END:
      if (request?.id.equals(id)) {
        const whole = request.parts.length === 0 ? payload : Buffer.concat([...request.parts, payload]);
        const { id: ident, head } = request;
        request = null;
        begin(ident, head, whole.utf8Slice());
      }
      break;
    case INIT:
      initialise(payload);
      break;
    case CREDIT:
      credit += payload.readUInt32LE(0);
      goOn();
      break;
    case CANCEL:
      if (current?.id.equals(id)) {
        current.cancelled = true;
        goOn();
      }
      break;
    default:
  }
}

/** Lets whoever waits for credit try again. */
function goOn() {
  const waiter = creditWaiter;
  creditWaiter = null;
  waiter?.();
}

// --- loading --------------------------------------------------------------------------------

const taskRoot = process.env.LAMBDA_TASK_ROOT ?? '/var/task';
const runtimeDir = process.env.LAMBDA_RUNTIME_DIR ?? '/var/runtime';
const userRequire = Module.createRequire(path.join(runtimeDir, 'index.mjs'));

const requireFile = (file) => (fs.existsSync(file) ? userRequire(file) : undefined);
const importFile = async (file) => (fs.existsSync(file) ? import(file) : undefined);

/** Whether the nearest package.json makes modules of a folder's .js files. */
function isModuleFolder(folder) {
  for (;;) {
    if (folder.endsWith('/node_modules')) return false;
    const manifest = path.join(folder, 'package.json');
    if (fs.existsSync(manifest)) {
      try {
        return JSON.parse(fs.readFileSync(manifest, 'utf8'))?.type === 'module';
      } catch (error) {
        console.warn(`${manifest} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (folder === '/') return false;
    folder = path.dirname(folder);
  }
}

async function loadWithRequire(root, name) {
  const file = path.resolve(taskRoot, root, name);
  const bare = requireFile(file);
  if (bare) return bare;
  const isModule = fs.existsSync(`${file}.js`) && isModuleFolder(path.dirname(file));
  const loaded = (isModule ? await importFile(`${file}.js`) : requireFile(`${file}.js`)) ||
    (await importFile(`${file}.mjs`)) || requireFile(`${file}.cjs`);
  return loaded || userRequire(userRequire.resolve(name, { paths: [taskRoot, root] }));
}

async function loadWithImport(root, name) {
  const file = path.resolve(taskRoot, root, name);
  for (const extension of ['', '.js', '.mjs', '.cjs']) {
    const loaded = await importFile(file + extension);
    if (loaded) return loaded;
  }
  return userRequire(userRequire.resolve(name, { paths: [taskRoot, path.join(taskRoot, root)] }));
}

async function loadModule(root, name) {
  try {
    return await (hasCallbacks ? loadWithRequire : loadWithImport)(root, name);
  } catch (error) {
    if (error instanceof SyntaxError) {
      const fault = new UserCodeSyntaxError(String(error));
      if (!hasCallbacks) fault.stack = error.stack;
      throw fault;
    }
    if (error?.code === 'MODULE_NOT_FOUND') throw new ImportModuleError(String(error));
    throw error;
  }
}

const member = (object, names) => names.split('.').reduce((inner, name) => inner?.[name], object);

async function loadHandler(handler) {
  if (handler.includes('..')) {
    throw new MalformedHandlerName(`'${handler}' is not a valid handler name. ` +
      'Use absolute paths when specifying root directories in handler names.');
  }
  const base = path.basename(handler);
  const root = handler.substring(0, handler.indexOf(base));
  const match = /^([^.]*)\.(.*)$/.exec(base);
  if (!match) throw new MalformedHandlerName('Bad handler');
  const loaded = await loadModule(root, match[1]);
  let found = member(loaded, match[2]);
  if (!found && !hasCallbacks && loaded?.default) found = member(loaded.default, match[2]);
  if (!found) throw new HandlerNotFound(`${handler} is undefined or not exported`);
  if (typeof found !== 'function') throw new HandlerNotFound(`${handler} is not a function`);
  if (found[STREAMING] && found[STREAMING] !== 'response') {
    throw new MalformedStreamingHandler('Only response streaming is supported.');
  }
  if (!hasCallbacks && found.length >= 3 && !found[STREAMING]) {
    throw new CallbackHandlerDeprecated('ERROR: AWS Lambda has removed support for callback-based ' +
      'function handlers starting with Node.js 24. You need to modify this function to use a ' +
      'supported handler signature to use Node.js 24 or later. For more information see ' +
      'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.');
  }
  return found;
}

function defineGlobals() {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    ...globalThis.awslambda,
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = options.highWaterMark;
      return handler;
    },
    HttpResponseStream: class {
      static from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        const head = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
          write(head);
          write(new Uint8Array(8));
        };
        return stream;
      }
    },
  };
}

// --- what Lambda's runtime brings -----------------------------------------------------------
// Packages of the SDK that nobody knew the function needs: where one is not found the platform is
// asked for it, and waited for, as the wait is in the middle of a `require`. They are all in one
// folder, to which they come while the function runs.

const sdk = process.env._DAYFLY_SDK;
delete process.env._DAYFLY_SDK;
// Where `import` does not find them by itself.
const hooksFirst = process.env._DAYFLY_SDK_HOOKS !== undefined;
delete process.env._DAYFLY_SDK_HOOKS;
// Whether anybody listens.
let heard = false;

const POLL_MS = 10;
// The platform does not count the wait as the function's time, up to so much in one invocation.
const STANDS_MAX_MS = 120_000;
let stoodMs = 0;

// Version 2 of the SDK, which runtimes brought up to nodejs16.x. What is installed with the function
// looks for it only where it could do without, so that it is fetched for the function's own code and
// that of layers; and nobody finds it by looking, for others are not to have it unasked.
const OLD = 'aws-sdk';
let oldWarned = false;

/** The package that a specifier is of, if Lambda's runtime brings such to whoever asks. */
function broughtPackage(specifier, asker) {
  const name = /^(@(?:aws-sdk|smithy)\/[a-z](?:[a-z0-9-]*[a-z0-9])?|aws-sdk)(?:\/|$)/.exec(specifier)?.[1];
  if (name !== OLD) return name;
  const file = asker?.replace(/^file:\/\//, '') ?? '';
  const isInstalled = file.startsWith(`${taskRoot}/`) && file.slice(taskRoot.length).includes('/node_modules/');
  return isInstalled ? undefined : name;
}

const closureOf = (name) => path.join(sdk, 'packages', name.replace('/', '+'));
const isHere = (name) =>
  fs.existsSync(path.join(name === OLD ? closureOf(name) : sdk, 'node_modules', name, 'package.json'));

/** Has a package come; why it cannot. */
function bring(name) {
  const why = sdk === undefined ? 'there is no place for it here' : ask(name);
  if (name === OLD && why === undefined && !oldWarned) {
    oldWarned = true;
    console.warn('aws-sdk (version 2) is loaded, which is not in the package or a layer; it is added here, but ' +
      'Lambda\'s runtimes from nodejs18.x on bring it no more: put it into the package, or use @aws-sdk/client-*');
  }
  return why;
}

function ask(name) {
  if (isHere(name)) return undefined;
  if (!heard) return 'nothing can be asked for so early';
  if (answers.writableLength > 0) return 'nothing can be asked for while an answer is on its way';
  writeNow(SOCKET, frame(BRING, NOBODY, Buffer.from(name)));
  const asked = Date.now();
  const { flags, payload } = waitFor(BROUGHT);
  if (flags & FLAG_STOOD) stoodMs = Math.min(stoodMs + Math.max(Date.now() - asked, 0), STANDS_MAX_MS);
  if (flags & FLAG_REFUSED) return payload.utf8Slice();
  return isHere(name) ? undefined : 'it was fetched, but cannot be seen here';
}

/** Reads until a frame of this kind comes; all others are taken afterwards. */
function waitFor(kind) {
  const buffer = Buffer.allocUnsafe(64 * 1024);
  const others = [];
  let bytes = pending ?? Buffer.alloc(0);
  pending = null;
  for (;;) {
    while (bytes.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + bytes.readUInt32LE(0);
      if (end > bytes.length) break;
      const whole = bytes.subarray(0, end);
      bytes = bytes.subarray(end);
      if (whole[5] === kind) {
        pending = Buffer.concat([...others, bytes]);
        if (pending.length === 0) pending = null;
        else setImmediate(() => receive(Buffer.alloc(0)));
        return { flags: whole.readUInt16LE(6), payload: whole.subarray(HEADER_BYTES) };
      }
      others.push(whole);
    }
    try {
      const size = fs.readSync(REQUESTS, buffer);
      if (size === 0) process.exit(0);
      bytes = Buffer.concat([bytes, buffer.subarray(0, size)]);
    } catch (error) {
      if (error.code !== 'EAGAIN') process.exit(0);
      nap(POLL_MS);
    }
  }
}

const whyMissing = (name, why) =>
  `${name === OLD ? 'Lambda\'s runtimes brought it up to nodejs16.x' : 'Lambda\'s runtime brings it'}, but it could ` +
  `not be fetched here: ${why}; try again with a connection to the package registry, or put it into the package`;

/** Where a package's module is that has come, for whoever could not find it. */
function resolveBrought(resolve, request, name) {
  const file = path.join(closureOf(name), 'index.cjs');
  const parent = new Module(file);
  parent.filename = file;
  parent.paths = [path.join(path.dirname(file), 'node_modules')];
  return resolve.call(Module, request, parent, false);
}

function patchRequire() {
  const resolve = Module._resolveFilename;
  Module._resolveFilename = function (request, ...rest) {
    try {
      return resolve.call(this, request, ...rest);
    } catch (error) {
      const asker = rest[0]?.filename;
      const name = error?.code === 'MODULE_NOT_FOUND' ? broughtPackage(request, asker) : undefined;
      if (name === undefined) throw error;
      const why = bring(name);
      if (why === undefined) return resolveBrought(resolve, request, name);
      error.message += `\n${whyMissing(name, why)}`;
      throw error;
    }
  };
}

/** Has `import` ask, too. Costs every module a little, so only once most of them are loaded. */
function hookImport() {
  if (sdk === undefined || Module.registerHooks === undefined) return;
  const { pathToFileURL } = require('url');
  const fromOf = (name) => pathToFileURL(path.join(name === OLD ? closureOf(name) : sdk, 'index.mjs')).href;
  Module.registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context);
      } catch (error) {
        const asker = context.parentURL;
        const name = error?.code === 'ERR_MODULE_NOT_FOUND' ? broughtPackage(specifier, asker) : undefined;
        if (name === undefined || asker === fromOf(name)) throw error;
        const why = bring(name);
        if (why === undefined) return next(specifier, { ...context, parentURL: fromOf(name) });
        error.message += `\n${whyMissing(name, why)}`;
        throw error;
      }
    },
  });
}

/** Asks for what an `import` lacked that could not ask by itself; whether a new process finds it. */
function bringLate(error) {
  if (error?.code !== 'ERR_MODULE_NOT_FOUND') return false;
  const [, missing, asker] = /^Cannot find package '([^']+)' imported from (.*)/.exec(error.message) ?? [];
  const name = broughtPackage(missing ?? '', asker);
  if (name === undefined) return false;
  if (name === OLD) {
    error.message += '\nHere `require` finds it, and `import` once the function has loaded, from Node.js 22.15 on; ' +
      'or put it into the package';
    return false;
  }
  let why = bring(name);
  if (why === undefined && hooksFirst) why = `Node.js ${process.versions.node} cannot \`import\` it from where it is`;
  error.message += why === undefined
    ? '\nLambda\'s runtime brings it; it was fetched now, and is found the next time'
    : `\n${whyMissing(name, why)}`;
  return why === undefined;
}

// --- invocations ----------------------------------------------------------------------------

let handler;
let fixed;
let current = null;
let trace;
const TRACE = '_X_AMZN_TRACE_ID';
let onEmptyLoop = null;

function begin(id, head, text) {
  // Only the function's own work keeps the process awake now: an empty loop ends the invocation.
  requests.unref();
  requestId = head.id;
  tenantId = head.tenant_id;
  credit = head.stream ? CREDIT_BYTES_STREAMED : CREDIT_BYTES_INITIAL;
  creditWaiter = null;
  stoodMs = 0;
  if (head.trace !== trace) {
    trace = head.trace;
    // What somebody set of the kind was for the one before.
    if (Object.hasOwn(process.env, TRACE)) delete process.env[TRACE];
  }
  const call = { id, done: false, whole: false, cancelled: false };
  current = call;
  try {
    const context = hasCallbacks && !handler[STREAMING] ? callbackContext(head) : contextOf(head);
    const event = JSON.parse(text);
    if (handler[STREAMING]) runStreaming(call, event, context, head.stream);
    else if (hasCallbacks) runWithCallback(call, event, context);
    else runAsync(call, event, context);
  } catch (error) {
    fail(call, error);
  }
}

// Both contexts are literals with all their members, which the engine makes in one go; members
// added later, or accessors, would cost more than the whole rest of an invocation.
function contextOf(head) {
  const deadline = head.deadline_ms;
  return {
    functionVersion: fixed.functionVersion,
    functionName: fixed.functionName,
    memoryLimitInMB: fixed.memoryLimitInMB,
    logGroupName: fixed.logGroupName,
    logStreamName: fixed.logStreamName,
    clientContext: head.client_context ? JSON.parse(head.client_context) : undefined,
    identity: head.cognito_identity ? JSON.parse(head.cognito_identity) : undefined,
    invokedFunctionArn: head.arn,
    awsRequestId: head.id,
    tenantId: head.tenant_id,
    getRemainingTimeInMillis: () => deadline + stoodMs - Date.now(),
  };
}

function callbackContext(head) {
  const deadline = head.deadline_ms;
  return {
    callbackWaitsForEmptyEventLoop: true,
    succeed: undefined,
    fail: undefined,
    done: undefined,
    functionVersion: fixed.functionVersion,
    functionName: fixed.functionName,
    memoryLimitInMB: fixed.memoryLimitInMB,
    logGroupName: fixed.logGroupName,
    logStreamName: fixed.logStreamName,
    clientContext: head.client_context ? JSON.parse(head.client_context) : undefined,
    identity: head.cognito_identity ? JSON.parse(head.cognito_identity) : undefined,
    invokedFunctionArn: head.arn,
    awsRequestId: head.id,
    tenantId: head.tenant_id,
    getRemainingTimeInMillis: () => deadline + stoodMs - Date.now(),
  };
}

function serialize(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch {
    const message = 'Unable to stringify response body';
    throw hasCallbacks ? new Error(message) : new JSONStringifyError(message);
  }
}

/** Answers the invocation; throws where the result cannot be written, which leaves it open. */
function succeed(call, result) {
  if (call.done) return;
  const text = serialize(result);
  if (text.length < SMALL_TEXT) {
    call.done = true;
    send(textFrame(END, call.id, text), () => finish(call));
  } else {
    answer(call, Buffer.from(text));
  }
}

function answer(call, body) {
  call.done = true;
  if (body.length > RESPONSE_BYTES_MAX) {
    send(frame(END, call.id, Buffer.from(String(body.length)), FLAG_TOO_LARGE), () => finish(call));
  } else {
    sendBody(END, call.id, body, 0, () => finish(call));
  }
}

function fail(call, error) {
  if (call.done) return;
  call.done = true;
  // What did not load stays so for as long as this process lives.
  const last = bringLate(error);
  logError('Invoke Error', error);
  // An error is a body of its own.
  credit = CREDIT_BYTES_INITIAL;
  const body = Buffer.from(JSON.stringify(errorForm(error)));
  if (last) sendBody(ERROR, call.id, body, FLAG_LAST, () => process.exit(1));
  else sendBody(ERROR, call.id, body, 0, () => finish(call));
}

function finish(call) {
  if (current !== call) return;
  current = null;
  onEmptyLoop = null;
  requests.ref();
}

async function runAsync(call, event, context) {
  try {
    const result = await handler(event, context);
    succeed(call, result);
  } catch (error) {
    fail(call, error);
  }
}

function runWithCallback(call, event, context) {
  let settled = false;
  const settle = (error, result) => {
    if (settled) return;
    onEmptyLoop = null;
    if (error !== undefined && error !== null) fail(call, error);
    else succeed(call, result);
    settled = true;
  };
  const callback = (error, result) => {
    const failed = error !== undefined && error !== null;
    if (settled || failed || !context.callbackWaitsForEmptyEventLoop) {
      settle(error, result);
    } else {
      settled = true;
      onEmptyLoop = () => guarded(call, () => succeed(call, result));
    }
  };
  const reject = (error) => settle(error === undefined || error === null ? 'handled' : error);
  context.succeed = (result) => settle(null, result);
  context.fail = reject;
  context.done = settle;
  onEmptyLoop = () => succeed(call, null);
  try {
    const result = handler(event, context, callback);
    if (typeof result?.then === 'function') {
      result.then(context.succeed, reject).catch(reject);
    }
  } catch (error) {
    callback(error);
  }
}

function guarded(call, action) {
  try {
    action();
  } catch (error) {
    fail(call, error);
  }
}

/** Where a streaming handler's answer goes: on its way as it is written. */
function passedOn(call, contentType) {
  let begun = false;
  const begin = () => {
    if (begun || call.done) return;
    begun = true;
    send(textFrame(BEGIN, call.id, contentType()));
  };
  return {
    write(chunk, then) {
      begin();
      sendPart(call, chunk, then);
    },
    whole() {
      begin();
      call.whole = true;
      if (!call.done) send(frame(DATA, call.id, Buffer.alloc(0), FLAG_LAST));
    },
    end() {
      call.done = true;
      send(frame(END, call.id, Buffer.alloc(0)), () => finish(call));
    },
  };
}

/** Where it goes when nobody reads it so: kept, and sent whole. */
function kept(call) {
  const parts = [];
  let size = 0;
  return {
    write(chunk, then) {
      size += chunk.length;
      if (size <= RESPONSE_BYTES_MAX) parts.push(Buffer.from(chunk));
      then();
    },
    whole() {},
    end: () => answer(call, size > RESPONSE_BYTES_MAX ? { length: size } : Buffer.concat(parts)),
  };
}

/** Runs a streaming handler. */
async function runStreaming(call, event, context, isRead) {
  const { Writable } = require('stream');
  let contentType = 'application/octet-stream';
  let started = false;
  const out = isRead ? passedOn(call, () => contentType) : kept(call);
  const stream = new Writable({
    highWaterMark: handler[HIGH_WATER_MARK],
    write(chunk, _encoding, then) {
      out.write(chunk, then);
    },
    final(then) {
      out.whole();
      then();
    },
  });
  const write = stream.write.bind(stream);
  stream.write = (chunk, ...rest) => {
    const isBytes = typeof chunk === 'string' || chunk instanceof Uint8Array;
    if (!started) {
      started = true;
      stream._onBeforeFirstWrite?.((head) => write(head));
    }
    return write(isBytes ? chunk : JSON.stringify(chunk), ...rest);
  };
  stream.setContentType = (type) => {
    if (started) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    contentType = String(type);
  };
  const unfinished = () => new Error('Response stream is not finished.');
  const finished = new Promise((resolve, reject) => {
    stream.on('finish', resolve).on('error', reject).on('close', () => reject(unfinished()));
  });
  finished.catch(() => {});
  if (hasCallbacks) {
    onEmptyLoop = () => {
      // The answer is out; its handler waits for something that cannot come.
      if (call.whole) out.end();
      else fail(call, unfinished());
    };
  }
  try {
    const running = handler(event, stream, context);
    if (typeof running?.then !== 'function') throw new Error('Streaming does not support non-async handlers.');
    if ((await running) !== undefined) console.warn('Streaming handlers ignore return values.');
    await finished;
    if (!call.done) out.end();
  } catch (error) {
    if (call.whole && !call.done) {
      // Too late to tell anybody but the log.
      logError('Invoke Error', error);
      out.end();
    } else {
      fail(call, error);
    }
  }
}

// --- life -----------------------------------------------------------------------------------

/** Reports an error that no handler caught, as the running invocation's or as the start's. */
function end(what, error, status) {
  logError(what, error);
  const body = Buffer.from(JSON.stringify(errorForm(error)));
  const call = current;
  if (call !== null && !call.done) {
    call.done = true;
    credit = CREDIT_BYTES_INITIAL;
    sendBody(ERROR, call.id, body, FLAG_LAST, () => process.exit(status));
  } else if (handler === undefined) {
    credit = CREDIT_BYTES_INITIAL;
    sendBody(INIT_ERROR, NOBODY, body, 0, () => process.exit(status));
  } else {
    process.exit(status);
  }
}

async function initialise(settings) {
  for (const entry of settings.utf8Slice().split('\0')) {
    const equals = entry.indexOf('=');
    if (equals > 0) process.env[entry.slice(0, equals)] = entry.slice(equals + 1);
  }
  const env = process.env;
  if (env._DAYFLY_BOOTED !== undefined) {
    delete env._DAYFLY_BOOTED;
    // The function's folder came after this process.
    process.chdir(taskRoot);
  }
  patchConsole();
  fixed = {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
  heard = true;
  patchRequire();
  if (hooksFirst) hookImport();
  try {
    const loaded = await loadHandler(env._HANDLER ?? '');
    // A turn of the loop later, so that what failed while it loaded fails the start.
    setImmediate(() => {
      handler = loaded;
      send(frame(READY, NOBODY, Buffer.alloc(0)));
      if (!hooksFirst) hookImport();
    });
  } catch (error) {
    if (bringLate(error)) send(frame(INIT_ERROR, NOBODY, Buffer.alloc(0), FLAG_AGAIN), () => process.exit(1));
    else end(hasCallbacks ? 'Uncaught Exception' : 'Init Error', error, hasCallbacks ? 129 : 1);
  }
}

/**
 * The trace is in the environment, but not by way of the C library, which never frees a value that
 * was once set: after a million invocations that is most of a small function.
 */
function showTrace() {
  const get = () => trace || undefined;
  const shown = { [TRACE]: { get, enumerable: true, configurable: true } };
  Object.setPrototypeOf(process.env, Object.create(Object.getPrototypeOf(process.env), shown));
}

/** Without the files of /proc that list processors, Node.js finds none; many take their number. */
function listProcessors() {
  const os = require('os');
  const { cpus } = os;
  os.cpus = () => {
    const found = cpus();
    if (found.length > 0) return found;
    const one = () => ({ model: 'unknown', speed: 0, times: { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 } });
    return Array.from({ length: os.availableParallelism?.() ?? 1 }, one);
  };
}

function main() {
  patchConsole();
  defineGlobals();
  showTrace();
  if (hasCallbacks) {
    process.on('uncaughtException', (error) => end('Uncaught Exception', error, 129));
    process.on('unhandledRejection', (reason) => {
      const error = new UnhandledPromiseRejection(reason);
      error.reason = reason;
      end('Unhandled Promise Rejection', error, 128);
    });
    process.on('beforeExit', () => {
      const listener = onEmptyLoop;
      onEmptyLoop = null;
      listener?.();
    });
  }
  const onread = {
    buffer: Buffer.allocUnsafeSlow(64 * 1024),
    callback(size, bytes) {
      receive(bytes.subarray(0, size));
      return true;
    },
  };
  requests = new net.Socket({ fd: REQUESTS, readable: true, writable: false, onread });
  requests.on('error', () => process.exit(0));
  requests.on('end', () => process.exit(0));
  answers = new net.Socket({ fd: SOCKET, readable: false, writable: true, allowHalfOpen: true });
  answers.on('error', () => process.exit(0));
  send(frame(HELLO, NOBODY, Buffer.from(`node ${process.versions.node}`)));
  // While the answer is on its way.
  listProcessors();
  // Started before it is known for which function: the first module takes longest, so it is none of
  // the function's.
  if (process.env._DAYFLY_BOOTED !== undefined) import(path.join(runtimeDir, 'first.mjs')).catch(() => {});
}

main();
