"use strict";

/* The list of files received so far, and the status text below the grid. */

const MAX_TIMER_MS = 2 ** 31 - 1;
const PROBLEMS = { 401: "expired", 403: "expired", 404: "missing", 429: "busy" };

const isSlashed = location.pathname.endsWith("/");
const base = new URL(isSlashed ? location.pathname : `${location.pathname}/`, location.origin);
const alias = decodeURIComponent(base.pathname.split("/").at(-2));
const list = {
  items: [],
  names: new Set(),
  next: null, // cursor of the next page
  ended: false,
  total: 0,
  problem: "", // a key of TEXTS
  partial: false, // a search is not finished
  partlySearched: 0, // files without a match that are only known in part
};
let generation = 0; // counts searches, so that late responses to older ones are ignored
let loading = null; // AbortController of the current request
let isReplaced = true; // the next response replaces the items
let expiryTimer = 0;

/** A URL of the list as an absolute one; null unless it is on this server. */
function resolveUrl(relative) {
  if (typeof relative !== "string" || !relative.startsWith("../../")) return null;
  const url = new URL(relative, base);
  return url.origin === location.origin ? url.href : null;
}

/** The URL of "list" or "info", with the signature of the page. */
function apiUrl(route, parameters) {
  const query = new URLSearchParams(location.search);
  for (const name of ["q", "after", "n", "path"]) query.delete(name);
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value);
  const url = new URL(route, base);
  url.search = query;
  return url;
}

function searchQuery() {
  return $("search").value.trim();
}

function restartList() {
  generation += 1;
  loading?.abort();
  loading = null;
  isReplaced = true;
  Object.assign(list, { next: null, ended: false, problem: "" });
  $("clear").hidden = !$("search").value;
  loadMore();
}

async function loadMore() {
  if (loading || list.ended || list.problem) return;
  const requested = generation;
  loading = new AbortController();
  showStatus();
  let problem = "failed";
  try {
    const url = apiUrl("list", { q: searchQuery(), after: list.next });
    const response = await fetch(url, { signal: loading.signal });
    if (response.ok) {
      const page = await response.json();
      if (requested === generation) addPage(page);
      return;
    }
    problem = PROBLEMS[response.status] ?? "failed";
  } catch {
    /* no connection, or aborted by a newer search */
  }
  if (requested === generation) showProblem(problem);
}

function addPage(page) {
  if (isReplaced) {
    list.items = [];
    list.names = new Set();
    list.partlySearched = 0;
    isReplaced = false;
    clearTiles();
    scrollTo(0, 0);
  }
  for (const item of page.items) {
    if (list.names.has(item.name) || !resolveUrl(item.url)) continue;
    list.names.add(item.name);
    list.items.push(item);
  }
  const { next, total, partial } = page;
  const partlySearched = list.partlySearched + (page.partly_searched ?? 0);
  Object.assign(list, { next, ended: next === null, total, partial, partlySearched });
  loading = null;
  expireIn(page.expires_in);
  showStatus();
  renderGrid();
  if (viewer.open) updateNavigation();
}

function expireIn(seconds) {
  clearTimeout(expiryTimer);
  if (seconds === null) return;
  const delay = Math.min((seconds + 1) * 1000, MAX_TIMER_MS);
  expiryTimer = setTimeout(() => showProblem("expired"), delay);
}

/** An expired link ends the page at once: further requests would look like guessing keys. */
function showProblem(problem) {
  loading = null;
  list.problem = problem;
  if (problem === "expired") {
    generation += 1;
    list.items = [];
    clearTiles();
    if (viewer.open) viewer.close();
  }
  showStatus();
  renderGrid();
}

function showStatus() {
  $("count").textContent = countText();
  const status = $("status");
  status.replaceChildren();
  status.classList.toggle("alone", list.items.length === 0);
  const isEmpty = list.ended && !isReplaced && !list.items.length;
  if (list.problem) {
    const isRetryable = list.problem === "failed" || list.problem === "busy";
    showMessage("lost", texts[list.problem], texts[`${list.problem}More`], isRetryable);
  } else if (isEmpty && searchQuery()) {
    showMessage("search", texts.noMatch, texts.noMatchMore(searchQuery()));
  } else if (isEmpty) {
    showMessage("image", texts.empty, texts.emptyMore);
  } else if (loading || list.partial) {
    status.append(createSpinner());
  }
  showPartlySearched();
}

function showPartlySearched() {
  if (!list.ended || isReplaced || !list.partlySearched) return;
  const count = formatNumber(list.partlySearched);
  $("status").append(createElement("p", "", texts.partlySearched(count)));
}

function countText() {
  const query = searchQuery();
  if (list.problem || (isReplaced && !query)) return "";
  if (!query) return texts.count(formatNumber(list.total));
  const count = formatNumber(isReplaced ? 0 : list.items.length);
  if (!list.ended && (loading || list.partial)) return texts.searching(count);
  return texts.found(count + (list.ended ? "" : "+"));
}

function createSpinner() {
  const spinner = createElement("div", "spinner");
  spinner.setAttribute("role", "img");
  spinner.setAttribute("aria-label", texts.loading);
  return spinner;
}

function showMessage(icon, title, text, isRetryable = false) {
  $("status").append(
    createIcon(icon),
    createElement("h2", "", title),
    createElement("p", "", text),
  );
  if (!isRetryable) return;
  const button = createElement("button", "button action", texts.retry);
  button.type = "button";
  button.addEventListener("click", () => {
    list.problem = "";
    loadMore();
  });
  $("status").append(button);
}
