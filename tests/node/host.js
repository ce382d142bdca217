"use strict";
/**
 * A minimal host: Express, the gate of VCPToolBox or none as in VCPDistributedServer, the plugin, and
 * after it the host's own file server. Reads commands as lines of JSON from stdin and reports each on
 * stdout.
 *
 *   node host.js <express4|express5> <toolbox|node> <folder of the plugin>
 */
const path = require("node:path");
const readline = require("node:readline");

const [version, kind, folder] = process.argv.slice(2);
const manifest = require(path.join(folder, "plugin-manifest.json"));
const script = path.join(folder, manifest.entryPoint.script);
const HOST_KEY = "key-of-the-host";
const app = require(version)();
const copies = [require(script)];

function makeGate() {
  app.set("trust proxy", true); // as VCPToolBox does: req.ip is then controlled by the client
  app.use(require(version).json());
  app.use((req, res, next) => {
    const isOpen = /^\/pw=[^/]+\/(files|images)\//.test(req.path);
    if (isOpen || req.headers.authorization === `Bearer ${HOST_KEY}`) return next();
    return res.status(401).json({ error: "the host requires a bearer token" });
  });
}

function initialize({ config, base }) {
  return kind === "toolbox"
    ? copies[0].initialize({ ...config, PORT: 1, Key: HOST_KEY, PROJECT_BASE_PATH: base }, {})
    : copies[0].initialize({ app, config, projectBasePath: base, services: {}, logger: console });
}

function serveOwnFiles() {
  app.get(/^\/pw=([^/]+)\/files\/(.*)$/, (req, res) => {
    if (req.params[0] === HOST_KEY) return res.send(`the host's own ${req.params[1]}`);
    return res.status(401).send("the host does not know that key");
  });
}

const actions = {
  initialize,
  registerRoutes({ config, base }) {
    for (const copy of copies) copy.registerRoutes(app, config, base, {});
  },
  shutdown: () => copies[0].shutdown(),
  async listen({ config, base }) {
    await initialize({ config, base });
    actions.registerRoutes({ config, base });
    serveOwnFiles();
    const server = app.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    return server.address().port;
  },
  load() {
    delete require.cache[require.resolve(script)];
    copies.push(require(script));
  },
  parameters: () => copies[0].registerRoutes.length,
};

async function main() {
  if (kind === "toolbox") makeGate();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    const result = (await actions[command.do](command)) ?? null;
    process.stdout.write(`${JSON.stringify({ did: command.do, result })}\n`);
  }
  process.exit(0);
}

main();
