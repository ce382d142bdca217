"use strict";

/* The language and theme that the reader chose, stored by the browser. */

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

function initialLanguage() {
  const chosen = storage.get("language");
  if (chosen in TEXTS) return chosen;
  return /^zh\b/i.test(navigator.language) ? "zh" : "en";
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
