// What a tag was, from /api/history: the mean as a line, from least to greatest as a band; where it had no value, a gap.

const SPANS = [["1h", "1 hour"], ["6h", "6 hours"], ["1d", "1 day"], ["7d", "7 days"], ["30d", "30 days"], ["365d", "1 year"]];
const LEFT = 56, RIGHT = 12, TOP = 8, BOTTOM = 20, DAY_MS = 86_400_000;
const $ = (id) => document.getElementById(id);
let asked = { tag: "", unit: "", span: "1d" }, asking = null, shown = null;

export function past(tag, unit) {
  asked = { ...asked, tag, unit };
  $("past-title").textContent = tag;
  if (!$("past").open) $("past").showModal();
  ask();
}

async function ask() {
  asking?.abort();
  const mine = (asking = new AbortController());
  shown = null;
  paint();
  $("past-said").textContent = "…";
  for (const node of $("past-spans").children) node.setAttribute("aria-pressed", String(node.dataset.span === asked.span));
  try {
    const query = new URLSearchParams({ tag: asked.tag, from: asked.span, points: Math.max(60, Math.min(1000, $("past-canvas").clientWidth)) });
    const response = await fetch(`api/history?${query}`, { signal: mine.signal, cache: "no-store" });
    const answer = response.ok ? await response.json() : null;
    const says = answer ? told(answer) : await response.text();
    if (mine !== asking) return; // another one is asked for by now
    shown = answer;
    $("past-said").textContent = says;
    paint();
  } catch (error) {
    if (mine === asking) $("past-said").textContent = `The gateway does not answer (${error.message}).`;
  }
}

function told(answer) {
  const known = answer.points.filter((point) => point.mean !== null);
  if (known.length === 0) return "Nothing is kept of this time.";
  const low = Math.min(...known.map((point) => point.low)), high = Math.max(...known.map((point) => point.high));
  const good = answer.points.reduce((sum, point) => sum + point.good, 0) / answer.points.length;
  const before = begins(answer) > answer.from_ms ? ` Nothing is kept before ${when(begins(answer), DAY_MS)}.` : "";
  return `One point every ${every(answer.step_s)}, ${known.length} of them: mean, and from least to greatest. ${short(low, high - low)} to ${short(high, high - low)} ${asked.unit}, good ${Math.round(100 * good)} % of the time.${before}`;
}
// Where the picture begins: with the span, but where more than half of it was before anything was kept.
function begins(answer) {
  const first = answer.points.find((point) => point.mean !== null)?.start_ms ?? answer.from_ms;
  return first - answer.from_ms > (answer.to_ms - answer.from_ms) / 2 ? first : answer.from_ms;
}
const every = (s) => (s >= 86_400 ? `${s / 86_400} d` : s >= 60 ? `${s / 60} min` : `${s} s`);

function paint() {
  const canvas = $("past-canvas"), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.setAttribute("aria-label", `${asked.tag}, the last ${SPANS.find(([span]) => span === asked.span)[1]}`);
  if (shown === null) return;
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.scale(ratio, ratio);
  const { to_ms: to, points } = shown, from = begins(shown), known = points.filter((point) => point.mean !== null);
  let low = Math.min(...known.map((point) => point.low)), high = Math.max(...known.map((point) => point.high));
  if (known.length === 0) [low, high] = [0, 1];
  const air = Math.max((high - low) * 0.08, Math.abs(high) * 0.005, 1e-9);
  [low, high] = [low - air, high + air];
  const right = width - RIGHT, bottom = height - BOTTOM, half = (500 * shown.step_s * (right - LEFT)) / (to - from);
  const x = (point) => LEFT + ((point.start_ms - from) / (to - from)) * (right - LEFT) + half; // the middle of its step
  const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - TOP);

  pen.font = `11px ${style.fontFamily}`;
  pen.textBaseline = "middle";
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const v = low + part * (high - low);
    pen.strokeStyle = colour("--line");
    pen.beginPath();
    pen.moveTo(LEFT, y(v));
    pen.lineTo(right, y(v));
    pen.stroke();
    pen.fillStyle = colour("--quiet");
    pen.textAlign = "right";
    pen.fillText(short(v, high - low), LEFT - 6, y(v));
  }
  pen.textBaseline = "bottom";
  for (const part of right - LEFT < 340 ? [0, 1] : [0, 0.5, 1]) {
    pen.textAlign = part === 0 ? "left" : part === 1 ? "right" : "center";
    pen.fillText(when(from + part * (to - from), to - from), LEFT + part * (right - LEFT), height);
  }
  for (const run of runs(points, shown.step_s * 1000)) {
    pen.fillStyle = colour("--value");
    pen.globalAlpha = 0.22;
    pen.beginPath();
    for (const point of run) { pen.lineTo(x(point) - half, y(point.high)); pen.lineTo(x(point) + half, y(point.high)); }
    for (const point of run.toReversed()) { pen.lineTo(x(point) + half, y(point.low)); pen.lineTo(x(point) - half, y(point.low)); }
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = colour("--value");
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (const point of run) pen.lineTo(x(point), y(point.mean));
    if (run.length === 1) { pen.moveTo(x(run[0]) - half, y(run[0].mean)); pen.lineTo(x(run[0]) + half, y(run[0].mean)); }
    pen.stroke();
  }
}

// Points that follow one another without a missing step or value.
function runs(points, stepMs) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point.mean === null) { last = null; continue; }
    if (last === null || point.start_ms - last > 1.5 * stepMs) found.push([]);
    found.at(-1).push(point);
    last = point.start_ms;
  }
  return found;
}

const short = (v, span) => v.toFixed(span >= 20 ? 0 : span >= 2 ? 1 : span >= 0.2 ? 2 : 3);
const two = (v) => String(v).padStart(2, "0");
function when(timeMs, span) {
  const t = new Date(timeMs), day = `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`, at = `${two(t.getHours())}:${two(t.getMinutes())}`;
  return span > 60 * DAY_MS ? day : span > DAY_MS / 2 ? `${day} ${at}` : at;
}

for (const [span, words] of SPANS) {
  const node = document.createElement("button");
  node.type = "button";
  node.className = "small";
  node.dataset.span = span;
  node.textContent = words;
  node.addEventListener("click", () => { asked.span = span; ask(); });
  $("past-spans").append(node);
}
$("past-no").addEventListener("click", () => $("past").close());
$("past").addEventListener("close", () => asking?.abort());
new ResizeObserver(paint).observe($("past-canvas"));
