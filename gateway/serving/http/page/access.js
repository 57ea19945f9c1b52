// Who looks, and what they do: logging in, and acting with a question in between. What may be done is the gateway's to
// say (/api/me) and to decide; the page only leaves out the buttons that would be refused.

const $ = (id) => document.getElementById(id);
let me = { can_log_in: false, user: null, role: null, csrf: "", may: [] };
let again = () => {}; // asks for everything anew

export const may = (action) => me.may.includes(action);

export async function begin(onChange) {
  again = onChange;
  await whoAmI();
}

export async function whoAmI() {
  const response = await fetch("api/me", { cache: "no-store" });
  if (!response.ok) return;
  me = await response.json();
  show();
}

function show() {
  $("visitor").hidden = !me.can_log_in;
  $("visitor-name").textContent = me.user ? `${me.user} · ${me.role}` : "";
  $("log-out").hidden = !me.user;
  $("log-in").hidden = Boolean(me.user);
}

// The gateway knows us no more, or not yet.
export function wanted() {
  me = { can_log_in: true, user: null, role: null, csrf: "", may: [] };
  show();
  if (!$("login").open) $("login").showModal();
}

async function post(path, body) {
  return fetch(path, { method: "POST", cache: "no-store", headers: { "content-type": "application/json", "x-csrf-token": me.csrf }, body: JSON.stringify(body) });
}

$("log-in").addEventListener("click", () => $("login").showModal());
$("log-out").addEventListener("click", async () => {
  await post("api/logout", {});
  await whoAmI();
  again();
});
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = $("login-said"), field = $("login-password");
  said.textContent = "…";
  try {
    const response = await post("api/login", { user: $("login-user").value.trim(), password: field.value });
    if (!response.ok) {
      said.textContent = await response.text();
      field.select();
      return;
    }
    me = await response.json();
    field.value = said.textContent = "";
    $("login").close();
    show();
    again();
  } catch {
    said.textContent = "The gateway does not answer.";
  }
});

// --- doing ----------------------------------------------------------------------------------------------------------

let doing = null; // what the dialog is about

// `question(value)` is what is asked before it is done, `body(value)` what is sent then. `field`: the label of a value
// to be written, with `choices` [[value, words], ...] or any text.
export function offer({ title, field = "", choices = null, question, action, body }) {
  doing = { question, action, body, hasField: Boolean(field) };
  $("act-title").textContent = title;
  $("act-field").hidden = !field;
  $("act-label").textContent = field;
  $("act-value").hidden = choices !== null;
  $("act-choice").hidden = choices === null;
  $("act-choice").replaceChildren(...(choices ?? []).map(([value, words]) => new Option(words, value)));
  $("act-value").value = "";
  step(field ? "" : question(""));
  $("act").showModal();
}

const written = () => ($("act-value").hidden ? $("act-choice").value : $("act-value").value.trim());

// Without a question the value is still being written; with one, only yes or no is left.
function step(question) {
  doing.asked = question !== "";
  $("act-field").hidden = doing.asked || !doing.hasField;
  $("act-question").textContent = question;
  $("act-go").textContent = doing.asked ? "Yes, do it" : "Go on";
  $("act-said").textContent = "";
}

$("act-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const value = written();
  if (!doing.asked) {
    if (value === "") $("act-said").textContent = "Write a value.";
    else step(doing.question(value));
    return;
  }
  $("act-go").disabled = true;
  $("act-said").textContent = "…";
  try {
    const response = await post(`api/actions/${doing.action}`, doing.body(value));
    const isAnswer = (response.headers.get("content-type") ?? "").startsWith("application/json");
    const answer = isAnswer ? await response.json() : { ok: false, says: await response.text() };
    if (answer.ok) $("act").close();
    else $("act-said").textContent = answer.says;
    if (response.status === 401) wanted();
    again();
  } catch {
    $("act-said").textContent = "The gateway does not answer; look whether it was done before you try again.";
  } finally {
    $("act-go").disabled = false;
  }
});
$("act-no").addEventListener("click", () => $("act").close());
$("login-no").addEventListener("click", () => $("login").close());
