(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // Plotly reads a few tags in its labels; names must reach it as text.
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, length = 22) =>
    plain(text.length > length ? text.slice(0, length - 1) + "…" : text);
  const count = (number) => number.toLocaleString("en-US");

  const CLASS_COLOURS = [
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#76b7b2", "#d4a81d",
    "#d37295", "#8cb34a", "#5b62c8", "#a0592c", "#2b9fb8", "#c74fb0", "#7f8c8d", "#3f8f6b",
    "#b58bd9", "#c23b3b", "#7aa6d8", "#a58f3a",
  ];
  const ARM_COLOURS = {
    selected: "--kept", "random-per-class": "--random", random: "--random2",
    full: "--full", untrained: "--untrained",
  };
  const others = [...new Set(data.arms.map((arm) => arm.name))].filter((n) => !ARM_COLOURS[n]);
  const armColour = (name) =>
    ARM_COLOURS[name] ? css(ARM_COLOURS[name]) : CLASS_COLOURS[Math.max(0, others.indexOf(name)) % 20];
  const classColour = (number) => CLASS_COLOURS[number % CLASS_COLOURS.length];

  // Listed one by one: Plotly's own set has a button that sends data to its cloud.
  const MAP_BUTTONS = [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]];
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
  const axis = (more) => ({
    gridcolor: css("--line"), linecolor: css("--line"), zerolinecolor: css("--soft"),
    automargin: true, title: { standoff: 8 }, ...more,
  });
  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: css("--sans"), size: 13, color: css("--ink") },
    margin: { l: 8, r: 12, t: 8, b: 8 }, dragmode: false, hovermode: "closest",
    hoverlabel: { bgcolor: css("--sheet"), bordercolor: css("--line"), font: { color: css("--ink") } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink") }, ...more,
  });
  const draw = (id, traces, shape, config = {}) =>
    Plotly.react($(id), traces, layout(shape), { ...CONFIG, ...config });

  // ---- comparison ----
  function drawAccuracy() {
    const box = $("accuracy");
    if (!box) return;
    const all = data.arms.flatMap((arm) => [...arm.accuracy.flat(), ...arm.seeds.flat()]);
    const known = all.filter((value) => value !== null && value !== undefined);
    const low = Math.min(...known), high = Math.max(...known);
    const room = Math.max(0.01, (high - low) * 0.08);
    const range = [Math.max(-0.02, low - room), Math.min(1.02, high + room)];
    const places = data.arms.map((_, i) => data.arms.length - 1 - i);
    // All panels first: each chart takes the width that the grid gives it.
    while (box.childElementCount < data.measures.length) {
      const panel = document.createElement("div");
      panel.id = "accuracy-" + box.childElementCount;
      box.append(panel);
    }
    data.measures.forEach((_, m) => {
      const id = "accuracy-" + m;
      const shown = data.arms.map((arm, i) => ({ arm, y: places[i] })).filter(({ arm }) => arm.accuracy[m]);
      const colours = shown.map(({ arm }) => armColour(arm.name));
      const mean = shown.map(({ arm }) => arm.accuracy[m][0]);
      const seeds = shown.flatMap(({ arm, y }) =>
        arm.seeds[m].map((value, s) => ({ value, y: y - 0.24, arm, s })));
      draw(id, [
        ...shown.filter(({ arm }) => arm.accuracy[m][1] !== null).map(({ arm, y }) => ({
          x: [arm.accuracy[m][1], arm.accuracy[m][2]], y: [y, y], mode: "lines",
          line: { color: armColour(arm.name), width: 2 }, hoverinfo: "skip", showlegend: false,
        })),
        {
          x: seeds.map((s) => s.value), y: seeds.map((s) => s.y), mode: "markers", type: "scatter",
          marker: { size: 6, color: "rgba(0,0,0,0)", line: { width: 1.3, color: seeds.map((s) => armColour(s.arm.name)) } },
          text: seeds.map((s) => `${plain(s.arm.label)}, run ${s.s + 1}: ${(100 * s.value).toFixed(2)} %`),
          hoverinfo: "text", showlegend: false,
        },
        {
          x: mean, y: shown.map((s) => s.y), mode: "markers", type: "scatter",
          marker: { size: 10, color: colours },
          text: shown.map(({ arm }) => {
            const [middle, from, to] = arm.accuracy[m].map((v) => (v === null ? null : (100 * v).toFixed(1)));
            return `${plain(arm.label)}: ${middle} %` + (from === null ? "" : `, 95 % interval ${from} to ${to}`);
          }),
          hoverinfo: "text", showlegend: false,
        },
      ], {
        height: 70 + 44 * data.arms.length, margin: { l: 8, r: 14, t: 34, b: 8 },
        title: { text: plain(data.measureLabels[m]), x: 0, xref: "paper", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 8 }, font: { size: 14 } },
        xaxis: axis({ range, tickformat: ".0%", nticks: 6, fixedrange: true }),
        yaxis: axis({
          range: [-0.6, data.arms.length - 0.4], tickvals: places, fixedrange: true,
          ticktext: data.arms.map((arm) => short(arm.label)), gridcolor: "rgba(0,0,0,0)", zeroline: false,
        }),
      });
    });
  }

  function drawCost() {
    if (!$("cost")) return;
    const arms = data.arms.filter((arm) => Object.keys(arm.parts).length);
    const parts = [...new Set(arms.flatMap((arm) => Object.keys(arm.parts)))];
    const longest = Math.max(...arms.map((arm) =>
      Object.values(arm.parts).reduce((sum, part) => sum + part, 0)));
    const [unit, name] = longest > 10800 ? [3600, "hours"] : longest > 300 ? [60, "minutes"] : [1, "seconds"];
    const colours = parts.length > 1
      ? parts.map((part, i) => (part === "training" ? css("--untrained") : [css("--full"), css("--random"), css("--kept"), ...CLASS_COLOURS][i % 23]))
      : [css("--untrained")];
    draw("cost", parts.map((part, i) => ({
      type: "bar", orientation: "h", name: short(part, 50), marker: { color: colours[i] },
      x: arms.map((arm) => (arm.parts[part] || 0) / unit), y: arms.map((_, k) => arms.length - 1 - k),
      text: arms.map((arm) => `${plain(arm.label)}: ${plain(part)} ${((arm.parts[part] || 0) / unit).toPrecision(3)} ${name}`),
      textposition: "none", hoverinfo: "text", width: 0.55,
    })), {
      barmode: "stack", height: 110 + 38 * arms.length,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal" },
      xaxis: axis({ title: { text: name }, rangemode: "tozero", fixedrange: true }),
      yaxis: axis({
        tickvals: arms.map((_, k) => arms.length - 1 - k), ticktext: arms.map((arm) => short(arm.label)),
        fixedrange: true, gridcolor: "rgba(0,0,0,0)", zeroline: false,
      }),
    });
  }

  // ---- map ----
  const mapState = { points: [], focus: -1, drawn: false };
  const choice = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
  const rankShare = (i) => (data.map.size[i] > 1 ? data.map.rank[i] / (data.map.size[i] - 1) : 0);

  function drawMap() {
    if (!data.map) return;
    hideCard();
    const map = data.map, show = choice("show"), colour = choice("colour"), only = $("map-class").value;
    const visible = map.x.map((_, i) => i).filter((i) =>
      (show === "all" || (show === "kept") === Boolean(map.selected[i])) &&
      (only === "" || map.class[i] === Number(only)));
    mapState.points = visible;
    const trace = (rows, marker) => ({
      type: "scatter", mode: "markers", x: rows.map((i) => map.x[i]), y: rows.map((i) => map.y[i]),
      customdata: rows, hoverinfo: "none", marker: { size: 6, ...marker },
    });
    const kept = visible.filter((i) => map.selected[i]);
    const dropped = visible.filter((i) => !map.selected[i]);
    const fill = (rows) => colour === "class"
      ? { color: rows.map((i) => classColour(map.class[i])) }
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
      data.map.classNames.slice(0, 20).forEach((name, i) => entry(classColour(i), name));
      if (data.map.classNames.length > 20) {
        const rest = document.createElement("li");
        rest.textContent = `… and ${count(data.map.classNames.length - 20)} smaller classes in the same colours again`;
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
    const [image, title, line1, line2] = [card.querySelector("img"), card.querySelector("b"), ...card.querySelectorAll("span")];
    image.hidden = !map.image[i];
    if (map.image[i]) image.src = map.image[i];
    title.textContent = map.id[i] ?? `example ${i}`;
    line1.textContent = `class ${map.classNames[map.class[i]]}`;
    const rank = map.rank[i] === undefined ? "" : `, rank ${count(map.rank[i])}` + (map.size[i] ? ` of ${count(map.size[i])}` : "");
    line2.textContent = (map.selected[i] ? "kept" : "dropped") + rank;
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
    plot.on("plotly_relayout", hideCard);
    plot.addEventListener("blur", hideCard);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hideCard();
      if (!step || !mapState.points.length) return;
      event.preventDefault();
      const total = mapState.points.length;
      mapState.focus = mapState.focus < 0 ? (step > 0 ? 0 : total - 1) : (mapState.focus + step + total) % total;
      showCard(mapState.points[mapState.focus]);
    });
  }

  // ---- gain, classes, training ----
  function drawGain() {
    if (!$("gain-plot")) return;
    const only = $("gain-class").value;
    const one = only === "" ? null : data.gains[Number(only)];
    const curves = one ? [one] : data.gains;
    const scale = (curve) => (one ? 1 : Math.max(1, curve.size));
    const kept = data.gains.reduce((sum, c) => sum + c.budget, 0) / Math.max(1, data.gains.reduce((sum, c) => sum + c.size, 0));
    const mark = (x, text, colour, y) => ({
      line: { type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colour, width: 1.5, dash: "dot" } },
      note: { x, y, yref: "paper", text, showarrow: false, xanchor: x > (one ? one.size * 0.7 : 0.7) ? "right" : "left", xshift: x > (one ? one.size * 0.7 : 0.7) ? -5 : 5, font: { color: colour } },
    });
    const marks = [mark(one ? one.budget : kept, one ? `budget ${count(one.budget)}` : `budget ${(100 * kept).toPrecision(3)} %`, css("--kept"), 0.98)];
    if (one && one.turn !== null) marks.push(mark(one.turn, `gains below 0 from rank ${count(one.turn)}`, css("--random"), 0.9));
    draw("gain-plot", curves.map((curve) => ({
      type: "scatter", mode: "lines", x: curve.rank.map((rank) => rank / scale(curve)), y: curve.gain,
      line: { color: one || data.gains.length === 1 ? css("--kept") : classColour(data.gains.indexOf(curve)), width: one ? 2.2 : 1.4 },
      opacity: one ? 1 : 0.75, name: short(curve.name),
      text: curve.rank.map((rank, i) => `${short(curve.name)}: rank ${count(rank)} of ${count(curve.size)}, gain ${Number(curve.gain[i]).toPrecision(4)}`),
      hoverinfo: "text",
    })), {
      showlegend: false, height: 400, shapes: marks.map((m) => m.line), annotations: marks.map((m) => m.note),
      margin: { l: 8, r: 12, t: 14, b: 8 },
      xaxis: axis(one ? { title: { text: "rank in the class" }, range: [0, one.size] }
        : { title: { text: "share of the class ranked" }, tickformat: ".0%", range: [0, 1] }),
      yaxis: axis({ title: { text: "gain" } }),
    });
  }

  function drawClasses() {
    if (!$("class-plot")) return;
    const rows = data.classes, few = rows.length <= 40;
    const bar = (name, values, colour) => ({
      type: "bar", name, x: rows.map((_, i) => i), y: values, marker: { color: colour },
      text: rows.map((row) => `${short(row.name, 60)}: ${count(row.budget)} of ${count(row.size)} kept`), textposition: "none", hoverinfo: "text",
    });
    draw("class-plot", [
      bar("in the class", rows.map((row) => row.size), css("--dropped")),
      bar("kept", rows.map((row) => row.budget), css("--kept")),
    ], {
      barmode: "overlay", bargap: few ? 0.25 : 0.05, height: 320,
      xaxis: axis({
        tickvals: few ? rows.map((_, i) => i) : [], ticktext: rows.map((row) => short(row.name, 14)),
        title: { text: few ? "class" : "classes, largest first" }, fixedrange: true,
        gridcolor: "rgba(0,0,0,0)", zeroline: false,
      }),
      yaxis: axis({ title: { text: "examples" }, rangemode: "tozero", fixedrange: true }),
    });
  }

  function drawTraining() {
    if (!$("training-plot")) return;
    const labels = Object.fromEntries(data.arms.map((arm) => [arm.name, arm.label]));
    const seen = new Set();
    const longest = Math.max(...data.training.map((curve) => curve.epoch.length));
    draw("training-plot", data.training.map((curve) => {
      const first = !seen.has(curve.arm);
      seen.add(curve.arm);
      return {
        type: "scatter", mode: longest > 1 ? "lines" : "markers", x: curve.epoch, y: curve.loss, legendgroup: curve.arm, showlegend: first,
        name: short(labels[curve.arm] ?? curve.arm), line: { color: armColour(curve.arm), width: 1.8 }, marker: { color: armColour(curve.arm) },
        text: curve.epoch.map((epoch, i) => `${plain(curve.name)}, epoch ${epoch}: ${Number(curve.loss[i]).toPrecision(4)}`), hoverinfo: "text",
      };
    }), {
      height: 400,
      xaxis: axis({ title: { text: "epoch" }, rangemode: "tozero" }),
      yaxis: axis({ title: { text: "loss" } }),
    });
  }

  // ---- the page ----
  function drawAll() {
    for (const key of document.querySelectorAll(".key")) key.style.background = armColour(key.dataset.arm);
    if (typeof Plotly === "undefined") return;
    for (const part of [drawAccuracy, drawCost, drawMap, drawGain, drawClasses, drawTraining]) part();
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
  const filter = $("gallery-filter");
  if (filter) {
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLocaleLowerCase();
      let shown = 0;
      for (const group of document.querySelectorAll("details.class")) {
        group.hidden = !group.dataset.name.toLocaleLowerCase().includes(wanted);
        if (!group.hidden) shown += 1;
      }
      $("gallery-count").textContent = `${count(shown)} ${shown === 1 ? "class" : "classes"}`;
    });
  }
  setTheme(root.dataset.theme);
})();
