document.documentElement.classList.add("js");
for (const filter of document.querySelectorAll(".filter input")) {
  const table = document.getElementById(filter.getAttribute("aria-controls"));
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const count = filter.parentElement.querySelector("output");
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const cells = [...row.cells].map(cell => cell.textContent.toLowerCase());
      row.hidden = !words.every(word => {
        const [column, value] = word.split("=");
        return value === undefined ? cells.some(cell => cell.includes(word)) : cells[columns.indexOf(column)] === value;
      });
      shown += !row.hidden;
    }
    count.textContent = shown + " of " + rows.length + " shown";
  };
  filter.addEventListener("input", show);
  show();
  for (const link of document.querySelectorAll("[data-filter]"))
    link.addEventListener("click", () => { filter.value = link.dataset.filter; show(); });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => part.open = true));
