"use strict";

/* Event listeners, and the start of the page. */

const SEARCH_DELAY_MS = 250; // after the last key

let searchTimer = 0;
let scrollFrame = 0;

/** The search is part of the page's URL, so that a reload shows the same files. */
function applySearch() {
  clearTimeout(searchTimer);
  const query = new URLSearchParams(location.search);
  query.delete("q");
  if (searchQuery()) query.set("q", searchQuery());
  history.replaceState(history.state, "", `${location.pathname}${`${query}` && `?${query}`}`);
  restartList();
}

function listenToSearch() {
  $("search").addEventListener("input", () => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(applySearch, SEARCH_DELAY_MS);
  });
  document.querySelector(".filter").addEventListener("submit", (event) => {
    event.preventDefault();
    applySearch();
  });
  $("clear").addEventListener("click", () => {
    $("search").value = "";
    $("search").focus();
    applySearch();
  });
}

function listenToViewer() {
  viewer.addEventListener("keydown", onViewerKey);
  viewer.addEventListener("close", onViewerClose);
  $("close").addEventListener("click", () => viewer.close());
  $("previous").addEventListener("click", () => showNeighbor(-1));
  $("next").addEventListener("click", () => showNeighbor(1));
  $("copy-link").addEventListener("click", () => copyText(resolveUrl(list.items[current].url)));
  $("media").addEventListener("pointerdown", startSwipe);
  $("media").addEventListener("pointermove", moveSwipe);
  $("media").addEventListener("pointerup", endSwipe);
  $("media").addEventListener("pointercancel", endSwipe);
  addEventListener("popstate", () => {
    if (viewer.open) viewer.close();
  });
}

function listenToGrid() {
  grid.addEventListener("keydown", onGridKey);
  const onScroll = () => {
    scrollFrame ||= requestAnimationFrame(() => {
      scrollFrame = 0;
      renderGrid();
    });
  };
  addEventListener("scroll", onScroll, { passive: true });
  new ResizeObserver(layOutGrid).observe(grid);
}

listenToSearch();
listenToViewer();
listenToGrid();
$("language").addEventListener("click", switchLanguage);
$("theme").addEventListener("click", switchTheme);
prefersDark.addEventListener("change", applyTheme);
if (history.state?.viewer) history.replaceState(null, "");
history.scrollRestoration = "manual";
$("search").value = new URLSearchParams(location.search).get("q") ?? "";
$("alias").textContent = alias;
applyTheme();
applyLanguage();
restartList();
