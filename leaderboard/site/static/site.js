// Sorting, filtering, paging and the theme. Without this file all content is still there, in its own order.
(() => {
  "use strict";
  const root = document.documentElement;
  const PAGE = 100; // rows of a table before "more"

  const remembered = () => {
    try { return localStorage.getItem("theme"); } catch { return null; }
  };
  const theme = remembered();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme; // before anything is painted

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  function themeSwitch(button) {
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it holds for this page */ }
      show();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
    show();
  }

  // What a cell is sorted by: its number, or its text; null where there is nothing, which comes last either way.
  const valueOf = (cell) => {
    const value = cell.dataset.v;
    if (value === undefined) return cell.textContent.trim().toLowerCase();
    return value === "" ? null : Number(value);
  };

  function sortBy(table, column, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return a === b ? 0 : a < b ? -sign : sign;
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  }

  function sortable(table, changed) {
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      if (!head.dataset.first) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const turned = now === "ascending" ? "descending" : "ascending";
        sortBy(table, column, now ? turned : head.dataset.first);
        changed();
      });
    }
  }

  // A board shows the rows that the filters let through, at most `most` of them until more are asked for.
  function board(section, filters) {
    const table = section.querySelector("table");
    const texts = new Map();
    const text = (row) => {
      if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
      return texts.get(row);
    };
    let most = PAGE;
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    section.querySelector(".box").after(more);

    const show = () => {
      const wanted = filters();
      const isOurs = (!wanted.model || wanted.model === section.dataset.model)
        && (!wanted.division || wanted.division === section.dataset.division);
      let found = 0;
      for (const row of table.tBodies[0].rows) {
        const fits = isOurs
          && (!wanted.status || wanted.status === row.dataset.s)
          && (!wanted.trust || wanted.trust === row.dataset.t)
          && (!wanted.text || text(row).includes(wanted.text));
        found += fits;
        row.hidden = !fits || found > most;
      }
      section.hidden = found === 0;
      more.hidden = found <= most;
      more.textContent = `Show ${Math.min(PAGE, found - most)} more of ${found - most}`;
      return found;
    };
    more.addEventListener("click", () => {
      most += PAGE;
      show();
    });
    sortable(table, show);
    return show;
  }

  addEventListener("DOMContentLoaded", () => {
    themeSwitch(document.getElementById("theme"));
    for (const table of document.querySelectorAll("table.sortable")) sortable(table, () => {});
    const form = document.getElementById("filters");
    if (!form) return;
    const filters = () => {
      const wanted = Object.fromEntries(new FormData(form));
      wanted.text = (wanted.text || "").trim().toLowerCase();
      return wanted;
    };
    const boards = [...document.querySelectorAll(".board")].map((section) => board(section, filters));
    const total = document.querySelectorAll(".board tbody tr").length;
    const show = () => {
      const found = boards.reduce((sum, one) => sum + one(), 0);
      document.getElementById("found").textContent = found === total ? `${total} submissions` : `${found} of ${total} submissions`;
    };
    form.hidden = false;
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(show));
    show();
  });
})();
