"use strict";

const WORDS = {
  en: {
    title: "Gallery", other: "中文", otherLabel: "中文", theme: "Dark or light", files: "Files",
    filter: "Filter by name, prompt, model or seed", hint: "Name, prompt, model or seed", clear: "Clear the filter",
    count: (n) => `${n} ${n === "1" ? "file" : "files"}`, found: (n) => `${n} found`, searching: (n) => `Searching… ${n} found`,
    loading: "Loading…",
    empty: "No files yet", emptyMore: "Pictures appear here once they have been saved.",
    nothing: "Nothing found", nothingMore: (q) => `No file fits “${q}”.`,
    expired: "This link no longer works", expiredMore: "It has expired, or it is incomplete. Ask for a new one.",
    missing: "There is no such folder", missingMore: "It may have been renamed or removed.",
    busy: "Too many attempts", busyMore: "Please wait a few minutes.",
    failed: "The files could not be loaded", failedMore: "The server cannot be reached right now.", again: "Try again",
    close: "Close", before: "Previous file", after: "Next file", copy: "Copy link", open: "Open", save: "Download",
    copied: "Copied", byHand: "Copy this text:", copyThis: (what) => `Copy: ${what}`,
    unshown: "This file cannot be shown here.", untold: "The file does not say how it was made.",
    positive: "Prompt", negative: "Negative prompt", seeds: "Seed", models: "Model", samplers: "Sampler", schedulers: "Scheduler",
    steps: "Steps", cfg: "CFG", workflow: "Workflow", holdsWorkflow: "In the file; drop it onto ComfyUI to open it",
    kinds: { image: "Picture", video: "Video", audio: "Sound", model: "3D model", text: "Text", document: "Document" },
  },
  zh: {
    title: "图库", other: "EN", otherLabel: "English", theme: "深色或浅色", files: "文件",
    filter: "按文件名、提示词、模型或种子筛选", hint: "文件名、提示词、模型或种子", clear: "清除筛选",
    count: (n) => `${n} 个文件`, found: (n) => `找到 ${n} 个`, searching: (n) => `正在搜索… 已找到 ${n} 个`,
    loading: "正在加载…",
    empty: "还没有文件", emptyMore: "图片保存后会显示在这里。",
    nothing: "没有找到", nothingMore: (q) => `没有符合“${q}”的文件。`,
    expired: "此链接已失效", expiredMore: "链接已过期或不完整，请索取新的链接。",
    missing: "没有这个文件夹", missingMore: "它可能已被重命名或移除。",
    busy: "尝试次数过多", busyMore: "请过几分钟再试。",
    failed: "无法加载文件", failedMore: "暂时连接不上服务器。", again: "重试",
    close: "关闭", before: "上一个", after: "下一个", copy: "复制链接", open: "打开", save: "下载",
    copied: "已复制", byHand: "请手动复制：", copyThis: (what) => `复制${what}`,
    unshown: "无法在此显示该文件。", untold: "文件中没有生成信息。",
    positive: "提示词", negative: "反向提示词", seeds: "种子", models: "模型", samplers: "采样器", schedulers: "调度器",
    steps: "步数", cfg: "CFG", workflow: "工作流", holdsWorkflow: "已包含，拖入 ComfyUI 即可打开",
    kinds: { image: "图片", video: "视频", audio: "音频", model: "3D 模型", text: "文本", document: "文档" },
  },
};
const SVG = "http://www.w3.org/2000/svg";
const AHEAD = 900;            // pixels above and below the window that have tiles
const PAUSE = 250;            // milliseconds without a key before a filter is applied
const LONGEST_QUERY = 2000;   // the server takes no longer one
const LONGEST_TIMER = 2 ** 31 - 1;
const TEXT_BYTES = 64 * 1024;

const $ = (id) => document.getElementById(id);
const base = new URL(location.pathname.endsWith("/") ? location.pathname : `${location.pathname}/`, location.origin);
const remembered = {
  get(name) { try { return localStorage.getItem(`gallery-${name}`); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(`gallery-${name}`, value); } catch { /* private windows may forbid it */ } },
};

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// An address of the list as one of this server, or null: nothing else is ever put into the page.
function address(relative) {
  if (typeof relative !== "string" || !relative.startsWith("../../")) return null;
  const found = new URL(relative, base);
  return found.origin === location.origin ? found.href : null;
}

function asked(what, more) {
  const query = new URLSearchParams(location.search);
  for (const name of ["q", "after", "n", "path"]) query.delete(name);
  for (const [name, value] of Object.entries(more)) if (value) query.set(name, value);
  const found = new URL(what, base);
  found.search = query;
  return found;
}

/* Language and theme */

const dark = matchMedia("(prefers-color-scheme: dark)");
let language = remembered.get("language") ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
if (!(language in WORDS)) language = "en";
let words = WORDS[language];

function number(value) { return new Intl.NumberFormat(language).format(value); }

function moment(seconds) {
  const form = new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : navigator.language, { dateStyle: "medium", timeStyle: "short" });
  return form.format(new Date(seconds * 1000));
}

function bytes(count) {
  if (count < 1000) return `${count} B`;
  const [unit, name] = count < 1e6 ? [1e3, "kB"] : count < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  const value = count / unit;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value)} ${name}`;
}

function speak() {
  words = WORDS[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = words[element.dataset.text];
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = words[element.dataset.placeholder];
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words[element.dataset.label]);
    if (element.localName === "button") element.title = words[element.dataset.label];
  }
  $("language").textContent = words.other;
  $("language").setAttribute("aria-label", words.otherLabel);
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  document.title = `${alias} · ${words.title}`;
  for (const [at, tile] of tiles) label(tile.firstChild, list.items[at]);
  tellState();
}

function dress() {
  const chosen = remembered.get("theme");
  const theme = chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  $("theme").querySelector("use").setAttribute("href", theme === "dark" ? "#i-sun" : "#i-moon");
}

/* The list: what is known of the files so far */

const alias = decodeURIComponent(base.pathname.split("/").at(-2));
const list = { items: [], names: new Set(), next: null, ended: false, total: 0, problem: "", partial: false };
let generation = 0;           // counts filters, so that a late answer to an older one is not taken
let loading = null;           // the AbortController of the request that is under way
let fresh = true;             // the next answer replaces what is there
let expiry = 0;

function search() { return $("search").value.trim(); }

function start() {
  generation += 1;
  loading?.abort();
  loading = null;
  fresh = true;
  Object.assign(list, { next: null, ended: false, problem: "" });
  $("clear").hidden = !$("search").value;
  more();
}

async function more() {
  if (loading || list.ended || list.problem) return;
  const mine = generation;
  loading = new AbortController();
  tellState();
  let problem = "";
  try {
    const answer = await fetch(asked("list", { q: search(), after: list.next }), { signal: loading.signal });
    if (answer.ok) { take(await answer.json(), mine); return; }
    problem = { 401: "expired", 403: "expired", 404: "missing", 429: "busy" }[answer.status] ?? "failed";
  } catch {
    problem = "failed";
  }
  if (mine === generation) fail(problem);
}

function take(answer, mine) {
  if (mine !== generation) return;
  if (fresh) { list.items = []; list.names = new Set(); fresh = false; clearTiles(); scrollTo(0, 0); }
  for (const item of answer.items) {
    if (list.names.has(item.name) || !address(item.url)) continue;
    list.names.add(item.name);
    list.items.push(item);
  }
  Object.assign(list, { next: answer.next, ended: answer.next === null, total: answer.total, partial: answer.partial });
  loading = null;
  clearTimeout(expiry);
  if (answer.expires_in !== null) expiry = setTimeout(() => fail("expired"), Math.min((answer.expires_in + 1) * 1000, LONGEST_TIMER));
  tellState();
  render();
  if (view.open) showSides();
}

// An ended link is shown as ended at once: asking on with it would look like guessing keys.
function fail(problem) {
  loading = null;
  list.problem = problem;
  if (problem === "expired") {
    generation += 1;
    list.items = [];
    clearTiles();
    if (view.open) view.close();
  }
  tellState();
  render();
}

function tellState() {
  const shown = fresh ? 0 : list.items.length;
  const filtered = search() !== "";
  const count = $("count"), state = $("state");
  const searching = filtered && !list.ended && !list.problem && (loading || list.partial);
  if (list.problem || (fresh && !filtered)) count.textContent = "";
  else if (searching) count.textContent = words.searching(number(shown));
  else if (filtered) count.textContent = words.found(number(shown) + (list.ended ? "" : "+"));
  else count.textContent = words.count(number(list.total));
  state.replaceChildren();
  state.classList.toggle("alone", list.items.length === 0);
  if (list.problem) {
    const retry = list.problem === "failed" || list.problem === "busy";
    say("lost", words[list.problem], words[`${list.problem}More`], retry);
  } else if (list.ended && !fresh && !shown) {
    if (filtered) say("search", words.nothing, words.nothingMore(search()));
    else say("image", words.empty, words.emptyMore);
  } else if (loading || list.partial) {
    const turning = make("div", "turning");
    turning.setAttribute("role", "img");
    turning.setAttribute("aria-label", words.loading);
    state.append(turning);
  }
}

function say(symbol, title, text, retry) {
  $("state").append(icon(symbol), make("h2", "", title), make("p", "", text));
  if (!retry) return;
  const button = make("button", "button action", words.again);
  button.type = "button";
  button.addEventListener("click", () => { list.problem = ""; more(); });
  $("state").append(button);
}

/* The grid: only the tiles near the window are there */

const grid = $("grid");
const tiles = new Map();      // place in the list -> its <li>
let columns = 1, side = 200, row = 230;

function measure() {
  const width = grid.clientWidth;
  const narrow = matchMedia("(max-width: 760px)").matches;
  columns = Math.max(narrow ? 3 : 2, Math.floor(width / (narrow ? 150 : 204)));
  side = width / columns;
  row = Math.round(side) + (narrow ? 0 : 26);
  grid.style.setProperty("--side", `${side}px`);
  grid.style.setProperty("--row", `${row}px`);
  for (const [at, tile] of tiles) put(tile, at);
  render();
}

function put(tile, at) {
  tile.style.transform = `translate(${(at % columns) * side}px, ${Math.floor(at / columns) * row}px)`;
}

function render() {
  const rows = Math.ceil(list.items.length / columns);
  grid.style.height = `${rows * row}px`;
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((top - AHEAD) / row)) * columns;
  const last = Math.min(list.items.length, Math.ceil((top + innerHeight + AHEAD) / row) * columns);
  const wanted = [];
  for (let at = first; at < last; at += 1) wanted.push(at);
  for (const [at, tile] of tiles) {
    if (at >= first && at < last) continue;
    if (!tile.contains(document.activeElement)) drop(at, tile);  // what has the focus keeps it
    else if (at < first) wanted.unshift(at);
    else wanted.push(at);
  }
  let behind = null;
  for (const at of wanted.reverse()) {
    const tile = tiles.get(at) ?? build(at);
    if (tile.parentNode !== grid || tile.nextSibling !== behind) grid.insertBefore(tile, behind);
    behind = tile;
  }
  if (last >= list.items.length) more();
}

function drop(at, tile) {
  tile.querySelector("img")?.removeAttribute("src");  // so that a request that nobody waits for ends
  tile.remove();
  tiles.delete(at);
}

function clearTiles() {
  for (const [at, tile] of tiles) drop(at, tile);
}

function build(at) {
  const item = list.items[at];
  const tile = make("li"), button = make("button", "tile"), frame = make("span", "frame");
  button.type = "button";
  const thumb = address(item.thumb);
  if (thumb) frame.append(thumbnail(item, thumb));
  else frame.append(sort(item));
  button.append(frame, make("span", "name", item.name.split("/").at(-1)));
  button.title = item.name;
  label(button, item);
  button.addEventListener("click", () => openView(at));
  tile.append(button);
  tile.setAttribute("aria-posinset", at + 1);
  tile.setAttribute("aria-setsize", list.ended ? list.items.length : -1);
  put(tile, at);
  tiles.set(at, tile);
  return tile;
}

function label(button, item) {
  button.setAttribute("aria-label", `${words.kinds[item.kind] ?? ""} ${item.name}`.trim());
}

function thumbnail(item, url) {
  const image = make("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("load", () => image.classList.add("in"));
  image.addEventListener("error", () => { if (image.hasAttribute("src")) image.replaceWith(sort(item)); });
  image.src = url;
  return image;
}

function sort(item) {
  const box = make("span", "sort");
  const symbol = item.kind === "document" ? "text" : item.kind;
  box.append(icon(symbol), make("b", "", item.name.split(".").at(-1)), make("i", "", item.name.split("/").at(-1)));
  return box;
}

function focusTile(at) {
  const place = Math.max(0, Math.min(list.items.length - 1, at));
  const top = grid.getBoundingClientRect().top + scrollY + Math.floor(place / columns) * row;
  const bar = document.querySelector(".bar").offsetHeight + 8;
  if (top < scrollY + bar) scrollTo(0, top - bar);
  else if (top + row > scrollY + innerHeight) scrollTo(0, top + row - innerHeight + 8);
  render();
  tiles.get(place)?.firstChild.focus({ preventScroll: true });
}

grid.addEventListener("keydown", (event) => {
  const at = [...tiles].find(([, tile]) => tile.contains(event.target))?.[0];
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (at === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Home" || event.key === "End") focusTile(event.key === "Home" ? 0 : list.items.length - 1);
  else if (step !== undefined && at + step >= 0) focusTile(at + step);
  else return;
  event.preventDefault();
});

/* The large view */

const view = $("view");
let shown = -1;
let telling = null;

function openView(at) {
  view.showModal();
  history.pushState({ view: true }, "");
  show(at);
  $("close").focus();
}

function show(at) {
  shown = at;
  const item = list.items[at], url = address(item.url);
  $("view-name").textContent = item.name;
  facts(item);
  $("open").href = url;
  $("save").href = url;
  $("save").download = item.name.split("/").at(-1);
  $("spare").hidden = true;
  $("told").replaceChildren();
  hold(item, url);
  tell(item);
  showSides();
  view.scrollTop = 0;
  document.querySelector(".told").scrollTop = 0;
}

function showSides() {
  const focused = document.activeElement;
  $("before").disabled = shown <= 0;
  $("after").disabled = shown >= list.items.length - 1;
  if (focused?.disabled) $("close").focus();
  if (shown >= list.items.length - 3) more();
}

function facts(item, width, height) {
  const size = width && height ? `${width} × ${height}` : "";
  $("facts").textContent = [size, bytes(item.bytes), moment(item.mtime)].filter(Boolean).join(" · ");
}

function step(by) {
  const at = shown + by;
  if (at >= 0 && at < list.items.length) show(at);
}

function empty() {
  for (const media of $("held").querySelectorAll("video, audio")) { media.pause(); media.removeAttribute("src"); media.load(); }
  $("held").replaceChildren();
  $("held").style.transform = "";
}

function hold(item, url) {
  empty();
  const held = $("held");
  const failed = () => { if (list.items[shown] === item) held.replaceChildren(note(item)); };
  if (item.kind === "image") {
    const whole = make("img", "whole"), thumb = address(item.thumb);
    whole.alt = item.name;
    whole.addEventListener("load", () => { whole.classList.add("in"); preload(); });
    whole.addEventListener("error", failed);
    if (thumb) {
      const small = make("img");
      small.alt = "";
      small.src = thumb;
      whole.addEventListener("load", () => setTimeout(() => small.remove(), 250));
      held.append(small);
    }
    whole.src = address(item.view) ?? url;
    held.append(whole);
  } else if (item.kind === "video" || item.kind === "audio") {
    const media = make(item.kind);
    media.controls = true;
    media.playsInline = true;
    media.preload = "metadata";
    media.setAttribute("aria-label", item.name);
    media.addEventListener("error", failed);
    media.src = url;
    held.append(media);
  } else if (item.kind === "text") read(item, url);
  else held.append(note(item));
}

function note(item) {
  const box = sort(item);
  box.lastChild.remove();
  box.append(make("span", "", words.unshown));
  return box;
}

function preload() {
  const next = list.items[shown + 1];
  if (next?.kind === "image") new Image().src = address(next.view) ?? address(next.url);
}

async function read(item, url) {
  const page = make("pre");
  page.tabIndex = 0;
  try {
    const answer = await fetch(url, item.bytes > TEXT_BYTES ? { headers: { Range: `bytes=0-${TEXT_BYTES - 1}` } } : {});
    if (!answer.ok) throw new Error(answer.statusText);
    page.textContent = (await answer.text()) + (item.bytes > TEXT_BYTES ? "\n…" : "");
    if (list.items[shown] === item && view.open) $("held").replaceChildren(page);
  } catch {
    if (list.items[shown] === item) $("held").replaceChildren(note(item));
  }
}

async function tell(item) {
  telling?.abort();
  if (item.kind !== "image") return;
  telling = new AbortController();
  const { signal } = telling;
  const from = asked("info", { path: item.name });
  if (from.search.length > LONGEST_QUERY) return;
  try {
    const answer = await fetch(from, { signal });
    if (!answer.ok) return;
    const info = await answer.json();
    if (list.items[shown] === item && !signal.aborted) fill(item, info);
  } catch { /* the picture is shown, whether or not it tells anything */ }
}

function fill(item, info) {
  facts(item, info.width, info.height);
  const rows = make("dl");
  const add = (name, value, className) => {
    if (!value) return;
    const group = make("div", className), term = make("dt", "", words[name]);
    if (className !== "short") term.append(copier(words[name], value));
    group.append(term, make("dd", className === "short" ? "" : "long", value));
    rows.append(group);
  };
  add("positive", info.positive);
  add("negative", info.negative);
  add("seeds", info.seeds.join("\n"));
  add("models", info.models.join("\n"), "short");
  add("samplers", info.samplers.join(", "), "short");
  add("schedulers", info.schedulers.join(", "), "short");
  add("steps", info.steps.join(", "), "short");
  add("cfg", info.cfg.join(", "), "short");
  if (info.workflow) add("workflow", words.holdsWorkflow, "short");
  $("told").replaceChildren(rows.childElementCount ? rows : make("p", "quiet", words.untold));
}

function copier(what, text) {
  const button = make("button");
  button.type = "button";
  button.title = words.copyThis(what);
  button.setAttribute("aria-label", words.copyThis(what));
  button.append(icon("copy"));
  button.addEventListener("click", () => copy(text));
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(words.copied);
    return;
  } catch { /* there is none on plain http */ }
  const field = $("spare-text");
  field.value = text;
  $("spare").hidden = false;
  field.focus();
  field.select();
  if (document.execCommand("copy")) toast(words.copied);
}

let toasted = 0;
function toast(text) {
  const element = $("toast");
  element.textContent = text;
  element.classList.add("up");
  clearTimeout(toasted);
  toasted = setTimeout(() => { element.classList.remove("up"); element.textContent = ""; }, 1800);
}

view.addEventListener("keydown", (event) => {
  if (event.target.closest("video, audio, textarea, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});

view.addEventListener("close", () => {
  telling?.abort();
  empty();
  const at = shown;
  shown = -1;
  if (history.state?.view) history.back();
  if (list.items.length) focusTile(at);
});

// A finger that moves sideways turns the page; one that moves up or down scrolls, two zoom.
let touch = null;
$("held").addEventListener("pointerdown", (event) => {
  if (event.pointerType === "mouse" || (visualViewport?.scale ?? 1) > 1.01) return;
  if (event.target.closest("video, audio, pre")) return;
  $("held").style.transform = "";
  touch = event.isPrimary ? { id: event.pointerId, x: event.clientX, by: 0 } : null;
});
$("held").addEventListener("pointermove", (event) => {
  if (touch?.id !== event.pointerId) return;
  touch.by = event.clientX - touch.x;
  if (Math.abs(touch.by) > 10) $("held").style.transform = `translateX(${touch.by}px)`;
});
for (const name of ["pointerup", "pointercancel"]) {
  $("held").addEventListener(name, (event) => {
    if (touch?.id !== event.pointerId) return;
    const { by } = touch;
    touch = null;
    $("held").style.transform = "";
    if (name === "pointerup" && Math.abs(by) > 48) step(by < 0 ? 1 : -1);
  });
}

/* Beginning */

let pause = 0;
let drawing = 0;
$("search").value = new URLSearchParams(location.search).get("q") ?? "";
$("search").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(apply, PAUSE);
});
document.querySelector(".filter").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(pause);
  apply();
});
$("clear").addEventListener("click", () => { $("search").value = ""; $("search").focus(); apply(); });

// The filter stands in the address, so that a page that is loaded again shows the same.
function apply() {
  const query = new URLSearchParams(location.search);
  query.delete("q");
  if (search()) query.set("q", search());
  history.replaceState(history.state, "", `${location.pathname}${`${query}` && `?${query}`}`);
  start();
}

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  remembered.set("language", language);
  speak();
});
$("theme").addEventListener("click", () => {
  remembered.set("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  dress();
});
dark.addEventListener("change", dress);
$("close").addEventListener("click", () => view.close());
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("copy").addEventListener("click", () => copy(address(list.items[shown].url)));
addEventListener("popstate", () => { if (view.open) view.close(); });
addEventListener("scroll", () => {
  if (drawing) return;
  drawing = requestAnimationFrame(() => { drawing = 0; render(); });
}, { passive: true });
new ResizeObserver(measure).observe(grid);
if (history.state?.view) history.replaceState(null, "");
history.scrollRestoration = "manual";

$("alias").textContent = alias;
dress();
speak();
start();
