"use strict";

/* Numbers, dates and sizes in the chosen language. */

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
