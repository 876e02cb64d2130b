(() => {
"use strict";
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
document.body.append(tip);
let shown = null;
const hide = () => {
  if (shown) shown.classList.remove("on");
  shown = null;
  tip.classList.remove("seen");
};
const show = (mark) => {
  if (mark === shown) return;
  hide();
  shown = mark;
  mark.classList.add("on");
  tip.textContent = mark.dataset.tip;
  tip.classList.add("seen");
  const box = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
  const above = box.height > 60 ? box.top + 8 : box.top - own.height - 8;
  tip.style.left = left + "px";
  tip.style.top = (above < 8 ? box.bottom + 8 : above) + "px";
};
for (const svg of document.querySelectorAll("svg.bs")) {
  const title = svg.querySelector(":scope > title");
  if (title) { svg.setAttribute("aria-label", title.textContent); title.remove(); }
  const marks = [...svg.querySelectorAll(".hit")];
  for (const mark of marks) {
    const said = mark.querySelector("title");
    mark.dataset.tip = said.textContent;
    said.remove();
  }
  if (!marks.length) continue;
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("pointerover", (event) => {
    const mark = event.target.closest(".hit");
    if (mark) show(mark); else hide();
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const at = marks.indexOf(shown), last = marks.length - 1;
    const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (to !== undefined) { event.preventDefault(); show(marks[to]); }
    if (event.key === "Escape") hide();
  });
}
addEventListener("scroll", hide, { passive: true });
const reveal = () => { // a link into what is closed opens it
  const aim = location.hash && document.getElementById(location.hash.slice(1));
  for (let at = aim; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
};
addEventListener("hashchange", reveal);
reveal();
const formula = /(^|;) *(?=[=+@\uff1d\uff0b\uff20\uff0d-])/g; // to a spreadsheet
const tame = (text) => (isNaN(text) ? text.replace(formula, "$&'") : text);
const cell = (raw, text = tame(raw)) => (/[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
for (const table of document.querySelectorAll("table[data-name]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Download CSV";
  button.addEventListener("click", () => {
    const lines = [...table.rows].map((row) => [...row.cells].map((one) => cell(one.textContent.trim())).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = table.dataset.name + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  table.closest(".wide").after(button);
}
})();
