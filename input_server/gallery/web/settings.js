"use strict";

/* Helpers for elements, and the reader's choice of language and theme. */

const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);

const storage = {
  get(name) {
    try {
      return localStorage.getItem(`gallery-${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`gallery-${name}`, value);
    } catch {
      /* private windows may not allow it */
    }
  },
};

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let language = initialLanguage();
let texts = TEXTS[language];

function createElement(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function createIcon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function initialLanguage() {
  const chosen = storage.get("language");
  if (chosen in TEXTS) return chosen;
  return /^zh\b/i.test(navigator.language) ? "zh" : "en";
}

function formatNumber(value) {
  return new Intl.NumberFormat(language).format(value);
}

function formatTime(seconds) {
  const locale = language === "zh" ? "zh-CN" : navigator.language;
  const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  return format.format(new Date(seconds * 1000));
}

function formatBytes(count) {
  if (count < 1000) return `${count} B`;
  const [unit, name] = count < 1e6 ? [1e3, "kB"] : count < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  const value = count / unit;
  const digits = { maximumFractionDigits: value < 10 ? 1 : 0 };
  return `${new Intl.NumberFormat(language, digits).format(value)} ${name}`;
}

function applyLanguage() {
  texts = TEXTS[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = texts[element.dataset.text];
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.placeholder = texts[element.dataset.placeholder];
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    const label = texts[element.dataset.label];
    element.setAttribute("aria-label", label);
    if (element.localName === "button") element.title = label;
  }
  $("language").textContent = texts.otherLanguage;
  $("language").setAttribute("aria-label", texts.otherLanguageLabel);
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  document.title = `${alias} · ${texts.title}`;
  labelTiles();
  showStatus();
}

function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  storage.set("language", language);
  applyLanguage();
}

function applyTheme() {
  const chosen = storage.get("theme");
  const system = prefersDark.matches ? "dark" : "light";
  const theme = chosen === "dark" || chosen === "light" ? chosen : system;
  document.documentElement.dataset.theme = theme;
  const icon = theme === "dark" ? "#i-sun" : "#i-moon";
  $("theme").querySelector("use").setAttribute("href", icon);
}

function switchTheme() {
  storage.set("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  applyTheme();
}
