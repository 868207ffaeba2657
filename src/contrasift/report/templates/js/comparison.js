// Accuracies and seconds by training set.
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
      xaxis: axis({ range, tickformat: ".0%", nticks: 4, fixedrange: true }),
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
    ? parts.map((part, i) => (part === "training" ? css("--untrained") : [css("--full"), css("--random"), css("--kept"), ...LIGHTER_COLOURS][i % 23]))
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
