// One fraction for the map and the gallery, and every slider that sets it.
const fraction = {
  stops: data.gallery ? data.gallery.budgets : [],
  stop: data.gallery ? data.gallery.own : 0,
  listeners: [],
};
const ownStop = () => !data.gallery || fraction.stop === data.gallery.own;
const budgetNow = () => fraction.stops[fraction.stop];
const isKept = (place) => place !== null && place < budgetNow();

function fractionText() {
  const share = 100 * budgetNow() / Math.max(1, data.gallery.total);
  return `${+share.toPrecision(3)} % · ${count(budgetNow())} of ${count(data.gallery.total)}`;
}

function showFraction() {
  for (const dial of document.querySelectorAll("[data-dial]")) {
    const slider = dial.querySelector("input");
    slider.value = fraction.stop;
    slider.style.setProperty("--at", `${100 * fraction.stop / Math.max(1, fraction.stops.length - 1)}%`);
    slider.setAttribute("aria-valuetext", fractionText());
    dial.querySelector("output").textContent = fractionText();
    dial.querySelector("button").disabled = ownStop();
  }
}

let fractionFrame = 0;
function setFraction(stop) {
  fraction.stop = stop;
  showFraction();
  // Many moves of the slider are one drawing.
  cancelAnimationFrame(fractionFrame);
  fractionFrame = requestAnimationFrame(() => fraction.listeners.forEach((listener) => listener()));
}

for (const dial of document.querySelectorAll("[data-dial]")) {
  const slider = dial.querySelector("input");
  slider.max = fraction.stops.length - 1;
  slider.addEventListener("input", () => setFraction(Number(slider.value)));
  dial.querySelector("button").addEventListener("click", () => setFraction(data.gallery.own));
}
