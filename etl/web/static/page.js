"use strict";

const body = document.body;

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/published", { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const { version } = await answer.json();
    document.getElementById("fresh").hidden = version === body.dataset.version;
  } catch { /* the service is restarting: the next look tells */ }
}
if (location.pathname !== "/login") setInterval(look, 10_000);

const text = document.getElementById("q");
text?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) text.form.requestSubmit();
});

const key = (row, column) => {
  const cell = row.cells[column];
  return (cell.querySelector("time")?.dateTime ?? cell.querySelector("[title$=' bytes']")?.title ?? cell.textContent).trim();
};
const compare = (a, b) => {
  const [x, y] = [a, b].map((value) => /^[\d,.]+( bytes)?$/.test(value) ? parseFloat(value.replaceAll(",", "")) : NaN);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const head of document.querySelectorAll("thead th:not([data-unsorted])")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = head.closest("table").tBodies[0];
    const sorted = [...rows.rows].sort((a, b) => compare(key(a, head.cellIndex), key(b, head.cellIndex)) * (up ? 1 : -1));
    rows.append(...sorted);
  });
}
