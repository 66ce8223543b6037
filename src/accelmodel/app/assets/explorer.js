// The page's own part: it sends what was moved with the scenario's text, and shows what comes back. Whatever is asked is asked in turn.
"use strict";
const $ = (id) => document.getElementById(id);
let text = null; // the scenario, as its file
let moved = {}; // controls that moved since the last question: of -> control -> value
let turn = Promise.resolve();
let isQueued = false; // whether a question about what was moved waits for its turn
let job = null;

class Unheard extends Error {}

async function ask(verb, question) {
  let response;
  try {
    response = await fetch(verb, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) });
  } catch {
    throw new Unheard("The explorer's server does not answer; was it ended?");
  }
  const answer = await response.json().catch(() => ({ message: `the explorer's server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

function say(message) {
  $("message").textContent = message || "";
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    say(error.message);
  }
}

// One thing after the other, so that each begins with the text that the one before has left.
const inTurn = (work) => (turn = turn.then(() => guarded(work)));

// Scenarios

async function open(question) {
  const had = new Set([...document.querySelectorAll("#cards details[open], #panels details[open]")].map(called));
  const focused = document.activeElement?.id;
  const answer = await ask("open", question);
  const isFirst = text === null;
  moved = {};
  $("panels").innerHTML = answer.panels;
  $("cards").innerHTML = answer.cards;
  document.querySelectorAll("input[type=range]").forEach(place);
  if (!isFirst) document.querySelectorAll("#cards details, #panels details").forEach((one) => (one.open = had.has(called(one))));
  // A narrow screen shows the answer sooner where the groups of controls are closed.
  else if (matchMedia("(max-width: 800px)").matches) document.querySelectorAll("#panels > details").forEach((one) => (one.open = false));
  if (focused && document.activeElement === document.body) $(focused)?.focus();
  if (answer.message) empty();
  $("text").dataset.typed = "";
  show(answer);
}

const called = (details) => `${details.closest(".card")?.getAttribute("aria-label") ?? ""}/${details.firstElementChild.textContent}`;

function empty() {
  for (const id of ["answer", "table", "closer", "closer-missing", "others"]) $(id).replaceChildren();
  document.querySelectorAll("figure").forEach((one) => (one.hidden = true));
  for (const name of Object.keys(drawn)) delete drawn[name];
}

function show(answer) {
  text = answer.text;
  if (!$("text").dataset.typed) $("text").value = text;
  try {
    history.replaceState(null, "", "#" + answer.link);
  } catch {} // a browser may refuse many in a short time; the next one sets it
  $("title").textContent = document.title = answer.title;
  say(answer.message);
  for (const [id, value] of Object.entries(answer.set)) {
    const control = $(id);
    if (!control || control === document.activeElement) continue;
    if (control.type === "number") (control.value = value ?? ""), place(control.nextElementSibling);
    else control.innerHTML = value;
  }
  document.body.dataset.answers = String(Number(document.body.dataset.answers || 0) + 1);
  document.body.classList.toggle("stale", !answer.names);
  if (!answer.names) return;
  answer.headlines.forEach((headline, of) => $(`headline-${of}`) && ($(`headline-${of}`).innerHTML = headline));
  $("answer").innerHTML = answer.answer;
  $("table").innerHTML = answer.table;
  $("others").textContent = answer.others;
  pick(answer.names);
  draw(answer.figures);
  clearTimeout(soon);
  soon = setTimeout(() => guarded(look), 120); // while a slider is dragged the answer comes first
}

function pick(names) {
  const known = [...$("closer").options].map((one) => one.value);
  if (known.join("\n") === names.join("\n")) return;
  const chosen = $("closer").value;
  $("closer").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

const drawn = {}; // figure -> what it shows, as JSON
const wanted = {};
let later = 0;
function draw(figures) {
  // All are shown before one is drawn: how wide each is depends on which stand beside it.
  for (const [name, found] of Object.entries(figures)) $(`figure-${name}`).hidden = !found;
  Object.assign(wanted, figures);
  requestAnimationFrame(() => setTimeout(() => redraw(isSeen))); // numbers are seen first
  clearTimeout(later);
  later = setTimeout(() => redraw(() => true), 150);
}

function isSeen(name) {
  const { top, bottom } = $(`figure-${name}`).getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function redraw(now) {
  for (const [name, found] of Object.entries(wanted)) {
    if (!now(name)) continue;
    delete wanted[name];
    const [head, chart, caption] = $(`figure-${name}`).children;
    const json = JSON.stringify(found);
    if (json === drawn[name] || !found) continue;
    drawn[name] = json;
    head.textContent = found.title;
    caption.textContent = found.caption;
    chart.setAttribute("aria-label", found.alternative);
    chart.style.height = `${found.figure.layout.height}px`;
    Plotly.react(chart, found.figure.data, found.figure.layout, { responsive: true, displayModeBar: false });
  }
}

let looking = false;
let soon = 0;
async function look() {
  if (looking) return;
  looking = true;
  try {
    for (let seen = null; seen !== text + $("closer").value; ) {
      seen = text + $("closer").value;
      const answer = await ask("closer", { text, case: $("closer").value });
      if (seen !== text + $("closer").value) continue;
      $("closer-missing").textContent = answer.missing;
      draw(answer.figures);
    }
  } finally {
    looking = false;
  }
}

// Controls

function place(slider) {
  const stops = JSON.parse(slider.dataset.stops);
  const number = slider.previousElementSibling.value;
  const near = number === "" ? (stops.length - 1) >> 1 : stops.reduce((best, stop, at) => (Math.abs(stop - number) < Math.abs(stops[best] - number) ? at : best), 0);
  slider.value = near;
  slider.ariaValueText = number === "" ? "not set" : number;
}

function move(control) {
  const { of, control: key } = control.dataset;
  const isNumber = control.type === "number";
  if (isNumber && control.validity.badInput) return;
  (moved[of] ??= {})[key] = control.value === "" ? null : isNumber ? Number(control.value) : control.value;
  if (isQueued) return; // what moves meanwhile goes along
  isQueued = true;
  inTurn(answer);
}

async function answer() {
  const waiting = moved;
  moved = {};
  isQueued = false;
  if (!Object.keys(waiting).length) return;
  try {
    show(await ask("answer", { text: await typed(), moved: waiting }));
  } catch (error) {
    if (error instanceof Unheard) moved = { ...waiting, ...moved }; // it goes with the next question
    throw error;
  }
}

// The text with what somebody typed into it and did not apply yet.
async function typed() {
  if (!$("text").dataset.typed) return text;
  await open({ text: $("text").value });
  return text;
}

let typing = 0;
document.addEventListener("input", ({ target }) => {
  if (target.type === "range") {
    const number = target.previousElementSibling;
    number.value = JSON.parse(target.dataset.stops)[target.value];
    target.ariaValueText = number.value;
    move(number);
  } else if (target.type === "number") {
    place(target.nextElementSibling);
    clearTimeout(typing);
    typing = setTimeout(() => move(target), 250); // 0.05 is not 0 on its way
  } else if (target.dataset.control) move(target);
  else if (target === $("text")) target.dataset.typed = target.value === text ? "" : "yes";
});
document.addEventListener("change", ({ target }) => {
  if (target.className !== "name" || target.value.trim() === target.defaultValue) return;
  inTurn(async () => {
    try {
      await open({ text: await typed(), rename: target.defaultValue, name: target.value });
    } catch (error) {
      target.value = target.defaultValue;
      throw error;
    }
  });
});
document.addEventListener("click", ({ target }) => {
  if (target.className === "remove") inTurn(async () => open({ text: await typed(), remove: target.dataset.name }));
  if (target.className === "report") inTurn(() => report(target.dataset.ending));
});
$("closer").addEventListener("change", () => guarded(look));
$("add").addEventListener("click", () => inTurn(async () => open({ text: await typed(), add: true })));
$("apply").addEventListener("click", () => inTurn(() => open({ text: $("text").value })));
$("example").addEventListener("change", ({ target }) => target.value && inTurn(() => open({ example: target.value })));
$("file").addEventListener("change", ({ target }) => inTurn(async () => target.files[0] && (await open({ text: await target.files[0].text() }), (target.value = ""))));
document.querySelector("label.button").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && $("file").click());
addEventListener("hashchange", () => inTurn(() => open({ link: location.hash.slice(1) })));

// What is taken away

function take(name, href) {
  const link = Object.assign(document.createElement("a"), { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

$("save").addEventListener("click", () =>
  inTurn(async () => {
    const address = URL.createObjectURL(new Blob([await typed()], { type: "application/toml" }));
    take(`${$("title").textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60)}.toml`, address);
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }),
);
$("copy").addEventListener("click", () =>
  inTurn(async () => {
    await typed();
    const isCopied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    $("progress").textContent = isCopied ? "The link is copied." : "Copy the link from the address bar.";
  }),
);
$("stop").addEventListener("click", () => guarded(async () => job && (await ask("stop", { job }), ended("The report was stopped."))));

function ended(words) {
  job = null;
  $("stop").hidden = true;
  $("progress").textContent = words;
}

async function report(ending) {
  const whole = await typed();
  if (job) await ask("stop", { job });
  job = (await ask("report", { text: whole, ending })).job;
  $("stop").hidden = false;
  guarded(() => follow(job)); // others may take their turn meanwhile
}

async function follow(mine) {
  for (let isDone = false; !isDone; ) {
    await new Promise((after) => setTimeout(after, 300));
    if (job !== mine) return;
    try {
      const how = await ask("look", { job: mine });
      if (job !== mine) return;
      $("progress").textContent = `Report: ${how.doing} …`;
      isDone = how.is_done;
    } catch (error) {
      if (job === mine) ended("");
      throw error;
    }
  }
  take("", `report/${mine}`);
  ended("The report is made.");
}

inTurn(async () => {
  if (location.hash.length < 2) return open({});
  try {
    await open({ link: location.hash.slice(1) });
  } catch (error) {
    await open({});
    throw error;
  }
});
