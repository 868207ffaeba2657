// What every part uses.
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
const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
const faded = (hex, alpha) => `rgba(${channels(hex).join(",")},${alpha})`;
const lighter = (hex) => `#${channels(hex).map((v) => Math.round(v + (255 - v) * 0.28).toString(16).padStart(2, "0")).join("")}`;
const LIGHTER_COLOURS = CLASS_COLOURS.map(lighter);
const classColour = (number) =>
  (root.dataset.theme === "dark" ? LIGHTER_COLOURS : CLASS_COLOURS)[number % CLASS_COLOURS.length];
const ARM_COLOURS = {
  selected: "--kept", "random-per-class": "--random", random: "--random2",
  full: "--full", untrained: "--untrained",
};
const others = [...new Set(data.arms.map((arm) => arm.name))].filter((n) => !ARM_COLOURS[n]);
const armColour = (name) =>
  ARM_COLOURS[name] ? css(ARM_COLOURS[name]) : classColour(Math.max(0, others.indexOf(name)));

// Listed one by one: Plotly's own set has a button that sends data to its cloud.
const MAP_BUTTONS = [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]];
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };
const axis = (more) => ({
  gridcolor: css("--line"), linecolor: css("--line"), zerolinecolor: css("--soft"),
  automargin: true, ...more,
  title: { text: "", standoff: 10, font: { size: 13, color: css("--soft") }, ...more.title },
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
