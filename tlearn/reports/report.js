"use strict";
const { labels, photos } = JSON.parse(document.getElementById("photos").textContent);

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function picture(thumbnail) {
  if (!thumbnail) return null;
  const image = element("img");
  image.src = "data:image/jpeg;base64," + thumbnail;
  image.alt = "";
  return image;
}

// From left to right, whatever its parts are written in.
function path(file) {
  const made = element("bdi");
  made.dir = "ltr";
  for (const [k, part] of file.split("/").entries()) {
    const piece = element("bdi", part);
    piece.dir = "ltr";
    made.append(k ? "/" : "", piece);
  }
  return made;
}

// A click on a cell of the confusion table shows its photos.
const box = document.getElementById("cell-photos");
const MOST = 200;

function showCell(button) {
  document.querySelectorAll("[data-cell]").forEach((one) => one.removeAttribute("aria-pressed"));
  button.setAttribute("aria-pressed", "true");
  const [is, said] = button.dataset.cell.split(",").map(Number);
  const found = photos.filter((photo) => photo[1] === is && photo[2] === said);
  const number = parseInt(button.textContent, 10);
  const words = is === said ? " photos recognised as " : " photos taken for ";
  const heading = element("p");
  heading.append(number + words, element("bdi", labels[said]));
  if (is !== said) heading.append(" that are ", element("bdi", labels[is]));
  const row = element("div", undefined, "strip");
  for (const [file, , , probability, thumbnail] of found.slice(0, MOST)) {
    const figure = element("figure");
    const name = path(file);
    name.title = file;
    const caption = element("figcaption", (100 * probability).toFixed(1) + "%");
    caption.append(name);
    figure.append(picture(thumbnail) || element("div", "no picture here", "gone"), caption);
    row.append(figure);
  }
  const rest = number - Math.min(found.length, MOST);
  box.replaceChildren(heading, row);
  if (rest > 0) box.append(element("p", "and " + rest + " more: see predictions.csv"));
  box.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

// A click on a heading of a table sorts it.
function value(row, column) {
  const cell = row.cells[column];
  const share = cell.querySelector("[data-value]");
  if (share) return Number(share.dataset.value);
  const text = cell.textContent.trim();
  return text !== "" && !isNaN(text) ? Number(text) : text;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one === "number") return -1;
  if (typeof other === "number") return 1;
  return one.localeCompare(other, undefined, { numeric: true });
}

function sortBy(heading) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  const body = heading.closest("table").tBodies[0];
  const rows = [...body.rows].map((row) => [value(row, heading.cellIndex), row]);
  rows.sort((a, b) => (up ? 1 : -1) * compare(a[0], b[0]));
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows.map(([, row]) => row));
}

document.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-cell]");
  if (cell) showCell(cell);
  const sort = event.target.closest("[data-sort]");
  if (sort) sortBy(sort.closest("th"));
});

// What is pointed at in a figure says what it is; a dot of the map shows its photo.
const tip = document.getElementById("tip");
const places = new Map();
const map = document.querySelector("[data-photos]");
if (map) {
  const numbers = JSON.parse(map.dataset.photos);
  map.querySelectorAll(".mark-symbol.role-mark path").forEach((dot, k) => places.set(dot, numbers[k]));
  const choice = document.getElementById("map-class");
  choice.addEventListener("change", () => {
    for (const [dot, k] of places) {
      const shown = choice.value === "" || photos[k]?.[1] === Number(choice.value);
      dot.style.opacity = shown ? "" : "0.08";
    }
  });
}

document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest("svg [role=graphics-symbol][aria-label]");
  tip.hidden = !mark || mark.matches(".role-axis, .role-legend");
  if (tip.hidden) return;
  const photo = photos[places.get(mark)];
  if (photo) {
    const [, is, said, probability, thumbnail] = photo;
    const words = element("div");
    words.append(element("bdi", labels[is]));
    if (is !== said) words.append(", taken for ", element("bdi", labels[said]));
    words.append(" (" + (100 * probability).toFixed(1) + "% sure)");
    tip.replaceChildren(picture(thumbnail) || "", words);
  } else {
    tip.replaceChildren(mark.getAttribute("aria-label"));
  }
});

document.addEventListener("pointermove", (event) => {
  if (tip.hidden) return;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = (below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 10) + "px";
});

addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
});
