// The page: is told by /api/live each second what is on screen, while it can be seen, and shows it.
// Text is set as text, never as markup: names and messages come from the plant.

import { begin, may, offer, wanted } from "./access.js";
import { past } from "./past.js";
import { draw } from "./trend.js";

const EVERY_MS = 1000, PATIENCE_MS = 4000, TAGS_A_PAGE = 50, DEVICES_AT_FIRST = 10, SPAN_MS = 120_000;
const SIGNS = { good: "✓", uncertain: "△", bad: "✕" };
const MODES = { auto: ["good", "auto"], manual: ["uncertain", "manual"], failsafe: ["bad", "fail-safe"], initialising: ["uncertain", "initialising"], cascade: ["good", "cascade"], tracking: ["good", "tracking"], interlocked: ["bad", "interlocked"] };
const MODES_TO_ASK_FOR = [["auto", "auto"], ["manual", "manual"], ["cascade", "cascade"]];
const SEVERITIES = { error: ["bad", "error"], warning: ["uncertain", "warning"], notice: ["", "notice"], info: ["", "info"] };

const $ = (id) => document.getElementById(id);
const ask = { search: "", problems: false, offset: 0 };
const trends = new Map(); // loop name → points
let allDevices = false, last = null, timer = 0, asking = null;

// --- small makers -------------------------------------------------------------------------------------------------

function el(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const cell = (className, ...children) => el("td", className, ...children);
function labelled(label, className, ...children) {
  const node = cell(className, ...children);
  node.dataset.label = label;
  return node;
}
const sign = (level, words) => el("span", `q ${level}`, level ? `${SIGNS[level]} ` : "", words);
const quality = (q) => sign(q.level, q.reason);
function fill(table, rows, empty) {
  if (rows.length === 0) {
    const none = cell("empty", empty);
    none.colSpan = 12;
    rows = [el("tr", "", none)];
  }
  const body = $(table).tBodies[0], focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  if (body === pressed) return; // what is being clicked stays until it is
  body.replaceChildren(...rows);
  if (focused !== undefined) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
let pressed = null;
document.addEventListener("pointerdown", (event) => { pressed = event.target.closest("tbody"); });
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => setTimeout(() => { pressed = null; }));
function bar(part, hot) {
  const inside = el("i");
  inside.style.width = `${Math.max(0, Math.min(1, part)) * 100}%`;
  return el("span", hot ? "bar hot" : "bar", inside);
}
function fact(list, name, ...value) {
  list.append(el("dt", "", name), el("dd", "", ...value));
}

// --- numbers for people -------------------------------------------------------------------------------------------

const NONE = "–";
const whole = (v) => (v === null ? NONE : Math.round(v).toLocaleString("en").replaceAll(",", "\u202f"));
const num = (v) => (v === null ? NONE : Number(v.toPrecision(4)).toString());
const ms = (v) => (v === null ? NONE : v < 9.95 ? v.toFixed(2) : v < 99.5 ? v.toFixed(1) : v.toFixed(0));
function age(s) {
  if (s === null) return NONE;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}
function bytes(v) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (v < 1000 || unit === "GB") return `${v < 10 && unit !== "B" ? v.toFixed(1) : Math.round(v)} ${unit}`;
    v /= 1000;
  }
  return NONE;
}
const span = (s) => (s >= 60 && s % 60 === 0 ? `${s / 60} min` : `${s} s`);
const two = (v) => String(v).padStart(2, "0");
function clock(timeMs) {
  const t = new Date(timeMs);
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}
function moment(timeMs) {
  const t = new Date(timeMs), today = new Date().toDateString() === t.toDateString();
  return today ? clock(timeMs) : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock(timeMs)}`;
}

// --- the parts of the page ----------------------------------------------------------------------------------------

function showHead(s) {
  document.title = `${s.is_ready ? "" : "! "}${s.gateway_id} · fieldgate`;
  $("gateway").textContent = s.gateway_id;
  $("version").textContent = `fieldgate ${s.version}`;
  $("uptime").textContent = age(s.uptime_s);
  $("clock").textContent = clock(s.time_ms) + (s.wall_is_synchronised ? "" : " (clock not synchronised)");
  const level = s.is_ready ? "good" : s.is_healthy ? "uncertain" : "bad";
  const words = s.is_healthy ? s.phase : `${s.phase}, not healthy`;
  $("state").className = `badge ${level}`;
  $("state").textContent = `${SIGNS[level]} ${words}`;
  const configuration = s.configuration && `The configuration is ${s.configuration}.`;
  $("reasons").hidden = s.is_ready && !configuration;
  $("reasons").textContent = [...(s.is_ready ? [] : [s.detail, ...s.reasons]), configuration].filter(Boolean).join("\n");
}

function tile(name, value, unit, note, level) {
  return el("div", "", el("dt", "", name), el("dd", "", value, " ", el("small", "", unit),
    note ? el("span", `note ${level}`, level ? `${SIGNS[level]} ` : "", note) : null));
}
function showTiles(s) {
  const d = s.devices, dropped = s.rates.dropped_samples_total, down = s.links.total - s.links.up;
  const late = s.latencies.filter(isLate).length, promised = s.latencies.filter((l) => l.budget_ms !== null).length;
  const tiles = [
    tile("Samples", whole(s.rates.samples_per_s), "per s", dropped ? `${whole(dropped)} dropped` : "none dropped", dropped ? "bad" : "good"),
    tile("Budgets kept", `${promised - late}`, `of ${promised}`, late ? "p99 over budget" : "p99, last minute", late ? "bad" : "good"),
    tile("Links up", `${s.links.up}`, `of ${s.links.total}`, down ? `${down} down` : "all up", down ? "bad" : "good"),
    tile("Devices good", whole(d.good), `of ${whole(d.total)}`, `${whole(s.tags_total)} tags`, ""),
  ];
  if (s.loops.length) {
    const auto = s.loops.filter((l) => l.mode === "auto").length;
    tiles.push(tile("Loops in auto", `${auto}`, `of ${s.loops.length}`, `${whole(s.loops.reduce((n, l) => n + l.misses, 0))} deadlines missed`, ""));
  }
  if (s.uplinks.length) {
    const lost = s.uplinks.filter((u) => !u.is_connected), waiting = s.uplinks.reduce((n, u) => n + u.waiting_records, 0);
    const state = lost.length ? `${s.uplinks.length > 1 ? `${lost[0].name} ` : ""}down for ${age(lost[0].since_s)}` : "connected";
    tiles.push(tile("Waiting upstream", whole(waiting), "records", state, lost.length ? "bad" : "good"));
  }
  $("tiles").replaceChildren(...tiles);
}

const isLate = (l) => l.budget_ms !== null && l.recent.p99_ms !== null && l.recent.p99_ms > l.budget_ms;
function showLatency(s) {
  fill("latency", s.latencies.map((l) => {
    const over = (v) => cell(l.budget_ms !== null && v !== null && v > l.budget_ms ? "n over" : "n", ms(v));
    const verdict = l.budget_ms === null || l.recent.p99_ms === null ? NONE
      : el("span", "barred", bar(l.recent.p99_ms / l.budget_ms, isLate(l)), `${isLate(l) ? "✕" : "✓"} ${Math.round((100 * l.recent.p99_ms) / l.budget_ms)} %`);
    return el("tr", "", cell("name nowrap", l.title), cell("n", l.budget_ms === null ? NONE : ms(l.budget_ms).replace(/\.0+$/, "")),
      over(l.recent.p50_ms), over(l.recent.p95_ms), over(l.recent.p99_ms), over(l.recent.p999_ms), over(l.total.p999_ms), cell("", verdict));
  }), "Nothing measured yet.");
}

function showLinks(s) {
  $("links-count").textContent = `${s.links.up} of ${s.links.total} up`;
  fill("links", s.links.links.map((l) => el("tr", "", cell("name", l.name), cell("", sign(l.is_up ? "good" : "bad", l.is_up ? "up" : "down")),
    labelled("for", "n", age(l.since_s)), cell("detail", `${l.kind} ${l.detail}`))), "No links are configured.");
}

function showUplinks(uplinks) {
  $("uplink-name").textContent = uplinks.map((u) => u.name).join(", ");
  if (uplinks.length) $("uplink").replaceChildren(...uplinks.flatMap((u) => uplinkParts(u, uplinks.length > 1)));
  else $("uplink").replaceChildren(el("p", "empty", "No uplink is configured."));
}

// What the gateway writes to its disk, and what becomes of a flash by it.
function showWear(s) {
  if (s.disk_bytes_per_day === null) return;
  const life = s.disk_life_years === null ? "" : `, a new disk lasts ${num(s.disk_life_years)} years at the most`;
  $("uplink").append(el("p", "detail", `Written to the disk: ${bytes(s.disk_bytes_per_day)} a day${life}.`));
}

function uplinkParts(u, isNamed) {
  const facts = el("dl", "facts");
  fact(facts, "Waiting", `${whole(u.waiting_records)} records`);
  fact(facts, "Oldest", u.oldest_age_s === null ? "nothing waits" : `${age(u.oldest_age_s)} old`);
  fact(facts, "Segments open", whole(u.segments));
  fact(facts, "Delivered", `${whole(u.delivered_records)} records${u.delivered_per_s === null ? "" : `, ${num(u.delivered_per_s)} per s`}`);
  fact(facts, "Dropped", u.dropped_records ? el("span", "over", `✕ ${whole(u.dropped_records)} records`) : "none");
  if (u.dropped_samples) fact(facts, "Left out", el("span", "over", `${whole(u.dropped_samples)} samples, told upstream`));
  if (u.pressure_step) fact(facts, "Pressure", el("span", "over", `✕ ${Math.round(100 * u.pressure)} %, step ${u.pressure_step} of 5: ${u.pressure_does}`));
  fact(facts, "Buffer", `${bytes(u.waiting_bytes)} of ${bytes(u.bytes_max)}`);
  return [
    el("p", "", el("b", "", isNamed ? `${u.name} ` : ""), sign(u.is_connected ? "good" : "bad", u.is_connected ? "connected" : "down"), ` for ${age(u.since_s)} `, el("span", "detail", u.detail)),
    facts, bar(u.waiting_bytes / u.bytes_max, u.waiting_bytes > 0.7 * u.bytes_max)];
}

// In how much time a tag reaches such a score once, by its own past; what happens every day is not worth saying.
const often = (hours) => (hours === null || hours < 24 ? "" : hours < 48 ? "once a day" : `once in ${Math.round(hours / 24)} days`);

// What a score needs to be understood: why it is what it is, how rare that is, or why there is none yet.
const scoreNote = (v) => [
  v.in_maintenance ? "maintenance" : "", ...v.reasons,
  v.score === null && v.text !== null ? v.score_quality.reason : "",
  v.reasons.length ? often(Math.max(v.score_once_h ?? 0, v.persistent_once_h ?? 0)) : "",
].filter(Boolean).join(", ");

// A score goes from 0 (as ever) to 1 (as never); 0.5 is as far as the tag usually swings.
function score(value, words) {
  if (value === null) return NONE;
  const hot = words.includes("score");
  return el("span", "barred", bar(value, hot), `${hot ? "▲ " : ""}${value.toFixed(2)}`);
}
const alarms = (words) => (words.length ? sign("bad", words.join(", ")) : NONE);

// The tags of a device seen together: whose explains what is off, once that is worth a look.
function together(v) {
  const m = v.multivariate;
  if (!m) return null;
  if (m.score === null) return el("div", "detail", "together: being learned");
  const named = m.score < 0.5 ? "" : ` first ${m.contributors.map((c) => `${c.tag} ${Math.round(100 * c.share)} %`).join(", ")} ${often(m.score_once_h)}`;
  return el("div", "detail", `together ${m.score.toFixed(2)}${named}`);
}

function showDevices(s) {
  const d = s.devices, shown = allDevices ? d.devices : d.devices.slice(0, DEVICES_AT_FIRST);
  $("devices-count").textContent = `${whole(d.good)} of ${whole(d.total)} good, those that need attention first`;
  fill("devices", shown.map((v) => el("tr", "", cell("name", v.name), cell("detail nowrap", v.link), cell("", quality(v.quality)),
    labelled("tags good", "n", `${v.tags_good} of ${v.tags}`),
    labelled("score", "", v.score === null ? NONE : el("span", "nowrap", v.score.toFixed(2), el("span", "detail", ` ${v.score_tag.slice(v.name.length + 1)}`)), together(v)),
    labelled("alarms", "", alarms(v.alarms), v.in_maintenance ? el("span", "detail", " maintenance") : null))), "No devices yet.");
  $("devices-more").hidden = d.devices.length <= DEVICES_AT_FIRST;
  $("devices-more").textContent = allDevices ? "Show fewer" : `Show ${d.devices.length === d.total ? "all" : "the first"} ${d.devices.length}`;
}

function showTags(t) {
  $("tags-count").textContent = `${whole(t.total)} ${ask.search || ask.problems ? "found" : "in all"}`;
  const upTo = Math.min(t.offset + t.limit, t.total);
  $("place").textContent = t.total ? `${whole(t.offset + 1)}–${whole(upTo)}` : "0";
  $("previous").disabled = t.offset === 0;
  $("next").disabled = upTo >= t.total;
  fill("tags", t.tags.map((v) => {
    const w = v.windows[0] ?? { mean: null, sd: null, min: null, max: null, window_s: null };
    const known = ["asset", "path", "criticality"].map((key) => v.context[key]).filter(Boolean);
    const more = [...known, ...v.calculations.map((c) => `${c.name} ${num(c.value)}`)].join(" · ");
    return el("tr", "", cell("name", v.name, more ? el("span", "detail", ` ${more}`) : null),
      cell("n value", v.text ?? NONE, v.unit && v.text !== null ? el("span", "unit", v.unit) : null, writing(v)),
      cell("nowrap", quality(v.quality), v.alarms.length ? " " : null, v.alarms.length ? sign("bad", `alarm: ${v.alarms.join(", ")}`) : null),
      labelled("age", "n", age(v.age_s)), labelled("over", "n detail", w.window_s === null ? NONE : span(w.window_s), w.window_s === null ? null : button("Trend", v.name, () => past(v.name, v.unit))),
      labelled("mean", "n", num(w.mean)), labelled("sd", "n", num(w.sd)), labelled("min", "n", num(w.min)), labelled("max", "n", num(w.max)),
      labelled("score", "", score(v.score, v.alarms), scoreNote(v) ? el("span", "detail", ` ${scoreNote(v)}`) : null));
  }), ask.search || ask.problems ? "No tag matches." : "No tags yet.");
}

const STATES = { active: ["bad", "not acknowledged"], acknowledged: ["bad", "acknowledged"], returned: ["uncertain", "over, not acknowledged"], normal: ["good", "normal"] };
function alarmState(a) {
  if (a.shelved_for_s !== null) return sign("uncertain", `shelved for ${age(a.shelved_for_s)}`);
  return a.suppressed ? sign("uncertain", "suppressed") : sign(...STATES[a.state]);
}
const button = (words, about, onClick) => {
  const node = el("button", "small", words);
  node.dataset.key = `${words} ${about}`;
  node.setAttribute("aria-label", `${words} ${about}`);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
};
const HOURS = [[600, "10 minutes"], [3600, "1 hour"], [4 * 3600, "4 hours"], [12 * 3600, "12 hours"], [24 * 3600, "24 hours"]];
function alarmActions(a) {
  const of = (action, words, more = {}) => may(action) && button(words, a.name, () => offer({
    title: a.name, action, question: () => `${words} ${a.name}?`, body: () => ({ alarm: a.name }), ...more }));
  return [
    a.state === "active" || a.state === "returned" ? of("alarm.acknowledge", "Acknowledge") : null,
    a.shelved_for_s !== null ? of("alarm.unshelve", "Show again") : of("alarm.shelve", "Shelve", {
      field: "For how long", choices: HOURS, question: (s) => `Shelve ${a.name} for ${age(Number(s))}?`,
      body: (s) => ({ alarm: a.name, for_s: Number(s) }) }),
  ].map((node) => node || null);
}
function writing(v) {
  if (!v.writable || !may("tag.write")) return null;
  return button("Set", v.name, () => offer({
    title: v.name, action: "tag.write", field: `New value${v.unit ? ` in ${v.unit}` : ""}; it is ${v.text ?? "unknown"}`,
    question: (value) => `Write ${value} ${v.unit} to ${v.name}? It was ${v.text ?? "unknown"}.`, body: (value) => ({ tag: v.name, value }) }));
}
function showAlarms(page) {
  const waiting = page.alarms.filter((a) => a.shelved_for_s === null && !a.suppressed && (a.state === "active" || a.state === "returned")).length;
  $("alarms-count").textContent = page.total ? `${whole(page.total)} in all, ${whole(waiting)} of those shown to be acknowledged` : "none";
  fill("alarms", page.alarms.map((a) => el("tr", "", cell("name", a.name), cell("nowrap", alarmState(a)), labelled("priority", "", a.priority),
    labelled("since", "nowrap", a.raised_ms === null ? NONE : moment(a.raised_ms)), labelled("raised by", "n", num(a.value)), cell("detail", a.condition), cell("nowrap", ...alarmActions(a)))), "No alarm.");
}

function showEvents(s) {
  fill("events", s.events.map((e) => el("tr", "", cell("nowrap", moment(e.time_ms)), cell("", sign(...SEVERITIES[e.severity])),
    cell("nowrap", e.kind), cell("name", e.subject), cell("detail", e.message))), "Nothing has happened yet.");
}

// --- loops and their trends ---------------------------------------------------------------------------------------

const cards = new Map(); // loop name → its nodes

function makeCard(loop) {
  const card = { root: el("div", "loop"), mode: el("span"), note: el("p", "path"), commands: el("p", "commands"), canvas: el("canvas") };
  const list = el("dl");
  for (const [key, title] of [["setpoint", "setpoint"], ["value", "process value"], ["output", "output"]]) {
    card[key] = el("dd");
    list.append(el("div", `k-${key}`, el("dt", "", title), card[key]));
  }
  card.canvas.setAttribute("role", "img");
  card.root.append(el("h3", "", loop.name, card.mode), card.note, list, card.commands, card.canvas);
  return card;
}

// What may be set of a loop. The buttons stay as they are while nothing changes in that, or no click would meet one.
const points = {
  setpoint: (l) => [num(l.setpoint), l.unit, `, ${num(l.setpoint_min)} to ${num(l.setpoint_max)}`],
  mode: (l) => [l.mode, "", ""],
  output: (l) => [num(l.output), l.output_unit, `, ${num(l.output_min)} to ${num(l.output_max)}, taken in manual`],
};
function setPoint(card, point) {
  const name = `control.${card.loop.name}.${point}`, [was, unit, range] = points[point](card.loop), spaced = unit && ` ${unit}`;
  offer({
    title: name, action: "tag.write", field: `New ${point}${range}; it is ${was}${spaced}`, choices: point === "mode" ? MODES_TO_ASK_FOR : null,
    question: (value) => `Write ${value}${spaced} to ${name}? It was ${was}${spaced}.`, body: (value) => ({ tag: name, value }) });
}
function showCommands(card) {
  const open = may("tag.write") ? card.loop.writable : [];
  if (card.commands.dataset.open === open.join()) return;
  card.commands.dataset.open = open.join();
  card.commands.replaceChildren(...open.map((point) => button(`Set ${point}`, `of ${card.loop.name}`, () => setPoint(card, point))));
}

function showLoops(s) {
  $("loops-section").hidden = s.loops.length === 0;
  const names = s.loops.map((loop) => loop.name);
  if (names.join("\n") !== [...cards.keys()].join("\n")) {
    cards.clear();
    s.loops.forEach((loop) => cards.set(loop.name, makeCard(loop)));
    $("loops").replaceChildren(...[...cards.values()].map((card) => card.root));
  }
  for (const loop of s.loops) {
    const card = cards.get(loop.name);
    card.loop = loop;
    showCommands(card);
    const withUnit = (v, unit) => [num(v), el("span", "unit", unit)];
    card.mode.replaceChildren(sign(...MODES[loop.mode]), " ", loop.quality.level === "good" ? "" : quality(loop.quality));
    card.note.textContent = `${loop.input} → ${loop.output_tag}, every ${num(loop.period_ms)} ms, input ${age(loop.input_age_s)} old, ${whole(loop.misses)} missed`;
    card.setpoint.replaceChildren(...withUnit(loop.setpoint, loop.unit));
    card.value.replaceChildren(...withUnit(loop.process_value, loop.unit));
    card.output.replaceChildren(...withUnit(loop.output, loop.output_unit));
    card.canvas.setAttribute("aria-label", `${loop.name}: setpoint ${num(loop.setpoint)}, process value ${num(loop.process_value)} ${loop.unit}, output ${num(loop.output)} ${loop.output_unit}`);
    const points = trends.get(loop.name) ?? [];
    points.push([s.time_ms, loop.setpoint, loop.process_value, loop.output]);
    while (points.length && s.time_ms - points[0][0] > SPAN_MS + 5000) points.shift();
    trends.set(loop.name, points);
    draw(card.canvas, points, s.time_ms, [loop.output_min, loop.output_max]);
  }
}

async function fetchTrends(signal) {
  const answer = await get("api/loops", signal);
  trends.clear();
  for (const { loop, trend } of answer.loops) trends.set(loop.name, trend);
}

// --- asking -------------------------------------------------------------------------------------------------------

class Stranger extends Error {}
async function answered(path, signal) {
  const response = await fetch(path, { signal, cache: "no-store" });
  if (response.status === 401 && !signal.aborted) { // an answer to what was asked before one logged in says nothing
    wanted();
    throw new Stranger();
  }
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}
const get = async (path, signal) => (await answered(path, signal)).json();

// What is on screen comes by one stream a page, once a second (server-sent events, read by fetch: it tells a 401 from a
// broken line, and ends when nobody looks). Asking anew ends the stream before.
async function poll() {
  clearTimeout(timer);
  asking?.abort();
  if (document.hidden) return;
  const mine = (asking = new AbortController());
  let patience = setTimeout(() => mine.abort(), PATIENCE_MS);
  try {
    if (last === null || Date.now() - last > 3 * EVERY_MS) await fetchTrends(mine.signal);
    const query = new URLSearchParams({ search: ask.search, offset: ask.offset, limit: TAGS_A_PAGE, only: ask.problems ? "problems" : "" });
    for await (const seen of stream(`api/live?${query}`, mine.signal)) {
      if (mine !== asking) return;
      clearTimeout(patience);
      patience = setTimeout(() => mine.abort(), PATIENCE_MS);
      last = Date.now();
      show(seen.status, seen.tags, seen.alarms);
    }
    throw new Error("the stream ended");
  } catch (error) {
    if (mine !== asking || document.hidden) return; // a newer question is on its way, or nobody looks
    lose(error);
  } finally {
    clearTimeout(patience);
    if (mine === asking && !document.hidden) timer = setTimeout(poll, EVERY_MS);
  }
}

async function* stream(path, signal) {
  const response = await answered(path, signal), reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) yield JSON.parse(event.slice("data: ".length));
  }
}

function show(status, tags, raised) {
  $("lost").hidden = true;
  $("main").classList.remove("lost");
  showHead(status);
  showTiles(status);
  showLoops(status);
  showLatency(status);
  showLinks(status);
  showUplinks(status.uplinks);
  showWear(status);
  showAlarms(raised);
  showDevices(status);
  showTags(tags);
  showEvents(status);
}

function lose(error) {
  $("lost").hidden = false;
  if (error instanceof Stranger) $("lost").textContent = "Log in to see the plant.";
  else $("lost").textContent = last === null ? "No connection to the gateway yet." : `Connection lost, last data ${clock(last)}. What is below is old.`;
  $("lost").title = String(error);
  $("main").classList.add("lost");
}

$("tags-form").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", (event) => { ask.search = event.target.value; ask.offset = 0; poll(); });
$("problems").addEventListener("change", (event) => { ask.problems = event.target.checked; ask.offset = 0; poll(); });
$("previous").addEventListener("click", () => { ask.offset = Math.max(0, ask.offset - TAGS_A_PAGE); poll(); });
$("next").addEventListener("click", () => { ask.offset += TAGS_A_PAGE; poll(); });
$("devices-more").addEventListener("click", () => { allDevices = !allDevices; poll(); });
document.addEventListener("visibilitychange", poll);
await begin(poll).catch(lose);
poll();
