"use strict";
// Sorting and filtering. The page says everything without it: what this adds
// (buttons, filters, pages of rows) is not there until it runs.
document.documentElement.classList.add("js");
document.addEventListener("DOMContentLoaded", () => {
  const pageOfRows = 250;
  // A cell holds words, or a number in words ("$1,234.57", "52%", "<$0.0001") that
  // a range may follow.
  const valueOf = (cell, numeric) => {
    if (!numeric) return cell.textContent.trim();
    const n = parseFloat((cell.firstChild?.textContent ?? "").replace(/[^0-9.\-]/g, ""));
    return Number.isNaN(n) ? -Infinity : n;
  };

  const sortable = (table, changed) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const numeric = head.classList.contains("n");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const up = now ? now === "descending" : !numeric; // numbers: largest first
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const sign = up ? 1 : -1;
        const order = new Intl.Collator("en", { numeric: true }).compare;
        const keyed = [...table.tBodies[0].rows].map((row) => ({ row, key: valueOf(row.cells[column], numeric) }));
        keyed.sort((a, b) => sign * (numeric ? (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) : order(a.key, b.key)));
        const all = document.createDocumentFragment();
        keyed.forEach(({ row }) => all.append(row));
        table.tBodies[0].append(all);
        changed();
      });
    });
  };

  document.querySelectorAll("table.sorted").forEach((table) => {
    if (table.id !== "snapshots") sortable(table, () => {});
  });

  const table = document.getElementById("snapshots");
  if (!table) return;
  const form = document.getElementById("filters");
  const status = document.getElementById("status");
  const further = document.getElementById("further");
  const rows = [...table.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  let most = pageOfRows;

  const show = () => {
    const wanted = form.elements.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const region = form.elements.region.value;
    const kind = form.elements.kind.value;
    let matching = 0;
    for (const row of table.tBodies[0].rows) {
      const text = words.get(row);
      const out = (region && row.cells[2].textContent !== region) || (kind && !row.classList.contains(kind)) ||
        !wanted.every((word) => text.includes(word));
      row.hidden = out;
      if (!out) matching++;
      row.classList.toggle("later", !out && matching > most);
    }
    const shown = Math.min(matching, most);
    status.textContent = `${shown.toLocaleString("en")} of ${matching.toLocaleString("en")} snapshots shown` +
      (matching < rows.length ? `, filtered from ${rows.length.toLocaleString("en")}` : "");
    further.hidden = shown === matching;
    further.textContent = `Show ${Math.min(4 * pageOfRows, matching - shown).toLocaleString("en")} more`;
  };

  sortable(table, show);
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { most = pageOfRows; show(); }, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  further.addEventListener("click", () => { most += 4 * pageOfRows; show(); });
  form.hidden = false;
  show();
});
