// Gains, class sizes, training curves.
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
  if (one && one.first_negative_gain !== null) marks.push(mark(one.first_negative_gain, `gains below 0 from rank ${count(one.first_negative_gain)}`, css("--random"), 0.9));
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
  const seen = new Set();
  const longest = Math.max(...data.training.map((curve) => curve.epoch.length));
  draw("training-plot", data.training.map((curve) => {
    const first = !seen.has(curve.arm);
    seen.add(curve.arm);
    return {
      type: "scatter", mode: longest > 1 ? "lines" : "markers", x: curve.epoch, y: curve.loss, legendgroup: curve.arm, showlegend: first,
      name: short(curve.label), line: { color: armColour(curve.arm), width: 1.8 }, marker: { color: armColour(curve.arm) },
      text: curve.epoch.map((epoch, i) => `${plain(curve.name)}, epoch ${epoch}: ${Number(curve.loss[i]).toPrecision(4)}`), hoverinfo: "text",
    };
  }), {
    height: 400,
    xaxis: axis({ title: { text: "epoch" }, rangemode: "tozero" }),
    yaxis: axis({ title: { text: "loss" } }),
  });
}
