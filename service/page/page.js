// The page of the service. What the server says goes into text nodes only; the service's policy forbids anything else.

const $ = (id) => document.getElementById(id);
const KEY = "qta-key";
const PAGE = 50;

/** Return an element; children are elements or texts, and those that are absent are left out. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const number = (value) => value.toLocaleString("en");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

// ---- the service

/** An answer that is an error, as problem details say it. */
class Problem extends Error {
  constructor(status, content) {
    super(content.detail || content.title || `the service answered ${status}`);
    this.status = status;
    this.fields = (content.errors ?? []).map((entry) => entry.field);
  }
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Ask the service for JSON; addresses are relative, so that the page works behind a proxy's prefix. */
async function call(path, { body, signal } = {}) {
  const options = { headers: headers(), signal };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the service does not answer; is it running?" });
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, content);
  return content;
}

// What not every version of the service takes; asked for until it is refused.
const extras = { explain: true, token_budget: 200000 };

async function retrieve(asked, signal) {
  for (;;) {
    try {
      return await call("retrieve", { body: { ...asked, ...extras }, signal });
    } catch (error) {
      const refused = (error.fields ?? []).filter((field) => field in extras);
      if (!refused.length) throw error;
      for (const field of refused) delete extras[field];
    }
  }
}

/** Tell whether feedback can be given: the route is there, and this key may use it. */
async function takesFeedback(answer) {
  if (!answer.request_id) return false;
  return fetch("feedback", { method: "OPTIONS", headers: headers() }).then((reply) => reply.ok, () => false);
}

// ---- the API key

let waiting = null; // what to do once there is a key

function show(error, place, again) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    waiting = again;
    $("key-reason").textContent = error.message;
    $("key-form").hidden = false;
    $("key").focus();
  } else {
    place.textContent = error.message;
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  $("key-form").hidden = true;
  $("forget").hidden = false;
  about();
  waiting?.();
});

$("forget").hidden = !sessionStorage.getItem(KEY);
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});

// ---- a tool

function typeOf(schema) {
  if (schema === null || typeof schema !== "object") return "any";
  const kinds = schema.enum ? schema.enum.map((value) => JSON.stringify(value)) : [schema.type ?? "any"].flat();
  return kinds.join(" | ") + (schema.type === "array" && schema.items ? ` of ${typeOf(schema.items)}` : "");
}

function parameters(schema) {
  const fields = Object.entries(schema?.properties ?? {});
  if (!fields.length) return el("p", { class: "muted" }, "Takes no parameters.");
  const required = new Set(schema.required ?? []);
  const rows = fields.map(([name, field]) => el("div", {},
    el("dt", {}, el("code", {}, name), el("span", { class: "muted" }, ` ${typeOf(field)}${required.has(name) ? ", required" : ""}`)),
    el("dd", {}, field?.description)));
  const count = plural(fields.length, "parameter");
  return el("details", {},
    el("summary", {}, required.size ? `${count}, ${required.size} required` : count),
    el("dl", { class: "parameters" }, ...rows),
    el("details", {}, el("summary", {}, "JSON Schema"), el("pre", { tabindex: 0 }, JSON.stringify(schema, null, 2))));
}

function bar(label, value) {
  const filled = el("span");
  filled.style.setProperty("--share", Math.min(1, Math.max(0, value)));
  return [el("span", {}, label), el("span", { class: "bar", "aria-hidden": "true" }, filled), el("span", {}, value.toFixed(2))];
}

/** Return the reasons for a tool: bars for what is measured, chips for what was found. */
function reasons(why) {
  if (!why) return [];
  const bars = ["meaning", "words"].filter((name) => typeof why[name] === "number").flatMap((name) => bar(name, why[name]));
  const chips = [
    why.named && "named in the request",
    why.clause && `for “${why.clause}”`,
    why.step && `for the step “${why.step}”`,
    why.provides_for && `provides an id for ${why.provides_for}`,
    why.used_with && `used together with ${why.used_with}`,
    why.examples > 0 && "used for such requests in examples",
    why.prior && "used before",
    why.always && "always included",
  ].filter(Boolean);
  return [
    bars.length ? el("div", { class: "why" }, ...bars) : null,
    chips.length ? el("ul", { class: "chips", "aria-label": "Why" }, ...chips.map((chip) => el("li", {}, chip))) : null,
  ];
}

/** Return a card; of a result with rank and reasons, of the catalogue without. */
function card(tool, place) {
  const id = tool.tool_id ?? tool.id;
  const title = `${place}-name`;
  const made = el("article", { tabindex: -1, "aria-labelledby": title },
    el("div", { class: "head" },
      tool.rank ? el("span", { class: "rank" }, String(tool.rank)) : null,
      el("div", { class: "names" },
        el("h2", { id: title }, tool.name),
        id === tool.name ? null : el("span", { class: "id" }, id))),
    el("p", { class: "description" }, tool.description || "No description."),
    ...reasons(tool.why),
    parameters(tool.parameters));
  made.dataset.id = id;
  return el("li", {}, made);
}

// ---- ask

let asking = null;
let answered = null; // the answer that feedback is given on

function tokens({ tokens: sent, tokens_saved: saved }) {
  return saved ? `${number(saved)} saved: ${number(sent)} instead of ${number(sent + saved)} for the whole catalogue` : number(sent);
}

function summarise(answer) {
  const { total, ...stages } = answer.timing_ms ?? {};
  const parts = Object.entries(stages).map(([stage, spent]) => `${stage} ${milliseconds(spent)}`);
  const rows = [
    ["Rewritten", el("span", { class: answer.rewritten_query ? "rewritten" : "muted" }, answer.rewritten_query ?? "no, ranked as asked")],
    ["Time", total === undefined ? null : `${milliseconds(total)} (${parts.join(", ")})`],
    ["Tokens", answer.tokens === undefined ? null : tokens(answer)],
    ["Enough", answer.confidence === undefined ? null : `with a probability of ${Math.round(100 * answer.confidence)} %`],
  ];
  return rows.filter(([, text]) => text !== null).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]);
}

async function ask() {
  const query = $("query").value.trim();
  $("ask-error").textContent = query ? "" : "Say first what is to be done.";
  $("query").setAttribute("aria-invalid", String(!query));
  if (!query) return $("query").focus();
  asking?.abort();
  const mine = asking = new AbortController();
  const k = $("k").value === "auto" ? "auto" : Number($("k").value);
  busy(true);
  try {
    const answer = await retrieve({ query, k, rewrite: $("rewrite").value }, mine.signal);
    const feedback = await takesFeedback(answer);
    if (asking === mine) render(answer, feedback);
  } catch (error) {
    $("answer").hidden = true;
    $("ask-status").textContent = "";
    show(error, $("ask-error"), ask);
  } finally {
    if (asking === mine) busy(false);
  }
}

function busy(is) {
  $("answer").setAttribute("aria-busy", String(is));
  $("ask-form").querySelector("button").setAttribute("aria-busy", String(is));
}

function render(answer, feedback) {
  answered = answer;
  $("summary").replaceChildren(...summarise(answer));
  const remarks = (answer.degraded ?? []).map((entry) => entry.detail || entry.reason);
  if (answer.no_tool_fits) remarks.unshift("No tool seems to fit this request; these are the nearest.");
  $("degraded").replaceChildren(...remarks.map((text) => el("li", {}, text)));
  $("degraded").hidden = !remarks.length;
  $("results").replaceChildren(...answer.tools.map((tool, at) => card(tool, `result-${at}`)));
  if (feedback) for (const article of $("results").querySelectorAll("article")) addUsed(article);
  $("feedback").hidden = $("key-used").hidden = !feedback || !answer.tools.length;
  $("feedback-status").textContent = "";
  countUsed();
  reach($("results"));
  $("answer").hidden = false;
  const total = answer.timing_ms?.total;
  $("ask-status").textContent = `${plural(answer.tools.length, "tool")}${total === undefined ? "" : ` in ${milliseconds(total)}`}`;
}

$("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

// ---- feedback

const used = () => [...$("results").querySelectorAll("article.used")].map((article) => article.dataset.id);

function addUsed(article) {
  const button = el("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Used");
  button.addEventListener("click", () => toggleUsed(article));
  article.querySelector(".head").append(button);
}

function toggleUsed(article) {
  const button = article.querySelector("button[aria-pressed]");
  if (!button) return;
  button.setAttribute("aria-pressed", String(article.classList.toggle("used")));
  $("feedback-status").textContent = "";
  countUsed();
}

function countUsed() {
  const count = used().length;
  $("feedback").querySelector("button").textContent = count ? `Send: ${plural(count, "tool")} used` : "None was of use";
}

$("feedback").addEventListener("submit", async function send(event) {
  event?.preventDefault();
  try {
    await call("feedback", { body: { request_id: answered.request_id, used: used() } });
    $("feedback-status").textContent = "Kept, thank you.";
  } catch (error) {
    show(error, $("feedback-status"), () => send());
  }
});

// ---- catalogue

let listing = null;
let next = "";

async function list(after = "") {
  listing?.abort();
  listing = new AbortController();
  const asked = new URLSearchParams({ limit: PAGE, after, search: $("search").value.trim() });
  $("search-error").textContent = "";
  try {
    const page = await call(`tools?${asked}`, { signal: listing.signal });
    if (!after) $("tools").replaceChildren();
    const shown = $("tools").children.length;
    $("tools").append(...page.tools.map((tool, at) => card(tool, `tool-${shown + at}`)));
    next = page.next;
    $("more").hidden = !next;
    $("search-status").textContent = page.total ? `${number($("tools").children.length)} of ${plural(page.total, "tool")}` : "No tool has that in its name or id.";
    reach($("tools"));
    if (after) focusCard($("tools").querySelectorAll("article")[shown]);
  } catch (error) {
    show(error, $("search-error"), () => list(after));
  }
}

let pause = 0;
$("search").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(list, 150);
});
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(pause);
  list();
});
$("more").addEventListener("click", () => list(next));

// ---- views and keys

const views = () => [...document.querySelectorAll("main > section")];
const view = () => views().find((section) => !section.hidden);
const field = () => view().querySelector("textarea, input");

function look() {
  const wanted = views().find((section) => `#${section.id}` === location.hash) ?? $("ask");
  for (const section of views()) section.hidden = section !== wanted;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${wanted.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (wanted.id === "catalogue" && !$("tools").children.length) list();
  field()?.focus({ preventScroll: true });
}

/** Let the Tab key reach the first card of a list; arrows reach the others. */
function reach(cards) {
  cards.querySelectorAll("article").forEach((article, at) => { article.tabIndex = at ? -1 : 0; });
}

function focusCard(article) {
  if (!article) return;
  for (const other of article.closest(".cards").querySelectorAll("article")) other.tabIndex = other === article ? 0 : -1;
  article.focus();
}

/** Move from the field to the first card, from card to card, and back. */
function move(by) {
  const cards = [...view().querySelectorAll("article")];
  const at = cards.indexOf(document.activeElement.closest("article")) + by;
  if (at < 0) field()?.focus();
  else focusCard(cards[Math.min(at, cards.length - 1)]);
}

function leavesField(target, key) {
  if (target.tagName !== "TEXTAREA") return true;
  return key === "ArrowDown" && target.selectionStart === target.value.length;
}

function keyIn(event, target) {
  if (event.key === "Enter" && !event.shiftKey && target === $("query")) ask();
  else if (event.key === "ArrowDown" && target === field() && leavesField(target, event.key)) move(1);
  else return;
  event.preventDefault();
}

function keyOutside(event, target) {
  const article = target.closest("article");
  if (event.key === "/") field()?.focus();
  else if (event.key === "Escape") field()?.focus();
  else if (event.key === "ArrowDown" && (article || target === document.body)) move(1);
  else if (event.key === "ArrowUp" && article) move(-1);
  else if (event.key === "f" && article) toggleUsed(article);
  else if (event.key === "Enter" && target === article) article.querySelector("details")?.toggleAttribute("open");
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || target.tagName === "SELECT" || target.tagName === "PRE") return;
  (/^(INPUT|TEXTAREA)$/.test(target.tagName) ? keyIn : keyOutside)(event, target);
});

// ---- begin

async function about() {
  const ready = await call("readyz").catch(() => null);
  $("index").textContent = ready?.index ? plural(ready.index.tools, "tool") : ""; // told to who sees all tools
}

function withoutPlot() {
  $("to-evaluation").remove();
  $("evaluation").remove();
  look();
}

$("plot").addEventListener("error", withoutPlot);
if ($("plot").complete && !$("plot").naturalWidth) withoutPlot();
addEventListener("hashchange", look);
look();
about();
