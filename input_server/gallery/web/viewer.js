"use strict";

/* The viewer: one file at full size, with its generation data. */

const MAX_INFO_QUERY = 2000; // characters; the server rejects longer queries
const MAX_TEXT_BYTES = 64 * 1024;
const SWIPE_PX = 48;

const viewer = $("viewer");
let current = -1; // index in the list
let infoRequest = null; // AbortController
let swipe = null; // { id, x, distance } of the finger
let toastTimer = 0;

function openViewer(at) {
  viewer.showModal();
  history.pushState({ viewer: true }, "");
  showFile(at);
  $("close").focus();
}

function onViewerClose() {
  infoRequest?.abort();
  clearMedia();
  const at = current;
  current = -1;
  if (history.state?.viewer) history.back();
  if (list.items.length) focusTile(at);
}

function showFile(at) {
  current = at;
  const item = list.items[at];
  const url = resolveUrl(item.url);
  $("file-name").textContent = item.name;
  showFacts(item);
  $("open").href = url;
  $("download").href = url;
  $("download").download = baseName(item);
  $("copy-manually").hidden = true;
  $("info").replaceChildren();
  showMedia(item, url);
  loadInfo(item);
  updateNavigation();
  viewer.scrollTop = 0;
  document.querySelector(".details").scrollTop = 0;
}

function isCurrent(item) {
  return list.items[current] === item;
}

function showNeighbor(offset) {
  const at = current + offset;
  if (at >= 0 && at < list.items.length) showFile(at);
}

function updateNavigation() {
  const focused = document.activeElement;
  $("previous").disabled = current <= 0;
  $("next").disabled = current >= list.items.length - 1;
  if (focused?.disabled) $("close").focus();
  if (current >= list.items.length - 3) loadMore();
}

function showFacts(item, width, height) {
  const size = width && height ? `${width} × ${height}` : "";
  const facts = [size, formatBytes(item.bytes), formatTime(item.mtime)];
  $("facts").textContent = facts.filter(Boolean).join(" · ");
}

/* Media */

function clearMedia() {
  for (const player of $("media").querySelectorAll("video, audio")) {
    player.pause();
    player.removeAttribute("src");
    player.load();
  }
  $("media").replaceChildren();
  $("media").style.transform = "";
}

function showMedia(item, url) {
  clearMedia();
  if (item.kind === "image") showImage(item, url);
  else if (item.kind === "video" || item.kind === "audio") showPlayer(item, url);
  else if (item.kind === "text") showText(item, url);
  else showNotDisplayable(item);
}

function showImage(item, url) {
  const image = createElement("img", "full");
  const thumbnail = resolveUrl(item.thumb);
  image.alt = item.name;
  image.addEventListener("load", () => {
    image.classList.add("in");
    preloadNext();
  });
  image.addEventListener("error", () => showNotDisplayable(item));
  if (thumbnail) {
    const preview = createElement("img");
    preview.alt = "";
    preview.src = thumbnail;
    image.addEventListener("load", () => setTimeout(() => preview.remove(), 250));
    $("media").append(preview);
  }
  image.src = resolveUrl(item.view) ?? url;
  $("media").append(image);
}

function showPlayer(item, url) {
  const player = createElement(item.kind);
  player.controls = true;
  player.playsInline = true;
  player.preload = "metadata";
  player.setAttribute("aria-label", item.name);
  player.addEventListener("error", () => showNotDisplayable(item));
  player.src = url;
  $("media").append(player);
}

async function showText(item, url) {
  const page = createElement("pre");
  page.tabIndex = 0;
  const isLong = item.bytes > MAX_TEXT_BYTES;
  const headers = isLong ? { Range: `bytes=0-${MAX_TEXT_BYTES - 1}` } : {};
  try {
    const response = await fetch(url, { headers });
    if (!response.ok) throw new Error(response.statusText);
    const charset = /charset=([\w-]+)/i.exec(response.headers.get("Content-Type") ?? "")?.[1];
    const text = decodeText(new Uint8Array(await response.arrayBuffer()), charset);
    page.textContent = text + (isLong ? "\n…" : "");
    if (isCurrent(item) && viewer.open) $("media").replaceChildren(page);
  } catch {
    showNotDisplayable(item);
  }
}

/** A text in the given encoding; without one in UTF-8, or GB18030 if it is none. Its end may be cut. */
function decodeText(bytes, charset) {
  const isBigEndian = bytes[0] === 0xfe && bytes[1] === 0xff;
  if (charset) return new TextDecoder(isBigEndian ? "utf-16be" : charset).decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return new TextDecoder("gb18030").decode(bytes);
  }
}

function showNotDisplayable(item) {
  if (!isCurrent(item)) return;
  const box = createPlaceholder(item);
  box.lastChild.remove();
  box.append(createElement("span", "", texts.notDisplayable));
  $("media").replaceChildren(box);
}

function preloadNext() {
  const next = list.items[current + 1];
  if (next?.kind === "image") new Image().src = resolveUrl(next.view) ?? resolveUrl(next.url);
}

/* Generation data */

async function loadInfo(item) {
  infoRequest?.abort();
  if (!["image", "video", "audio"].includes(item.kind)) return;
  infoRequest = new AbortController();
  const { signal } = infoRequest;
  const url = apiUrl("info", { path: item.name });
  if (url.search.length > MAX_INFO_QUERY) return;
  try {
    const response = await fetch(url, { signal });
    if (!response.ok) return;
    const info = await response.json();
    if (isCurrent(item) && !signal.aborted) showInfo(item, info);
  } catch {
    /* the file is shown without it */
  }
}

function showInfo(item, info) {
  showFacts(item, info.width, info.height);
  const rows = createElement("dl");
  addLongRow(rows, texts.positive, info.positive);
  addLongRow(rows, texts.negative, info.negative);
  addLongRow(rows, texts.seeds, info.seeds.join("\n"));
  addShortRow(rows, texts.models, info.models.join("\n"));
  addShortRow(rows, texts.samplers, info.samplers.join(", "));
  addShortRow(rows, texts.schedulers, info.schedulers.join(", "));
  addShortRow(rows, texts.steps, info.steps.join(", "));
  addShortRow(rows, texts.cfg, info.cfg.join(", "));
  if (info.workflow) addShortRow(rows, texts.workflow, texts.hasWorkflow);
  const isEmpty = rows.childElementCount === 0;
  $("info").replaceChildren(isEmpty ? createElement("p", "quiet", texts.noInfo) : rows);
}

function addLongRow(rows, name, value) {
  if (!value) return;
  const group = createElement("div");
  const term = createElement("dt", "", name);
  term.append(createCopyButton(name, value));
  group.append(term, createElement("dd", "long", value));
  rows.append(group);
}

function addShortRow(rows, name, value) {
  if (!value) return;
  const group = createElement("div", "short");
  group.append(createElement("dt", "", name), createElement("dd", "", value));
  rows.append(group);
}

function createCopyButton(name, text) {
  const button = createElement("button");
  button.type = "button";
  button.title = texts.copy(name);
  button.setAttribute("aria-label", texts.copy(name));
  button.append(createIcon("copy"));
  button.addEventListener("click", () => copyText(text));
  return button;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    showToast(texts.copied);
    return;
  } catch {
    /* the API is missing on plain http */
  }
  const field = $("copy-text");
  field.value = text;
  $("copy-manually").hidden = false;
  field.focus();
  field.select();
  if (document.execCommand("copy")) showToast(texts.copied);
}

function showToast(text) {
  const toast = $("toast");
  toast.textContent = text;
  toast.classList.add("up");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    toast.classList.remove("up");
    toast.textContent = "";
  }, 1800);
}

/* Keys and swipes */

function onViewerKey(event) {
  if (event.target.closest("video, audio, textarea, pre")) return;
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const offset = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (offset === undefined) return;
  event.preventDefault();
  showNeighbor(offset);
}

/** Horizontal swipes only: vertical ones scroll, two fingers zoom. */
function startSwipe(event) {
  if (event.pointerType === "mouse" || (visualViewport?.scale ?? 1) > 1.01) return;
  if (event.target.closest("video, audio, pre")) return;
  $("media").style.transform = "";
  swipe = event.isPrimary ? { id: event.pointerId, x: event.clientX, distance: 0 } : null;
}

function moveSwipe(event) {
  if (swipe?.id !== event.pointerId) return;
  swipe.distance = event.clientX - swipe.x;
  if (Math.abs(swipe.distance) > 10) {
    $("media").style.transform = `translateX(${swipe.distance}px)`;
  }
}

function endSwipe(event) {
  if (swipe?.id !== event.pointerId) return;
  const { distance } = swipe;
  swipe = null;
  $("media").style.transform = "";
  if (event.type === "pointerup" && Math.abs(distance) > SWIPE_PX) {
    showNeighbor(distance < 0 ? 1 : -1);
  }
}
