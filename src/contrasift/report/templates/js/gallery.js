// Classes from best to worst; what the fraction keeps of them.
const gallery = { picked: -1, rows: 8, matches: [], active: -1, tiles: [] };
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const OPTIONS = 60;

function makeTile(group, i, button) {
  const item = document.createElement("li"), image = group.image[i];
  const name = group.id[i] || `example of rank ${count(group.rank[i] ?? i)}`;
  item.className = "tile";
  item.dataset.place = group.place[i] ?? "";
  const box = button ? document.createElement("button") : item;
  if (button) { box.type = "button"; item.append(box); }
  const picture = document.createElement(image ? "img" : "span");
  if (image) {
    picture.alt = group.label[i] ? `${name}, ${group.label[i]}` : name;
    picture.addEventListener("load", () => picture.classList.toggle("pixels", picture.naturalWidth < 48));
    picture.src = image;
  } else {
    picture.className = "no-image";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `${name}, no image`);
    picture.textContent = name.split("/").pop().slice(0, 14);
  }
  box.title = name;
  box.append(picture);
  if (button) {
    const rank = document.createElement("span");
    rank.className = "rank";
    rank.textContent = group.rank[i] === null ? "" : count(group.rank[i]);
    box.append(rank);
    const tell = () => {
      $("gallery-info").textContent = [
        name, group.label[i] && `label ${group.label[i]}`,
        group.rank[i] !== null && `rank ${count(group.rank[i])} of ${count(group.size)} in its class`,
        group.place[i] !== null && `kept from ${+(100 * (group.place[i] + 1) / data.gallery.total).toPrecision(3)} % of the pool on`,
      ].filter(Boolean).join(" · ");
    };
    for (const event of ["focus", "click", "mouseenter"]) box.addEventListener(event, tell);
  }
  return item;
}

const keptOf = (group) => group.kept[fraction.stop];

function evenly(total, wanted) {
  if (total <= wanted) return [...Array(total).keys()];
  if (wanted < 2) return [0];
  return [...new Set([...Array(wanted).keys()].map((k) => Math.round(k * (total - 1) / (wanted - 1))))];
}

function drawRows() {
  const box = $("gallery-rows"), groups = data.gallery.classes.slice(0, gallery.rows);
  const room = Math.max(3, Math.floor((box.clientWidth + 4) / (matchMedia("(max-width: 40rem)").matches ? 48 : 58)));
  box.style.setProperty("--room", room);
  box.replaceChildren();
  groups.forEach((group, number) => {
    const row = document.createElement("div"), head = document.createElement("button");
    row.className = "row";
    head.type = "button";
    head.className = "row-name";
    const name = document.createElement("b"), tally = document.createElement("span");
    name.textContent = group.name;
    tally.className = "soft tally";
    head.append(name, tally);
    head.setAttribute("aria-label", `Class ${group.name}: show more of it`);
    head.addEventListener("click", () => pickClass(number, true));
    const strip = document.createElement("ul");
    strip.className = "tiles strip";
    strip.append(...evenly(group.id.length, room).map((i) => makeTile(group, i, false)));
    row.append(head, strip);
    box.append(row);
  });
  if (gallery.rows < data.gallery.classes.length) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.textContent = `Show more classes (${count(gallery.rows)} of ${count(data.gallery.classes.length)})`;
    more.addEventListener("click", () => { gallery.rows += 16; drawRows(); });
    box.append(more);
  }
  markRows();
}

function markRows() {
  [...$("gallery-rows").querySelectorAll(".row")].forEach((row, number) => {
    const group = data.gallery.classes[number];
    row.querySelector(".tally").textContent = `${count(keptOf(group))} of ${count(group.size)}`;
    for (const item of row.querySelectorAll(".tile")) {
      const kept = item.dataset.place !== "" && isKept(Number(item.dataset.place));
      item.classList.toggle("out", !kept);
    }
  });
}

function drawClass() {
  const group = data.gallery.classes[gallery.picked];
  const few = group.id.length < group.size;
  $("gallery-name").textContent = `Class ${group.name}`;
  gallery.tiles = group.id.map((_, i) => makeTile(group, i, true));
  gallery.before = null;
  $("gallery-info").textContent = !group.id.length ? "The page has no room for examples of this class."
    : few ? `Shown: ${count(group.id.length)} of ${count(group.size)} examples, at evenly spaced ranks; the number is the rank, 0 is best.`
      : "The number is the rank in the class; 0 is best.";
  $("tiles-in").replaceChildren();
  $("tiles-out").replaceChildren();
  markClass();
}

function markClass() {
  const group = data.gallery.classes[gallery.picked], kept = keptOf(group);
  $("gallery-in").textContent = `Comes in: ${count(kept)} of ${count(group.size)}`;
  $("gallery-out").textContent = `Stays out: ${count(group.size - kept)}`;
  const now = gallery.tiles.map((item) => item.dataset.place !== "" && isKept(Number(item.dataset.place)));
  const place = (list, wanted) => {
    const items = gallery.tiles.filter((_, i) => now[i] === wanted);
    // Only what moves is moved: the focus stays where it is.
    if (items.length !== list.childElementCount || items.some((item, i) => list.children[i] !== item)) list.replaceChildren(...items);
  };
  const focus = document.activeElement;
  place($("tiles-in"), true);
  place($("tiles-out"), false);
  if (gallery.before && !calm.matches) {
    gallery.tiles.forEach((item, i) => item.classList.toggle("moved", now[i] !== gallery.before[i]));
  }
  if (focus && focus !== document.activeElement && document.contains(focus)) focus.focus({ preventScroll: true });
  gallery.before = now;
}

function showGallery() {
  if (!data.gallery) return;
  if (gallery.picked < 0) markRows(); else markClass();
}

function pickClass(number, focus = false) {
  const all = number < 0;
  gallery.picked = number;
  $("gallery-rows").hidden = !all;
  $("gallery-one").hidden = all;
  $("gallery-all").setAttribute("aria-pressed", String(all));
  $("gallery-pick").value = all ? "" : data.gallery.classes[number].name;
  closeOptions();
  if (all) {
    $("gallery-info").textContent = "";
    drawRows();
  } else {
    drawClass();
    if (focus) $("gallery-name").focus({ preventScroll: true });
  }
}

// ---- the picker ----
function closeOptions() {
  gallery.active = -1;
  $("gallery-options").hidden = true;
  $("gallery-pick").setAttribute("aria-expanded", "false");
  $("gallery-pick").removeAttribute("aria-activedescendant");
}

function openOptions() {
  const wanted = $("gallery-pick").value.trim().toLocaleLowerCase(), list = $("gallery-options");
  gallery.matches = [];
  data.gallery.classes.forEach((group, i) => {
    if (group.name.toLocaleLowerCase().includes(wanted)) gallery.matches.push(i);
  });
  const exact = (i) => data.gallery.classes[i].name.toLocaleLowerCase() === wanted;
  gallery.matches.sort((a, b) => exact(b) - exact(a));
  list.replaceChildren(...gallery.matches.slice(0, OPTIONS).map((i, n) => {
    const group = data.gallery.classes[i], option = document.createElement("li");
    option.id = `gallery-option-${n}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    const name = document.createElement("span"), size = document.createElement("span");
    name.textContent = group.name;
    size.textContent = count(group.size);
    size.className = "soft";
    option.append(name, size);
    // Before the input loses the focus and closes the list.
    option.addEventListener("mousedown", (event) => { event.preventDefault(); pickClass(i); });
    return option;
  }));
  if (gallery.matches.length > OPTIONS || !gallery.matches.length) {
    const note = document.createElement("li");
    note.className = "soft";
    note.textContent = gallery.matches.length ? `… and ${count(gallery.matches.length - OPTIONS)} more: type on` : "No class of that name";
    list.append(note);
  }
  gallery.active = -1;
  list.hidden = false;
  $("gallery-pick").setAttribute("aria-expanded", "true");
}

function stepOption(step) {
  const options = $("gallery-options").querySelectorAll("[role=option]");
  if (!options.length) return;
  if (gallery.active >= 0) options[gallery.active].setAttribute("aria-selected", "false");
  gallery.active = (gallery.active + step + options.length + (gallery.active < 0 && step < 0 ? 1 : 0)) % options.length;
  options[gallery.active].setAttribute("aria-selected", "true");
  options[gallery.active].scrollIntoView({ block: "nearest" });
  $("gallery-pick").setAttribute("aria-activedescendant", options[gallery.active].id);
}

function startGallery() {
  if (!data.gallery) return;
  const input = $("gallery-pick"), total = data.gallery.classes.length;
  input.addEventListener("input", openOptions);
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", openOptions);
  input.addEventListener("blur", closeOptions);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if ($("gallery-options").hidden) openOptions();
      stepOption(step);
    } else if (event.key === "Enter") {
      if (!input.value.trim()) pickClass(-1);
      else if (gallery.matches.length) pickClass(gallery.matches[Math.max(0, gallery.active)]);
    } else if (event.key === "Escape") closeOptions();
  });
  $("gallery-all").addEventListener("click", () => pickClass(-1));
  $("gallery-before").addEventListener("click", () => pickClass(gallery.picked <= 0 ? total - 1 : gallery.picked - 1));
  $("gallery-after").addEventListener("click", () => pickClass((gallery.picked + 1) % total));
  fraction.listeners.push(showGallery);
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (gallery.picked < 0 && Math.abs(entry.contentRect.width - width) > 20) {
      width = entry.contentRect.width;
      drawRows();
    }
  }).observe($("gallery").querySelector(".sticky"));
  pickClass(total === 1 ? 0 : -1);
}
