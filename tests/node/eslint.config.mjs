// Checks all JavaScript of the project: `npm run lint --prefix tests/node`, part of `run.py test`.
import { readFileSync, readdirSync } from "node:fs";

import js from "@eslint/js";
import globals from "globals";

const WEB = new URL("../../input_server/gallery/web/", import.meta.url);

/** Names that the scripts of the gallery define; they are served as one script with one scope. */
function galleryGlobals() {
  const scripts = readdirSync(WEB).filter((name) => name.endsWith(".js"));
  const source = scripts.map((name) => readFileSync(new URL(name, WEB), "utf8")).join("\n");
  const definition = /^(?:async )?(?:function|const|let) (\$|\w+)/gm;
  return Object.fromEntries([...source.matchAll(definition)].map(([, name]) => [name, "writable"]));
}

const rules = {
  "array-callback-return": "error",
  complexity: ["error", 10],
  curly: ["error", "multi-line"],
  eqeqeq: "error",
  "max-lines": ["error", 500],
  "max-lines-per-function": ["error", 60],
  "no-implicit-globals": "off",
  "no-shadow": "error",
  "no-throw-literal": "error",
  "no-unused-expressions": "error",
  "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "prefer-template": "error",
  "require-atomic-updates": "error",
  strict: ["error", "global"],
};

export default [
  { ignores: ["**/node_modules/**"] },
  js.configs.recommended,
  { rules, linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["input_server/bridge.js", "tests/node/*.js"],
    languageOptions: { sourceType: "commonjs", globals: globals.node },
  },
  {
    files: ["input_server/gallery/web/*.js"],
    languageOptions: {
      sourceType: "script",
      globals: { ...globals.browser, ...galleryGlobals() },
    },
    rules: {
      "no-redeclare": ["error", { builtinGlobals: false }],
      "no-shadow": ["error", { builtinGlobals: false }],
      "no-unused-vars": ["error", { vars: "local" }],
    },
  },
  { files: ["**/*.mjs"], languageOptions: { globals: globals.node }, rules: { strict: "off" } },
];
