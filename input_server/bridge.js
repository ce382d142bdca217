"use strict";
/**
 * Runs the file server inside a Node host (VCPToolBox, VCPDistributedServer): starts the Python server
 * of this folder on a private socket, forwards the head of each request to it, and lets Express send
 * the files that its responses name. Access is decided in Python only.
 */
const { spawn } = require("node:child_process");
const { randomBytes } = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const readline = require("node:readline");
const { pipeline } = require("node:stream/promises");
const { setTimeout: delay } = require("node:timers/promises");
const { configSchema, name: NAME } = require("./plugin-manifest.json");

// No groups: Express would decode them, and throws for an invalid escape such as %zz.
const ROUTE = /^\/comfyui_server\//;
const GATE_ROUTE = /^\/pw=[^/]+\/files\/comfyui\//;
const START_WAIT_MS = 15_000; // how long a request waits for a server that is starting
const RESPONSE_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 60_000; // a server that is not ready by then is killed
const STOP_TIMEOUT_MS = 8_000; // longer than http/server.py takes to stop
const STABLE_MS = 30_000; // after this run time an exit does not count as a repeated failure
const MAX_BACKOFF_MS = 30_000;
const MAX_SOCKET_PATH = 100; // bytes; the limit is 103 on macOS, 107 on Linux
const IS_WINDOWS = process.platform === "win32";
const PARENT = path.dirname(__dirname);
const HAS_PROC = fs.existsSync("/proc/self/fd");
const OPEN_FLAGS = fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0);
const SEND_OPTIONS = { acceptRanges: false, etag: false, lastModified: false, cacheControl: false };
const CONNECTION_ERRORS = ["ECONNREFUSED", "ECONNRESET", "ENOENT", "EPIPE"];
// Headers of one connection (RFC 9110, 7.6.1), of a request body, or meant for the host only.
const NOT_FORWARDED =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-.*|upgrade|expect|content-.*|host|cookie)$/;
const NOT_RETURNED = /^(connection|keep-alive|transfer-encoding|date|server|x-sendfile.*)$/;
const FILE_HEADERS = /^(content-.*|accept-ranges|cache-control|etag|last-modified|vary)$/;
const CONDITIONS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/** Shared by all copies of this module in a process: a host that reloads it still has one server. */
const state = (globalThis[Symbol.for(`${NAME} ${__dirname}`)] ??= {
  settings: {},
  server: null,
  failures: 0, // in a row
  notBefore: 0, // time of the next start, in ms
  apps: new WeakSet(),
  isRouted: false,
});

/** The server is not running; the reason has been logged. */
class Unavailable extends Error {}

const log = (text) => console.log(`[${NAME}] ${redact(text)}`);
const logError = (text) => console.error(`[${NAME}] ${redact(text)}`);

/** Replace all keys in a text. */
function redact(text) {
  const keys = Object.entries(state.settings).filter(([name, value]) => /KEY/.test(name) && value);
  const redacted = keys.reduce((rest, [, key]) => rest.replaceAll(key, "…"), String(text));
  return redacted.replace(/(p|%[57]0)(w|%[57]7)(=|%3d)[^\s/?]*/gi, "pw=…");
}

/** A process of the Python server. It exits when its stdin is closed, so also with this process. */
class Server {
  constructor(settings) {
    this.startedAt = Date.now();
    this.isReady = this.hasExited = this.isStopping = false;
    this.startupLines = []; // of its stderr
    this.secret = randomBytes(32).toString("hex");
    this.agent = new http.Agent({ keepAlive: true, timeout: 5_000 });
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "comfyui-files-")); // mode 0700
    const socketPath = path.join(this.folder, "socket");
    const isUnix = !IS_WINDOWS && Buffer.byteLength(socketPath) <= MAX_SOCKET_PATH;
    this.target = isUnix ? { socketPath } : { host: "127.0.0.1" };
    const bind = isUnix ? ["--unix", socketPath] : ["--host", "127.0.0.1", "--port", "0"];
    this.python = findPython(settings);
    this.process = spawnServer(this.python, bind, settings);
    this.process.stdin.write(`${this.secret}\n`);
    this.exited = this.waitForExit();
    this.ready = this.waitUntilReady();
    this.ready.catch(() => {}); // reported to the requests that wait for it
  }

  waitUntilReady() {
    const timer = setTimeout(() => this.process.kill("SIGKILL"), START_TIMEOUT_MS).unref();
    return new Promise((resolve, reject) => {
      readline.createInterface({ input: this.process.stdout }).on("line", (line) => {
        if (this.isReady || !line.startsWith("File server on ")) return;
        this.isReady = true;
        clearTimeout(timer);
        if (!this.target.socketPath) this.target.port = Number(line.split(":").pop());
        this.startupLines.splice(0).forEach(log); // warnings
        resolve(this);
      });
      this.exited.then(() => reject(new Unavailable("The file server did not start.")));
    });
  }

  async waitForExit() {
    const closed = new Promise((resolve) => this.process.once("close", resolve));
    readline.createInterface({ input: this.process.stderr }).on("line", (line) => {
      if (this.isReady) log(line);
      else if (line.trim()) this.startupLines.push(line);
    });
    const reason = await this.exitReason();
    this.hasExited = true;
    scheduleRestart(this);
    await Promise.race([closed, delay(500)]); // for the last lines of its stderr
    this.agent.destroy();
    await fs.promises.rm(this.folder, { recursive: true, force: true }).catch(() => {});
    const event = this.isReady ? "exited" : "did not start";
    if (!this.isStopping) logError(`The file server ${event}: ${this.startupLines.pop() ?? reason}`);
  }

  exitReason() {
    return new Promise((resolve) => {
      this.process.once("exit", (code, signal) => resolve(signal ?? `exit status ${code}`));
      this.process.once("error", ({ code, message }) => {
        const missing = `${this.python} was not found. Set INPUT_SERVER_PYTHON.`;
        resolve(code === "ENOENT" ? missing : message);
      });
    });
  }

  async stop() {
    this.isStopping = true;
    this.process.stdin.end();
    const timer = setTimeout(() => this.process.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.exited;
    clearTimeout(timer);
  }
}

function spawnServer(python, bind, settings) {
  const module = path.basename(__dirname);
  const pythonPath = [PARENT, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter);
  const child = spawn(python, ["-m", module, ...bind, "--bridge", "--stop-with-stdin"], {
    cwd: PARENT,
    env: { ...process.env, ...settings, PYTHONPATH: pythonPath, PYTHONUTF8: "1" },
    windowsHide: true,
  });
  for (const part of [child, child.stdin, child.stdout, child.stderr]) {
    part.on("error", () => {}); // an unhandled error would end the host
    part.unref(); // lets the host exit
  }
  return child;
}

/** Whether a host's panel saved a path that nobody filled in. */
function isUnset(value) {
  return ["", "0"].includes(String(value ?? "").trim());
}

/**
 * INPUT_SERVER_PYTHON, else the .venv of this folder, of its parent, or of the plugin next to it,
 * else the Python of the system.
 */
function findPython(settings) {
  const given = [settings.INPUT_SERVER_PYTHON, process.env.INPUT_SERVER_PYTHON];
  const configured = given.find((value) => !isUnset(value));
  if (configured) return configured;
  const inVenv = path.join(".venv", IS_WINDOWS ? "Scripts/python.exe" : "bin/python");
  const folders = [__dirname, PARENT, path.join(PARENT, "comfyui")];
  const venv = folders.map((folder) => path.join(folder, inVenv)).find((file) => fs.existsSync(file));
  if (venv || IS_WINDOWS) return venv ?? "python"; // python3 may be a link to the store there
  const searched = (process.env.PATH ?? "").split(path.delimiter);
  const isInstalled = (name) => searched.some((folder) => fs.existsSync(path.join(folder, name)));
  return isInstalled("python") && !isInstalled("python3") ? "python" : "python3";
}

/** A server that was stable may restart at once, others after an exponential backoff. */
function scheduleRestart(server) {
  if (server.isStopping) return;
  state.failures = Date.now() - server.startedAt > STABLE_MS ? 1 : state.failures + 1;
  const backoff = Math.min(MAX_BACKOFF_MS, 1000 * 2 ** (state.failures - 1));
  state.notBefore = Date.now() + (server.isReady && state.failures === 1 ? 0 : backoff);
}

/** Resolves with the server once it is ready; starts one if needed. Rejects with Unavailable. */
async function runningServer() {
  if (state.server === null || state.server.hasExited) {
    if (Date.now() < state.notBefore) throw new Unavailable("The file server has just failed.");
    state.server = new Server(state.settings);
  }
  const server = state.server;
  if (server.isReady) return server;
  const timeout = delay(START_WAIT_MS, undefined, { ref: false }).then(() => {
    throw new Unavailable("The file server is still starting.");
  });
  return Promise.race([server.ready, timeout]);
}

/** Store settings. A server that runs with others is stopped; the next request starts a new one. */
function configure(config, base = state.settings.INPUT_SERVER_BASE) {
  const given = { ...config };
  if (isUnset(given.INPUT_SERVER_BASE)) given.INPUT_SERVER_BASE = base;
  const known = Object.keys(configSchema).filter((key) => given[key] !== undefined);
  const settings = Object.fromEntries(known.map((key) => [key, String(given[key] ?? "")]));
  if (JSON.stringify(settings) === JSON.stringify(state.settings)) return;
  Object.assign(state, { settings, failures: 0, notBefore: 0 });
  shutdown();
}

/** The client's headers, and its IP address as the socket reports it. */
function forwardedHeaders(req) {
  const headers = Object.entries(req.headers).filter(([name]) => !NOT_FORWARDED.test(name));
  const client = (req.socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/, "");
  return { ...Object.fromEntries(headers), "x-bridge-client": client };
}

/** Send a request to the Python server. Resolves with its response, whose body is still unread. */
function requestOnce(server, req, res, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request({
      ...server.target,
      agent: server.agent,
      method: req.method,
      path: req.originalUrl, // undecoded: urls.py splits it before it decodes the parts
      headers: { ...headers, "x-bridge-secret": server.secret },
      timeout: RESPONSE_TIMEOUT_MS,
    });
    request.once("response", (response) => {
      request.setTimeout(0);
      resolve(response);
    });
    request.once("timeout", () => request.destroy(new Error("The file server timed out.")));
    request.on("error", reject);
    res.once("close", () => request.destroy()); // the client disconnected
    request.end();
  });
}

/** The same with retries, for a server or connection that has just closed. */
async function requestServer(req, res, headers) {
  for (let attempts = 3; ; attempts -= 1) {
    try {
      return await requestOnce(await runningServer(), req, res, headers);
    } catch (error) {
      const isFinal = attempts === 1 || req.socket.destroyed;
      if (isFinal || !CONNECTION_ERRORS.includes(error.code)) throw error;
      await delay(100);
    }
  }
}

/**
 * Handle a request. `next`, if given, is called when the key is not one of ours. If a file was
 * replaced after Python looked at it, Python is asked again; the last attempt sends whatever has its
 * name.
 */
async function handleRequest(req, res, next) {
  const headers = forwardedHeaders(req);
  for (const isStrict of [true, true, true, false]) {
    const response = await requestServer(req, res, headers);
    if (next && [401, 429].includes(response.statusCode)) {
      response.resume();
      return next();
    }
    const stallSeconds = Number(state.settings.INPUT_SERVER_STALL_SECONDS) || 60;
    res.setTimeout(stallSeconds * 1000, () => res.destroy());
    copyHead(response, res);
    const part = (response.headers["x-sendfile-part"] ?? "0 0").split(" ").map(Number);
    if (!part[1]) return pipeline(response, res).catch(() => {}); // a broken body has been cut
    response.resume();
    if (await sendPart(req, res, response.headers, part, isStrict)) return;
  }
  throw new Error("The file could not be opened.");
}

function copyHead(response, res) {
  res.statusCode = response.statusCode;
  for (const [name, value] of Object.entries(response.headers)) {
    if (!NOT_RETURNED.test(name)) res.setHeader(name, value);
  }
}

/** Open a file if it is still the one that Python looked at (http/asgi.py sends the stamp). */
async function openUnchanged(file, stamp) {
  const handle = await fs.promises.open(file, OPEN_FLAGS).catch(() => undefined);
  const status = await handle?.stat({ bigint: true });
  const found = status && `${status.ino} ${status.mtimeNs} ${status.size}`;
  if (!stamp || found === stamp) return handle;
  await handle?.close();
  return undefined;
}

/** Let Express send part of the file that Python named. Resolves with false if it must be retried. */
async function sendPart(req, res, headers, part, isStrict) {
  const named = decodeURIComponent(headers["x-sendfile"]);
  const { "x-sendfile-pinned": pinned, "x-sendfile-stamp": stamp } = isStrict ? headers : {};
  const handle = (pinned && (await openUnchanged(pinned, stamp))) || (await openUnchanged(named, stamp));
  if (!handle) return false;
  const file = HAS_PROC ? `/proc/self/fd/${handle.fd}` : named;
  // without a stamp it may be another file, of another length
  const isComplete = !isStrict && res.statusCode === 200;
  const range = isComplete ? {} : { start: part[0], end: part[0] + part[1] - 1 };
  try {
    return await sendFile(req, res, file, range);
  } finally {
    await handle.close();
  }
}

/** Send a file with Express. Closes the connection if the body ends early, so that the client notices. */
async function sendFile(req, res, file, range) {
  for (const name of CONDITIONS) delete req.headers[name]; // Python has evaluated them
  let source;
  res.once("pipe", (stream) => (source = stream));
  const error = await new Promise((done) => {
    res.sendFile(file, { ...SEND_OPTIONS, ...range, dotfiles: "allow" }, done);
  });
  if (!res.headersSent) return req.socket.destroyed;
  const isCut = source?.bytesRead < res.getHeader("content-length");
  if (error || isCut) req.socket.destroy();
  return true;
}

function sendUnavailable(req, res, error) {
  if (req.socket.destroyed || res.headersSent) return res.destroy();
  if (!(error instanceof Unavailable)) logError(error.message);
  for (const name of res.getHeaderNames()) if (FILE_HEADERS.test(name)) res.removeHeader(name);
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  res.writeHead(503, { ...headers, "Retry-After": "5" });
  res.end("The file server is not available now. Try again in a few seconds.");
}

/**
 * Store settings: before the routes are registered, and again after `shutdown` at each reload of the
 * host. VCPToolBox passes (config, services), VCPDistributedServer ({ app, config, projectBasePath }).
 */
function initialize(given = {}) {
  configure(given.config ?? given, given.projectBasePath ?? given.PROJECT_BASE_PATH);
  if (state.isRouted) runningServer().catch(() => {}); // the reason is logged
}

/**
 * Register the routes and start the server. It must have exactly three parameters: with more,
 * VCPToolBox passes another value as the second one (its Plugin.js, initializeServices).
 *
 * @param app Express 4 or 5
 * @param pluginConfig values for the keys of configSchema in plugin-manifest.json
 * @param projectBasePath the folder that relative mounts are resolved against
 */
function registerRoutes(app, pluginConfig, projectBasePath) {
  configure(pluginConfig, projectBasePath);
  const handle = (req, res, next) =>
    void handleRequest(req, res, next).catch((error) => sendUnavailable(req, res, error));
  if (!state.apps.has(app)) {
    app.all(ROUTE, (req, res) => handle(req, res, null));
    app.get(GATE_ROUTE, handle);
    state.apps.add(app);
  }
  state.isRouted = true;
  runningServer().catch(() => {});
}

/** Stop the server; resolves when it has exited. A later request starts it again. */
async function shutdown() {
  const server = state.server;
  state.server = null;
  await server?.stop();
}

module.exports = { initialize, registerRoutes, shutdown };
