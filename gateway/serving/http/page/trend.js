// A loop's trend on a canvas: setpoint dashed, process value solid (scale on the left), output dotted (scale on the
// right, its limits). Points are [time_ms, setpoint, value, output]; null leaves a gap.

const SPAN_MS = 120_000;
const LEFT = 44, RIGHT = 34, TOP = 8, BOTTOM = 16;

export function draw(canvas, points, nowMs, outputLimits) {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name).trim();
  const shown = points.filter((point) => nowMs - point[0] <= SPAN_MS);
  const [low, high] = range(shown.flatMap((point) => [point[1], point[2]]).filter((v) => v !== null));
  const [outLow, outHigh] = outputLimits;
  const right = width - RIGHT, bottom = height - BOTTOM;
  const x = (ms) => right - ((nowMs - ms) / SPAN_MS) * (right - LEFT);
  const scale = (from, to) => (v) => bottom - ((v - from) / (to - from || 1)) * (bottom - TOP);
  const y = scale(low, high), yOut = scale(outLow, outHigh);

  pen.font = `11px ${style.fontFamily}`;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  for (const part of [0, 0.5, 1]) {
    const v = low + part * (high - low), out = outLow + part * (outHigh - outLow);
    pen.strokeStyle = colour("--line");
    line(pen, [[LEFT, y(v)], [right, y(v)]]);
    pen.fillStyle = colour("--value");
    pen.textAlign = "right";
    pen.fillText(short(v, high - low), LEFT - 6, y(v));
    pen.fillStyle = colour("--output");
    pen.textAlign = "left";
    pen.fillText(short(out, outHigh - outLow), right + 6, y(v));
  }
  pen.fillStyle = colour("--quiet");
  pen.textBaseline = "bottom";
  for (const [ago, text, align] of [[SPAN_MS, "−2 min", "left"], [SPAN_MS / 2, "−1 min", "center"], [0, "now", "right"]]) {
    pen.textAlign = align;
    pen.fillText(text, x(nowMs - ago), height - 1);
  }

  pen.save();
  pen.beginPath();
  pen.rect(LEFT, TOP - 2, right - LEFT, bottom - TOP + 4);
  pen.clip();
  const series = (index, place, name, thick, dash) => {
    pen.strokeStyle = colour(name);
    pen.lineWidth = thick;
    pen.setLineDash(dash);
    line(pen, shown.map((point) => (point[index] === null ? null : [x(point[0]), place(point[index])])));
  };
  series(3, yOut, "--output", 1.5, [2, 3]);
  series(1, y, "--setpoint", 1.5, [6, 4]);
  series(2, y, "--value", 2, []);
  pen.restore();
}

// The values' range with some air, never of no height.
function range(values) {
  if (values.length === 0) return [0, 1];
  const low = Math.min(...values), high = Math.max(...values);
  const air = Math.max((high - low) * 0.12, Math.abs(high) * 0.005, 1e-9);
  return [low - air, high + air];
}

function line(pen, points) {
  pen.beginPath();
  let down = false;
  for (const point of points) {
    if (point === null) { down = false; continue; }
    if (down) pen.lineTo(point[0], point[1]);
    else pen.moveTo(point[0], point[1]);
    down = true;
  }
  pen.stroke();
}

function short(v, span) {
  return v.toFixed(span >= 20 ? 0 : span >= 2 ? 1 : span >= 0.2 ? 2 : 3);
}
