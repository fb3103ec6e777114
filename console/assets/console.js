// The pages work without this. With it they follow what happens, times are the reader's own, countdowns and ages run,
// buttons that cannot be undone ask first, drafts are kept, and the keyboard leads everywhere.
"use strict";

const pad = (number) => String(number).padStart(2, "0");

// As the server says it: 4 s, 12 min, 3 h 20 min, 5 d 4 h.
function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes > 0 ? `${minutes} min` : `${Math.max(0, seconds)} s`;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now();
  for (const clock of document.querySelectorAll("[data-deadline]")) {
    const left = Math.floor((Date.parse(clock.dataset.deadline) - now) / 1000);
    clock.classList.toggle("late", left < 60);
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    if (left < 0) set(clock, "time is over");
    else set(clock, hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${minutes}:${pad(seconds)}`);
  }
  for (const age of document.querySelectorAll("[data-since]")) {
    set(age, span(Math.floor((now - Date.parse(age.dataset.since)) / 1000)));
  }
}

// Times are the reader's own, or UTC where they choose so; how long ago it was stands in the title.
function tellTimes() {
  const inUtc = localStorage.getItem("zone") === "utc";
  const zone = inUtc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone;
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone };
  const clock = new Intl.DateTimeFormat("en-GB", options);
  const day = new Intl.DateTimeFormat("en-CA", { timeZone: zone });
  const today = day.format(Date.now());
  for (const one of document.querySelectorAll("[data-clock]")) {
    const at = Date.parse(one.dateTime);
    const date = day.format(at);
    set(one, date === today ? clock.format(at) : `${date.slice(5)} ${clock.format(at)}`);
    one.title = `${date} ${clock.format(at)} ${zone}, ${span(Math.floor((Date.now() - at) / 1000))} ago`;
  }
  const button = document.getElementById("zone");
  if (!button) return;
  button.hidden = false;
  set(button, zone);
  button.title = inUtc ? "Show local times" : "Show times in UTC";
}

document.getElementById("zone")?.addEventListener("click", () => {
  localStorage.setItem("zone", localStorage.getItem("zone") === "utc" ? "local" : "utc");
  tellTimes();
});

function showCopyButtons() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button.copy[hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  // Some fields are required for one of a form's buttons only.
  for (const field of button.form?.querySelectorAll("[data-required-for]") ?? []) {
    field.required = field.dataset.requiredFor === button.value;
  }
  if (button.form && !button.form.checkValidity()) return;
  if (button.dataset.confirm) {
    // What goes to more than the usual place says so.
    const more = [...(button.form?.querySelectorAll("[data-tells]:checked") ?? [])].map((field) => ` ${field.dataset.tells}`);
    const question = `${button.dataset.confirm}${more.join("")}`;
    if (!window.confirm(question.endsWith("?") ? question : `${question}?`)) event.preventDefault();
  }
  if (button.dataset.copy) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  }
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
  // What takes long says that it is under way.
  const busy = event.submitter?.dataset.busy;
  if (busy) event.submitter.textContent = busy;
});

// What somebody is filling in stays as it is; everything around it is renewed.
function isInUse(part) {
  if (part.contains(document.activeElement) && document.activeElement !== document.body) return true;
  return [...part.querySelectorAll("input:not([type=hidden]), textarea")].some(
    (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
  );
}

// A part is known by its name, not by its place: parts come and go while somebody looks.
function nameOf(details) {
  const around = details.parentElement.closest("[data-key], [id]");
  const own = details.dataset.key ?? details.querySelector("summary")?.firstChild?.textContent;
  return `${around?.dataset.key ?? around?.id} ${own}`;
}

function openParts(region) {
  return new Map([...region.querySelectorAll("details")].map((one) => [nameOf(one), one.open]));
}

function renew(region, next) {
  const open = openParts(region);
  const used = new Map();
  for (const part of region.children) {
    if (part.dataset.key && isInUse(part)) used.set(part.dataset.key, part);
  }
  const parts = [...(next?.childNodes ?? [])].map((part) => {
    const old = used.get(part.dataset?.key);
    if (!old) return part;
    used.delete(part.dataset.key);
    for (const place of [":scope > header", ":scope > .meta"]) {
      const [shown, fresh] = [old.querySelector(place), part.querySelector(place)];
      if (shown && fresh) shown.innerHTML = fresh.innerHTML;
    }
    return old;
  });
  for (const gone of used.values()) {
    withdraw(gone);
    parts.unshift(gone);
  }
  // Nothing that stays is moved: it would lose the focus.
  for (const part of [...region.childNodes]) if (!parts.includes(part)) part.remove();
  let place = region.firstChild;
  for (const part of parts) {
    if (part === place) place = place.nextSibling;
    else region.insertBefore(part, place);
  }
  for (const one of region.querySelectorAll("details")) one.open = open.get(nameOf(one)) ?? one.open;
}

// What is not offered any more, while somebody fills it in: the text stays, the buttons go.
async function withdraw(part) {
  if (part.dataset.over) return;
  part.dataset.over = "yes";
  for (const button of part.querySelectorAll("button, .clock, .aside-forms")) button.remove();
  const note = document.createElement("p");
  note.className = "said";
  note.setAttribute("role", "status");
  note.textContent = "This is not offered any more. Your text is still here.";
  const summary = part.querySelector(":scope > summary");
  if (summary) summary.after(note);
  else part.prepend(note);
  if (!part.classList.contains("gate")) return;
  const answer = await fetch(part.dataset.key, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const how = page.querySelector(".said")?.textContent;
  if (how) note.textContent = `${how} Your text is still here.`;
}

// Says that the page is not up to date; nothing where it is again.
function warn(text) {
  let note = document.getElementById("lost");
  if (!text) {
    note?.remove();
    return;
  }
  if (!note) {
    note = document.createElement("p");
    note.id = "lost";
    note.className = "wrong lost";
    note.setAttribute("role", "alert");
    document.getElementById("main").prepend(note);
  }
  if (note.textContent !== text) note.textContent = text;
}

const SIGNED_OUT = "Your session has ended. This page is not updated any more: sign in again in another tab, then reload.";

// Says in the bar whether the page follows.
function say(state) {
  const link = document.getElementById("link");
  if (!link) return;
  link.hidden = false;
  link.className = `link ${state.replace(" ", "-")}`;
  set(link, state);
}

// What a region was, without what differs on every page or runs by itself.
const told = new WeakMap();
const outline = (region) =>
  region.innerHTML.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "").replace(/(<time[^>]*>)[^<]*/g, "$1");

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer) {
    say("offline");
    return warn("Harmony does not answer. This page is not up to date.");
  }
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/sign-in")) {
    say("signed out");
    return warn(SIGNED_OUT);
  }
  if (!answer.ok) {
    say("offline");
    return warn(`This page cannot be brought up to date (${answer.status}). Reload it.`);
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    const now = next ? outline(next) : "";
    if (next && told.get(region) === now) continue;
    told.set(region, now);
    renew(region, next);
  }
  if (document.title !== fresh.title) document.title = fresh.title;
  notify();
  say("live");
  const head = fresh.querySelector(".headline");
  const shown = document.querySelector(".headline");
  if (head && shown) shown.innerHTML = head.innerHTML;
  warn("");
  tick();
  tellTimes();
  showCopyButtons();
  followCells();
}

// What cells print while they run. The stream is open only while a remediation runs.
const SHOWN = 256 * 1024;
let printing = null;

function boxOf(piece) {
  const section = document.getElementById("cell-output");
  const key = `${piece.step} ${piece.attempt}`;
  const known = [...section.querySelectorAll("[data-cell]")].find((one) => one.dataset.cell === key);
  if (known) return known;
  const box = document.createElement("div");
  box.className = "output";
  box.dataset.cell = key;
  const title = document.createElement("p");
  const again = piece.attempt > 1 ? `, attempt ${piece.attempt}: the worker of the one before was lost` : "";
  title.textContent = `${piece.cell}${again}`;
  const text = document.createElement("pre");
  text.tabIndex = 0;
  box.append(title, text);
  section.append(box);
  section.hidden = false;
  return box;
}

function show(piece) {
  const box = boxOf(piece);
  const text = box.querySelector("pre");
  if (piece.ended) {
    box.querySelector("p").textContent += `: ${piece.text}`;
    // Its end is in the timeline by now, and what ended before this page was opened is there already.
    setTimeout(() => {
      box.remove();
      const section = document.getElementById("cell-output");
      section.hidden = !section.querySelector("[data-cell]");
    }, Date.now() - Date.parse(piece.at) > 10000 ? 0 : 5000);
    return;
  }
  const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
  const from = box.dataset.to ?? "0";
  const missing = piece.fromBytes > Number(from) ? `… ${piece.fromBytes - Number(from)} bytes are not shown\n` : "";
  box.dataset.to = piece.toBytes;
  text.append(missing + piece.text);
  while (text.childNodes.length > 1 && text.textContent.length > SHOWN) text.firstChild.remove();
  if (atEnd) text.scrollTop = text.scrollHeight;
}

function followCells() {
  const address = document.querySelector("main")?.dataset.output;
  const runs = document.querySelector("[data-cells-run]") !== null;
  if (address && runs && !printing) {
    printing = new EventSource(address);
    printing.addEventListener("output", (event) => show(JSON.parse(event.data)));
  } else if (printing && !runs) {
    // What was printed last, and the end, may still be under way.
    const ended = printing;
    printing = null;
    setTimeout(() => ended.close(), 3000);
  }
}

function follow(address) {
  let waiting = false;
  let lost = 0;
  const stream = new EventSource(address);
  const heard = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      await refresh();
    }, 250);
  };
  // Of an incident its records, of everything else what the audit says.
  stream.addEventListener("record", heard);
  stream.addEventListener("audit", heard);
  // The session has ended.
  stream.addEventListener("over", refresh);
  // A stream that ends is opened again at once; only one that stays away is told of.
  stream.addEventListener("error", () => {
    clearTimeout(lost);
    lost = setTimeout(refresh, stream.readyState === EventSource.CLOSED ? 0 : 4000);
  });
  stream.addEventListener("open", () => {
    clearTimeout(lost);
    say("live");
  });
}

// A page that no stream tells about asks by itself, while somebody looks at it.
function poll(seconds) {
  const ask = async () => {
    if (!document.hidden || mayNotify()) await refresh();
    setTimeout(ask, seconds * 1000);
  };
  setTimeout(ask, seconds * 1000);
}

// Whoever allowed it is told of a gate that waits for them while they look elsewhere.
const mayNotify = () => "Notification" in window && Notification.permission === "granted";
const waiting = () => Number(document.querySelector("#live-waiting .count")?.firstChild?.textContent ?? 0);
let waited = waiting();
function notify() {
  const now = waiting();
  if (now > waited && document.hidden && mayNotify()) {
    new Notification("Harmony", { body: now === 1 ? "A decision waits for you." : `${now} decisions wait for you.` });
  }
  waited = now;
}

const notifyButton = document.getElementById("notify");
if (notifyButton && "Notification" in window && Notification.permission === "default") {
  notifyButton.hidden = false;
  notifyButton.addEventListener("click", async () => {
    await Notification.requestPermission();
    notifyButton.hidden = true;
  });
}

// What is typed is kept in this browser until it is on record: a reload, the way back and a second tab lose nothing.
const draftName = (field) => `draft ${field.form?.dataset.drafts ?? location.pathname} ${field.dataset.draft}`;
const plain = (text) => text.replaceAll("\r\n", "\n").trim();
// What a page gave a field; a list of choices begins at its first, which is none.
const given = (field) => field.defaultValue ?? "";

// What was sent is on record when the next page says so.
function forgetSent() {
  const sent = JSON.parse(sessionStorage.getItem("sent") ?? "[]");
  sessionStorage.removeItem("sent");
  if (new URLSearchParams(location.search).has("done")) for (const name of sent) localStorage.removeItem(name);
}

function keepDrafts() {
  forgetSent();
  const fields = [...document.querySelectorAll("[data-draft]")];
  for (const field of fields) {
    const draft = localStorage.getItem(draftName(field));
    if (draft === null || plain(field.value) !== plain(given(field))) continue;
    if (plain(draft) === plain(given(field))) continue;
    // A form that came back filled in is newer than what was kept.
    if (field.form?.dataset.drafts && given(field) !== "") continue;
    field.value = draft;
    // A choice that is not offered any more.
    if (field.selectedIndex === -1) {
      field.selectedIndex = 0;
      continue;
    }
    const part = field.closest("details");
    if (part) part.open = true;
  }
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.dataset?.draft) return;
    if (field.value === "") localStorage.removeItem(draftName(field));
    else localStorage.setItem(draftName(field), field.value);
  });
  let sent = false;
  document.addEventListener("submit", (event) => {
    sent = true;
    const names = [...event.target.querySelectorAll("[data-draft]")].map(draftName);
    sessionStorage.setItem("sent", JSON.stringify(names));
  });
  window.addEventListener("pageshow", () => (sent = false));
  window.addEventListener("beforeunload", (event) => {
    const unsent = (field) => "warn" in field.dataset && plain(field.value) !== plain(given(field));
    if (!sent && fields.some(unsent)) event.preventDefault();
  });
}

// What is written is shown as it will stand in the review, by whoever will render it there.
const previewed = new WeakMap();
function preview(field) {
  const shown = field.form.querySelector(".preview");
  clearTimeout(previewed.get(field));
  if (plain(field.value) === plain(given(field))) {
    shown.hidden = true;
    return;
  }
  const ask = async () => {
    const body = new URLSearchParams({ csrf: field.form.elements.csrf.value, text: field.value });
    const answer = await fetch(field.dataset.preview, { method: "POST", body }).catch(() => null);
    // Whoever typed on meanwhile is answered by a later one.
    if (!answer?.ok || answer.redirected || body.get("text") !== field.value) return;
    shown.innerHTML = await answer.text();
    shown.hidden = false;
  };
  previewed.set(field, setTimeout(ask, 300));
}

document.addEventListener("input", (event) => {
  if (event.target.dataset?.preview) preview(event.target);
});

// A template becomes the text; what somebody has written stays until they say so.
document.addEventListener("change", (event) => {
  const choice = event.target;
  if (!choice.dataset?.fills) return;
  const chosen = choice.selectedOptions[0];
  const field = choice.form.elements[choice.dataset.fills];
  const isOwn = plain(field.value) !== "" && ![...choice.options].some((one) => plain(one.dataset.text ?? "") === plain(field.value));
  if (isOwn && !window.confirm("Replace what you have written?")) {
    choice.value = "";
    choice.dispatchEvent(new Event("input", { bubbles: true }));
    return;
  }
  field.value = chosen.dataset.text ?? "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
  const box = choice.form.elements.public;
  if (box) box.checked = "public" in chosen.dataset;
});

// What was previewed is what is declared: after a change there is nothing to declare until it was previewed again.
document.querySelector("form[data-previewed]")?.addEventListener("input", (event) => {
  event.currentTarget.querySelector("button[value=declare]")?.remove();
});
// Drafts are of whoever is signed in.
document.querySelector("form[action='/sign-out']")?.addEventListener("submit", () => {
  for (const name of Object.keys(localStorage)) if (name.startsWith("draft ")) localStorage.removeItem(name);
  sessionStorage.clear();
});

// The command palette: every page, every action of this page, and any incident by its number.
const CHOICES = 12;
const palette = document.getElementById("palette");
const wanted = document.getElementById("wanted");
function choices() {
  const all = new Map();
  // What can be done here, then pages, then what is listed here.
  const places = [".actions a.button, details.act > summary", "header.bar a[href]", "main a[data-open]:not(.seq)"];
  for (const one of places.flatMap((place) => [...document.querySelectorAll(place)])) {
    const text = one.textContent.trim().replace(/\s+/g, " ");
    if (text && !all.has(text)) all.set(text, one);
  }
  return all;
}

function take(one) {
  palette.close();
  if (one.tagName !== "SUMMARY") return one.click();
  one.parentElement.open = true;
  one.scrollIntoView({ block: "center" });
  (one.parentElement.querySelector("input:not([type=hidden]), textarea, select, button") ?? one).focus();
}

function find() {
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = ([text]) => words.every((word) => text.toLowerCase().includes(word));
  const found = [...choices()].filter(fits).slice(0, CHOICES);
  const number = wanted.value.trim().match(/^(?:INC-(\d{4})-)?(\d{1,6})$/i);
  const incidents = document.querySelector("[data-go=i]");
  if (number && incidents) {
    const id = `INC-${number[1] ?? new Date().getUTCFullYear()}-${number[2].padStart(4, "0")}`;
    const link = document.createElement("a");
    link.href = `${incidents.href}/${id}`;
    found.unshift([`Open ${id}`, link]);
  }
  const rows = found.map(([text, one]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = text;
    button.addEventListener("click", () => take(one));
    const row = document.createElement("li");
    row.append(button);
    return row;
  });
  document.getElementById("found").replaceChildren(...rows);
}

wanted?.addEventListener("input", find);
palette?.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const stops = [wanted, ...palette.querySelectorAll("button")];
  const here = stops.indexOf(event.target);
  if (event.key === "Enter" && event.target === wanted) stops[1]?.click();
  else if (step) stops[(here + step + stops.length) % stops.length].focus();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || !palette) return;
  event.preventDefault();
  if (document.querySelector("dialog[open]")) return;
  wanted.value = "";
  find();
  palette.showModal();
});

// The keyboard: one key, or g and one key. Never while somebody types.
let leader = 0;
function row(step) {
  const rows = [...document.querySelectorAll("[data-row]")].filter((one) => one.offsetParent !== null);
  if (rows.length === 0) return;
  const here = rows.findIndex((one) => one.classList.contains("at"));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
  rows[here]?.classList.remove("at");
  rows[next].classList.add("at");
  rows[next].scrollIntoView({ block: "nearest" });
  const target = rows[next].querySelector("[data-open]") ?? rows[next];
  target.focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  if (target.closest?.("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const leads = Date.now() - leader < 1500;
  leader = event.key === "g" && !leads ? Date.now() : 0;
  const go = (name) => document.querySelector(`[data-go="${name}"]`)?.click();
  if (leads) return go(event.key);
  const search = document.querySelector("[data-search]");
  const does = {
    "?": () => document.getElementById("keys")?.showModal(),
    "/": () => (search ? search.focus() : go("i")),
    c: () => go("declare"),
    j: () => row(1),
    k: () => row(-1),
    o: () => document.querySelector("[data-row].at [data-open]")?.click(),
  }[event.key];
  if (!does || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  does();
});

for (const region of document.querySelectorAll("[data-live]")) told.set(region, outline(region));
keepDrafts();
for (const field of document.querySelectorAll("[data-preview]")) preview(field);
tick();
tellTimes();
setInterval(tick, 1000);
showCopyButtons();
const page = document.querySelector("main")?.dataset ?? {};
if (page.stream) follow(page.stream);
followCells();
// An incident's own records come by its stream; what else waits is asked for now and then.
if ("poll" in page) poll(1.5);
else if (page.stream) poll(15);

// A page that comes back from the browser's memory may be sent again; the server knows what it has.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
