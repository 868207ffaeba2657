// Theme, controls, and the first drawing.
function drawAll() {
  for (const key of document.querySelectorAll(".key")) key.style.background = armColour(key.dataset.arm);
  if (typeof Plotly === "undefined") return;
  for (const part of [drawAccuracy, drawCost, drawTopics, drawMap, drawGain, drawClasses, drawTraining]) part();
}

function fillSelect(id, names) {
  if (!$(id)) return;
  names.forEach((name, i) => $(id).append(new Option(name, String(i))));
}

function setTheme(name) {
  root.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-pressed", String(name === "dark"));
  $("theme").setAttribute("aria-label", `Switch to ${name === "dark" ? "light" : "dark"} colours`);
  drawAll();
}

$("theme").addEventListener("click", () => {
  const name = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("contrasift-theme", name); } catch { /* storage is off */ }
  setTheme(name);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
  let chosen = null;
  try { chosen = localStorage.getItem("contrasift-theme"); } catch { /* storage is off */ }
  if (!chosen) setTheme(event.matches ? "dark" : "light");
});

if (data.map) {
  fillSelect("map-class", data.map.classNames);
  for (const input of document.querySelectorAll('input[name="colour"], input[name="show"]')) input.addEventListener("change", drawMap);
  $("map-class").addEventListener("change", drawMap);
}
if ($("gain-class")) {
  fillSelect("gain-class", data.gains.map((curve) => curve.name));
  $("gain-class").addEventListener("change", drawGain);
}
if (data.map && data.map.place.length) fraction.listeners.push(drawMap);
for (const image of document.querySelectorAll("main img[src]")) {
  const sharpen = () => image.classList.toggle("pixels", image.naturalWidth < 48);
  if (image.complete) sharpen(); else image.addEventListener("load", sharpen);
}
showFraction();
setTheme(root.dataset.theme);
startGallery();
