// Line charts of the parts that are text, charts and tables.
function drawTopics() {
  for (const [anchor, charts] of Object.entries(data.charts)) {
    // One name, one colour, in all charts of a part.
    const names = [...new Set(charts.flatMap((chart) => chart.lines.filter((l) => !l.role).map((l) => l.name)))];
    const colour = (line) => (line.dash && !line.role ? css("--soft")
      : line.role ? armColour(line.role) : classColour(names.indexOf(line.name)));
    charts.forEach((chart, number) => drawLines(`chart-${anchor}-${number}`, chart, colour));
  }
}

const lowest = (chart) => Math.min(...chart.lines.flatMap((line) => line.y.filter((y) => y !== null)));

function drawLines(id, chart, colour) {
  const traces = [];
  for (const line of chart.lines) {
    const edge = { type: "scatter", x: line.x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
    if (line.high.length) traces.push(
      { ...edge, y: line.low },
      { ...edge, y: line.high, fill: "tonexty", fillcolor: faded(colour(line), 0.22) },
    );
  }
  for (const line of chart.lines) {
    const at = (x) => (chart.percent_x ? `${+(100 * x).toPrecision(3)} %` : `${count(+x.toPrecision(4))}`);
    const spread = (i) => (line.high.length && line.high[i] > line.low[i]
      ? `, 95 %: ${line.low[i].toPrecision(4)} to ${line.high[i].toPrecision(4)}` : "");
    traces.push({
      type: "scatter", x: line.x, y: line.y, name: short(line.name, 34),
      mode: line.x.length > 40 ? "lines" : "lines+markers", marker: { size: 5 },
      line: { color: colour(line), width: 2, dash: line.dash ? "dash" : line.role === "random" ? "dot" : "solid" },
      text: line.x.map((x, i) => (line.y[i] === null ? "" : `${short(line.name, 34)} at ${at(x)}: ${line.y[i].toPrecision(4)}${spread(i)}`)),
      hoverinfo: "text",
    });
  }
  const marks = chart.mark === null ? {} : {
    shapes: [{ type: "line", x0: chart.mark, x1: chart.mark, yref: "paper", y0: 0, y1: 1, line: { color: css("--kept"), width: 1.5, dash: "dot" } }],
    annotations: [{
      x: chart.mark, y: 1, yref: "paper", yanchor: "top", text: short(chart.mark_text), showarrow: false, font: { color: css("--kept") },
      xanchor: chart.mark > 0.7 ? "right" : "left", xshift: chart.mark > 0.7 ? -5 : 5,
    }],
  };
  const ticks = chart.lines[0].x;
  draw(id, traces, {
    height: 320, ...marks, legend: { orientation: "h", x: 0, y: 1.03, yanchor: "bottom" }, margin: { l: 8, r: 14, t: 12, b: 8 },
    xaxis: axis({
      title: { text: short(chart.x_title, 48) }, fixedrange: true,
      ...(chart.log_x ? { type: "log", tickvals: ticks, ticktext: ticks.map(String) } : {}),
      ...(chart.percent_x ? { tickformat: ".0%", rangemode: "tozero" } : {}),
    }),
    yaxis: axis({
      title: { text: short(chart.y_title, 36) }, fixedrange: true, zeroline: false,
      ...(chart.top === null ? {} : { range: [lowest(chart) - 0.05 * (chart.top - lowest(chart)), chart.top] }),
    }),
  });
}
