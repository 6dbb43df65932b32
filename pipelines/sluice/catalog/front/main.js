// Starts the page, and shows what its address asks for.

import { h, show, say } from "./dom.js";
import { open } from "./data.js";
import { buildIndex } from "./search.js";
import { homePage } from "./home.js";
import { resultsPage } from "./results.js";
import { tablePage } from "./table.js";
import { lineagePage } from "./lineage.js";
import { layersPage } from "./layers.js";
import { entitiesPage } from "./entities.js";
import { personalPage } from "./personal.js";
import { changesPage } from "./changes.js";
import { checksPage } from "./checks.js";

const PAGES = [
  ["", "Overview"],
  ["layers", "Layers"],
  ["entities", "Entities"],
  ["personal", "Personal data"],
  ["changes", "Changes"],
  ["checks", "Checks"],
];

const main = document.getElementById("main");
const input = document.getElementById("query");

theme();
start();

async function start() {
  const catalog = await open();
  let index = null;
  catalog.index = () => (index ??= buildIndex(catalog));
  let shown = null;

  async function route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [page, ...rest] = path.split("/").map(decodeURIComponent);
    const typed = new URLSearchParams(query ?? "").get("q") ?? "";
    if (page === "search" && shown === "search") {
      if (input.value !== typed) input.value = typed;
      resultsPage(catalog, typed, main);
      return;
    }
    if (page !== "search") input.value = "";
    else if (input.value !== typed) input.value = typed;
    navigation(page);
    const content = await pageOf(catalog, page, rest, typed);
    if (content) show(main, content);
    const section = page === "table" ? document.getElementById(rest[1] ? `c-${rest[1]}` : query) : null;
    document.body.dataset.page = page || "home";
    const title = main.querySelector("h1")?.textContent ?? "";
    document.title = title ? `${title} · ${catalog.project.name}` : `${catalog.project.name} · catalog`;
    if (shown === null && section) section.scrollIntoView();
    // The focus moves to the new page, but stays in the search while somebody types there.
    if (shown !== null && page !== "search") {
      const there = section?.querySelector("summary, h2") ?? main;
      there.focus({ preventScroll: true });
      if (section) section.scrollIntoView();
      else scrollTo(0, 0);
      say(title);
    }
    shown = page;
    main.dispatchEvent(new CustomEvent("shown"));
  }

  addEventListener("hashchange", route);
  searching();
  await route();
  performance.mark("catalog-ready");
  // The index is built when the browser is idle, or at the first key.
  (window.requestIdleCallback ?? setTimeout)(() => {
    catalog.index();
    performance.mark("catalog-searchable");
  });
}

async function pageOf(catalog, page, rest, typed) {
  switch (page) {
    case "":
      return homePage(catalog);
    case "search":
      resultsPage(catalog, typed, main);
      return null;
    case "table":
    case "lineage": {
      const table = catalog.tables[catalog.find(rest[0])];
      if (!table) return missing(rest[0]);
      return page === "table" ? tablePage(catalog, table, rest[1]) : lineagePage(catalog, table, rest[1]);
    }
    case "layers":
      return layersPage(catalog);
    case "entities":
      return entitiesPage(catalog, rest[0]);
    case "personal":
      return personalPage(catalog);
    case "changes":
      return changesPage(catalog);
    case "checks":
      return checksPage(catalog);
    default:
      return missing(page);
  }
}

function missing(name) {
  return [
    h("h1", {}, "Not found"),
    h("p", {}, "There is no table named ", h("code", {}, name), " in this catalog. It may have been renamed; "),
    h("p", {}, h("a", { href: `#/search?q=${encodeURIComponent(name)}` }, `search for ${name}`)),
  ];
}

function navigation(page) {
  show(
    document.getElementById("nav"),
    PAGES.map(([path, title]) => h("a", { href: `#/${path}`, "aria-current": path === page ? "page" : null }, title)),
  );
}

function searching() {
  input.addEventListener("input", () => {
    const address = input.value.trim() ? `#/search?q=${encodeURIComponent(input.value)}` : "#/";
    // Each key replaces the address of the one before, so that "back" leaves the search at once.
    if (location.hash.startsWith("#/search") && input.value.trim()) {
      history.replaceState(null, "", address);
      dispatchEvent(new HashChangeEvent("hashchange"));
    } else location.hash = address;
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      const first = main.querySelector(".hits a");
      if (!first) return;
      event.preventDefault();
      if (event.key === "Enter") first.click();
      else first.focus();
    }
  });
  addEventListener("keydown", (event) => {
    const typing = /^(input|textarea|select)$/i.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  });
}

function theme() {
  const root = document.documentElement;
  const kept = recall();
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // Some browsers store nothing for pages opened from disk; the choice then lasts until the page is closed.
    }
  });
}

function recall() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}
