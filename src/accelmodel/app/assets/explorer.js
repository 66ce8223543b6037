// The page's own part: it sends what was moved with the scenario's text, and shows what comes back.
"use strict";
const $ = (id) => document.getElementById(id);
let text = null; // the scenario, as its file
let moved = {}; // controls that moved since the last question: of -> control -> value
let asking = false;
let job = null;

async function ask(verb, question) {
  const response = await fetch(verb, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) });
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
    say(error instanceof TypeError ? "The explorer's server does not answer; was it ended?" : error.message);
  }
}

// Scenarios

async function open(question) {
  const answer = await ask("open", question);
  moved = {};
  $("panels").innerHTML = answer.panels;
  $("cards").innerHTML = answer.cards;
  document.querySelectorAll("input[type=range]").forEach(place);
  // A narrow screen shows the answer sooner where the groups of controls are closed.
  if (matchMedia("(max-width: 800px)").matches) document.querySelectorAll("#panels > details").forEach((one) => (one.open = false));
  show(answer);
}

function show(answer) {
  text = answer.text;
  if (document.activeElement !== $("text")) $("text").value = text;
  history.replaceState(null, "", "#" + answer.link);
  $("title").textContent = document.title = answer.title;
  say(answer.message);
  for (const [id, options] of Object.entries(answer.choices)) $(id).innerHTML = options;
  document.body.dataset.answers = String(Number(document.body.dataset.answers || 0) + 1);
  document.body.classList.toggle("stale", Boolean(answer.message));
  if (answer.message) return;
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
    if (json === drawn[name]) continue;
    drawn[name] = json;
    $(`figure-${name}`).hidden = !found;
    if (!found) continue;
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
}

async function move(control) {
  const { of, control: key } = control.dataset;
  const number = control.type === "number";
  if (number && control.value === "" && control.validity.badInput) return;
  (moved[of] ??= {})[key] = control.value === "" ? null : number ? Number(control.value) : control.value;
  if (asking) return; // what moved meanwhile goes with the next question
  asking = true;
  try {
    while (Object.keys(moved).length) {
      const question = { text, moved };
      moved = {};
      show(await ask("answer", question));
    }
  } finally {
    asking = false;
  }
}

document.addEventListener("input", ({ target }) => {
  if (target.type === "range") {
    const number = target.previousElementSibling;
    number.value = JSON.parse(target.dataset.stops)[target.value];
    guarded(() => move(number));
  } else if (target.dataset.control) {
    if (target.type === "number") place(target.nextElementSibling);
    guarded(() => move(target));
  }
});
document.addEventListener("change", ({ target }) => {
  if (target.className === "name") guarded(() => open({ text, rename: target.dataset.of, name: target.value }).catch((error) => (restore(target), Promise.reject(error))));
});
document.addEventListener("click", ({ target }) => {
  if (target.className === "remove") guarded(() => open({ text, remove: target.dataset.of }));
  if (target.className === "report") guarded(() => report(target.dataset.ending));
});
function restore(field) {
  field.value = field.defaultValue;
}
$("closer").addEventListener("change", () => guarded(look));
$("add").addEventListener("click", () => guarded(() => open({ text, add: true })));
$("apply").addEventListener("click", () => guarded(() => open({ text: $("text").value })));
$("example").addEventListener("change", ({ target }) => guarded(() => open({ example: target.value })));
$("file").addEventListener("change", ({ target }) => guarded(async () => target.files[0] && (await open({ text: await target.files[0].text() }), (target.value = ""))));
document.querySelector("label.button").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && $("file").click());
addEventListener("hashchange", () => guarded(() => open({ link: location.hash.slice(1) })));

// What is taken away

function take(name, href) {
  const link = Object.assign(document.createElement("a"), { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

$("save").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([text], { type: "application/toml" }));
  take(`${$("title").textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60)}.toml`, address);
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
$("copy").addEventListener("click", () =>
  guarded(async () => {
    await navigator.clipboard.writeText(location.href);
    $("progress").textContent = "The link is copied.";
  }),
);
$("stop").addEventListener("click", () => guarded(async () => job && (await ask("stop", { job }), ended("The report was stopped."))));

function ended(words) {
  job = null;
  $("stop").hidden = true;
  $("progress").textContent = words;
}

async function report(ending) {
  if (job) await ask("stop", { job });
  const mine = (job = (await ask("report", { text, ending })).job);
  $("stop").hidden = false;
  for (let done = false; !done && job === mine; ) {
    await new Promise((later) => setTimeout(later, 300));
    if (job !== mine) return;
    try {
      const how = await ask("look", { job });
      $("progress").textContent = `Report: ${how.doing} …`;
      done = how.is_done;
    } catch (error) {
      ended("");
      throw error;
    }
  }
  if (job !== mine) return;
  take("", `report/${mine}`);
  ended("The report is made.");
}

guarded(() => open(location.hash.length > 1 ? { link: location.hash.slice(1) } : {}));
