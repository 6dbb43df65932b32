// What needs attention: failing tests, late sources, and what is undocumented, unowned or untested.

import { h, plural } from "./dom.js";
import { isBroken, isLate, link, testState } from "./data.js";
import { buildBadge, freshnessBadge, tableLink, testBadge } from "./components.js";

const RULES = {
  undocumented: "Not documented",
  unowned: "No owner",
  untested: "Not tested",
  unclassed: "Looks personal but has no data class",
};

export function checksPage(catalog) {
  const failing = catalog.tables.filter((t) => testState(t) === "fail");
  const late = catalog.tables.filter(isLate);
  const broken = catalog.tables.filter(isBroken);
  const marts = catalog.tables.some((t) => t.layer === "marts");
  const gate = catalog.problems.filter((p) => p.gate).length;
  return [
    h("h1", {}, "Checks"),
    h("p", { class: "lead" }, gate ? `${plural(gate, "finding")} in marts: ` : !marts ? "There are no marts to check: " : "Every mart is documented, owned and tested: ", h("code", {}, "sluice catalog --check"), gate ? " fails." : " passes."),
    broken.length ? h("section", {}, h("h2", {}, "Not built"), h("ul", {}, broken.map((t) => h("li", {}, tableLink(t), " ", buildBadge(t))))) : null,
    failing.length ? h("section", {}, h("h2", {}, "Failing tests"), h("ul", {}, failing.map((t) => h("li", {}, h("a", { href: `${link(t)}?tests`, class: "name" }, t.name), " ", testBadge(t))))) : null,
    late.length ? h("section", {}, h("h2", {}, "Late or failed sources"), h("ul", {}, late.map((t) => h("li", {}, tableLink(t), " ", freshnessBadge(t))))) : null,
    Object.entries(RULES).map(([rule, title]) => {
      const found = catalog.problems.filter((p) => p.rule === rule);
      if (!found.length) return null;
      return h("section", {}, h("h2", {}, title, h("span", { class: "muted" }, ` ${found.length}`)), h("ul", {}, found.slice(0, 200).map((p) => h("li", {}, p.table >= 0 ? [tableLink(catalog.tables[p.table]), " "] : null, h("span", { class: p.gate ? "" : "muted" }, p.text)))));
    }),
  ];
}
