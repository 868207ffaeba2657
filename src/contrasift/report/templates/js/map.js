// The map of the embeddings.
const mapState = { points: [], focus: -1, drawn: false };
const choice = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
// At the run's own fraction what it kept, at another what its ranking would keep.
const keptOnMap = (i) => (ownStop() || data.map.place.length === 0 ? Boolean(data.map.selected[i]) : isKept(data.map.place[i]));
const rankShare = (i) => (data.map.size[i] > 1 ? data.map.rank[i] / (data.map.size[i] - 1) : 0);

function drawMap() {
  if (!data.map) return;
  hideCard();
  const map = data.map, show = choice("show"), colour = choice("colour"), only = $("map-class").value;
  const visible = map.x.map((_, i) => i).filter((i) =>
    (show === "all" || (show === "kept") === keptOnMap(i)) &&
    (only === "" || map.class[i] === Number(only)));
  mapState.points = visible;
  const scale = matchMedia("(max-width: 40rem)").matches ? 0.7 : 1;
  const trace = (rows, { size = 6, ...marker }) => ({
    type: "scatter", mode: "markers", x: rows.map((i) => map.x[i]), y: rows.map((i) => map.y[i]),
    customdata: rows, hoverinfo: "none", marker: { size: size * scale, ...marker },
  });
  const kept = visible.filter(keptOnMap);
  const dropped = visible.filter((i) => !keptOnMap(i));
  const fill = (rows) => (colour === "class" || colour === "label")
    ? { color: rows.map((i) => classColour(map[colour][i])) }
    : { color: rows.map(rankShare), cmin: 0, cmax: 1, colorscale: [0, 1, 2, 3].map((k) => [k / 3, css("--ramp" + k)]) };
  const traces = colour === "selected"
    ? [trace(dropped, { color: css("--dropped"), size: 5, opacity: 0.75 }), trace(kept, { color: css("--kept"), size: 6.5 })]
    : [trace(visible, { ...fill(visible), opacity: 0.85 })];
  const blank = { visible: false, automargin: false };
  draw("map-plot", traces, {
    showlegend: false, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    margin: { l: 4, r: 4, t: 4, b: 4 }, uirevision: "map",
    xaxis: axis({ ...blank, range: mapRange(map.x) }),
    yaxis: axis({ ...blank, range: mapRange(map.y) }),
  }, { displayModeBar: "hover", scrollZoom: false, modeBarButtons: MAP_BUTTONS });
  drawLegend(colour, kept.length, dropped.length);
  if (!mapState.drawn) listenToMap();
}

function mapRange(values) {
  const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.04 || 1;
  return [low - room, high + room];
}

function drawLegend(colour, kept, dropped) {
  const legend = $("map-legend");
  legend.replaceChildren();
  const entry = (background, text, className) => {
    const item = document.createElement("li"), dot = document.createElement("i");
    if (className) dot.className = className; else dot.style.background = background;
    item.append(dot, text);
    legend.append(item);
  };
  if (colour === "selected") {
    entry(css("--kept"), `kept (${count(kept)})`);
    entry(css("--dropped"), `dropped (${count(dropped)})`);
  } else if (colour === "rank") {
    entry("", "best to worst within the class", "ramp");
  } else {
    const names = data.map[`${colour}Names`];
    names.slice(0, 20).forEach((name, i) => entry(classColour(i), name || "no label"));
    if (names.length > 20) {
      const rest = document.createElement("li");
      rest.textContent = `… and ${count(names.length - 20)} smaller ones in the same colours again`;
      legend.append(rest);
    }
  }
}

function hideCard() {
  mapState.focus = -1;
  $("map-card").hidden = $("map-ring").hidden = true;
}

function showCard(i) {
  const map = data.map, plot = $("map-plot"), card = $("map-card"), ring = $("map-ring");
  const { xaxis, yaxis } = plot._fullLayout;
  const x = xaxis._offset + xaxis.l2p(map.x[i]), y = yaxis._offset + yaxis.l2p(map.y[i]);
  const [image, title, line1, line2, line3] = [card.querySelector("img"), card.querySelector("b"), ...card.querySelectorAll("span")];
  image.hidden = !map.image[i];
  if (map.image[i]) image.src = map.image[i];
  image.alt = map.image[i] ? String(map.id[i] ?? "example") : "";
  title.textContent = map.id[i] ?? `example ${i}`;
  line1.textContent = `class ${map.classNames[map.class[i]]}`;
  const rank = map.rank[i] === undefined ? "" : `, rank ${count(map.rank[i])}` + (map.size[i] ? ` of ${count(map.size[i])}` : "");
  line2.textContent = (keptOnMap(i) ? "kept" : "dropped") + rank;
  line3.textContent = map.label.length ? `label ${map.labelNames[map.label[i]] || "none"}` : "";
  line3.hidden = !map.label.length;
  mapState.focus = i;
  if (x < 0 || y < 0 || x > plot.clientWidth || y > plot.clientHeight) return hideCard();
  card.hidden = ring.hidden = false;
  ring.style.left = `${x}px`;
  ring.style.top = `${y}px`;
  const width = plot.clientWidth, left = x + 14 + card.offsetWidth > width ? x - 14 - card.offsetWidth : x + 14;
  card.style.left = `${Math.max(0, Math.min(left, width - card.offsetWidth))}px`;
  card.style.top = `${Math.max(0, Math.min(y + 14, plot.clientHeight - card.offsetHeight))}px`;
}

function listenToMap() {
  mapState.drawn = true;
  const plot = $("map-plot");
  const point = (event) => showCard(event.points[0].customdata);
  plot.on("plotly_hover", point);
  plot.on("plotly_click", point);
  plot.on("plotly_unhover", hideCard);
  // Of a zoom, and of a tap, which counts as two clicks: what is still in the frame stays.
  plot.on("plotly_relayout", () => (mapState.focus < 0 ? hideCard() : showCard(mapState.focus)));
  plot.addEventListener("blur", hideCard);
  plot.addEventListener("keydown", (event) => {
    const [right, down] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? [0, 0];
    if (event.key === "Escape") hideCard();
    if ((!right && !down) || !mapState.points.length) return;
    event.preventDefault();
    showCard(nextPoint(right, -down));
  });
}

// The nearest visible point in a direction; from nowhere, that of the middle.
function nextPoint(right, up) {
  const { x, y } = data.map, from = mapState.focus;
  const [x0, y0] = from < 0 ? [0, 0] : [x[from], y[from]];
  let best = from < 0 ? mapState.points[0] : from, least = Infinity;
  for (const i of mapState.points) {
    if (i === from) continue;
    const dx = x[i] - x0, dy = y[i] - y0;
    const ahead = dx * right + dy * up, aside = Math.abs(dx * up) + Math.abs(dy * right);
    if (from >= 0 && (ahead <= 0 || aside > ahead)) continue;
    const far = dx * dx + dy * dy;
    if (far < least) [best, least] = [i, far];
  }
  return best;
}
