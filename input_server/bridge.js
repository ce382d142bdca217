"use strict";
/**
 * The file server inside a Node host (VCPToolBox, VCPDistributedServer): starts the Python server
 * of this folder on a private socket, passes the head of every request on to it, and lets Express
 * send the files that it names. Who may have what is decided in Python alone.
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

// Without groups: Express decodes those, and throws at a bad escape like %zz.
const ROUTE = /^\/comfyui_server\//;
const GATE_ROUTE = /^\/pw=[^/]+\/files\/comfyui\//;
const WAIT_MS = 15_000; // that a request waits for a server which is starting
const ANSWER_MS = 60_000; // and for an answer
const START_MS = 60_000; // after which a server that is not ready is ended
const STOP_MS = 8_000; // a little longer than it may take to stop (serve.py)
const STEADY_MS = 30_000; // the end of a server that lived so long is no sign of a fault in it
const LONGEST_PAUSE_MS = 30_000;
const LONGEST_SOCKET = 100; // bytes; a socket's path may have 103 on macOS, 107 on Linux
const WINDOWS = process.platform === "win32";
const ABOVE = path.dirname(__dirname);
const HAS_PROC = fs.existsSync("/proc/self/fd");
const OPENING = fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0);
const DECIDED = { acceptRanges: false, etag: false, lastModified: false, cacheControl: false };
const LOST = ["ECONNREFUSED", "ECONNRESET", "ENOENT", "EPIPE"];
// Headers of one connection (RFC 9110, 7.6.1) or of a body, and what is for the host alone.
const NOT_ASKED =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-.*|upgrade|expect|content-.*|host|cookie)$/;
const NOT_ANSWERED = /^(connection|keep-alive|transfer-encoding|date|server|x-sendfile.*)$/;
const OF_A_FILE = /^(content-.*|accept-ranges|cache-control|etag|last-modified|vary)$/;
const CONDITIONS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/** One for all copies of this module in a process: a host that loads it twice has one server. */
const state = (globalThis[Symbol.for(`${NAME} ${__dirname}`)] ??= {
  settings: {},
  child: null,
  failures: 0,
  notBefore: 0,
  apps: new WeakSet(),
  isRouted: false,
});

/** The server cannot be had now; the log has said why. */
class Unavailable extends Error {}

const log = (text) => console.log(`[${NAME}] ${withoutKeys(text)}`);
const complain = (text) => console.error(`[${NAME}] ${withoutKeys(text)}`);

function withoutKeys(text) {
  const keys = Object.entries(state.settings).filter(([name, value]) => /KEY/.test(name) && value);
  const shown = keys.reduce((left, [, key]) => left.replaceAll(key, "…"), String(text));
  return shown.replace(/(p|%[57]0)(w|%[57]7)(=|%3d)[^\s/?]*/gi, "pw=…");
}

/** One run of the Python server. It ends when its stdin closes, so also with this process. */
class Child {
  constructor(settings) {
    this.begun = Date.now();
    this.isReady = this.isOver = this.isStopping = false;
    this.said = []; // on stderr, before it was ready
    this.secret = randomBytes(32).toString("hex");
    this.agent = new http.Agent({ keepAlive: true, timeout: 5_000 });
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "comfyui-files-")); // mode 0700
    const socketPath = path.join(this.folder, "socket");
    const isUnix = !WINDOWS && Buffer.byteLength(socketPath) <= LONGEST_SOCKET;
    this.target = isUnix ? { socketPath } : { host: "127.0.0.1" };
    const where = isUnix ? ["--unix", socketPath] : ["--host", "127.0.0.1", "--port", "0"];
    this.python = pythonOf(settings);
    this.process = start(this.python, where, settings);
    this.process.stdin.write(`${this.secret}\n`);
    this.ended = this.untilEnd();
    this.ready = this.untilReady();
    this.ready.catch(() => {}); // it is told to whoever waits for it
  }

  untilReady() {
    const timer = setTimeout(() => this.process.kill("SIGKILL"), START_MS).unref();
    return new Promise((resolve, reject) => {
      readline.createInterface({ input: this.process.stdout }).on("line", (line) => {
        if (this.isReady || !line.startsWith("File server on ")) return;
        this.isReady = true;
        clearTimeout(timer);
        if (!this.target.socketPath) this.target.port = Number(line.split(":").pop());
        this.said.splice(0).forEach(log); // warnings
        resolve(this);
      });
      this.ended.then(() => reject(new Unavailable("It did not start.")));
    });
  }

  async untilEnd() {
    const closed = new Promise((resolve) => this.process.once("close", resolve));
    readline.createInterface({ input: this.process.stderr }).on("line", (line) => {
      if (this.isReady) log(line);
      else if (line.trim()) this.said.push(line);
    });
    const how = await new Promise((resolve) => {
      this.process.once("exit", (code, signal) => resolve(signal ?? `exit status ${code}`));
      this.process.once("error", ({ code, message }) =>
        resolve(code === "ENOENT" ? `there is no ${this.python} (INPUT_SERVER_PYTHON)` : message),
      );
    });
    this.isOver = true;
    pauseAfter(this);
    await Promise.race([closed, delay(500)]); // its last words may still be on their way
    this.agent.destroy();
    await fs.promises.rm(this.folder, { recursive: true, force: true }).catch(() => {});
    const what = this.isReady ? "ended" : "did not start";
    if (!this.isStopping) complain(`The file server ${what}: ${this.said.pop() ?? how}`);
  }

  async stop() {
    this.isStopping = true;
    this.process.stdin.end();
    const timer = setTimeout(() => this.process.kill("SIGKILL"), STOP_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

function start(python, where, settings) {
  const module = path.basename(__dirname);
  const imported = [ABOVE, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter);
  const child = spawn(python, ["-m", module, ...where, "--bridge", "--stop-with-stdin"], {
    cwd: ABOVE,
    env: { ...process.env, ...settings, PYTHONPATH: imported, PYTHONUTF8: "1" },
    windowsHide: true,
  });
  for (const part of [child, child.stdin, child.stdout, child.stderr]) {
    part.on("error", () => {}); // without a listener the host would end
    part.unref(); // and with this it still can
  }
  return child;
}

/** INPUT_SERVER_PYTHON, else a .venv here, above or of the plugin beside, else the system's. */
function pythonOf(settings) {
  const told = settings.INPUT_SERVER_PYTHON || process.env.INPUT_SERVER_PYTHON;
  if (told) return told;
  const inside = path.join(".venv", WINDOWS ? "Scripts/python.exe" : "bin/python");
  const places = [__dirname, ABOVE, path.join(ABOVE, "comfyui")];
  const found = places.map((place) => path.join(place, inside)).find((file) => fs.existsSync(file));
  if (found || WINDOWS) return found ?? "python"; // python3 may be a mere hint at a store there
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const isThere = (name) => folders.some((folder) => fs.existsSync(path.join(folder, name)));
  return isThere("python") && !isThere("python3") ? "python" : "python3";
}

/** One that had run well may be started again at once, others later and later. */
function pauseAfter(child) {
  if (child.isStopping) return;
  state.failures = Date.now() - child.begun > STEADY_MS ? 1 : state.failures + 1;
  const pause = Math.min(LONGEST_PAUSE_MS, 1000 * 2 ** (state.failures - 1));
  state.notBefore = Date.now() + (child.isReady && state.failures === 1 ? 0 : pause);
}

/** The server once it is ready; it is started when there is none. Rejects with Unavailable. */
async function running() {
  if (state.child === null || state.child.isOver) {
    if (Date.now() < state.notBefore) throw new Unavailable("It has just failed.");
    state.child = new Child(state.settings);
  }
  const child = state.child;
  if (child.isReady) return child;
  const late = delay(WAIT_MS, undefined, { ref: false }).then(() => {
    throw new Unavailable("It is still starting.");
  });
  return Promise.race([child.ready, late]);
}

/** Take settings. A server that runs with others is ended; whoever asks next starts another. */
function configure(config, base = state.settings.INPUT_SERVER_BASE) {
  const given = { INPUT_SERVER_BASE: base, ...config };
  const known = Object.keys(configSchema).filter((key) => given[key] !== undefined);
  const settings = Object.fromEntries(known.map((key) => [key, String(given[key] ?? "")]));
  if (JSON.stringify(settings) === JSON.stringify(state.settings)) return;
  Object.assign(state, { settings, failures: 0, notBefore: 0 });
  shutdown();
}

/** What the Python server is told: the client's headers, and its address as the socket has it. */
function passedOn(req) {
  const told = Object.entries(req.headers).filter(([name]) => !NOT_ASKED.test(name));
  const client = (req.socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/, "");
  return { ...Object.fromEntries(told), "x-bridge-client": client };
}

/** One request to the Python server; gives its answer, whose body has not been read yet. */
function ask(child, req, res, headers) {
  return new Promise((resolve, reject) => {
    const asked = http.request({
      ...child.target,
      agent: child.agent,
      method: req.method,
      path: req.originalUrl, // as it was sent: it is taken apart before it is decoded (urls.py)
      headers: { ...headers, "x-bridge-secret": child.secret },
      timeout: ANSWER_MS,
    });
    asked.once("response", (answer) => {
      asked.setTimeout(0);
      resolve(answer);
    });
    asked.once("timeout", () => asked.destroy(new Error("No answer in time.")));
    asked.on("error", reject);
    res.once("close", () => asked.destroy()); // the client went away
    asked.end();
  });
}

/** The same, asked again where the server or a connection to it has just ended. */
async function answered(req, res, headers) {
  for (let left = 3; ; left -= 1) {
    try {
      return await ask(await running(), req, res, headers);
    } catch (problem) {
      if (!LOST.includes(problem.code) || left === 1 || req.socket.destroyed) throw problem;
      await delay(100);
    }
  }
}

/**
 * Answer a request. `next`, where given, is called when the key is none of ours. A file that has
 * been replaced since it was looked at is asked for again; at last, whatever has its name is sent.
 */
async function answerTo(req, res, next) {
  const headers = passedOn(req);
  for (const isStrict of [true, true, true, false]) {
    const answer = await answered(req, res, headers);
    if (next && [401, 429].includes(answer.statusCode)) {
      answer.resume();
      return next();
    }
    const stalled = Number(state.settings.INPUT_SERVER_STALL_SECONDS) || 60;
    res.setTimeout(stalled * 1000, () => res.destroy());
    copyHead(answer, res);
    const [start, length] = (answer.headers["x-sendfile-part"] ?? "0 0").split(" ").map(Number);
    if (!length) return pipeline(answer, res).catch(() => {}); // what was begun has been cut
    answer.resume();
    if (await sendPart(req, res, answer, start, length, isStrict)) return;
  }
  throw new Error("A file could not be opened.");
}

function copyHead(answer, res) {
  res.statusCode = answer.statusCode;
  for (const [name, value] of Object.entries(answer.headers)) {
    if (!NOT_ANSWERED.test(name)) res.setHeader(name, value);
  }
}

/** A file, open, if it is still the one that was looked at (asgi.py, _send_name). */
async function openSame(place, stamp) {
  const file = await fs.promises.open(place, OPENING).catch(() => undefined);
  const seen = await file?.stat({ bigint: true });
  if (!stamp || (seen && `${seen.ino} ${seen.mtimeNs} ${seen.size}` === stamp)) return file;
  await file?.close();
  return undefined;
}

/** Let Express send bytes of the file that was named; gives whether it could. */
async function sendPart(req, res, { headers }, start, length, isStrict) {
  const plain = decodeURIComponent(headers["x-sendfile"]);
  const { "x-sendfile-pinned": pinned, "x-sendfile-stamp": stamp } = isStrict ? headers : {};
  const file = (pinned && (await openSame(pinned, stamp))) || (await openSame(plain, stamp));
  if (!file) return false;
  try {
    const place = HAS_PROC ? `/proc/self/fd/${file.fd}` : plain;
    for (const name of CONDITIONS) delete req.headers[name];
    const isOther = !isStrict && res.statusCode === 200; // maybe another file, of another length
    const part = isOther ? {} : { start, end: start + length - 1 };
    let source;
    res.once("pipe", (stream) => (source = stream));
    const problem = await new Promise((done) => {
      res.sendFile(place, { ...DECIDED, ...part, dotfiles: "allow" }, done);
    });
    if (!res.headersSent) return req.socket.destroyed;
    const isCut = source?.bytesRead < res.getHeader("content-length");
    if (problem || isCut) req.socket.destroy(); // so that a cut body looks like one
    return true;
  } finally {
    await file.close();
  }
}

function refuse(req, res, problem) {
  if (req.socket.destroyed || res.headersSent) return res.destroy();
  if (!(problem instanceof Unavailable)) complain(problem.message);
  for (const name of res.getHeaderNames()) if (OF_A_FILE.test(name)) res.removeHeader(name);
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  res.writeHead(503, { ...headers, "Retry-After": "5" });
  res.end("The file server is not available now.");
}

/**
 * Take settings before the routes and again at every reload, after `shutdown`: VCPToolBox gives
 * (config, services), VCPDistributedServer ({ app, config, projectBasePath, … }).
 */
function initialize(given = {}) {
  configure(given.config ?? given, given.projectBasePath ?? given.PROJECT_BASE_PATH);
  if (state.isRouted) running().catch(() => {}); // the log says why
}

/**
 * Register both addresses and start the server. Exactly three parameters: VCPToolBox puts another
 * second where there are more (its Plugin.js, initializeServices).
 *
 * @param app Express 4 or 5
 * @param pluginConfig values for the keys of configSchema in plugin-manifest.json
 * @param projectBasePath where relative mounts begin
 */
function registerRoutes(app, pluginConfig, projectBasePath) {
  configure(pluginConfig, projectBasePath);
  const answer = (req, res, next) =>
    void answerTo(req, res, next).catch((problem) => refuse(req, res, problem));
  if (!state.apps.has(app)) {
    app.all(ROUTE, (req, res) => answer(req, res, null));
    app.get(GATE_ROUTE, answer);
    state.apps.add(app);
  }
  state.isRouted = true;
  running().catch(() => {});
}

/** End the server; resolves when it is gone. A later request brings it back. */
async function shutdown() {
  const child = state.child;
  state.child = null;
  await child?.stop();
}

module.exports = { initialize, registerRoutes, shutdown };
