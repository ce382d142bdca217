"use strict";

/* The grid. Only tiles near the window exist, so that long lists stay fast. */

const RENDER_AHEAD = 900; // pixels above and below the window

const grid = $("grid");
const tiles = new Map(); // index in the list -> <li>
let columns = 1;
let side = 200; // pixels
let row = 230;

function layOutGrid() {
  const width = grid.clientWidth;
  const isNarrow = matchMedia("(max-width: 760px)").matches;
  columns = Math.max(isNarrow ? 3 : 2, Math.floor(width / (isNarrow ? 150 : 204)));
  side = width / columns;
  row = Math.round(side) + (isNarrow ? 0 : 26);
  grid.style.setProperty("--side", `${side}px`);
  grid.style.setProperty("--row", `${row}px`);
  for (const [at, tile] of tiles) placeTile(tile, at);
  renderGrid();
}

function placeTile(tile, at) {
  const x = (at % columns) * side;
  const y = Math.floor(at / columns) * row;
  tile.style.transform = `translate(${x}px, ${y}px)`;
}

function renderGrid() {
  grid.style.height = `${Math.ceil(list.items.length / columns) * row}px`;
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor((top - RENDER_AHEAD) / row)) * columns;
  const end = Math.ceil((top + innerHeight + RENDER_AHEAD) / row) * columns;
  const last = Math.min(list.items.length, end);
  const needed = Array.from({ length: Math.max(0, last - first) }, (_, at) => first + at);
  for (const [at, tile] of tiles) {
    if (at >= first && at < last) continue;
    if (!tile.contains(document.activeElement)) removeTile(at, tile);
    else if (at < first) needed.unshift(at); // a focused tile stays
    else needed.push(at);
  }
  insertTiles(needed);
  if (last >= list.items.length) loadMore();
}

/** Insert tiles in the order of the list, for the Tab key and screen readers. */
function insertTiles(indexes) {
  let following = null;
  for (const at of indexes.reverse()) {
    const tile = tiles.get(at) ?? createTile(at);
    if (tile.parentNode !== grid || tile.nextSibling !== following) {
      grid.insertBefore(tile, following);
    }
    following = tile;
  }
}

function removeTile(at, tile) {
  tile.querySelector("img")?.removeAttribute("src"); // cancels its request
  tile.remove();
  tiles.delete(at);
}

function clearTiles() {
  for (const [at, tile] of tiles) removeTile(at, tile);
}

function createTile(at) {
  const item = list.items[at];
  const tile = createElement("li");
  const button = createElement("button", "tile");
  const frame = createElement("span", "frame");
  const thumbnail = resolveUrl(item.thumb);
  frame.append(thumbnail ? createThumbnail(item, thumbnail) : createPlaceholder(item));
  button.type = "button";
  button.title = item.name;
  button.append(frame, createElement("span", "name", baseName(item)));
  button.addEventListener("click", () => openViewer(at));
  labelTile(button, item);
  tile.append(button);
  tile.setAttribute("aria-posinset", at + 1);
  tile.setAttribute("aria-setsize", list.ended ? list.items.length : -1);
  placeTile(tile, at);
  tiles.set(at, tile);
  return tile;
}

function labelTile(button, item) {
  button.setAttribute("aria-label", `${texts.kinds[item.kind] ?? ""} ${item.name}`.trim());
}

function labelTiles() {
  for (const [at, tile] of tiles) labelTile(tile.firstChild, list.items[at]);
}

function createThumbnail(item, url) {
  const image = createElement("img");
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("load", () => image.classList.add("in"));
  image.addEventListener("error", () => {
    if (image.hasAttribute("src")) image.replaceWith(createPlaceholder(item));
  });
  image.src = url;
  return image;
}

/** An icon with the suffix and name of a file that has no thumbnail. */
function createPlaceholder(item) {
  const box = createElement("span", "placeholder");
  box.append(
    createIcon(item.kind === "document" ? "text" : item.kind),
    createElement("b", "", item.name.split(".").at(-1)),
    createElement("i", "", baseName(item)),
  );
  return box;
}

function baseName(item) {
  return item.name.split("/").at(-1);
}

function focusTile(index) {
  const at = Math.max(0, Math.min(list.items.length - 1, index));
  const top = grid.getBoundingClientRect().top + scrollY + Math.floor(at / columns) * row;
  const header = document.querySelector(".bar").offsetHeight + 8;
  if (top < scrollY + header) scrollTo(0, top - header);
  else if (top + row > scrollY + innerHeight) scrollTo(0, top + row - innerHeight + 8);
  renderGrid();
  tiles.get(at)?.firstChild.focus({ preventScroll: true });
}

function onGridKey(event) {
  const at = [...tiles].find(([, tile]) => tile.contains(event.target))?.[0];
  if (at === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  const targets = {
    ArrowLeft: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at - columns,
    ArrowDown: at + columns,
    Home: 0,
    End: list.items.length - 1,
  };
  const target = targets[event.key];
  if (target === undefined || target < 0) return;
  focusTile(target);
  event.preventDefault();
}
