// The pages work without this. With it an open incident follows its log, countdowns count, buttons that cannot be
// undone ask first, and record ids can be copied.
"use strict";

const pad = (number) => String(number).padStart(2, "0");

function tick() {
  const now = Date.now();
  for (const clock of document.querySelectorAll("[data-deadline]")) {
    const left = Math.floor((Date.parse(clock.dataset.deadline) - now) / 1000);
    clock.classList.toggle("late", left < 60);
    if (left < 0) {
      clock.textContent = "time is over";
      continue;
    }
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    clock.textContent = hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds)}` : `${minutes}:${pad(seconds)}`;
  }
}

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
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) event.preventDefault();
  if (button.dataset.copy) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  }
});

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
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

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer) return warn("Harmony does not answer. This page is not up to date.");
  if (answer.status === 401 || (answer.redirected && new URL(answer.url).pathname === "/sign-in")) return warn(SIGNED_OUT);
  if (!answer.ok) return warn(`This page cannot be brought up to date (${answer.status}). Reload it.`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    if (!next || next.innerHTML !== region.innerHTML) renew(region, next);
  }
  const head = fresh.querySelector(".headline");
  const shown = document.querySelector(".headline");
  if (head && shown) shown.innerHTML = head.innerHTML;
  warn("");
  tick();
  showCopyButtons();
}

function follow(address) {
  let waiting = false;
  let lost = 0;
  const stream = new EventSource(address);
  stream.addEventListener("record", () => {
    if (waiting) return;
    waiting = true;
    setTimeout(async () => {
      waiting = false;
      await refresh();
    }, 250);
  });
  // A stream that ends is opened again at once; only one that stays away is told of.
  stream.addEventListener("error", () => {
    clearTimeout(lost);
    lost = setTimeout(refresh, stream.readyState === EventSource.CLOSED ? 0 : 4000);
  });
  stream.addEventListener("open", () => clearTimeout(lost));
}

// What is typed into a longer text is kept in this tab until it is on record, whatever else is sent meanwhile.
function keepDrafts() {
  const fields = [...document.querySelectorAll("[data-draft]")];
  if (fields.length === 0) return;
  const name = (field) => `draft ${location.pathname} ${field.dataset.draft}`;
  const plain = (text) => text.replaceAll("\r\n", "\n").trim();
  for (const field of fields) {
    const draft = sessionStorage.getItem(name(field));
    if (draft === null) continue;
    if (plain(draft) === plain(field.defaultValue)) sessionStorage.removeItem(name(field));
    else {
      field.value = draft;
      const part = field.closest("details");
      if (part) part.open = true;
    }
  }
  document.addEventListener("input", (event) => {
    if (event.target.dataset.draft) sessionStorage.setItem(name(event.target), event.target.value);
  });
  let sent = false;
  document.addEventListener("submit", () => (sent = true));
  window.addEventListener("pageshow", () => (sent = false));
  window.addEventListener("beforeunload", (event) => {
    if (!sent && fields.some((field) => plain(field.value) !== plain(field.defaultValue))) event.preventDefault();
  });
}

// What was previewed is what is declared: after a change there is nothing to declare until it was previewed again.
document.querySelector("form[data-previewed]")?.addEventListener("input", (event) => {
  event.currentTarget.querySelector("button[value=declare]")?.remove();
});
// Drafts are of whoever is signed in.
document.querySelector("form[action='/sign-out']")?.addEventListener("submit", () => sessionStorage.clear());

keepDrafts();
tick();
setInterval(tick, 1000);
showCopyButtons();
const address = document.querySelector("main")?.dataset.stream;
if (address) follow(address);

// A page that comes back from the browser's memory may be sent again; the server knows what it has.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
